"""vxlanctl doctor: what commonly goes wrong, each with cause and command."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from apps.vxlanctl.client import Json
from apps.vxlanctl.commands import command
from apps.vxlanctl.failures import Failure, TooOld, Unreachable
from apps.vxlanctl.session import api, own_version, session
from apps.vxlanctl.show import as_json, cell, out, paint, plural

SKEW_WARNING_S, SKEW_ERROR_S = 2.0, 30.0
_ASKS_S = 60.0
_MARKS = {"ok": ("ok", "green"), "warning": ("!!", "yellow"), "error": ("XX", "red")}


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    command(
        app,
        "doctor",
        ["vxlanctl doctor", "vxlanctl doctor --all", "vxlanctl doctor --check mtu -o json"],
    )(doctor)


def doctor(
    check: Annotated[str | None, typer.Option(help="This check only.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="What is well, too.")] = False,
) -> int:
    """Check everything that commonly goes wrong. Exit status 1 when something does."""
    found = [*_theirs(check), *(each for each in ours() if check in (None, each["check"]))]
    if check is not None and not found:
        raise Failure(f"there is no check {check!r}", "`vxlanctl doctor --all` names them")
    healthy = all(each.get("status") != "error" for each in found)
    if session().json:
        as_json({"healthy": healthy, "checks": found})
        return 0 if healthy else 1
    order = {"error": 0, "warning": 1, "ok": 2}
    for each in sorted(found, key=lambda each: order.get(str(each.get("status")), 1)):
        if everything or each.get("status") != "ok":
            _show(each)
    counts = {name: sum(each.get("status") == name for each in found) for name in order}
    verdict = "healthy" if healthy else "not healthy"
    wrong = ", ".join(plural(counts[name], name) for name in ("error", "warning"))
    text = f"{verdict}: {wrong}, {counts['ok']} ok"
    print(paint(text, "green" if healthy else "red"))
    return 0 if healthy else 1


def _show(each: Json) -> None:
    mark, style = _MARKS.get(str(each.get("status")), ("??", "yellow"))
    named = each.get("subject") and str(each["subject"]) not in str(each.get("summary"))
    subject = f"{each['subject']}: " if named else ""
    head = f"{cell(each.get('check'))}: {cell(subject)}" if subject else f"{each.get('check')}: "
    print(paint(mark, style), head + cell(each.get("summary")))
    if each.get("cause"):
        out(f"     because {each['cause']}" if each["status"] != "ok" else f"     {each['cause']}")
    if each.get("command"):
        print("    ", paint("run:", "bold"), cell(each["command"]))


def _theirs(check: str | None) -> list[Json]:
    """What the controller finds; an older one says nothing."""
    local = {each["check"] for each in ours()} if check is not None else set()
    if check in local:
        return []
    try:
        _status, answer = api().call("GET", "/v1/doctor", query={"check": check}, timeout_s=_ASKS_S)
    except TooOld as old:
        return [_found("controller", "warning", old.what, command=old.way_out)]
    except Unreachable as gone:
        return [_found("controller", "error", gone.what, command=gone.way_out)]
    return list(answer.get("checks") or [])


def _found(
    check: str, status: str, summary: str, cause: str | None = None, command: str | None = None
) -> Json:
    words = {"summary": summary, "cause": cause, "command": command}
    return {"check": check, "status": status, "subject": None, **words}


def ours() -> Iterator[Json]:
    """What only this side can see: its clock, its version, its PATH."""
    yield _ryu_manager()
    status: Json | None = None
    try:
        status = api().get("/v1/status")
    except TooOld:
        try:
            status = api().get("/healthz")
        except Failure:
            return
    except Unreachable:
        return
    if isinstance(status, dict):
        yield _version(str(status.get("version")))
        with suppress(ValueError, TypeError):
            yield _clock(status.get("now"))


def _version(theirs: str) -> Json:
    own = own_version()
    if own is None:
        return _found("version", "warning", "this vxlanctl does not know its own version")
    if own == theirs:
        return _found("version", "ok", f"vxlanctl and the controller are both {own}")
    return _found(
        "version",
        "warning",
        f"vxlanctl is {own}, the controller {theirs}",
        "one of them was not updated, or not started again",
    )


def _clock(now: Any) -> Json:
    """Between this machine and the controller's; what the way takes is part of it."""
    theirs = datetime.fromisoformat(now)
    skew_s = abs((datetime.now(UTC) - theirs).total_seconds())
    level = "ok" if skew_s < SKEW_WARNING_S else "warning" if skew_s < SKEW_ERROR_S else "error"
    text = f"this machine's clock and the controller's are {skew_s:.1f} s apart"
    if level == "ok":
        return _found("clock", level, text)
    return _found(
        "clock",
        level,
        text,
        "times in logs and events cannot be compared, and TLS may fail",
        "timedatectl set-ntp true",
    )


def _ryu_manager() -> Json:
    """Ryu's own script does not start with any eventlet that runs on this Python."""
    beside = os.path.join(os.path.dirname(sys.executable), "ryu-manager")
    places = [("the first on PATH", shutil.which("ryu-manager"))]
    places.append(("of this environment", beside if os.path.exists(beside) else None))
    for which, path in places:
        if path is not None and not _is_ours(path):
            return _found(
                "ryu-manager",
                "warning",
                f"{path}, {which}, is Ryu's own script, not this project's",
                "it ends with \"cannot import name 'ALREADY_HANDLED'\" before it listens",
                "start the controller with vxlan-l2 in its place, or make install again",
            )
    if not any(path for _which, path in places):
        return _found("ryu-manager", "ok", "ryu-manager is not installed here")
    return _found("ryu-manager", "ok", "ryu-manager is this project's")


def _is_ours(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return b"apps.ryu_manager" in file.read(1 << 16)
    except OSError:
        return True
