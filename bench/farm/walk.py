"""Walking a stream of OpenFlow 1.3 messages fast enough to count millions of flow-mods a second.

Python takes some 0.3 us to look at one header, ten times too long. But a controller that sends the
same few flows for each VM sends messages of lengths that recur: A, B, C, A, B, C. Once a period was
seen twice, `Strider` checks all further periods in the buffer at once: a slice with the period's
length as its step is one column of bytes, the k-th byte of every header, and is compared in C.

Exact: every message's version, type, length, flow-mod command, table and cookie kind were compared
with those of a message that was looked at one by one; no length is guessed. Not looked at: the
rest of a message in a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.wire import encode

_BUNDLE_ADD_AT = 24
"""Where the message that a bundle-add message wraps begins."""

_PLAIN = (0, 1, 2, 3, 9, 24, 25)
"""Bytes of a flow-mod that must recur: version, type, length, cookie kind, table, command."""
_WRAPPED = (*range(4), *range(8, 16), *(_BUNDLE_ADD_AT + at for at in _PLAIN))
_COOKIE_BYTES = 8
_LONGEST_PERIOD = 12
_WORTH_IT = 4
"""So many periods at least must be left in the buffer."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a flow-mod has in common with others like it: its size, and bytes at positions."""

    size: int
    positions: tuple[int, ...]
    values: bytes
    cookie_at: int


class Strider:
    """Finds recurring flow-mods; one for each connection.

    `note` is told of every flow-mod that was looked at alone, `stride` then takes what it can.
    """

    def __init__(self) -> None:
        self._recent: list[Shape] = []
        self._known: dict[bytes, Shape] = {}

    def forget(self) -> None:
        """What comes next does not belong to what came before."""
        self._recent.clear()

    def note(self, buffer: bytearray, at: int, size: int, *, wrapped: bool) -> None:
        """An add of a flow was looked at alone, and may begin a period."""
        positions = _WRAPPED if wrapped else _PLAIN
        values = bytes([buffer[at + position] for position in positions])
        shape = self._known.get(values)
        if shape is None:
            cookie_at = 8 + (_BUNDLE_ADD_AT if wrapped else 0)
            shape = self._known[values] = Shape(size, positions, values, cookie_at)
        self._recent.append(shape)
        if len(self._recent) > 2 * _LONGEST_PERIOD:
            del self._recent[0]

    def stride(self, buffer: bytearray, at: int, end: int) -> tuple[int, int, bytes]:
        """(bytes, flow-mods, their cookies) from `at` on that repeat the latest period."""
        period = self._period()
        if not period:
            return 0, 0, b""
        step = sum(shape.size for shape in period)
        times = (end - at) // step
        if times < _WORTH_IT:
            return 0, 0, b""
        times = _times_alike(buffer, at, period, step, times)
        if not times:
            return 0, 0, b""
        return times * step, times * len(period), _cookies(buffer, at, period, step, times)

    def _period(self) -> Sequence[Shape]:
        recent = self._recent
        for size in range(1, len(recent) // 2 + 1):
            same_end = recent[-1] is recent[-1 - size]
            if same_end and recent[-size:] == recent[-2 * size : -size]:
                return recent[-size:]
        return ()


def _times_alike(buffer: bytearray, at: int, period: Sequence[Shape], step: int, times: int) -> int:
    """How many whole periods from `at` on look like this one."""
    for shape in period:
        for position, value in zip(shape.positions, shape.values, strict=True):
            column = buffer[at + position : at + position + (times - 1) * step + 1 : step]
            alike = len(column) - len(column.lstrip(value.to_bytes(1, "big")))
            if not alike:
                return 0
            times = min(times, alike)
        at += shape.size
    return times


def _cookies(buffer: bytearray, at: int, period: Sequence[Shape], step: int, times: int) -> bytes:
    """The cookies of that many periods, 8 bytes each, in order."""
    found = bytearray(_COOKIE_BYTES * len(period) * times)
    for index, shape in enumerate(period):
        first = at + shape.cookie_at
        for byte in range(_COOKIE_BYTES):
            column = buffer[first + byte : first + byte + (times - 1) * step + 1 : step]
            found[_COOKIE_BYTES * index + byte :: _COOKIE_BYTES * len(period)] = column
        at += shape.size
    return bytes(found)


def wrapped_flow_mod(buffer: bytearray, at: int, size: int) -> bool:
    """Whether the experimenter message there is a bundle-add that wraps a flow-mod."""
    return (
        size > _BUNDLE_ADD_AT + encode.FLOW_MOD_FIXED_BYTES
        and buffer[at + 8 : at + 16] == b"ONF\0\0\0\x08\xfd"
        and buffer[at + _BUNDLE_ADD_AT + 1] == encode.FLOW_MOD
    )
