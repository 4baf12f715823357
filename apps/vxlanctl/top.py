"""vxlanctl top: the ledger, live."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.vxlanctl.client import Json
from apps.vxlanctl.commands import command
from apps.vxlanctl.failures import Failure
from apps.vxlanctl.live import ends_with_q, follow, sentence
from apps.vxlanctl.seen import frames, rate, size_text
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import Column, as_json, cell, console, out, table

if TYPE_CHECKING:
    from rich.console import RenderableType

_EVENTS_SHOWN = 8


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    command(app, "top", ["vxlanctl top", "vxlanctl top --once", "vxlanctl top --interval 5"])(top)


_COLUMNS = (
    Column("NETWORK", lambda item: item.get("name") or item.get("vni")),
    Column("ANSWERED/S", lambda item: _per_s(item, "answered")),
    Column("SUPPRESSED/S", lambda item: _per_s(item, "suppressed")),
    Column("FLOODED/S", lambda item: _per_s(item, "flooded")),
    Column("UNKNOWN/S", lambda item: _per_s(item, "unknown_unicast")),
    Column("SAVED/S", lambda item: size_text((item.get("per_s") or {}).get("saved_bytes"))),
    Column("ANSWERED", lambda item: frames(item, "answered")),
    Column("FLOODED", lambda item: frames(item, "flooded")),
    Column("SAVED", lambda item: size_text((item.get("saved") or {}).get("bytes"))),
)


def _per_s(item: Json, name: str) -> str:
    return rate((item.get("per_s") or {}).get(name))


def top(
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.5, max=60, help="Between two looks.")
    ] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    lines: Annotated[int, typer.Option(min=1, help="So many networks.")] = 20,
) -> None:
    """Watch broadcast in every network, who answers it, and what happens. q or Ctrl-C ends it."""
    if once or not sys.stdout.isatty() or session().json:
        _plain(interval, lines, once=once)
        return
    _live(interval, lines)


def _look(lines: int) -> Json:
    """The networks with most to tell, and the sum of all."""
    pages = list(api().pages("/v1/ledger"))
    items = [item for page in pages for item in page["items"]]
    items.sort(key=_weight, reverse=True)
    return {**pages[0], "items": items[:lines], "next": None}


def _weight(item: Json) -> tuple[float, float]:
    per_s = item.get("per_s") or {}
    busy = sum(float(per_s.get(name) or 0) for name in ("answered", "suppressed", "flooded"))
    return busy, float(frames(item, "answered") or 0)


def _plain(interval: float, lines: int, *, once: bool) -> None:
    while True:
        found = _look(lines)
        if session().json:
            if once:
                as_json(found)
            else:
                print(json.dumps(found, ensure_ascii=False), flush=True)
        else:
            table(_COLUMNS, [*found["items"], *_sum(found)])
            sys.stdout.flush()
        if once:
            return
        time.sleep(interval)
        if not session().json:
            out()


def _sum(found: Json) -> list[Json]:
    return [{"name": "all", **found["sum"]}] if isinstance(found.get("sum"), dict) else []


def _live(interval: float, lines: int) -> None:
    from rich.live import Live

    happened: deque[str] = deque(maxlen=_EVENTS_SHOWN)
    threading.Thread(target=_listen, args=(happened,), daemon=True).start()
    found, trouble = _look(lines), ""
    with _keys(), Live(console=console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(_picture(found, list(happened), trouble), refresh=True)
            until = time.monotonic() + interval
            while (left := until - time.monotonic()) > 0:
                if ends_with_q():
                    return
                time.sleep(min(left, 0.1))
            try:
                found, trouble = _look(lines), ""
            except Failure as failure:
                trouble = failure.what


def _listen(happened: deque[str]) -> None:
    with suppress(Exception):  # what happens is told besides: top does without
        for event in follow({}):
            at = cell(event.get("at"))[11:19]
            happened.append(f"{at}  {str(event['type']).ljust(10)} {sentence(event)}")


def _picture(found: Json, happened: list[str], trouble: str) -> RenderableType:
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold", expand=True)
    for at, column in enumerate(_COLUMNS):
        shown.add_column(column.title, justify="right" if at else "left", no_wrap=True)
    for item in [*found["items"], *_sum(found)]:
        shown.add_row(*(Text(column.of(item)) for column in _COLUMNS))
    head = Text(f"{session().url}   as of {cell(found.get('as_of'))}   q ends it", "dim")
    parts: list[Any] = [head, shown, *(Text(line, overflow="ellipsis") for line in happened)]
    if trouble:
        parts.insert(1, Text(trouble, "red"))
    return Group(*parts)


@contextmanager
def _keys() -> Iterator[None]:
    """Single keys, without echo, while it lasts; terminals only."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
