"""Walking a stream of OpenFlow 1.3 messages fast enough to count millions of flow-mods a second.

Python takes some microseconds to look at one message, ten times too long. But a controller that
sends the same few flows for each VM sends messages of lengths that recur: A, B, C, A, B, C. Once a
period was seen twice, `Strider` looks at many of them at once: a slice whose step is the period's
length is one column of the stream, the same bytes of every period, and is compared in C.

Exact: every message's version, type, length, table, command and idle timeout are compared with
those of a message that was looked at alone; no length is guessed. Taken as it comes: the rest of a
message in a column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.wire import encode

WRAPPER_BYTES = 24
"""Where the message that a bundle-add message wraps begins."""

_PLAIN_WORDS = (0, 24)
"""Where 4 bytes must recur: version, type, length; table, command, idle timeout."""
_WRAPPED_WORDS = (0, 8, 12, *(WRAPPER_BYTES + at for at in _PLAIN_WORDS))
_COOKIE_AT = 8
_LONGEST_PERIOD = 12
_SEARCH_EVERY = 8
"""After so many flow-mods that were not in the period, another one is looked for."""
_FIRST_PERIODS, _MORE = 4, 32
"""So many periods are tried first, then so many times more, as long as all of them repeat."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a flow-mod has in common with others like it, and where its cookie is."""

    size: int
    words: tuple[tuple[int, bytes], ...]
    cookie_at: int


class Strider:
    """Finds recurring flow-mods; one for each connection.

    `note` is told of every flow-mod that was looked at alone, `stride` then takes what it can.
    """

    def __init__(self) -> None:
        self._recent: list[Shape] = []
        self._known: dict[bytes, Shape] = {}
        self._period: list[Shape] = []
        self._alone = 0

    def forget(self) -> None:
        """What comes next does not belong to what came before."""
        self._recent.clear()

    def note(self, message: bytes, *, wrapped: bool) -> None:
        """An add of a flow was looked at alone, and may belong to a period."""
        key = message[:4] + (message[48:52] if wrapped else message[24:28])
        shape = self._known.get(key)
        if shape is None:
            shape = self._known[key] = _shape(message, wrapped=wrapped)
        self._recent.append(shape)
        if len(self._recent) > 4 * _LONGEST_PERIOD:
            del self._recent[: -2 * _LONGEST_PERIOD]

    def stride(self, buffer: bytearray, at: int, end: int) -> tuple[int, bytes]:
        """(bytes taken, cookies) of the flow-mods from `at` on that repeat a period seen before.

        Cookies have 8 bytes each, and come column by column.
        """
        period = self._period
        times = _repeats(buffer, at, end, period)
        if not times:
            self._alone += 1
            period = [] if self._alone % _SEARCH_EVERY else self._seen_twice()
            times = _repeats(buffer, at, end, period)
            if not times:
                return 0, b""
            self._period = period
        self._alone = 0
        size = times * _step(period)
        with memoryview(buffer)[at : at + size] as view:
            return size, _cookies(view, period)

    def _seen_twice(self) -> list[Shape]:
        recent = self._recent
        for size in range(1, min(len(recent) // 2, _LONGEST_PERIOD) + 1):
            same_end = recent[-1] is recent[-1 - size]
            if same_end and recent[-size:] == recent[-2 * size : -size]:
                return recent[-size:]
        return []


def _shape(message: bytes, *, wrapped: bool) -> Shape:
    words = _WRAPPED_WORDS if wrapped else _PLAIN_WORDS
    head = WRAPPER_BYTES if wrapped else 0
    return Shape(
        len(message),
        tuple((at // 4, message[at : at + 4]) for at in words),
        (head + _COOKIE_AT) // 8,
    )


def _step(period: Sequence[Shape]) -> int:
    return sum([shape.size for shape in period])


def _repeats(buffer: bytearray, at: int, end: int, period: Sequence[Shape]) -> int:
    """How many times this period comes from `at` on."""
    if not period or buffer[at : at + 4] != period[0].words[0][1]:
        return 0
    step = _step(period)
    most = (end - at) // step
    found, tried = 0, _FIRST_PERIODS
    while found < most:
        times = min(tried, most - found)
        first = at + found * step
        with memoryview(buffer)[first : first + times * step] as view:
            alike = _alike(view, period, step)
        found += alike
        if alike < times:
            break
        tried *= _MORE
    return found


def _alike(view: memoryview, period: Sequence[Shape], step: int) -> int:
    """How many whole periods of the view's look like this one, from its beginning."""
    times = len(view) // step
    words = view.cast("I")
    first = 0
    for shape in period:
        for at, value in shape.words:
            column = words[first // 4 + at :: step // 4].tobytes()
            times = _begins_with(column, value, times)
            if not times:
                return 0
        first += shape.size
    return times


def _begins_with(column: bytes, value: bytes, times: int) -> int:
    """How many times, up to `times`, a column repeats the value from its beginning."""
    if column.startswith(value * times):
        return times
    least, most = 0, times - 1
    while least < most:
        middle = (least + most + 1) // 2
        if column.startswith(value * middle):
            least = middle
        else:
            most = middle - 1
    return least


def _cookies(view: memoryview, period: Sequence[Shape]) -> bytes:
    words = view.cast("Q")
    step, first = _step(period) // 8, 0
    columns = []
    for shape in period:
        columns.append(words[first + shape.cookie_at :: step].tobytes())
        first += shape.size // 8
    return b"".join(columns)


def wraps_flow_mod(message: bytes) -> bool:
    """Whether this experimenter message is a bundle-add that wraps a flow-mod."""
    return (
        len(message) > WRAPPER_BYTES + encode.FLOW_MOD_FIXED_BYTES
        and message[8:16] == b"ONF\0\0\0\x08\xfd"
        and message[WRAPPER_BYTES + 1] == encode.FLOW_MOD
    )
