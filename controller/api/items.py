"""The items of a batch, each read when it is asked for; never more than some of them are kept.

JSON arrays, NDJSON and MessagePack, of at most 64 MiB in all, and 256 KiB an item.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import msgpack
from webob import Request

from controller.api.bodies import (
    BATCH_MAX_BYTES,
    DECODER,
    JSON,
    MSGPACK,
    NDJSON,
    check_depth,
    check_media_type,
    malformed,
    parse_json,
    pieces,
    unique,
)
from controller.api.problems import Problem, invalid

T = TypeVar("T")

ITEM_MAX_BYTES: Final = 256 << 10

_SLICE_CHARS: Final = 1 << 14
_WORD_CHARS: Final = 16
"""What is wrong so near to the end may only be cut off there: -Infinity, an escape."""
_SPACES: Final = re.compile(r"[ \t\n\r]*")
_MSGPACK_ARRAYS: Final = frozenset(bytes([first]) for first in (*range(0x90, 0xA0), 0xDC, 0xDD))
# A list is made as long as its header says before its first item has come.
_MSGPACK_LIST_MAX: Final = 16384


def read_items(request: Request, take_turn: Callable[[], None]) -> Iterator[object]:
    """The items; a Problem may come after some: the body is not looked through before.

    take_turn is called when there are many.
    """
    readers: dict[str, Callable[[Iterator[bytes]], Iterator[object]]] = {
        JSON: _json_items,
        NDJSON: _line_items,
        MSGPACK: _msgpack_items,
    }
    media_type = check_media_type(request, tuple(readers))
    return readers[media_type](pieces(request, BATCH_MAX_BYTES, take_turn))


# JSON


class _Window:
    """The part of a text that is looked at, and where in the whole it is."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._ended = False
        self._chars_before = self._lines_before = self._column_before = 0
        self.text = ""
        self.at = 0

    def fill(self) -> bool:
        """More of the text; False at its end."""
        if self._ended:
            return False
        piece = next(self._source, b"")
        self._ended = not piece
        more = self._decoder.decode(piece, final=self._ended)
        self._forget()
        self.text += more
        return not self._ended

    def _forget(self) -> None:
        gone = self.text[: self.at]
        lines = gone.count("\n")
        self._chars_before += len(gone)
        self._lines_before += lines
        last = len(gone) - gone.rfind("\n") - 1 if lines else self._column_before + len(gone)
        self._column_before = last
        self.text, self.at = self.text[self.at :], 0

    @property
    def too_long(self) -> bool:
        return len(self.text) - self.at > ITEM_MAX_BYTES

    def next_char(self) -> str:
        """The next that is no space; empty at the end."""
        while True:
            found = _SPACES.match(self.text, self.at)
            assert found is not None
            self.at = found.end()
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.fill():
                return ""

    def wrong(self, message: str, at: int) -> ValueError:
        """As the decoder would have told it of the whole text."""
        lines = self.text.count("\n", 0, at)
        column = at - self.text.rfind("\n", 0, at) if lines else self._column_before + at + 1
        where = f"line {self._lines_before + lines + 1} column {column}"
        return ValueError(f"{message}: {where} (char {self._chars_before + at})")


def _json_items(source: Iterator[bytes]) -> Iterator[object]:
    """The items of an array, which is never decoded as a whole.

    The decoder is twice as fast on many items at once. What lies before some "}," is whole items
    exactly if it can be decoded; items with objects inside cannot be cut so.
    """
    with malformed("the body is no JSON"):
        window = _Window(source)
        if window.next_char() != "[":
            _single(window)
            _no_more(window)
            raise _no_array()
        window.at += 1
        in_slices, none_yet = True, True
        while True:
            if window.next_char() == "]" and none_yet:
                break
            if in_slices and (some := _slice(window)):
                yield from some
                none_yet = False
                continue
            in_slices = False
            yield _single(window)
            none_yet = False
            after = window.next_char()
            if after == "]":
                break
            if after != ",":
                raise window.wrong("Expecting ',' delimiter", window.at)
            window.at += 1
        window.at += 1
        _no_more(window)


