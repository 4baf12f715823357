"""Lists in pages: in the order of their keys, with a cursor that is the last key of a page.

A cursor stays good while facts come and go: the next page begins after that key, whether or not it
is still there. Its text is opaque to clients.
"""

from __future__ import annotations

import base64
import binascii
import heapq
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias, TypeVar

from webob import Response

from controller.api.answers import answer
from controller.api.call import Call
from controller.api.problems import invalid

LIMIT_DEFAULT: Final = 1000
LIMIT_MAX: Final = 10_000

_CURSOR_MAX_CHARS: Final = 200
_LIMIT_MAX_DIGITS: Final = 9

Place: TypeAlias = tuple[int, ...]
T = TypeVar("T")


def page(
    call: Call,
    places: Iterable[Place],
    show: Callable[[Place], object],
    *,
    parts: int,
) -> Response:
    """Answer one page of the things at these places, each a key of so many numbers.

    Only one page is ever sorted, so a walk through all of a long list costs a scan per page.
    """
    limit, after = _limit(call), _cursor(call, parts)
    places = places if isinstance(places, Sequence) else list(places)
    coming = places if after is None else [place for place in places if place > after]
    shown = heapq.nsmallest(limit, coming)
    more = len(coming) > len(shown)
    return answer(
        {
            "items": [show(place) for place in shown],
            "next": _encode(shown[-1]) if more else None,
            "total": len(places),
        }
    )


def page_of(call: Call, items: Sequence[T], show: Callable[[T], object]) -> Response:
    """Answer one page of a list that has its own order; the cursor is a position in it."""
    limit, after = _limit(call), _cursor(call, 1)
    start = 0 if after is None else after[0]
    end = min(start + limit, len(items))
    return answer(
        {
            "items": [show(item) for item in items[start:end]],
            "next": _encode((end,)) if end < len(items) else None,
            "total": len(items),
        }
    )


def _limit(call: Call) -> int:
    text = call.query("limit")
    if text is None:
        return LIMIT_DEFAULT
    digits = text.isascii() and text.isdigit() and len(text) <= _LIMIT_MAX_DIGITS
    if not digits or not 1 <= int(text) <= LIMIT_MAX:
        raise invalid("limit", f"{text!r} is not a number from 1 to {LIMIT_MAX}")
    return int(text)


def _encode(place: Place) -> str:
    text = json.dumps([int(part) for part in place], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("ascii")).decode("ascii").rstrip("=")


def _cursor(call: Call, parts: int) -> Place | None:
    text = call.query("cursor")
    if text is None:
        return None
    place = _decode(text) if len(text) <= _CURSOR_MAX_CHARS else None
    if place is None or len(place) != parts:
        raise invalid("cursor", "is not the 'next' of a page of this list")
    return place


def _decode(text: str) -> Place | None:
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        parts = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        return None
    if not isinstance(parts, list) or not all(type(part) is int and part >= 0 for part in parts):
        return None
    return tuple(parts)
