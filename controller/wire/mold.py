"""Flows of one shape, encoded once: what differs from fact to fact is filled in as bytes.

A VM puts the same few flows on bridges as every other of its network, but for its MAC, its IP and
its VTEP. Where these stand in the bytes is found by encoding the flows with marks in their places;
that a mold says what the encoder would say is checked with other marks when it is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import accumulate
from operator import itemgetter
from typing import Any

from controller.flow import Flow
from controller.wire import encode

_COOKIE = slice(8, 16)


class MoldError(ValueError):
    """Flows whose shape depends on the values: a fault of who made the mold."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """A flow with holes: ``body`` is a bytes format, ``order`` says which value goes where."""

    head: bytes  # up to the cookie's owner and kind
    tail: bytes  # from the cookie to the match
    terms: bytes  # what the cookie's hash covers besides the body
    body: bytes
    order: tuple[int, ...]
    pick: Callable[[Sequence[bytes]], Any] | None = field(compare=False)

    def fill(self, values: Sequence[bytes]) -> bytes:
        body = self.body if self.pick is None else self.body % self.pick(values)
        digest = blake2b(self.terms + body, digest_size=6).digest()
        return b"".join((self.head, digest, self.tail, body))


class Mold:
    """``make`` gives the flows for values of these widths in bytes, which it gets as integers."""

    __slots__ = ("_cuts", "_shapes")

    def __init__(self, make: Callable[..., Sequence[Flow]], *width_bytes: int) -> None:
        ends = list(accumulate(width_bytes))
        self._cuts = tuple(map(slice, [0, *ends], ends))
        marks = [_mark(b"first", index, width) for index, width in enumerate(width_bytes)]
        flows = make(*map(_number, marks))
        self._shapes = tuple(_shape(flow, marks) for flow in flows)
        others = [_mark(b"second", index, width) for index, width in enumerate(width_bytes)]
        wanted = b"".join(encode.encode_flow(flow) for flow in make(*map(_number, others)))
        if self.pour(others) != wanted:
            raise MoldError(f"the shape of {make} depends on the values")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mold) and (self._cuts, self._shapes) == (
            other._cuts,
            other._shapes,
        )

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        """How many flows it makes."""
        return len(self._shapes)

    def pour(self, values: Sequence[bytes]) -> bytes:
        """The add messages of the flows with these values, joined."""
        return b"".join([shape.fill(values) for shape in self._shapes])

    def pour_packed(self, values: bytes) -> bytes:
        """The same from values that were joined."""
        return self.pour([values[cut] for cut in self._cuts])


def _mark(salt: bytes, index: int, width_bytes: int) -> bytes:
    """Bytes that stand nowhere else in a flow. The first one is no group address's."""
    digest = blake2b(salt + bytes((index,)), digest_size=width_bytes).digest()
    return bytes((digest[0] & 0xFE | 0x02,)) + digest[1:]


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _shape(flow: Flow, marks: Sequence[bytes]) -> _Shape:
    add = encode.encode_flow(flow)
    body = add[encode.FLOW_MOD_FIXED_BYTES :]
    places = re.compile(b"|".join(map(re.escape, sorted(marks, key=len, reverse=True))))
    order = [marks.index(found.group()) for found in places.finditer(body)] if marks else []
    pick: Callable[[Sequence[bytes]], Any] | None = itemgetter(*order) if order else None
    return _Shape(
        add[: _COOKIE.start + 2],
        add[_COOKIE.stop : encode.FLOW_MOD_FIXED_BYTES],
        encode.hashed_terms(flow),
        _template(body, places, order),
        tuple(order),
        pick,
    )


def _template(body: bytes, places: re.Pattern[bytes], order: Sequence[int]) -> bytes:
    """The body as a format; as it is when there is nothing to fill in."""
    if not order:
        return body
    return b"%b".join(part.replace(b"%", b"%%") for part in places.split(body))
