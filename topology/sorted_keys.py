"""A set of keys in ascending order, cheap to change and to read from any point on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from operator import itemgetter
from typing import Final, Protocol, TypeVar, cast

K = TypeVar("K", int, tuple[int, int])

_BLOCK_KEYS: Final = 512
_last: Final = itemgetter(-1)


class Listing(Protocol[K]):
    """What a page can be cut from."""

    def __len__(self) -> int: ...

    def after(self, key: K | None, limit: int) -> list[K]:
        """The first keys beyond this one, or of all; no more than ``limit``."""
        ...


class SortedKeys(Collection[K]):
    """Keys, walked in ascending order.

    They lie in blocks of a bounded length, so that a change moves no more than a block.
    """

    __slots__ = ("_blocks", "_count")

    def __init__(self, keys: Iterable[K] = ()) -> None:
        self._blocks: list[list[K]] = []
        self._count = 0
        for key in sorted(keys):
            self.add(key)

    def add(self, key: K) -> None:
        """Take a key that is not there yet."""
        self._count += 1
        blocks = self._blocks
        if not blocks or blocks[-1][-1] < key:
            if not blocks or len(blocks[-1]) >= _BLOCK_KEYS:
                blocks.append([])
            blocks[-1].append(key)
            return
        at = self._block_of(key)
        block = blocks[at]
        insort(block, key)
        if len(block) > _BLOCK_KEYS:
            half = len(block) // 2
            blocks[at : at + 1] = [block[:half], block[half:]]

    def remove(self, key: K) -> None:
        """Let go of a key that is there."""
        at = self._block_of(key)
        block = self._blocks[at]
        del block[bisect_left(block, key)]
        if not block:
            del self._blocks[at]
        self._count -= 1

    def after(self, key: K | None, limit: int) -> list[K]:
        if key is None:
            return list(islice(self, limit))
        at = self._block_of(key)
        found: list[K] = []
        for block in islice(self._blocks, at, None):
            start = 0 if found else bisect_right(block, key)
            found += block[start : start + limit - len(found)]
            if len(found) == limit:
                break
        return found

    def _block_of(self, key: K) -> int:
        """The first block that ends with this key or beyond; as many as there are if none does."""
        return bisect_left(self._blocks, key, key=_last)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[K]:
        return chain.from_iterable(self._blocks)

    def __contains__(self, key: object) -> bool:
        at = self._block_of(cast(K, key))
        if at == len(self._blocks):
            return False
        block = self._blocks[at]
        return block[bisect_left(block, cast(K, key))] == key


class GroupedKeys:
    """Sorted keys in groups, walked group by group: keys begin with the number of their group."""

    __slots__ = ("_groups",)

    def __init__(self, groups: Mapping[int, SortedKeys[tuple[int, int]]]) -> None:
        self._groups = groups

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def after(self, key: tuple[int, int] | None, limit: int) -> list[tuple[int, int]]:
        """The first keys beyond this one, or of all; no more than ``limit``."""
        found: list[tuple[int, int]] = []
        for group in sorted(self._groups):
            if key is None or group >= key[0]:
                found += self._groups[group].after(key, limit - len(found))
            if len(found) == limit:
                break
        return found


class Joined(Listing[K]):
    """Two listings that have no key in common, as one."""

    __slots__ = ("_parts",)

    def __init__(self, *parts: Listing[K]) -> None:
        self._parts: tuple[Listing[K], ...] = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def after(self, key: K | None, limit: int) -> list[K]:
        """The first keys beyond this one, or of all; no more than ``limit``."""
        return sorted(chain.from_iterable(part.after(key, limit) for part in self._parts))[:limit]
