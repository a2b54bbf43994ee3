"""What scripts/prepare.py is made of."""


class PrepareError(Exception):
    """One line: what is wrong, where, and what to do."""
