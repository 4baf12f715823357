"""vxlanctl export and import: all facts, out and in."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Literal

import typer

from apps.vxlanctl.batch import show_plan
from apps.vxlanctl.commands import command
from apps.vxlanctl.failures import Failure, Refused
from apps.vxlanctl.receipts import Wait, applied, status, write
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import as_json, note, out, progress


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    command(app, "export", ["vxlanctl export backup.ndjson", "vxlanctl export | gzip > backup.gz"])(
        export
    )
    command(
        app,
        "import",
        [
            "vxlanctl import backup.ndjson --dry-run",
            "vxlanctl import backup.ndjson",
            "vxlanctl import backup.ndjson --mode replace --wait 30",
            "zcat backup.gz | vxlanctl import -",
        ],
    )(load)


def export(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Where to; - is standard output.")
    ] = "-",
) -> None:
    """Write every declared fact to a file, while the controller runs.

    Hosts, networks, foreign VTEPs, VMs and virtual IPs; not what was learned or observed.
    """
    lines = api().lines("/v1/export")
    head = next(lines, b"")
    try:
        wanted = json.loads(head)["facts"]
    except (ValueError, KeyError, TypeError) as error:
        raise Failure("the controller's export does not begin as one") from error
    if file == "-":
        sys.stdout.buffer.write(head)
        count = sum(bool(sys.stdout.buffer.write(line)) for line in lines)
        sys.stdout.buffer.flush()
    else:
        count = _to_file(file, head, lines, wanted)
    if count != wanted:
        raise Failure(f"{count} of {wanted} facts came: the connection ended early", "try again")
    if file != "-" and session().json:
        as_json({"file": file, "facts": count})
    else:
        note(f"{count} facts" + (f" in {file}" if file != "-" else ""))


def _to_file(file: str, head: bytes, lines: object, wanted: int) -> int:
    """Beside it first, so that a backup is whole or the one before."""
    beside, count = f"{file}.part", 0
    try:
        with open(beside, "wb") as opened, progress("exporting") as bar:
            task = bar.add_task("", total=wanted)
            opened.write(head)
            for line in lines:  # type: ignore[attr-defined]
                opened.write(line)
                count += 1
                if count % 1000 == 0:
                    bar.update(task, completed=count)
            opened.flush()
            os.fsync(opened.fileno())
        if count == wanted:
            os.replace(beside, file)
    except OSError as error:
        raise Failure(f"{file}: {error.strerror or error}") from error
    finally:
        if os.path.exists(beside):
            os.unlink(beside)
    return count


def load(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An export; - is standard input.")],
    mode: Annotated[
        Literal["merge", "replace"],
        typer.Option(help="replace removes what the file has not."),
    ] = "merge",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, and change nothing.")
    ] = False,
    wait: Wait = None,
) -> int:
    """Take in what an export has, all or nothing."""
    body = _read(file)
    query = {"mode": mode, "dry_run": "true" if dry_run else None}
    kind = "application/x-ndjson"
    try:
        with progress(f"importing {file}") as bar:
            bar.add_task("", total=None)
            answer = write("POST", "/v1/import", body, wait=wait, content_type=kind, **query)
    except Refused as refused:
        raise _placed(file, body, refused) from refused
    if session().json:
        as_json(answer)
    elif dry_run:
        show_plan(answer)
    else:
        names = ("added", "changed", "moved", "removed", "unchanged")
        counts = [f"{answer[name]} {name}" for name in names if answer.get(name) or name == "added"]
        out(f"{', '.join(counts)}; {applied(answer, wait)}")
    return 0 if dry_run else status(answer, wait)


def _read(file: str) -> bytes:
    try:
        if file == "-":
            return sys.stdin.buffer.read()
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise Failure(f"{file}: {error.strerror or error}") from error


def _placed(file: str, body: bytes, refused: Refused) -> Failure:
    """The problem by lines of the file: blank ones are no items."""
    numbers = [n for n, line in enumerate(body.split(b"\n"), start=1) if line.strip()]
    more = []
    for error in refused.problem.get("errors") or ():
        number, _, field = str(error.get("field", "")).removeprefix("[").partition("]")
        if not number.isdigit() or int(number) >= len(numbers):
            return refused
        place = f"{file}:{numbers[int(number)]}"
        field = field.removeprefix(".")
        more.append(": ".join(part for part in (place, field, error.get("reason")) if part))
    index = refused.problem.get("index")
    if not more and isinstance(index, int) and index < len(numbers):
        detail = str(refused.problem.get("detail")).removeprefix(f"[{index}]: ")
        more = [f"{file}:{numbers[index]}: {detail}"]
    if not more:
        return refused
    return Failure(
        f"{refused.problem.get('title')} ({refused.status}):", "nothing was changed", more
    )
