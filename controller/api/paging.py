"""Lists in pages: in the order of their keys, with a cursor that is the last key of a page.

A cursor stays good while facts come and go: the next page begins after that key, whether or not it
is still there. Its text is opaque to clients.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar, cast

import eventlet
from webob import Response

from controller.api.answers import answer
from controller.api.call import Call
from controller.api.problems import invalid
from controller.api.turns import Turns
from topology.sorted_keys import Listing

LIMIT_DEFAULT: Final = 1000
LIMIT_MAX: Final = 10_000

CURSOR_PATTERNS: Final = {1: "^[0-9]{1,39}$", 2: r"^[0-9]{1,39}\.[0-9]{1,39}$"}
"""Of cursors of one and of two numbers; 39 digits hold an IPv6 address."""

NO_CURSOR: Final = "is not the 'next' of a page of this list in this order"

SEARCH_CURSOR_PATTERN: Final = "^W[A-Za-z0-9_-]+$"
"""Of cursors of a search: a JSON array in base64url."""

_LIMIT_MAX_DIGITS: Final = 9

SHORT_PAGE: Final = 200
_LONG_PAGES: Final = Turns(1, "long pages")

K = TypeVar("K", int, tuple[int, int])
T = TypeVar("T")


def cursor_pattern(parts: int, *, searched: bool) -> str:
    """Of cursors of so many numbers; and, where the list can be searched, of a search."""
    numbers = CURSOR_PATTERNS[parts]
    return f"{numbers}|{SEARCH_CURSOR_PATTERN}" if searched else numbers


def page(
    call: Call,
    keys: Listing[K],
    show: Callable[[K], object],
    *,
    parts: int,
    more: Mapping[str, object] | None = None,
) -> Response:
    """Answer one page of the things with these keys, each of so many numbers.

    ``more`` goes beside what every page has.
    """
    limit, after = limit_of(call), _cursor(call, parts)
    start = None if after is None else after[0] if parts == 1 else after
    found = keys.after(cast(K | None, start), limit + 1)
    shown = found[:limit]
    return answer(
        {
            "items": [show(key) for key in shown],
            "next": _encode(shown[-1]) if len(found) > limit else None,
            "total": len(keys),
            **(more or {}),
        }
    )


def page_at(
    call: Call, find: Callable[[int, int], tuple[Sequence[T], int]], show: Callable[[T], object]
) -> Response:
    """Answer one page of a list that has its own order; the cursor is a position in it.

    ``find(start, limit)`` gives that part of the list, and how long all of it is.
    """
    limit, after = limit_of(call), _cursor(call, 1)
    start = 0 if after is None else after[0]
    items, total = find(start, limit)
    end = min(start + limit, total)
    return answer(
        {
            "items": [show(item) for item in items],
            "next": _encode(end) if end < total else None,
            "total": total,
        }
    )


def page_of(call: Call, items: Sequence[T], show: Callable[[T], object]) -> Response:
    """Answer one page of a list that is there as a whole."""
    return page_at(call, lambda start, limit: (items[start : start + limit], len(items)), show)


@contextmanager
def one_at_a_time(call: Call, most: int) -> Iterator[None]:
    """most: things there are in all.

    While a long page is made, nobody else gets a turn; so one is made, then all others have one.

    To be entered before anything is looked up: meanwhile facts may go.
    """
    if min(limit_of(call), most) <= SHORT_PAGE:
        yield
        return
    with _LONG_PAGES.one():
        eventlet.sleep(0)  # those who came together find it taken, instead of all in a row
        yield


def limit_of(call: Call) -> int:
    """How many items a page may have."""
    text = call.query("limit")
    if text is None:
        return LIMIT_DEFAULT
    digits = text.isascii() and text.isdigit() and len(text) <= _LIMIT_MAX_DIGITS
    if not digits or not 1 <= int(text) <= LIMIT_MAX:
        raise invalid("limit", f"{text!r} is not a number from 1 to {LIMIT_MAX}")
    return int(text)


def encode_cursor(parts: Sequence[int | str]) -> str:
    """A cursor of a list that is not in the order of its keys."""
    text = json.dumps(parts, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def decode_cursor(text: str) -> list[object] | None:
    """What was encoded, None where the text is no cursor."""
    if not re.fullmatch(SEARCH_CURSOR_PATTERN, text):
        return None
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return parts if isinstance(parts, list) else None


def _encode(key: int | tuple[int, int]) -> str:
    return ".".join(str(int(part)) for part in (key if isinstance(key, tuple) else (key,)))


def _cursor(call: Call, parts: int) -> tuple[int, ...] | None:
    text = call.query("cursor")
    if text is None:
        return None
    if not re.fullmatch(CURSOR_PATTERNS[parts], text, re.ASCII):
        raise invalid("cursor", NO_CURSOR)
    return tuple(map(int, text.split(".")))
