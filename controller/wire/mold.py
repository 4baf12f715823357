"""Flows of one shape, encoded once: what differs from fact to fact is filled in as bytes.

A VM puts the same few flows on bridges as every other of its network, but for its MAC, its IP and
its VTEP. Where these stand in the bytes is found by encoding the flows with marks in their places;
that a mold says what the encoder would say is checked with other marks when it is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias

from controller.flow import Flow
from controller.wire import encode

_COOKIE = slice(8, 16)


class MoldError(ValueError):
    """Flows whose shape depends on the values: a fault of who made the mold."""


class _Shape(NamedTuple):
    """A flow with holes: ``body`` is a bytes format, ``order`` says which value goes where."""

    head: bytes  # up to the cookie's owner and kind
    tail: bytes  # from the cookie to the match
    terms: bytes  # what the cookie's hash covers besides the body
    body: bytes
    order: tuple[int, ...]

    def filler(self) -> _Filler:
        """The same in the form that is quickest to fill."""
        pick: Callable[[Sequence[bytes]], Any] = itemgetter(*self.order) if self.order else _none
        return self.head, blake2b(self.terms, digest_size=6), self.tail, self.body, pick


_Filler: TypeAlias = tuple[bytes, Any, bytes, bytes, Callable[[Sequence[bytes]], Any]]


def _none(_values: Sequence[bytes]) -> tuple[()]:
    return ()


class Mold:
    """``make`` gives the flows for values of these widths in bytes, which it gets as integers."""

    __slots__ = ("_cuts", "_fillers", "_namers", "_shapes")

    def __init__(self, make: Callable[..., Sequence[Flow]], *width_bytes: int) -> None:
        ends = list(accumulate(width_bytes))
        self._cuts = tuple(map(slice, [0, *ends], ends))
        marks = [_mark(b"first", index, width) for index, width in enumerate(width_bytes)]
        flows = make(*map(_number, marks))
        self._shapes = tuple(_shape(flow, marks) for flow in flows)
        self._fillers = [shape.filler() for shape in self._shapes]
        self._namers = [
            (int.from_bytes(head[_COOKIE.start :], "big") << 48, hashed, body, pick)
            for head, hashed, _tail, body, pick in self._fillers
        ]
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
        parts: list[bytes] = []
        for head, hashed, tail, body, pick in self._fillers:
            filled = body % pick(values)
            name = hashed.copy()
            name.update(filled)
            parts += (head, name.digest(), tail, filled)
        return b"".join(parts)

    def pour_packed(self, values: bytes) -> bytes:
        """The same from values that were joined."""
        return self.pour([values[cut] for cut in self._cuts])

    def cookies(self, packed: bytes) -> list[int]:
        """The cookies of the flows with these joined values."""
        values = [packed[cut] for cut in self._cuts]
        cookies = []
        for kind, hashed, body, pick in self._namers:
            name = hashed.copy()
            name.update(body % pick(values))
            cookies.append(kind | int.from_bytes(name.digest(), "big"))
        return cookies


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
    return _Shape(
        add[: _COOKIE.start + 2],
        add[_COOKIE.stop : encode.FLOW_MOD_FIXED_BYTES],
        encode.hashed_terms(flow),
        b"%b".join(part.replace(b"%", b"%%") for part in (places.split(body) if order else [body])),
        tuple(order),
    )
