"""A set of keys in ascending order, cheap to change and to read from any point on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, Protocol, TypeVar, cast

K = TypeVar("K", int, tuple[int, int])

_FEW: Final = 16
_MANY: Final = 256


class Listing(Protocol[K]):
    """What a page can be cut from."""

    def __len__(self) -> int: ...

    def after(self, key: K | None, limit: int) -> list[K]:
        """The first keys beyond this one, or of all; no more than ``limit``."""
        ...


class SortedKeys(Collection[K]):
    """Keys, walked in ascending order.

    A key beyond all others costs an append. Others wait, and are sorted in together: when they are
    many, or when somebody looks.
    """

    __slots__ = ("_keys", "_waiting")

    def __init__(self, keys: Iterable[K] = ()) -> None:
        self._keys: list[K] = sorted(keys)
        self._waiting: set[K] = set()

    def add(self, key: K) -> None:
        """Take a key that is not there yet."""
        if not self._keys or self._keys[-1] < key:
            self._keys.append(key)
            return
        self._waiting.add(key)
        if len(self._waiting) > max(_MANY, len(self._keys) // 8):
            self._settle()

    def remove(self, key: K) -> None:
        """Let go of a key that is there."""
        if key in self._waiting:
            self._waiting.remove(key)
        else:
            del self._keys[bisect_left(self._keys, key)]

    def after(self, key: K | None, limit: int) -> list[K]:
        self._settle()
        start = 0 if key is None else bisect_right(self._keys, key)
        return self._keys[start : start + limit]

    def _settle(self) -> None:
        if len(self._waiting) <= _FEW:
            for key in self._waiting:
                insort(self._keys, key)
        else:
            self._keys += self._waiting
            self._keys.sort()
        self._waiting.clear()

    def __len__(self) -> int:
        return len(self._keys) + len(self._waiting)

    def __iter__(self) -> Iterator[K]:
        self._settle()
        return iter(self._keys)

    def __contains__(self, key: object) -> bool:
        if key in self._waiting:
            return True
        at = bisect_left(self._keys, cast(K, key))
        return self._keys[at : at + 1] == [key]


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
