"""Keys in order, whatever the order in which they came and went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topology import sorted_keys
from topology.sorted_keys import GroupedKeys, SortedKeys

keys = st.tuples(st.integers(0, 3), st.integers(0, 30))
steps = st.lists(st.tuples(st.sampled_from(["add", "remove", "look"]), keys), max_size=120)


@pytest.fixture(autouse=True, scope="module")
def small_blocks():
    kept, sorted_keys._BLOCK_KEYS = sorted_keys._BLOCK_KEYS, 4
    yield
    sorted_keys._BLOCK_KEYS = kept


@given(steps, st.none() | keys, st.integers(0, 20))
def test_as_a_set_would_sort(steps: list[tuple[str, tuple[int, int]]], after, limit) -> None:
    found: SortedKeys[tuple[int, int]] = SortedKeys()
    wanted: set[tuple[int, int]] = set()
    for what, key in steps:
        assert (key in found) == (key in wanted)
        if what == "look":
            assert list(found) == sorted(wanted)
        elif what == "add" and key not in wanted:
            found.add(key)
            wanted.add(key)
        elif what == "remove" and key in wanted:
            found.remove(key)
            wanted.remove(key)
        assert len(found) == len(wanted)
        assert bool(found) == bool(wanted)

    beyond = [key for key in sorted(wanted) if after is None or key > after]
    assert found.after(after, limit) == beyond[:limit]


def test_many_in_descending_order() -> None:
    found: SortedKeys[tuple[int, int]] = SortedKeys()
    for number in reversed(range(5000)):
        found.add((0, number))
    found.remove((0, 4999))
    found.remove((0, 0))

    assert len(found) == 4998
    assert list(found) == [(0, number) for number in range(1, 4999)]


@given(st.sets(keys), st.none() | keys, st.integers(1, 20))
def test_groups_are_walked_as_one(wanted: set[tuple[int, int]], after, limit) -> None:
    groups = {g: SortedKeys(key for key in wanted if key[0] == g) for g in (2, 0, 3, 1)}
    found = GroupedKeys(groups)

    beyond = [key for key in sorted(wanted) if after is None or key > after]
    assert found.after(after, limit) == beyond[:limit]
    assert len(found) == len(wanted)
