"""``python -m bench [NAME ...]``: run the figures, print tables and goals.

Exit status 0 whether goals are met or missed, 1 if something behaved wrongly, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import figures
from bench.harness import Broken, Report, Scale, machine, number, versions

_ROUNDS = 5
_HEADINGS = ("series", "median", "unit", "min .. max", "ours / this")


def main(argv: Sequence[str] | None = None) -> int:
    parser = _parser()
    args = parser.parse_args(argv)
    if unknown := sorted(set(args.names).difference(figures.names())):
        parser.error(f"no such figure: {', '.join(unknown)}")
    # Where `make bench` puts peers that the machine does not have.
    os.environ["PATH"] = f"{os.environ.get('PATH', '/usr/bin:/bin')}:{sys.prefix}/peers/usr/bin"
    # What is stopped from outside takes its labs down, too.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    scale = Scale(args.short, args.rounds or (1 if args.short else _ROUNDS))
    where = {**machine(), **versions()}
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 110)
    console.print(" · ".join(f"{name} {value}" for name, value in where.items()))
    reports: list[Report] = []
    try:
        for name in args.names or figures.names():
            reports.append(_new_report(name))
            began_s = time.monotonic()
            _measure(name, scale, reports[-1])
            reports[-1].note(f"rounds: {scale.rounds}; took {time.monotonic() - began_s:.0f} s")
            _show(console, reports[-1])
    except Broken as error:
        print(f"bench: {reports[-1].name}: {error}", file=sys.stderr)
        return 1
    except Exception:  # what was measured before is still wanted
        traceback.print_exc()
        return 1
    finally:
        _write(args, where, reports)
    return 0


def _new_report(name: str) -> Report:
    title = importlib.import_module(f"bench.figures.{name}").TITLE

    def say(text: str) -> None:
        print(f"  {text}", file=sys.stderr, flush=True)

    print(f"{name}: {title}", file=sys.stderr, flush=True)
    return Report(name, title, say)


def _measure(name: str, scale: Scale, report: Report) -> None:
    importlib.import_module(f"bench.figures.{name}").measure(scale, report)


def _show(console: Console, report: Report) -> None:
    table = Table(title=f"{report.name}: {report.title}", title_justify="left", title_style="bold")
    for heading in _HEADINGS:
        table.add_column(heading, justify="left" if heading in ("series", "unit") else "right")
    for row in _rows(report):
        table.add_row(*row)
    console.print(table)
    for goal in _goals(report):
        console.print(f"  {goal}")
    for note in report.notes:
        console.print(f"  {note}", style="dim")


def _rows(report: Report) -> Iterator[tuple[str, ...]]:
    for name, series in report.series.items():
        ratio = report.ratio(name)
        spread = f"{number(min(series.values))} .. {number(max(series.values))}"
        shown = "" if ratio is None else number(ratio)
        yield name, number(series.median), series.unit, spread, shown


def _goals(report: Report) -> Iterator[str]:
    medians = report.medians
    for goal in report.goals:
        reached = goal.reached(medians)
        if reached is None:
            yield f"goal not judged: {goal.text}: what it compares with was not measured"
        else:
            word = "met" if goal.met(reached) else "MISSED"
            yield f"goal {word}: {goal.text}: {number(reached)} ({goal.bound})"


def _write(args: argparse.Namespace, where: dict[str, str], reports: Sequence[Report]) -> None:
    if args.json is not None:
        body = {"machine": where, "figures": {one.name: one.as_json() for one in reports}}
        args.json.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    if args.markdown is not None:
        args.markdown.write_text("\n".join(_markdown(where, reports)) + "\n", encoding="utf-8")


def _markdown(where: dict[str, str], reports: Sequence[Report]) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {name} | {value} |" for name, value in where.items())
    for report in reports:
        yield f"\n## {report.title}\n"
        yield f"| {' | '.join(_HEADINGS)} |"
        yield "|---|---:|---|---:|---:|"
        yield from (f"| {' | '.join(row)} |" for row in _rows(report))
        yield ""
        yield from (f"- {line}" for line in (*_goals(report), *report.notes))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    known = figures.names()
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}; or all")
    parser.add_argument("--short", action="store_true", help="small sizes, one round: does it work")
    parser.add_argument("--rounds", type=int, help=f"how often each is measured ({_ROUNDS})")
    parser.add_argument("--json", type=Path, help="write everything measured to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
