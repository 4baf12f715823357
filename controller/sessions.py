"""What happened to OpenFlow sessions: who came, went, was replaced or refused, and when.

Times are the engine's clock. Everything is bounded: the latest of it counts.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

HOSTS_MAX = 4096
COMINGS_MAX = 16
REFUSED_MAX = 100


@dataclass(frozen=True, slots=True)
class Refused:
    """A connection that was not let in, or ended for what it said."""

    at_s: float
    address: str
    reason: str


@dataclass(slots=True)
class Past:
    """A host's sessions. ``clashes``: a second one came while it was there, and from where."""

    came_s: deque[float] = field(default_factory=lambda: deque(maxlen=COMINGS_MAX))
    address: str | None = None  # whence it connected last
    left_s: float | None = None
    away_s: float | None = None  # how long it was away before its last session
    clashes: deque[tuple[float, str, str]] = field(
        default_factory=lambda: deque(maxlen=COMINGS_MAX)
    )


class Sessions:
    """The pasts of the hosts that were here last."""

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self.refused: deque[Refused] = deque(maxlen=REFUSED_MAX)
        self._pasts: OrderedDict[int, Past] = OrderedDict()

    def came(self, dpid: int, address: str, now_s: float, replaced: str | None = None) -> None:
        """A session begins; ``replaced``: the address of one that was still there."""
        past = self._pasts.setdefault(dpid, Past())
        self._pasts.move_to_end(dpid)
        if len(self._pasts) > HOSTS_MAX:
            self._pasts.popitem(last=False)
        if replaced is not None:
            past.clashes.append((now_s, replaced, address))
        past.away_s = None if past.left_s is None else now_s - past.left_s
        past.came_s.append(now_s)
        past.address, past.left_s = address, None

    def clash(self, dpid: int, there: str, newcomer: str, now_s: float) -> None:
        """A second connection of a host was refused, since its first one answers."""
        past = self._pasts.get(dpid)
        if past is not None:
            past.clashes.append((now_s, there, newcomer))

    def left(self, dpid: int, now_s: float) -> None:
        past = self._pasts.get(dpid)
        if past is not None:
            past.left_s = now_s

    def refuse(self, address: str, reason: str, now_s: float) -> None:
        self.refused.append(Refused(now_s, address, reason))

    def past(self, dpid: int) -> Past | None:
        return self._pasts.get(dpid)

    def refused_since(self, since_s: float) -> Iterator[Refused]:
        """The last refusal of each address and reason."""
        told: set[tuple[str, str]] = set()
        for refused in reversed(self.refused):
            if refused.at_s >= since_s and (refused.address, refused.reason) not in told:
                told.add((refused.address, refused.reason))
                yield refused
