"""Work that takes much memory is done for some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from eventlet.semaphore import Semaphore

from controller.api.problems import Problem

WAIT_S: Final = 30.0


class Turns:
    """most: that have a turn at once; others wait, and are told to come again after WAIT_S."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._free = Semaphore(most)

    def take(self, wait_s: float = WAIT_S) -> None:
        free = self._free.acquire(timeout=wait_s) if wait_s else self._free.acquire(blocking=False)
        if not free:
            raise Problem(
                503,
                f"{self._most} {self._what} are on their way already",
                title="Too many at once",
                headers={"Retry-After": "5"},
            )

    @contextmanager
    def one(self) -> Iterator[None]:
        self.take()
        try:
            yield
        finally:
            self.give_back()

    def give_back(self) -> None:
        self._free.release()
