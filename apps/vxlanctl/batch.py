"""vxlanctl vm import: many VMs from a file, and the plan of it before it is carried out."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from apps.vxlanctl.client import Json
from apps.vxlanctl.commands import command
from apps.vxlanctl.failures import Failure, Refused
from apps.vxlanctl.names import as_mac, host_names, network_names, vni
from apps.vxlanctl.receipts import Wait, applied, status, write
from apps.vxlanctl.session import session
from apps.vxlanctl.show import Column, as_json, note, out, plural, progress, table
from apps.vxlanctl.sources import Row, read

AT_ONCE_BYTES = 60 << 20
"""What one request holds: the API takes 64 MiB, and carries it out all or nothing."""
ERRORS_MAX = 20
_FIELDS = {"mac", "host", "vni", "network", "ips", "ip", "name", "respond"}
_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def register(app: typer.Typer) -> None:
    """Add the command to ``vm``."""
    command(
        app,
        "import",
        [
            "vxlanctl vm import vms.yaml --dry-run",
            "vxlanctl vm import vms.csv --update",
            "vxlanctl vm import vms.ndjson --update --prune blue --wait 30",
            "generate | vxlanctl vm import - --format ndjson",
        ],
    )(import_vms)


def import_vms(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="YAML, CSV, NDJSON or JSON; - is standard input.")
    ],
    form: Annotated[
        Literal["yaml", "csv", "ndjson", "json"] | None,
        typer.Option("--format", help="By the file's extension unless told."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, and change nothing.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Change and move VMs that are there already.")
    ] = False,
    prune: Annotated[
        str | None,
        typer.Option(metavar="NETWORK", help="Remove VMs of this network that the file lacks."),
    ] = None,
    wait: Wait = None,
) -> int:
    """Register the VMs of a file, all or none.

    Each has mac and host, and may have vni or network, ips, name, respond. In CSV they are
    columns, and ips are separated by blanks.
    """
    rows = read(file, form)
    bodies = _bodies(file, rows)
    query: dict[str, object] = {}
    if update:
        query["on_existing"] = "update"
    if prune is not None:
        query["prune"] = vni(prune)
    if dry_run:
        query["dry_run"] = "true"
    parts = _parts(bodies)
    if len(parts) > 1 and (dry_run or prune is not None):
        raise Failure(
            f"{file} is larger than one request can be: it can be neither planned nor pruned"
        )
    answers = []
    with progress(f"importing {file}") as bar:
        # One request is carried out as a whole: how far it is nobody can tell.
        task = bar.add_task("", total=len(rows) if len(parts) > 1 else None)
        for first, lines in parts:
            if len(parts) > 1 and first:
                note(f"{first} of {len(rows)} are in")
            answers.append(_send(file, rows, first, lines, query, wait))
            bar.advance(task, len(lines))
    return _tell(_summed(answers), wait, dry_run=dry_run)


def _send(
    file: str,
    rows: list[Row],
    first: int,
    lines: list[bytes],
    query: dict[str, object],
    wait: float | None,
) -> Json:
    body = b"\n".join(lines)
    try:
        media_type = "application/x-ndjson"
        return write("POST", "/v1/vms/batch", body, wait=wait, content_type=media_type, **query)
    except Refused as refused:
        raise _placed(file, rows, first, refused) from refused


def _placed(file: str, rows: list[Row], first: int, refused: Refused) -> Failure:
    """The API's problem, told by lines of the file instead of by items of the request."""
    index = refused.problem.get("index")
    if not isinstance(index, int) or first + index >= len(rows):
        return refused
    more = []
    for error in refused.problem.get("errors") or ():
        number, _, field = str(error.get("field", "")).removeprefix("[").partition("].")
        at = first + int(number) if number.isdigit() else index
        more.append(f"{file}:{rows[at].line_of(field)}: {field}: {error.get('reason')}")
    if not more:
        detail = str(refused.problem.get("detail")).removeprefix(f"[{index}]: ")
        more = [f"{file}:{rows[first + index].line}: {detail}"]
    left = len(more) - ERRORS_MAX
    more[ERRORS_MAX:] = [f"and {left} more"] if left > 0 else []
    hint = "nothing was changed"
    if refused.status == 409 and "registered already" in more[0]:
        hint += "; --update changes and moves what is there already"
    return Failure(f"{refused.problem.get('title')} ({refused.status}):", hint, more)


def _parts(bodies: list[Json]) -> list[tuple[int, list[bytes]]]:
    """(index of the first, items) of each request."""
    parts: list[tuple[int, list[bytes]]] = [(0, [])]
    size = 0
    for index, body in enumerate(bodies):
        line = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
        if size + len(line) > AT_ONCE_BYTES:
            parts.append((index, []))
            size = 0
        parts[-1][1].append(line)
        size += len(line) + 1
    return parts


def _bodies(file: str, rows: list[Row]) -> list[Json]:
    """The API's words for what the file says, or a Failure with its lines."""
    wrong: list[str] = []
    bodies: list[Json] = []
    vnis: dict[str, int] = {}
    for row in rows:
        found = _Errors(file, row, wrong)
        bodies.append(_body(row.fields, found, vnis))
        if len(wrong) >= ERRORS_MAX:
            break
    if wrong:
        raise Failure(f"{file} cannot be taken:", "nothing was changed", wrong)
    if not bodies:
        note(f"{file} has no VMs")
    return bodies


