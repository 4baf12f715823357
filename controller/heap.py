"""The garbage collector, kept away from what stays.

Facts and flows live as long as the process, by the million, and are no part of any cycle: reference
counts free them. A collector that walks them all stops the process for a second each time.

Connections are: their greenlets' tracebacks hold what holds them. One that ends after it was taken
out of the collector's sight leaves some 25 KB for ever; so after many of them it looks at all once.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

FEW, MANY = 50_000, 10
SETTLE_EVERY = 2_000
"""Changes of the facts, after which what is new is taken out of the collector's sight."""
SWEEP_AFTER = 2_000
"""Connections that ended, some 50 MB, after which everything is looked at once."""


class Heap:
    """Counts changes, and settles when there were many."""

    def __init__(self) -> None:
        self._changes = 0
        self._ended = 0
        gc.set_threshold(FEW, MANY, MANY)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """While everything is loaded there is no garbage to look for."""
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            self.settle()

    def changed(self, count: int) -> None:
        self._changes += count
        if self._changes >= SETTLE_EVERY:
            self.settle()

    def settle(self) -> None:
        """Collect what came since, a matter of milliseconds; then look at it no more."""
        self._changes = 0
        gc.collect(1)
        gc.freeze()

    def ended(self) -> None:
        """A connection is over."""
        self._ended += 1

    def sweep_if_due(self) -> None:
        """Free the cycles that died unseen: a second's work where there are 100,000 VMs."""
        if self._ended >= SWEEP_AFTER:
            self._ended = 0
            gc.unfreeze()
            gc.collect()
            gc.freeze()
