"""Bytes of a request to values: JSON, with its media types and limits; batches are in items.py.

JSON is read strictly where its standard leaves room: UTF-8 only, no NaN or Infinity, no object that
has one name twice, since two readers would disagree on what it says, and no depth without end.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import msgpack
from webob import Request

from controller.api.problems import Problem

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
MSGPACK: Final = "application/msgpack"

ONE_MAX_BYTES: Final = 64 << 10
BATCH_MAX_BYTES: Final = 64 << 20
TURN_BYTES: Final = 1 << 20
DEPTH_MAX: Final = 16
"""Arrays and objects within each other; the API's own need three."""

_CHUNK_BYTES: Final = 1 << 16
_LENGTH_MAX_DIGITS: Final = 20
_NESTED: Final = frozenset({dict, list})
_FILLS_NOTHING: Final = (ValueError, TypeError, RecursionError, OverflowError, MemoryError)


def read_object(request: Request) -> object:
    """The JSON value of a body of at most 64 KiB."""
    check_media_type(request, (JSON,))
    return parse_json(read_bytes(request, ONE_MAX_BYTES), "the body")


def check_media_type(request: Request, accepted: tuple[str, ...]) -> str:
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
    coding = request.headers.get("Content-Encoding", "identity")
    if coding.lower() != "identity":
        raise Problem(
            415,
            f"the body is encoded ({coding}); send it as it is",
            headers={"Accept-Encoding": ""},
        )
    return media_type


def read_bytes(request: Request, max_bytes: int) -> bytes:
    """The body, of which the client may have told the length or not."""
    return b"".join(pieces(request, max_bytes))


def pieces(
    request: Request, max_bytes: int, take_turn: Callable[[], None] = lambda: None
) -> Iterator[bytes]:
    """The body as it comes, 64 KiB at a time; 413 as soon as it is known to be too large.

    take_turn is called when it turns out to be of some size.
    """
    length = _content_length(request)
    if length is None and not _is_chunked(request):
        return
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    taken, has_turn = 0, False
    for piece in _chunks(request, max_bytes + 1 if length is None else length):
        taken += len(piece)
        if taken > max_bytes:
            raise _too_large(max_bytes)
        if taken > TURN_BYTES and not has_turn:
            take_turn()
            has_turn = True
        yield piece
    if length is not None and taken < length:
        raise Problem(400, f"the body ends after {taken} of {length} bytes")


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


def _too_large(max_bytes: int) -> Problem:
    # What is left of it is not read: the server hangs up.
    return Problem(
        413, f"the body is larger than {max_bytes} bytes", headers={"Connection": "close"}
    )


def parse_json(body: bytes, what: str) -> object:
    with malformed(f"{what} is no JSON"):
        value: object = DECODER.decode(body.decode("utf-8"))
        check_depth((value,))
        return value


def check_depth(values: Sequence[object]) -> None:
    """RecursionError for what is nested deeper than anything here needs."""
    level = [value for value in values if type(value) in _NESTED]
    for _ in range(DEPTH_MAX):
        if not level:
            return
        level = [
            value
            for one in level
            for value in (one.values() if isinstance(one, dict) else one)  # type: ignore[attr-defined]
            if type(value) in _NESTED
        ]
    if level:
        raise RecursionError


@contextmanager
def malformed(what: str) -> Iterator[None]:
    """Answer what the readers make of bytes that are not of their format."""
    try:
        yield
    except RecursionError as error:
        detail = f"{what}: nested too deeply, {DEPTH_MAX} levels are taken"
        raise Problem(400, detail, title="Malformed body") from error
    except (*_FILLS_NOTHING, msgpack.UnpackException) as error:
        detail = f"{what}: {error or type(error).__name__}"
        raise Problem(400, detail, title="Malformed body") from error


def unique(pairs: Iterable[tuple[Any, Any]]) -> dict[Any, Any]:
    pairs = list(pairs)
    found = dict(pairs)
    if len(found) < len(pairs):
        names = Counter(name for name, _value in pairs)
        raise ValueError(f"{names.most_common(1)[0][0]!r} is there twice in one object")
    return found


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON number")


DECODER: Final = json.JSONDecoder(object_pairs_hook=unique, parse_constant=_no_constant)
