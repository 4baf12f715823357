"""A request's body as ``wsgi.input`` (PEP 3333), read to its end and never beyond."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import eventlet

from controller.api.problems import Problem

LINE_MAX_BYTES: Final = 1024
TRAILERS_MAX: Final = 32
BREATH_BYTES: Final = 1 << 18
BREATH_CHUNKS: Final = 256
"""After so much others get a turn: a client that sends fast would never make us wait."""

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")


class Reader(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def readline(self, size: int, /) -> bytes: ...


class Body:
    """What eventlet.wsgi and Ryu's websockets use has their names.

    length: in bytes, None for chunks. Problem where it is malformed, or ends early.
    """

    def __init__(
        self, reader: Reader, length: int | None, socket: Any, go_on: Callable[[], None] | None
    ) -> None:
        self._reader = reader
        self._length = length
        self._socket = socket
        self._go_on = go_on
        self._left = 0 if length is None else length  # of the chunk, or of it all
        self._ended = length == 0
        self._line = b""
        self._since_breath = self._chunks = 0
        self.headers_sent: list[int] = []
        self.position = 0

    # Of eventlet.wsgi

    @property
    def chunked_input(self) -> bool:
        return self._length is None

    @property
    def content_length(self) -> int | None:
        return self._length

    @property
    def should_send_hundred_continue(self) -> bool:
        """Whether the client waits to be told to send it."""
        return self._go_on is not None and not self._ended

    def get_socket(self) -> Any:
        return self._socket

    def discard(self) -> None:
        """What is left of it, so that the next request follows; see ``much_left``."""
        while self.read(1 << 16):
            pass

    # Of the server

    @property
    def ended(self) -> bool:
        return self._ended

    def much_left(self, few_bytes: int) -> bool:
        """Whether hanging up costs less than reading the rest."""
        return not self._ended and (self._length is None or self._left > few_bytes)

    # Of PEP 3333

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 16), b""))
        if self._line:
            some, self._line = self._line[:size], self._line[size:]
            return some
        if self._go_on is not None and not self._ended and not self.headers_sent:
            self._go_on()
        self._go_on = None
        parts: list[bytes] = []
        while size > 0 and not self._ended:
            if self._left == 0:
                self._next_chunk()
                continue
            part = self._reader.read(min(size, self._left))
            if not part:
                self._ended = True
                raise Problem(400, f"the body ends early, after {self.position} bytes")
            parts.append(part)
            size -= len(part)
            self._took(len(part))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readline(self, size: int | None = -1) -> bytes:
        most = -1 if size is None else size
        kept = b""
        while b"\n" not in kept and (most < 0 or len(kept) < most):
            some = self.read(1 << 16)
            if not some:
                break
            kept += some
        end = kept.find(b"\n") + 1 or len(kept)
        end = end if most < 0 else min(end, most)
        self._line = kept[end:] + self._line
        return kept[:end]

    def readlines(self, _hint: int | None = None) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _took(self, count: int) -> None:
        self.position += count
        self._left -= count
        if self._left == 0:
            if self._length is None:
                self._chunk_ends()
            else:
                self._ended = True
        self._since_breath += count
        if self._since_breath >= BREATH_BYTES:
            self._since_breath = 0
            eventlet.sleep(0)

    def _next_chunk(self) -> None:
        size = _SIZE.fullmatch(self._reader.readline(LINE_MAX_BYTES))
        if size is None:
            self._malformed("the size of a chunk is no hexadecimal number on a line")
            return
        self._left = int(size[1], 16)
        if self._left == 0:
            self._trailers()
        self._chunks += 1
        if self._chunks % BREATH_CHUNKS == 0:
            eventlet.sleep(0)

    def _chunk_ends(self) -> None:
        if self._reader.readline(2) != b"\r\n":
            self._malformed("a chunk is longer than it says")

    def _trailers(self) -> None:
        for _ in range(TRAILERS_MAX):
            line = self._reader.readline(LINE_MAX_BYTES)
            if line == b"\r\n":
                self._ended = True
                return
            if not line.endswith(b"\n"):
                break
        self._malformed("the trailers do not end")

    def _malformed(self, what: str) -> None:
        # What follows is of no known meaning: nothing more is read, and the connection ends.
        self._length, self._ended = None, True
        raise Problem(400, what, headers={"Connection": "close"})
