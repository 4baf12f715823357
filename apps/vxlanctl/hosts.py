"""vxlanctl host: the hypervisors, what they should hold and what they do hold."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from apps.vxlanctl import prepare
from apps.vxlanctl.client import Json, path_of
from apps.vxlanctl.commands import command, noun
from apps.vxlanctl.failures import Refused, WrongUsage
from apps.vxlanctl.names import hinting, known_hosts
from apps.vxlanctl.options import LIMIT, All, HostArgument, Limit, most
from apps.vxlanctl.receipts import Wait, report, write
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import (
    Column,
    as_json,
    fields,
    json_items,
    natural,
    note,
    out,
    paint,
    plural,
    show_list,
    table,
)

app = noun("host", "Hypervisors: their state, their flows, how to prepare one.")


def _name(host: Json) -> Any:
    return host.get("name") or host.get("dpid")


def _by_name(host: Json) -> list[tuple[int, str]]:
    return natural(_name(host))


_COLUMNS = (
    Column("HOST", _name),
    Column("DPID", "dpid"),
    Column("VTEP", "vtep"),
    Column("STATE", "state"),
    Column("VMS", "vms"),
    Column("FLOWS", "flows"),
    Column("REASON", "reason"),
)
_FLOWS = (
    Column("TABLE", "table"),
    Column("PRIORITY", "priority"),
    Column("MATCH", "match"),
    Column("ACTIONS", "actions"),
    Column("WHY", "why"),
)


@command(app, "list", ["vxlanctl host list", "vxlanctl host list -o json | jq '.[].state'"])
def list_hosts(limit: Limit = LIMIT, everything: All = False) -> None:
    """List the hosts, with the state of each."""
    show_list(_COLUMNS, "/v1/hosts", "hosts", order=_by_name, most=most(limit, everything))


@command(app, "show", ["vxlanctl host show compute-1", "vxlanctl host show 192.168.33.12"])
def show(host: HostArgument) -> None:
    """Show one host: state and why, VTEP, tunnel ports, counts."""
    found = _get(host)
    if session().json:
        as_json(found)
        return
    names = ("dpid", "name", "vtep", "connected", "state", "reason", "vms", "flows")
    more = [name for name in found if name not in (*names, "tunnel_ports")]
    fields((name, found.get(name)) for name in (*names, *more))
    ports = found.get("tunnel_ports") or []
    out(f"{'tunnel ports'}  {len(ports) or 'none'}")
    if ports:
        table((Column("PORT", "port"), Column("NAME", "name"), Column("REMOTE", "remote")), ports)


@command(
    app,
    "declare",
    [
        "vxlanctl host declare 00006e12f4fd6949 --name compute-1",
        "vxlanctl host declare compute-1 --vtep 192.168.33.12",
        "vxlanctl host declare compute-1 --tunnel-port vxlan0=flow",
        "vxlanctl host declare compute-1 --certificate seen",
    ],
)
def declare(
    host: Annotated[str, typer.Argument(metavar="DPID", help="16 hex digits, or a known host.")],
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    vtep: Annotated[str | None, typer.Option(help="Its underlay address.")] = None,
    tunnel_port: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=REMOTE", help="Where a port leads: an address, or flow."),
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            help="The only one that it may present: sha256:..., or 'seen', what it presents now;"
            " '' for any that names it."
        ),
    ] = None,
    wait: Wait = None,
) -> int:
    """Declare a host before it connects, or correct what was observed of it.

    The name and the certificate stay unless others are said; what else is left out is observed
    again.
    """
    body: Json = {}
    known = name if name is not None else _name_of(host)
    if known:
        body["name"] = known
    if vtep is not None:
        body["vtep"] = vtep
    if tunnel_port:
        body["tunnel_ports"] = [_tunnel_port(text) for text in tunnel_port]
    if certificate is not None:
        body["certificate"] = _seen(host) if certificate == "seen" else certificate or None
    with hinting(host, known_hosts):
        answer = write("PUT", path_of("hosts", host), body, wait=wait)
    return report(f"host {answer.get('name') or answer.get('dpid')} is declared", answer, wait)


def _name_of(host: str) -> str | None:
    """What a host is called, so that it stays called so."""
    try:
        name = api().get(path_of("hosts", host)).get("name")
    except Refused:
        return None
    return None if name is None else str(name)


def _seen(host: str) -> str:
    """The certificate that a host's switch presents now."""
    seen = _get(host).get("certificate_seen")
    if seen is None:
        raise WrongUsage(f"{host} presents no certificate now; say which one: sha256:...")
    return str(seen)


def _tunnel_port(text: str) -> Json:
    port, equals, remote = text.partition("=")
    if not equals:
        raise WrongUsage(f"--tunnel-port {text}: say NAME=REMOTE, such as vxlan0=192.168.33.13")
    return {"name": port, "remote": remote}


@command(app, "forget", ["vxlanctl host forget compute-9"])
def forget(host: HostArgument, wait: Wait = None) -> int:
    """Forget a host that is gone. Refused while it is connected, or has VMs."""
    with hinting(host, known_hosts):
        answer = write("DELETE", path_of("hosts", host), wait=wait)
    return report(f"host {host} is forgotten", answer, wait)


@command(
    app,
    "flows",
    ["vxlanctl host flows compute-1", "vxlanctl host flows compute-1 --table 20 --match web-1"],
)
def flows(
    host: HostArgument,
    table_number: Annotated[
        int | None, typer.Option("--table", "-t", help="Of this table only.")
    ] = None,
    match: Annotated[
        str | None, typer.Option("--match", help="With this text in match, actions or why.")
    ] = None,
) -> None:
    """Show what a host's bridge should hold, flow by flow, and why."""
    with hinting(host, known_hosts):
        found = [
            flow
            for page in api().pages(path_of("hosts", host, "flows"))
            for flow in page["items"]
            if table_number in (None, flow.get("table")) and (not match or _has(flow, match))
        ]
    if session().json:
        json_items(found)
        return
    table(_FLOWS, found)
    note(plural(len(found), "flow"))


def _has(flow: Json, text: str) -> bool:
    wanted = text.lower()
    return any(wanted in str(flow.get(field)).lower() for field in ("match", "actions", "why"))


@command(app, "diff", ["vxlanctl host diff compute-1"])
def diff(host: HostArgument) -> int:
    """Ask a host's switch what it holds, and compare. Exit status 1 when anything differs."""
    with hinting(host, known_hosts):
        found = api().get(path_of("hosts", host, "diff"))
    if session().json:
        as_json(found)
    elif found["in_sync"]:
        out(f"{host} is in sync: it holds exactly what it should")
    else:
        for how, style in (("missing", "red"), ("extra", "yellow")):
            for flow in found.get(how) or []:
                place = f"table {flow.get('table')}, priority {flow.get('priority')}"
                out(f"{how}: {place}: {flow.get('match') or 'any'} -> {flow.get('actions')}")
                if flow.get("why"):
                    print("   ", paint(str(flow["why"]), style))
        missing, extra = len(found.get("missing") or []), len(found.get("extra") or [])
        note(f"{missing} missing, {extra} extra; the next audit mends it, within 20 s")
    return 0 if found["in_sync"] else 1


prepare.register(app)


def _get(host: str) -> Json:
    with hinting(host, known_hosts):
        found: Json = api().get(path_of("hosts", host))
    return found
