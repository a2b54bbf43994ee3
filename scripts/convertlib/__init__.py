"""What scripts/convert.py is made of: network.py reads a checkpoint, each format has a file."""


class ConvertError(Exception):
    """One line: what is wrong, and what to do."""
