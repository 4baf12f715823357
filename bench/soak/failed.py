"""What ends a soak."""


class Failed(Exception):
    """An invariant does not hold; the text says which, and what was found."""
