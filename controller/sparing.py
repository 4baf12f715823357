"""So many, and no more, within a time."""

from __future__ import annotations


class Sparing:
    """Gives ``most`` within each ``per_s`` seconds: for lines and events that strangers cause."""

    def __init__(self, most: int, per_s: float) -> None:
        self._most, self._per_s = most, per_s
        self._since_s = float("-inf")
        self._taken = 0

    def take(self, now_s: float) -> bool:
        """Whether there is one left now."""
        if now_s >= self._since_s + self._per_s:
            self._since_s, self._taken = now_s, 0
        self._taken += 1
        return self._taken <= self._most
