"""One run: the command line taken apart, carried out, and its end told."""

from __future__ import annotations

import json
import os
import sys

import typer

from apps.vxlanctl.commands import FIRST_STEPS, print_examples
from apps.vxlanctl.failures import Failure, WrongUsage
from apps.vxlanctl.session import Session, begin

# typer brings its own copy of click or the package, by version; both call it this.
_UsageError = typer.BadParameter.__bases__[0]


def run(argv: list[str]) -> int:
    """The exit status of this command line."""
    current = begin()
    before = argv[: argv.index("--")] if "--" in argv else argv
    if "--no-color" in before:
        os.environ["NO_COLOR"] = "1"
    try:
        status = _run(argv, current)
        sys.stdout.flush()
    except BrokenPipeError:
        # Who read has seen enough; nothing may be flushed into the pipe at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _run(argv: list[str], current: Session) -> int:
    from apps.vxlanctl.tree import app

    try:
        ended = app(argv, prog_name="vxlanctl", standalone_mode=False)
    except Failure as failure:
        _tell(current, failure.lines(), failure.as_json())
        return 1
    except WrongUsage as error:
        _tell(current, [str(error)], {"title": "Wrong usage", "detail": str(error)})
        return 2
    except _UsageError as error:
        return _wrong_usage(current, error, argv)
    except typer.Abort:
        return 130
    except typer.Exit as ending:
        return int(ending.exit_code)
    return ended if isinstance(ended, int) else 0


def _wrong_usage(current: Session, error: Exception, argv: list[str]) -> int:
    text = getattr(error, "format_message", lambda: str(error))().strip()
    context = getattr(error, "ctx", None)
    path = "vxlanctl" if context is None else context.command_path
    if not text:  # no arguments at all: the help has been printed
        if path == "vxlanctl":
            print_examples(FIRST_STEPS)
        return 2
    hint = f"try: {path} --help"
    current.told.setdefault("output", "json" if _wants_json(argv) else "table")
    _tell(current, [text, hint], {"title": "Wrong usage", "detail": text, "hint": hint})
    return 2


def _wants_json(argv: list[str]) -> bool:
    """Whether a line that could not be read as a whole asked for JSON."""
    joined = " ".join(argv)
    return any(form in joined for form in ("-o json", "-ojson", "--output json", "--output=json"))


def _tell(current: Session, lines: list[str], told: dict[str, object]) -> None:
    if current.json:
        print(json.dumps(told, ensure_ascii=False), file=sys.stderr)
        return
    first, *more = lines
    head = "vxlanctl:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        head = "\x1b[31mvxlanctl:\x1b[0m"
    print(head, _printable(first), file=sys.stderr)
    for line in more:
        print(" " * 9, _printable(line), file=sys.stderr)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