def _slice(window: _Window) -> list[object]:
    """Several items and the comma behind them; none where they cannot be told apart."""
    if len(window.text) - window.at < _SLICE_CHARS:
        window.fill()
    end = window.text.rfind("},", window.at, window.at + _SLICE_CHARS) + 1
    if not end:
        return []
    try:
        some: list[object] = DECODER.decode(f"[{window.text[window.at : end]}]")
    except json.JSONDecodeError:
        return []
    check_depth(some)
    window.at = end + 1
    return some


def _no_more(window: _Window) -> None:
    if window.next_char():
        raise window.wrong("Extra data", window.at)


def _single(window: _Window) -> object:
    """The next item."""
    while True:
        try:
            item, end = DECODER.raw_decode(window.text, window.at)
        except json.JSONDecodeError as error:
            ahead = error.pos - window.at
            cut = error.msg.startswith("Unterminated") or error.pos > len(window.text) - _WORD_CHARS
            if cut and window.too_long:
                raise _item_too_large() from error
            if not cut or not window.fill():
                raise window.wrong(error.msg, window.at + ahead) from None
            continue
        length = end - window.at
        if end == len(window.text) and window.fill():
            continue  # a number may go on
        check_depth((item,))
        window.at += length
        return item


# NDJSON


def _line_items(source: Iterator[bytes]) -> Iterator[object]:
    number, rest = 1, b""
    for piece in source:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield from _line(line, number)
            number += 1
        if len(rest) > ITEM_MAX_BYTES:
            raise _item_too_large()
    yield from _line(rest, number)


def _line(line: bytes, number: int) -> Iterator[object]:
    if line and not line.isspace():
        yield parse_json(line, f"line {number}")


# MessagePack


class _Packed:
    """An unpacker that is fed when it wants more."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._fed_bytes = 0
        self.unpacker = msgpack.Unpacker(
            object_pairs_hook=unique,
            max_buffer_size=2 * ITEM_MAX_BYTES,
            max_str_len=ITEM_MAX_BYTES,
            max_bin_len=ITEM_MAX_BYTES,
            max_ext_len=ITEM_MAX_BYTES,
            max_array_len=_MSGPACK_LIST_MAX,
            max_map_len=_MSGPACK_LIST_MAX,
        )
        self.first = b""

    def feed(self) -> bool:
        piece = next(self._source, b"")
        self.first = self.first or piece[:1]
        self._fed_bytes += len(piece)
        self.unpacker.feed(piece)
        return bool(piece)

    def read(self, what: Callable[[], T]) -> T:
        start_bytes = self.unpacker.tell()
        while True:
            try:
                return what()
            except msgpack.OutOfData:
                if self._fed_bytes - start_bytes > ITEM_MAX_BYTES:
                    raise _item_too_large() from None
                if not self.feed():
                    raise ValueError("it ends too early") from None

    @property
    def at_end(self) -> bool:
        return not self.feed() and self.unpacker.tell() == self._fed_bytes


def _msgpack_items(source: Iterator[bytes]) -> Iterator[object]:
    with malformed("the body is no MessagePack"):
        packed = _Packed(source)
        packed.feed()
        if packed.first not in _MSGPACK_ARRAYS:
            packed.read(packed.unpacker.unpack)
            raise _no_array()
        for _ in range(packed.read(packed.unpacker.read_array_header)):
            item = packed.read(packed.unpacker.unpack)
            check_depth((item,))
            yield item
        if not packed.at_end:
            raise ValueError("there is more after the array")


def _no_array() -> Problem:
    return invalid("body", "must be an array of VMs")


def _item_too_large() -> Problem:
    return Problem(413, f"an item is larger than {ITEM_MAX_BYTES} bytes")
