"""Who serves as which datapath id: one connection at a time, and the one that is there stays.

A second connection with the dpid of a live one is a copied bridge, or the same switch after its
host lost power, whose first connection is half open. The one that is there is asked: if it
answers, the newcomer goes; else the newcomer takes its place at once.
"""

from __future__ import annotations

import time
from typing import Final, Generic, Protocol, TypeVar

from eventlet.event import Event
from eventlet.timeout import Timeout

ANSWER_S = 2.0
OWN_STALL_S: Final = 0.5
ROUNDS: Final = 3
"""So often may another one have taken the place while this one waited."""


class Seated(Protocol):
    """A connection that is admitted, or wants to be."""

    id: int

    @property
    def peer(self) -> str: ...

    @property
    def is_over(self) -> bool: ...

    def has_gone(self) -> bool:
        """Whether it is over, or its other end has closed it meanwhile."""

    def ask(self) -> None:
        """Send an echo request; any message that comes then shows that it lives."""

    def leave(self) -> None:
        """Its session is over for all who listen, now."""


class _Inquiry:
    """A connection is asked whether it lives; all who want its place wait for the answer."""

    def __init__(self) -> None:
        self._done = Event()

    def settle(self) -> None:
        if not self._done.ready():
            self._done.send(True)

    def wait(self) -> bool:
        """Whether it was settled in time; time that this process stood still does not count."""
        for _ in range(2):
            due_s = time.monotonic() + ANSWER_S
            with Timeout(ANSWER_S, False):
                self._done.wait()
            if self._done.ready() or time.monotonic() < due_s + OWN_STALL_S:
                break
        return bool(self._done.ready())


S = TypeVar("S", bound=Seated)


class Seats(Generic[S]):
    """The connections that are admitted, by dpid."""

    def __init__(self) -> None:
        self._seated: dict[int, S] = {}
        self._inquiries: dict[S, _Inquiry] = {}

    def take(self, newcomer: S) -> S | None:
        """Seat a newcomer; or the one that sits there, and lives.

        Whoever does not answer has left, for all who listen, before this returns.
        """
        for _ in range(ROUNDS):
            there = self._seated.get(newcomer.id)
            if there is None or there is newcomer:
                break
            if not there.is_over and self._lives(there):
                return there
            if newcomer.has_gone():
                return None
            if self._seated.get(newcomer.id) is there:
                there.leave()
        else:
            return self._seated.get(newcomer.id)
        if not newcomer.has_gone():
            self._seated[newcomer.id] = newcomer
        return None

    def _lives(self, there: S) -> bool:
        inquiry = self._inquiries.get(there)
        if inquiry is None:
            inquiry = self._inquiries[there] = _Inquiry()
            there.ask()
        answered = inquiry.wait()
        if self._inquiries.get(there) is inquiry:
            del self._inquiries[there]
        return answered and not there.is_over

    def heard(self, connection: S) -> None:
        """A message came from it."""
        if self._inquiries and connection in self._inquiries:
            self._inquiries[connection].settle()

    def left(self, connection: S) -> None:
        """It is over."""
        if self._seated.get(connection.id) is connection:
            del self._seated[connection.id]
        inquiry = self._inquiries.pop(connection, None)
        if inquiry is not None:
            inquiry.settle()
