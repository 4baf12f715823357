"""Bytes of a request to values: JSON, NDJSON and MessagePack, with their media types and limits.

JSON is read strictly where its standard leaves room: UTF-8 only, no NaN or Infinity, and no object
that has one name twice, since two readers would disagree on what it says.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import msgpack
from webob import Request

from controller.api.problems import Problem, invalid

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
MSGPACK: Final = "application/msgpack"

ONE_MAX_BYTES: Final = 64 << 10
BATCH_MAX_BYTES: Final = 64 << 20

_CHUNK_BYTES: Final = 1 << 16
_SLICE_BYTES: Final = 1 << 14
_DRAIN_MAX_BYTES: Final = 2 * BATCH_MAX_BYTES
_LENGTH_MAX_DIGITS: Final = 20
_ARRAY: Final = re.compile(rb"[ \t\n\r]*\[")
_COMMA: Final = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_END: Final = re.compile(r"[ \t\n\r]*\][ \t\n\r]*\Z")
_SPACES: Final = " \t\n\r"
_MSGPACK_ARRAYS: Final = frozenset(bytes([first]) for first in (*range(0x90, 0xA0), 0xDC, 0xDD))
_FILLS_NOTHING: Final = (ValueError, TypeError, RecursionError, OverflowError, MemoryError)


def read_object(request: Request) -> object:
    """The JSON value of a body of at most 64 KiB."""
    _check_media_type(request, (JSON,))
    return _parse_json(read_bytes(request, ONE_MAX_BYTES), "the body")


def read_items(request: Request) -> Iterator[object]:
    """The items of a batch of at most 64 MiB, each read when it is asked for.

    A Problem may come after some items: the body is not looked through before.
    """
    readers: dict[str, Callable[[bytes], Iterator[object]]] = {
        JSON: _json_items,
        NDJSON: _line_items,
        MSGPACK: _msgpack_items,
    }
    media_type = _check_media_type(request, tuple(readers))
    return readers[media_type](read_bytes(request, BATCH_MAX_BYTES))


def _check_media_type(request: Request, accepted: tuple[str, ...]) -> str:
    header = request.headers.get("Content-Type", "")
    media_type, _, parameters = header.partition(";")
    media_type = media_type.strip().lower()
    charset = parameters.strip().lower().replace('"', "")
    if media_type not in accepted or charset not in ("", "charset=utf-8"):
        raise Problem(
            415,
            f"the body is {header or 'of no stated type'}; send {' or '.join(accepted)} in UTF-8",
            headers={"Accept-Post" if request.method == "POST" else "Accept": ", ".join(accepted)},
        )
    return media_type


def read_bytes(request: Request, max_bytes: int) -> bytes:
    """The body, of which the client may have told the length or not."""
    length = _content_length(request)
    if length is None and not _is_chunked(request):
        return b""
    if length is not None and length > max_bytes:
        _drain(request, length)
        raise _too_large(max_bytes)
    body = b"".join(_chunks(request, max_bytes + 1 if length is None else length))
    if len(body) > max_bytes:
        _drain(request, _DRAIN_MAX_BYTES)
        raise _too_large(max_bytes)
    if length is not None and len(body) < length:
        raise Problem(400, f"the body ends after {len(body)} of {length} bytes")
    return body


def _content_length(request: Request) -> int | None:
    text = request.environ.get("CONTENT_LENGTH") or None
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < _LENGTH_MAX_DIGITS):
        raise Problem(400, "Content-Length is no number that can be")
    return int(text)


def _is_chunked(request: Request) -> bool:
    encoding = request.environ.get("HTTP_TRANSFER_ENCODING", "").lower()
    return "chunked" in encoding or bool(request.environ.get("wsgi.input_terminated"))


def _chunks(request: Request, wanted_bytes: int) -> Iterator[bytes]:
    while wanted_bytes > 0:
        try:
            chunk = request.environ["wsgi.input"].read(min(wanted_bytes, _CHUNK_BYTES))
        except (OSError, ValueError) as error:
            raise Problem(400, f"the body cannot be read: {error}") from error
        if not chunk:
            return
        wanted_bytes -= len(chunk)
        yield chunk


def _drain(request: Request, length_bytes: int) -> None:
    """Read what is refused, so that a client that sends it all first gets to read the answer."""
    if length_bytes <= _DRAIN_MAX_BYTES and "HTTP_EXPECT" not in request.environ:
        for _chunk in _chunks(request, length_bytes):
            pass


def _too_large(max_bytes: int) -> Problem:
    return Problem(
        413, f"the body is larger than {max_bytes} bytes", headers={"Connection": "close"}
    )


def _parse_json(body: bytes, what: str) -> object:
    with _malformed(f"{what} is no JSON"):
        return _DECODER.decode(body.decode("utf-8"))


def _json_items(body: bytes) -> Iterator[object]:
    """The items of an array, which is never decoded as a whole.

    The decoder is twice as fast on many items at once. What lies before some "}," is whole items
    exactly if it can be decoded; items with objects inside cannot be cut so.
    """
    with _malformed("the body is no JSON"):
        array = _ARRAY.match(body)
        if array is None:
            _DECODER.decode(body.decode("utf-8"))
            raise _no_array()
        at = array.end()
        while end := body.rfind(b"},", at, at + _SLICE_BYTES) + 1:
            try:
                some = _DECODER.decode(f"[{body[at:end].decode('utf-8')}]")
            except json.JSONDecodeError:
                break
            yield from some
            at = end + 1
        yield from _single_items(body, at, maybe_none=at == array.end())


def _single_items(body: bytes, start: int, *, maybe_none: bool) -> Iterator[object]:
    """The items of an array from this place on."""
    text = body[start:].decode("utf-8")
    at = len(text) - len(text.lstrip(_SPACES))
    if maybe_none and _END.match(text):
        return
    try:
        while True:
            item, at = _DECODER.raw_decode(text, at)
            yield item
            comma = _COMMA.match(text, at)
            if comma is None:
                break
            at = comma.end()
        if not _END.match(text, at):
            raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
    except json.JSONDecodeError as error:
        before = body[:start].decode("utf-8")
        raise json.JSONDecodeError(error.msg, before + text, len(before) + error.pos) from None


def _line_items(body: bytes) -> Iterator[object]:
    for number, line in enumerate(io.BytesIO(body), start=1):
        if not line.isspace():
            yield _parse_json(line, f"line {number}")


def _msgpack_items(body: bytes) -> Iterator[object]:
    with _malformed("the body is no MessagePack"):
        unpacker = msgpack.Unpacker(object_pairs_hook=_unique, max_buffer_size=BATCH_MAX_BYTES)
        unpacker.feed(body)
        if body[:1] not in _MSGPACK_ARRAYS:
            msgpack.unpackb(body, object_pairs_hook=_unique)
            raise _no_array()
        for _ in range(unpacker.read_array_header()):
            yield unpacker.unpack()
        if unpacker.tell() != len(body):
            raise ValueError("there is more after the array")


@contextmanager
def _malformed(what: str) -> Iterator[None]:
    """Answer what the readers make of bytes that are not of their format."""
    try:
        yield
    except RecursionError as error:
        raise Problem(400, f"{what}: nested too deeply", title="Malformed body") from error
    except (*_FILLS_NOTHING, msgpack.UnpackException) as error:
        detail = f"{what}: {error or type(error).__name__}"
        raise Problem(400, detail, title="Malformed body") from error


def _no_array() -> Problem:
    return invalid("body", "must be an array of VMs")


def _unique(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        names = Counter(name for name, _value in pairs)
        raise ValueError(f"{names.most_common(1)[0][0]!r} is there twice in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
