"""Somebody else changes a bridge's flows as fast as they are mended: mended ever more rarely.

Two controllers on one bridge would undo each other's flows ten times a second for as long as both
live, and so would a script that restores flows. Nobody wins that, and the switch pays for it.
"""

from __future__ import annotations

from collections import deque

MANY, WITHIN_S = 30, 10.0
"""So many times within so many seconds is a contest, no accident."""

FIRST_PAUSE_S, PAUSE_MAX_S = 1.0, 16.0
QUIET_S = 3 * PAUSE_MAX_S
"""When nothing has drifted for so long, it is over."""


class Contest:
    """One bridge's. ``until_s``: nothing is to be mended before. Times are the engine's clock."""

    def __init__(self) -> None:
        self.until_s = float("-inf")
        self._mended_s: deque[float] = deque(maxlen=MANY)
        self._pause_s = 0.0

    def mended(self, now_s: float) -> bool:
        """Flows had drifted and were mended; True when that makes it a contest."""
        if self._mended_s and now_s - self._mended_s[-1] > QUIET_S:
            self._mended_s.clear()
            self._pause_s = 0.0
        self._mended_s.append(now_s)
        began = False
        if self._pause_s:
            self._pause_s = min(PAUSE_MAX_S, self._pause_s * 2)
        elif len(self._mended_s) == MANY and now_s - self._mended_s[0] <= WITHIN_S:
            self._pause_s, began = FIRST_PAUSE_S, True
        self.until_s = now_s + self._pause_s
        return began

    def goes_on(self, now_s: float) -> bool:
        """Whether somebody is at it."""
        return bool(self._pause_s) and now_s - self._mended_s[-1] <= QUIET_S