class _Errors:
    def __init__(self, file: str, row: Row, wrong: list[str]) -> None:
        self._file, self._row, self._wrong = file, row, wrong

    def add(self, field: str, reason: str) -> None:
        self._wrong.append(f"{self._file}:{self._row.line_of(field)}: {field}: {reason}")


def _body(given: Json, wrong: _Errors, vnis: dict[str, int]) -> Json:
    body: Json = {}
    for field in given.keys() - _FIELDS:
        wrong.add(str(field), f"unknown field; known are {', '.join(sorted(_FIELDS))}")
    for field in ("mac", "host"):
        if not given.get(field):
            wrong.add(field, "is required")
    if given.get("mac"):
        found = as_mac(str(given["mac"]))
        if found is None:
            wrong.add("mac", f"{given['mac']!r} is no Ethernet address like 52:54:00:00:00:01")
        body["mac"] = found
    body["host"] = str(given.get("host"))
    network = given.get("network", given.get("vni"))
    if network not in (None, ""):
        body["vni"] = _vni(str(network), wrong, vnis)
    ips = given.get("ips", given.get("ip"))
    if ips not in (None, ""):
        listed = (
            ips if isinstance(ips, list) else str(ips).replace(",", " ").replace(";", " ").split()
        )
        body["ips"] = [str(ip) for ip in listed]
    if given.get("name") not in (None, ""):
        body["name"] = str(given["name"])
    respond = given.get("respond")
    if respond not in (None, ""):
        truth = _TRUTH.get(str(respond).lower())
        if truth is None:
            wrong.add("respond", f"{respond!r} is neither true nor false")
        body["respond"] = truth
    return body


def _vni(text: str, wrong: _Errors, vnis: dict[str, int]) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 8:
        return int(text)
    if not vnis:
        vnis.update({name: number for number, name in network_names().items()})
        vnis[""] = -1
    if text not in vnis:
        wrong.add("network", f"no network is named {text!r}")
    return vnis.get(text, -1)


def _summed(answers: list[Json]) -> Json:
    if len(answers) == 1:
        return answers[0]
    counts = ("items", "created", "added", "changed", "moved", "removed", "unchanged", "flows")
    total: Json = {
        name: sum(int(answer[name] or 0) for answer in answers)
        for name in counts
        if isinstance(answers[0].get(name), int)
    }
    return {**answers[-1], **total}


def _tell(answer: Json, wait: float | None, *, dry_run: bool) -> int:
    if session().json:
        as_json(answer)
        return 0 if dry_run else status(answer, wait)
    if dry_run:
        show_plan(answer)
        return 0
    added = answer.get("added", answer.get("created", 0))
    words = [f"{added} added"]
    words += [
        f"{answer[name]} {name}" for name in ("changed", "moved", "removed") if answer.get(name)
    ]
    words.append(f"{answer.get('unchanged', 0)} unchanged")
    out(f"{', '.join(words)}; {applied(answer, wait)}")
    return status(answer, wait)


def show_plan(answer: Json) -> None:
    """What would be done, thing by thing, and what that touches."""
    items = answer.get("items") or []
    hosts = host_names()

    def place(item: Json, which: str) -> Any:
        return hosts.get(str(item.get(which)), item.get(which))

    def way(item: Json) -> str:
        if item.get("action") == "move":
            return f"{place(item, 'from')} -> {place(item, 'to')}"
        at = place(item, "host")
        changed = ", ".join(item.get("changes") or [])
        return f"{at or ''}{': ' if at and changed else ''}{changed}" or "-"

    columns = (
        Column("ACTION", "action"),
        Column("KIND", lambda item: item.get("kind", "vm")),
        Column("NETWORK", "vni"),
        Column("WHICH", _which),
        Column("WHERE", way),
    )
    if items:
        table(columns, items)
    total = sum(int(answer.get(name) or 0) for name in ("added", "changed", "moved", "removed"))
    if len(items) < total:
        note(f"{len(items)} of {total} are shown")
    counts = (f"{answer.get(name, 0)} to {verb}" for name, verb in _VERBS)
    out(f"plan: {', '.join(counts)}, {answer.get('unchanged', 0)} unchanged")
    hosts_text = plural(int(answer.get("hosts") or 0), "connected host")
    if answer.get("flows") is None:
        out(f"it concerns {hosts_text}; nothing was changed yet")
    else:
        flows = plural(int(answer["flows"]), "flow change")
        out(f"it takes {flows} on {hosts_text}; nothing was changed yet")


_VERBS = (("added", "add"), ("changed", "change"), ("moved", "move"), ("removed", "remove"))


def _which(item: Json) -> str:
    key = next((item[k] for k in ("mac", "dpid", "vtep", "ip") if item.get(k)), None)
    words = [str(word) for word in (item.get("name"), key) if word]
    return " ".join(words) or "-"
