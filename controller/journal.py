"""What happened lately, in order: a ring of events from which listeners read at their own pace.

An event's id is ``<boot>-<number>``: numbers count from 1, boot is another one each time the
controller starts. Nobody is called for an event but who waits for one at that moment, so a slow
listener delays nobody; one that falls behind the ring has lost its place, and is told so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Final, NamedTuple

from controller.happenings import Happening

KEPT: Final = 16384
"""So many events can be asked for again."""


class Published(NamedTuple):
    """A happening with its number, and its data with the time ("at")."""

    number: int
    kind: str
    data: dict[str, object]


class Journal:
    """The events of one run of the controller. ``last`` is the number of the latest, 0: none.

    ``clock`` tells seconds since 1970. ``listeners`` is how many read at present.
    """

    def __init__(self, boot: str, kept: int = KEPT, clock: Callable[[], float] = time.time) -> None:
        self.last = 0
        self.listeners = 0
        self._boot = boot
        self._clock = clock
        self._ring: list[Published | None] = [None] * kept
        self._waiting: list[Callable[[], None]] = []

    @property
    def last_id(self) -> str:
        return self.id_of(self.last)

    def id_of(self, number: int) -> str:
        return f"{self._boot}-{number}"

    def number_of(self, event_id: str) -> int | None:
        """The number in an id of this run; None for any other id."""
        boot, _dash, digits = event_id.rpartition("-")
        if boot != self._boot or not (digits.isascii() and digits.isdigit()) or len(digits) > 15:
            return None
        number = int(digits)
        return number if number <= self.last else None

    def now(self) -> str:
        """The time as events have it."""
        return rfc3339(self._clock())

    def publish(self, happenings: Iterable[Happening]) -> None:
        """Keep what happened just now, and wake who waits for it."""
        ring, number, at = self._ring, self.last, self.now()
        for kind, data in happenings:
            number += 1
            ring[number % len(ring)] = Published(number, kind, {"at": at, **data})
        self.last = number
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for wake in waiting:
                wake()

    def after(self, number: int, most: int) -> list[Published] | None:
        """The events that follow one, oldest first; None when some of them are not kept."""
        if self.last - number > len(self._ring):
            return None
        upto = min(self.last, number + most)
        ring = self._ring
        events = (ring[at % len(ring)] for at in range(number + 1, upto + 1))
        return [event for event in events if event is not None]

    def wake_at_next(self, wake: Callable[[], None]) -> None:
        """Have this called once, at the next event."""
        self._waiting.append(wake)

    def forget(self, wake: Callable[[], None]) -> None:
        """Do not call this, after all."""
        if wake in self._waiting:
            self._waiting.remove(wake)


def rfc3339(unix_s: float) -> str:
    """A time in UTC with milliseconds: 2026-11-21T10:00:00.123Z."""
    text = datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
