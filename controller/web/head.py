"""The head of a request, read strictly (RFC 9112).

Whatever two readers could take for two things is refused, so that no proxy in front can be made to
see other requests than are seen here: a length told twice, spaces before a colon, folded lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from controller.api.problems import Problem

LINE_MAX_BYTES: Final = 8192
HEAD_MAX_BYTES: Final = 32768
FIELDS_MAX: Final = 100

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TARGET: Final = re.compile(rb"[\x21-\x7e\x80-\xff]+")  # raw UTF-8 in a query: curl sends it
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_LENGTH: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_VERSIONS: Final = (b"HTTP/1.1", b"HTTP/1.0")
_ONCE: Final = frozenset(
    {
        "authorization",
        "content-length",
        "content-type",
        "expect",
        "host",
        "origin",
        "transfer-encoding",
    }
)


@dataclass(frozen=True, slots=True)
class Head:
    """method, path and query as they came; names of fields are as sent, in their order."""

    method: str
    target: str
    path: str
    query: str
    version: str
    fields: tuple[tuple[str, str], ...]
    by_name: dict[str, str] = field(repr=False)
    """By name in small letters; what came more than once is joined by commas."""
    length: int | None
    """Of the body in bytes; None: it comes in chunks."""
    keeps_alive: bool
    expects_continue: bool


def read_head(readline: Callable[[int], bytes]) -> Head | None:
    """The next request's head, None at the end of the connection; Problem for what is none."""
    line = readline(LINE_MAX_BYTES + 2)
    if line in (b"\r\n", b"\n"):  # RFC 9112, 2.2: one too many of the request before
        line = readline(LINE_MAX_BYTES + 2)
    if not line:
        return None
    method, target, version = _request_line(line)
    fields: list[tuple[str, str]] = []
    by_name: dict[str, str] = {}
    left_bytes = HEAD_MAX_BYTES
    while True:
        line = readline(LINE_MAX_BYTES + 2)
        if line in (b"\r\n", b"\n"):
            break
        left_bytes -= len(line)
        if left_bytes < 0 or len(fields) >= FIELDS_MAX:
            raise Problem(431, f"more than {FIELDS_MAX} header fields, or {HEAD_MAX_BYTES} bytes")
        name, value = _field(line)
        key = name.lower()
        if key in by_name:
            if key in _ONCE:
                raise Problem(400, f"the header {name} is there twice")
            by_name[key] += "," + value
        else:
            by_name[key] = value
        fields.append((name, value))
    return _head(method, target, version, fields, by_name)


def _request_line(line: bytes) -> tuple[str, str, str]:
    if not line.endswith(b"\n"):
        if len(line) > LINE_MAX_BYTES:
            raise Problem(414, f"the request line is over {LINE_MAX_BYTES} bytes")
        raise Problem(400, "the request ends within its first line")
    if line[:3] == b"\x16\x03\x01":
        raise Problem(400, "this speaks TLS, and the port does not")
    words = line.rstrip(b"\r\n").split(b" ")
    if len(words) != 3 or not _TOKEN.fullmatch(words[0]) or not _TARGET.fullmatch(words[1]):
        raise Problem(400, "the first line is no 'METHOD /path HTTP/1.1'")
    if words[2] not in _VERSIONS:
        raise Problem(400, "this server speaks HTTP/1.1 and HTTP/1.0")
    return words[0].decode("ascii"), words[1].decode("latin-1"), words[2].decode("ascii")


def _field(line: bytes) -> tuple[str, str]:
    if not line.endswith(b"\n"):
        if len(line) > LINE_MAX_BYTES:
            raise Problem(431, f"a header field is over {LINE_MAX_BYTES} bytes")
        raise Problem(400, "the request ends within its head")
    name, colon, value = line[: -2 if line.endswith(b"\r\n") else -1].partition(b":")
    value = value.strip(b" \t")
    if not colon or not _TOKEN.fullmatch(name) or _CONTROL.search(value):
        raise Problem(400, "a header field is no 'Name: value' on one line")
    return name.decode("ascii"), value.decode("latin-1")


def _head(
    method: str,
    target: str,
    version: str,
    fields: list[tuple[str, str]],
    by_name: dict[str, str],
) -> Head:
    where, absolute = target, _ABSOLUTE.fullmatch(target)
    if absolute is not None:  # RFC 9112, 3.2.2: then Host does not count
        by_name["host"], where = absolute[1], absolute[2] or "/"
        if where.startswith("?"):
            where = "/" + where
    if not where.startswith("/") and (method, where) != ("OPTIONS", "*"):
        raise Problem(400, "the request's target is no path")
    if "host" not in by_name and version == "HTTP/1.1":
        raise Problem(400, "HTTP/1.1 wants the header Host")
    path, _, query = where.partition("?")
    options = [word.strip() for word in by_name.get("connection", "").lower().split(",")]
    new = version == "HTTP/1.1"
    expects = by_name.get("expect", "").lower()
    if expects not in ("", "100-continue"):
        raise Problem(417, "the only expectation that is met here is 100-continue")
    return Head(
        method,
        target,
        path,
        query,
        version,
        tuple(fields),
        by_name,
        _length(version, by_name),
        "close" not in options and (new or "keep-alive" in options),
        new and bool(expects),
    )


def _length(version: str, by_name: dict[str, str]) -> int | None:
    length, coding = by_name.get("content-length"), by_name.get("transfer-encoding")
    if coding is not None:
        if length is not None:
            raise Problem(400, "Content-Length and Transfer-Encoding exclude each other")
        if coding.lower() != "chunked" or version != "HTTP/1.1":
            raise Problem(400, "the only transfer coding taken here is chunked, in HTTP/1.1")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise Problem(400, "Content-Length is no number that can be")
    return int(length)
