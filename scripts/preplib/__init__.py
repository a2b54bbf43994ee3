"""What scripts/prepare.py is made of."""

import contextlib


class PrepareError(Exception):
    """One line: what is wrong, where, and what to do."""


@contextlib.contextmanager
def reading(path):
    """Whatever pandas, Pillow, numpy or gzip make of a file that is missing or damaged becomes a line that names it."""
    try:
        yield
    except PrepareError as error:
        raise (error if str(path) in str(error) else PrepareError(f"{path}: {error}")) from None
    except Exception as error:
        why = getattr(error, "strerror", None) or (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise PrepareError(f"{path}: can't be read: {why}") from None
