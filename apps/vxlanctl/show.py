"""Answers on standard output: tables for people, JSON for programs; remarks on standard error."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from apps.vxlanctl.client import Json
from apps.vxlanctl.session import session

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

STYLES = {
    **dict.fromkeys(("LIVE", "ok", "up", "delivered", "yes", "add", "answer"), "green"),
    **dict.fromkeys(
        ("DEGRADED", "HELD", "warning", "unknown", "change", "SYNCING", "AUDITING"), "yellow"
    ),
    **dict.fromkeys(("DISCONNECTED", "error", "down", "lost", "remove", "drop"), "red"),
    "move": "cyan",
    "move ": "cyan",
}


# Characters of a cell that is kept on one line where the terminal has room for it.
_SHORT = 20


class Column(NamedTuple):
    """A heading, and what of an item stands under it; None shows as ``-``."""

    title: str
    value: str | Callable[[Json], object]

    def of(self, item: Json) -> str:
        found = self.value(item) if callable(self.value) else item.get(self.value)
        return cell(found)


def cell(value: object) -> str:
    if value is None or value == []:
        return "-"
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(str(part) for part in value)
    return safe(str(value))


def safe(text: str) -> str:
    """Text of others, without what a terminal would take for commands."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def colours(stream: Any = None) -> bool:
    """Whether to colour: on a terminal, if nobody said no (https://no-color.org)."""
    stream = sys.stdout if stream is None else stream
    told_not = session().told.get("no_color") or os.environ.get("NO_COLOR")
    return bool(stream.isatty()) and not told_not and os.environ.get("TERM") != "dumb"


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    plain = not colours(stream)
    return Console(file=stream, no_color=plain, highlight=False, markup=False, emoji=False)


def plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def out(text: str = "") -> None:
    print(safe(text))


def note(text: str) -> None:
    """A remark for a person: never where a program reads."""
    print(safe(text), file=sys.stderr)


def as_json(value: object) -> None:
    pretty = sys.stdout.isatty()
    print(json.dumps(value, ensure_ascii=False, indent=2 if pretty else None))


def json_items(items: Iterable[Json]) -> None:
    """An array that need not be in memory as a whole."""
    opening = "["
    for item in items:
        print(opening, json.dumps(item, ensure_ascii=False), sep="\n", end="")
        opening = ","
    print("\n]" if opening == "," else "[]")


def table(columns: Sequence[Column], items: Iterable[Json], *, header: bool = True) -> None:
    """On a terminal a table that fits it; else plain columns, which tools can take apart."""
    rows = [[column.of(item) for column in columns] for item in items]
    titles = [column.title for column in columns]
    if sys.stdout.isatty():
        _rich_table(titles, rows)
        return
    lines = [titles, *rows] if header else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)] if lines else []
    for row in lines:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def _rich_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    screen = console()
    columns = list(zip(titles, *rows, strict=True))
    shown = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )
    fits = sum(map(_least, columns)) + 2 * len(columns) <= screen.width
    for column in columns:
        shown.add_column(column[0], overflow="fold", no_wrap=fits and _is_short(column))
    for row in rows:
        shown.add_row(*(Text(text, STYLES.get(text, "")) for text in row))
    screen.print(shown)


def _is_short(column: Sequence[str]) -> bool:
    """Names, addresses and numbers, which are not to be folded while there is other text."""
    return all(len(text) <= _SHORT and " " not in text for text in column)


def _least(column: Sequence[str]) -> int:
    """The width at which no word of a column is folded, if it is short."""
    return min(_SHORT, max(len(word) for text in column for word in text.split() or [""]))


def fields(pairs: Iterable[tuple[str, object]]) -> None:
    """One thing, a line for each of its fields."""
    lines = [(name, cell(value)) for name, value in pairs]
    width = max((len(name) for name, _text in lines), default=0)
    for name, text in lines:
        print(f"{name.ljust(width)}  {paint(text)}")


def paint(text: str, style: str | None = None) -> str:
    """The text in its colour, where there are colours."""
    codes = {"green": "32", "yellow": "33", "red": "31", "cyan": "36", "bold": "1", "dim": "2"}
    code = codes.get(STYLES.get(text, "") if style is None else style)
    return f"\x1b[{code}m{text}\x1b[0m" if code and colours() else text


def show_list(
    columns: Sequence[Column],
    path: str,
    what: str,
    *,
    order: Callable[[Json], Any] | None = None,
    **query: object,
) -> None:
    """A list of the API: all of it as JSON, as many as ``most`` in a table, there in this order."""
    api, limit = session().api, query.pop("most", None)
    pages = api.pages(path, **query)
    if session().json:
        json_items(_first((item for page in pages for item in page["items"]), limit))
        return
    first = next(pages)
    items = list(first["items"])
    total = first.get("total", len(items))
    for page in pages:
        if limit is not None and len(items) >= int(str(limit)):
            break
        items += page["items"]
    items = list(_first(items, limit))
    if not items:
        note(f"no {what}")
        return
    table(columns, sorted(items, key=order) if order else items)
    if len(items) < total:
        note(f"{len(items)} of {total} {what}; --all shows them all")


def natural(text: object) -> list[tuple[int, str]]:
    """To sort names as people do: compute-2 before compute-10."""
    parts = re.split(r"([0-9]+)", str(text))
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


def _first(items: Iterable[Json], limit: object) -> Iterable[Json]:
    from itertools import islice

    return items if limit is None else islice(items, int(str(limit)))


def progress(what: str) -> Progress:
    """A progress bar on standard error, on a terminal only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    quiet = not sys.stderr.isatty() or session().json
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), Elapsed())
    return Progress(*columns, console=console(stderr=True), disable=quiet, transient=True)
