"""vxlanctl vm: registered VMs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from apps.vxlanctl import batch, complete
from apps.vxlanctl.client import Json, path_of
from apps.vxlanctl.commands import command, noun
from apps.vxlanctl.failures import WrongUsage
from apps.vxlanctl.names import (
    find_vm,
    hinting,
    host_names,
    known_places,
    mac,
    maybe_vni,
    path_of_vm,
    vm_text,
    vni,
)
from apps.vxlanctl.options import LIMIT, All, Limit, Network, VmArgument, most
from apps.vxlanctl.receipts import Wait, report, status, write
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import Column, as_json, fields, show_list

app = noun("vm", "VMs: which MAC is on which host.")

Host = Annotated[
    str,
    typer.Option(
        "--host",
        "-H",
        help="dpid, name or VTEP address; a foreign VTEP's too.",
        autocompletion=complete.hosts,
    ),
]
Ips = Annotated[list[str] | None, typer.Option("--ip", help="An IPv4 or IPv6; again for more.")]
Respond = Annotated[bool | None, typer.Option(help="Answer ARP and ND for it in the switch.")]


@command(
    app,
    "add",
    [
        "vxlanctl vm add 52:54:00:00:00:01 --host compute-1 --ip 10.1.1.2 --name web-1",
        "vxlanctl vm add 5254.0000.0002 -H 192.168.33.12 -n blue --ip 10.1.1.3 --ip fd00::3",
    ],
)
def add(
    address: Annotated[str, typer.Argument(metavar="MAC", help="In any usual spelling.")],
    host: Host,
    ip: Ips = None,
    name: Annotated[str | None, typer.Option(help="What to call it.")] = None,
    network: Network = None,
    respond: Respond = None,
    wait: Wait = None,
) -> int:
    """Register a VM, in network 0 unless told. The same again is no error."""
    number = 0 if network is None else vni(network)
    body: Json = {"mac": mac(address), "host": host, "vni": number, "ips": ip or []}
    if name is not None:
        body["name"] = name
    if respond is not None:
        body["respond"] = respond
    with hinting(host, known_places):
        answer = write("POST", "/v1/vms", body, wait=wait)
    return report(f"VM {vm_text(answer)} is registered on {_called(answer['host'])}", answer, wait)


@command(
    app,
    "list",
    [
        "vxlanctl vm list",
        "vxlanctl vm list --network blue --host compute-1",
        "vxlanctl vm list -o json",
    ],
)
def list_vms(
    network: Network = None,
    host: Annotated[
        str | None,
        typer.Option("--host", "-H", help="On this host.", autocompletion=complete.hosts),
    ] = None,
    ip: Annotated[str | None, typer.Option("--ip", help="With this address.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Of this name.")] = None,
    limit: Limit = LIMIT,
    everything: All = False,
) -> None:
    """List registered VMs: all, or those that fit every filter."""
    names = {} if session().json else host_names()
    columns = (
        Column("NAME", "name"),
        Column("MAC", "mac"),
        Column("NETWORK", "vni"),
        Column("HOST", lambda vm: names.get(vm["host"], vm["host"])),
        Column("IPS", "ips"),
    )
    query: dict[str, Any] = {"vni": maybe_vni(network), "host": host, "ip": ip, "name": name}
    with hinting(host or "", known_places):
        show_list(columns, "/v1/vms", "VMs", most=most(limit, everything), **query)


@command(app, "show", ["vxlanctl vm show web-1", "vxlanctl vm show 10.1.1.2 --network blue"])
def show(vm: VmArgument, network: Network = None) -> None:
    """Show one VM, found by name, MAC or IP."""
    found = find_vm(vm, network)
    if session().json:
        as_json(found)
        return
    called = _called(found["host"])
    pairs = {
        **found,
        "host": found["host"] if called == found["host"] else f"{called} ({found['host']})",
    }
    fields(pairs.items())


@command(
    app,
    "move",
    ["vxlanctl vm move web-1 compute-2", "vxlanctl vm move 10.1.1.2 compute-2 --wait 30"],
)
def move(
    vm: VmArgument,
    host: Annotated[
        str, typer.Argument(metavar="HOST", help="Where it is now.", autocompletion=complete.hosts)
    ],
    network: Network = None,
    wait: Wait = None,
) -> int:
    """Move a VM to another host; its addresses and its name stay."""
    found = find_vm(vm, network)
    with hinting(host, known_places):
        answer = write("PUT", path_of_vm(found), {"host": host}, wait=wait)
    if answer["host"] == found["host"]:
        return report(f"VM {vm_text(answer)} is on {_called(answer['host'])} already", answer, wait)
    way = f"from {_called(found['host'])} to {_called(answer['host'])}"
    return report(f"VM {vm_text(answer)} is moved {way}", answer, wait)


@command(
    app,
    "set",
    ["vxlanctl vm set web-1 --ip 10.1.1.2 --ip fd00::2", "vxlanctl vm set 10.1.1.2 --name web-2"],
)
def set_vm(
    vm: VmArgument,
    ip: Annotated[
        list[str] | None, typer.Option("--ip", help="All its addresses; '' for none.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name; '' for none.")] = None,
    respond: Respond = None,
    network: Network = None,
    wait: Wait = None,
) -> int:
    """Change what is named here of a VM; the rest stays as it is."""
    if not ip and name is None and respond is None:
        raise WrongUsage("nothing to set: say --ip, --name or --respond")
    found = find_vm(vm, network)
    body: Json = {"host": found["host"]}
    if ip:
        body["ips"] = [address for address in ip if address]
    if name is not None:
        body["name"] = name or None
    if respond is not None:
        body["respond"] = respond
    answer = write("PUT", path_of_vm(found), body, wait=wait)
    return report(f"VM {vm_text(answer)} is set", answer, wait)


@command(app, "delete", ["vxlanctl vm delete web-1", "vxlanctl vm delete web-1 web-2 -n blue"])
def delete(
    vms: Annotated[
        list[str],
        typer.Argument(metavar="VM...", help="Names, MACs or IPs.", autocompletion=complete.vms),
    ],
    network: Network = None,
    wait: Wait = None,
) -> int:
    """Delete VMs. All are looked up first: one that is not there stops all."""
    found = [find_vm(vm, network) for vm in vms]
    worst, answers = 0, []
    for vm in found:
        answer = write("DELETE", path_of_vm(vm), wait=wait)
        if session().json:
            answers.append(answer)
            worst = max(worst, status(answer, wait))
        else:
            worst = max(worst, report(f"VM {vm_text(vm)} is deleted", answer, wait))
    if session().json:
        as_json(answers[0] if len(vms) == 1 else answers)
    return worst


batch.register(app)


def _called(place: str) -> str:
    """A host by its name, where it has one."""
    if session().json:
        return place
    try:
        found = api().get(path_of("hosts", place))
    except Exception:  # a foreign VTEP, or gone: the place is told as it is
        return place
    return str(found.get("name") or place)
