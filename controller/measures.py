"""What the controller counts of itself; read by /metrics. Nothing here costs more than an add."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

TURN_S = (0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
SHORT_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
LONG_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})


class Histogram:
    """How many values there were up to each bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        return sum(self._counts)

    def buckets(self) -> Iterator[tuple[str, int]]:
        """(upper bound as text, values up to it), the last one +Inf."""
        bounds = [*map(str, self._bounds), "+Inf"]
        return zip(bounds, accumulate(self._counts), strict=True)


@dataclass(slots=True)
class Measures:
    """Counters since the process began. Times in seconds."""

    started_unix_s: float = 0.0
    version: str = ""
    packet_ins: int = 0
    packet_ins_dropped: int = 0
    packet_ins_shed: int = 0
    moves_refused: int = 0
    flow_mods: int = 0
    sent_bytes: int = 0
    openflow_refused: Counter[str] = field(default_factory=Counter)  # connections, by reason
    connects: Counter[int] = field(default_factory=Counter)  # by dpid
    happened: Counter[str] = field(default_factory=Counter)  # by type of event
    turns: Histogram = field(default_factory=lambda: Histogram(TURN_S))
    applied: Histogram = field(default_factory=lambda: Histogram(LONG_S))
    commits: Histogram = field(default_factory=lambda: Histogram(SHORT_S))
    commits_failed: int = 0
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)  # method, class of status
    http_ended: Counter[str] = field(default_factory=Counter)  # by reason
    answers: Histogram = field(default_factory=lambda: Histogram(SHORT_S))

    def requested(self, method: str, status: int, took_s: float) -> None:
        """A REST request was answered."""
        known = method if method in METHODS else "other"
        self.requests[known, f"{status // 100}xx"] += 1
        self.answers.observe(took_s)


@dataclass(frozen=True, slots=True)
class HostMeasures:
    """A connected host's state and counts; ``flows`` is how many it should hold."""

    state: str
    flows: int
    refused: int
    audits: int
    drifted: int
