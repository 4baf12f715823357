"""vxlanctl trace and why: what becomes of a packet, and why it does not arrive."""

from __future__ import annotations

import sys
from typing import Annotated, Any, Literal

import typer

from apps.vxlanctl import complete
from apps.vxlanctl.client import Json
from apps.vxlanctl.commands import command
from apps.vxlanctl.failures import Refused, WrongUsage
from apps.vxlanctl.names import as_mac, maybe_vni
from apps.vxlanctl.options import Network
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import as_json, cell, note, out, paint, safe

Source = Annotated[
    str,
    typer.Argument(metavar="FROM", help="A VM's name, MAC or IP.", autocompletion=complete.vms),
]
Target = Annotated[
    str,
    typer.Argument(
        metavar="TO", help="A VM, any MAC or IP, or broadcast.", autocompletion=complete.vms
    ),
]
_ASKS_S = 30.0


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    command(
        app,
        "trace",
        [
            "vxlanctl trace web-1 web-2",
            "vxlanctl trace web-1 10.1.1.3 --kind tcp --live",
            "vxlanctl trace web-1 broadcast --network blue --brief",
            "vxlanctl trace web-1 web-2 -o json | jq .verdict",
        ],
    )(trace)
    command(app, "why", ["vxlanctl why web-1 web-2", "vxlanctl why 10.1.1.2 fd00::3 -n blue"])(why)


def trace(
    source: Source,
    target: Target,
    network: Network = None,
    kind: Annotated[
        Literal["arp", "nd", "icmp", "tcp", "udp"] | None,
        typer.Option(help="What to send: ARP or ND first, then ICMP, unless told."),
    ] = None,
    frame: Annotated[
        str | None, typer.Option(metavar="HEX", help="A whole Ethernet frame instead.")
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="By the flows that are installed, asked of the switches.")
    ] = False,
    brief: Annotated[bool, typer.Option("--brief", help="The verdict and where it ends.")] = False,
    full: Annotated[bool, typer.Option("--full", help="With every table and flow.")] = False,
) -> int:
    """Follow a packet, table by table and host by host, to where it ends.

    Exit status 1 when it does not arrive.
    """
    if brief and full:
        raise WrongUsage("--brief or --full, not both")
    query: dict[str, Any] = _question(source, target, network)
    query |= {"kind": kind, "live": "true" if live else None, "frame": _hex(frame)}
    found = _ask("/v1/trace", query)
    if session().json:
        as_json(found)
    else:
        _draw(found, brief=brief, full=full)
    return 0 if found.get("delivered") else 1


def why(source: Source, target: Target, network: Network = None) -> int:
    """Say in one sentence whether one reaches another, and if not, why; with the evidence.

    Exit status 1 when it does not.
    """
    question = _question(source, target, network)
    if sys.stderr.isatty() and not session().json:
        note("asking the switches, the tunnels and both VMs: up to 10 seconds where one is silent")
    found = _ask("/v1/why", question)
    if session().json:
        as_json(found)
        return 0 if found.get("reachable") else 1
    print(paint(cell(found.get("sentence")), "green" if found.get("reachable") else "red"))
    for piece in found.get("evidence") or []:
        mark = {"ok": "+", "warning": "!", "error": "x"}.get(str(piece.get("status")), "-")
        style = {"+": "green", "!": "yellow", "x": "red"}.get(mark, "")
        print(" ", paint(mark, style), f"{cell(piece.get('what'))}: {cell(piece.get('detail'))}")
    _cure(found.get("command"))
    return 0 if found.get("reachable") else 1


def _question(source: str, target: str, network: str | None) -> dict[str, Any]:
    spelled = {"src": as_mac(source) or source, "dst": as_mac(target) or target}
    return {**spelled, "vni": maybe_vni(network)}


def _ask(path: str, query: dict[str, Any]) -> Json:
    try:
        _status, found = api().call("GET", path, query=query, timeout_s=_ASKS_S)
    except Refused as refused:
        if refused.status in (404, 422) and not refused.way_out:
            refused.way_out = "`vxlanctl vm list` and `vxlanctl learned` show who is known"
        raise
    return dict(found)


def _hex(text: str | None) -> str | None:
    if text is None:
        return None
    digits = "".join(text.replace(":", "").split())
    try:
        bytes.fromhex(digits)
    except ValueError as error:
        raise WrongUsage(f"--frame: {error}") from error
    return digits


def _cure(command_text: object) -> None:
    if command_text:
        out()
        print(paint("cure:", "bold"), cell(command_text))


def _draw(found: Json, *, brief: bool, full: bool) -> None:
    delivered = bool(found.get("delivered"))
    names = {
        hop.get("host"): hop.get("host_name")
        for stage in found.get("stages") or []
        for hop in stage.get("hops") or []
    }
    for stage in [] if brief else found.get("stages") or []:
        outcome = cell(stage.get("outcome"))
        print(paint(cell(stage.get("what")), "bold") + ": " + paint(outcome, _mood(outcome)))
        _hops(stage.get("hops") or [], full=full)
        for end in stage.get("ends") or []:
            _end(end, names)
        out()
    verdict = cell(found.get("verdict"))
    print(paint(verdict, "green" if delivered else "red"))
    if brief:
        for stage in found.get("stages") or []:
            for end in stage.get("ends") or []:
                _end(end, names)
    _cure(found.get("cure"))
    if (found.get("question") or {}).get("live"):
        note("by the flows that are installed")


def _mood(outcome: str) -> str:
    if any(word in outcome for word in ("lost", "drop", "not ")):
        return "red"
    return "yellow" if "flood" in outcome else "green"


def _hops(hops: list[Json], *, full: bool) -> None:
    at = None
    for hop in hops:
        host = cell(hop.get("host_name") or hop.get("host"))
        if host != at:
            print("  " + paint(host, "cyan"))
            at = host
        event = cell(hop.get("event"))
        table = " ".join(
            str(hop[key]) for key in ("table", "table_name") if hop.get(key) is not None
        )
        why_text = cell(hop.get("why"))
        if full or event != "-" or hop.get("reason"):
            shown = paint(event, "red" if event == "drop" else "") if event != "-" else "..."
            print(f"    {safe(table).ljust(16)} {shown.ljust(8)} {why_text}")
        if hop.get("reason"):
            print(" " * 26 + paint(cell(hop["reason"]), "dim"))
        if full and isinstance(hop.get("flow"), dict):
            flow = hop["flow"]
            match = f"priority {flow.get('priority')}, {flow.get('match') or 'any'}"
            print(" " * 26 + paint(f"{match} -> {flow.get('actions') or 'drop'}", "dim"))


def _end(end: Json, names: dict[Any, Any]) -> None:
    host = end.get("host_name") or names.get(end.get("host")) or end.get("host")
    how, detail = cell(end.get("how")), cell(end.get("detail"))
    at = f"{cell(host)}: " if host else ""
    print(f"  => {at}{paint(how, _mood(how))}" + (f": {detail}" if detail != "-" else ""))
