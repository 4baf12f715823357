"""What dies in a cycle after it was taken out of the collector's sight is freed all the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from controller.heap import SWEEP_AFTER, Heap


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


class Connection:
    def __init__(self) -> None:
        self.itself = self


def test_connections_that_ended_are_freed_in_the_end() -> None:
    heap = Heap()
    connection = Connection()
    gone = weakref.ref(connection)
    heap.settle()
    del connection
    gc.collect()
    assert gone() is not None
    for _ in range(SWEEP_AFTER):
        heap.ended()
        heap.sweep_if_due()
    assert gone() is None
