"""What is said of connections that are refused or cut: each counted, few told.

A storm of bad connections must not fill the disk: an address has a few lines, and all together
have some; what goes beyond is summed up in a line now and then.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Final

EACH_BURST, EACH_EVERY_S = 5.0, 20.0
"""Lines of one address at once, and how long it takes until it has another one."""

ALL_BURST, ALL_EVERY_S = 30.0, 2.0
SUM_EVERY_S = 10.0
ADDRESSES_MAX = 1024

KINDS: Final = (
    "not_openflow",
    "tls",
    "version",
    "type",
    "length",
    "malformed",
    "too_much",
    "handshake",
    "evicted",
    "full",
    "address_full",
    "duplicate",
    "identity",
    "silent",
    "stuck",
    "broken",
    "failed",
)
"""The words that connections are counted by; nothing else becomes a label."""


class Bucket:
    """Lines that may be said: ``burst`` at once, then one every so many seconds."""

    __slots__ = ("_burst", "_every_s", "_left", "_since_s")

    def __init__(self, burst: float, every_s: float, now_s: float) -> None:
        self._burst, self._every_s = burst, every_s
        self._left, self._since_s = burst, now_s

    def take(self, now_s: float) -> bool:
        gained = (now_s - self._since_s) / self._every_s
        self._left, self._since_s = min(self._burst, self._left + gained), now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Complaints:
    """Counts, and tells what there is room for. ``later`` calls back after so many seconds."""

    def __init__(
        self,
        log: logging.Logger,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._log, self._clock, self._later = log, clock, later
        self._all = Bucket(ALL_BURST, ALL_EVERY_S, clock())
        self._each: OrderedDict[str, Bucket] = OrderedDict()
        self._unsaid: Counter[str] = Counter()
        self._unsaid_of: set[str] = set()

    def tell(
        self,
        kind: str,
        address: str,
        line: str,
        level: int = logging.WARNING,
        *,
        trace: bool = False,
    ) -> None:
        """A connection from this address is refused or cut, and why; ``trace``: by an exception."""
        kind = kind if kind in KINDS else "failed"
        self.counts[kind] += 1
        now_s = self._clock()
        if self._bucket(address, now_s).take(now_s) and self._all.take(now_s):
            self._log.log(level, "%s", line, exc_info=trace)
            return
        if not self._unsaid:
            self._later(SUM_EVERY_S, self._sum_up)
        self._unsaid[kind] += 1
        if len(self._unsaid_of) < ADDRESSES_MAX:
            self._unsaid_of.add(address)

    def _bucket(self, address: str, now_s: float) -> Bucket:
        bucket = self._each.pop(address, None)
        if bucket is None:
            bucket = Bucket(EACH_BURST, EACH_EVERY_S, now_s)
            if len(self._each) >= ADDRESSES_MAX:
                self._each.popitem(last=False)
        self._each[address] = bucket
        return bucket

    def _sum_up(self) -> None:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self._unsaid.most_common())
        self._log.warning(
            "%d more connections were refused or closed in the last %.0f s, of %d address(es): %s",
            self._unsaid.total(),
            SUM_EVERY_S,
            len(self._unsaid_of),
            kinds,
        )
        self._unsaid.clear()
        self._unsaid_of.clear()
