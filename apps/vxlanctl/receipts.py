"""Writes, and on how many hosts each is applied."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from apps.vxlanctl.client import Json
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import as_json, note, out

WAIT_S = 10.0
_ANSWER_S = 60.0

Wait = Annotated[
    float | None,
    typer.Option(
        "--wait",
        metavar="SECONDS",
        min=0,
        max=60,
        help="How long to wait until every host has confirmed it: 10 unless told; 0: not at all."
        " If it is told and runs out, the exit status is 1.",
    ),
]


def write(
    method: str,
    path: str,
    body: object = None,
    *,
    wait: float | None,
    content_type: str = "application/json",
    **query: object,
) -> Json:
    """The API's answer. It is durable by then, and as far applied as the time allowed."""
    wait_s = WAIT_S if wait is None else wait
    query = {"wait": f"{wait_s:g}" if wait_s else None, **query}
    timeout_s = wait_s + _ANSWER_S
    _status, answer = api().call(method, path, body, query, content_type, timeout_s)
    return dict(answer)


def report(did: str, answer: Json, wait: float | None) -> int:
    """Say what was done and where it is applied; gives the exit status."""
    if session().json:
        as_json(answer)
    else:
        out(f"{did}; {applied(answer, wait)}")
    return status(answer, wait)


def status(answer: Json, wait: float | None) -> int:
    """1 when somebody asked to wait, and some host has not confirmed it."""
    hosts, of = _counts(answer)
    return 1 if wait and hosts < of else 0


def applied(answer: Json, wait: float | None = None) -> str:
    hosts, of = _counts(answer)
    if of == 0:
        return _nowhere()
    text = f"applied on {hosts} of {of} {'host' if of == 1 else 'hosts'}"
    if hosts < of and wait != 0:
        behind = answer.get("waiting_for") or []
        names = [str(host.get("host_name") or host.get("host")) for host in behind]
        some = ", ".join(names[:5]) + (f" and {of - hosts - 5} more" if of - hosts > 5 else "")
        text += f"; still waiting for {some}" if names else "; the others follow"
    return text


def _counts(answer: dict[str, Any]) -> tuple[int, int]:
    counts = answer.get("applied") or {}
    return int(counts.get("hosts", 0)), int(counts.get("of", 0))


def _nowhere() -> str:
    hosts = api().items("/v1/hosts")
    if any(host.get("connected") for host in hosts):
        return "no connected host is concerned"
    return "stored, but no host is connected: it is applied on 0 of 0 hosts"


def note_unless_json(text: str) -> None:
    if not session().json:
        note(text)
