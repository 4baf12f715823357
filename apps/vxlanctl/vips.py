"""vxlanctl vip: addresses that several VMs share."""

from __future__ import annotations

from typing import Annotated

import typer

from apps.vxlanctl import complete
from apps.vxlanctl.client import Json, path_of
from apps.vxlanctl.commands import command, noun
from apps.vxlanctl.failures import Refused, WrongUsage
from apps.vxlanctl.names import as_mac, find_vm, hinting, maybe_vni
from apps.vxlanctl.options import LIMIT, All, Limit, Network, most
from apps.vxlanctl.receipts import Wait, report, write
from apps.vxlanctl.session import api
from apps.vxlanctl.show import Column, show_list

app = noun("vip", "Virtual IPs: addresses that several VMs share.")

Address = Annotated[
    str, typer.Argument(metavar="IP", help="The address.", autocompletion=complete.vips)
]


@command(app, "list", ["vxlanctl vip list", "vxlanctl vip list --network blue"])
def list_vips(network: Network = None, limit: Limit = LIMIT, everything: All = False) -> None:
    """List the virtual IPs, with who holds each."""
    columns = (
        Column("IP", "ip"),
        Column("NETWORK", "vni"),
        Column("NAME", "name"),
        Column("HOLDER", "holder"),
        Column("MACS", "macs"),
    )
    most_of = most(limit, everything)
    show_list(columns, "/v1/vips", "virtual IPs", most=most_of, vni=maybe_vni(network))


@command(
    app,
    "set",
    ["vxlanctl vip set 10.1.1.100 -n blue --vm web-1 --vm web-2 --name lb"],
)
def set_vip(
    ip: Address,
    vm: Annotated[
        list[str] | None,
        typer.Option(
            "--vm", help="Who shares it: a MAC, or a VM's name.", autocompletion=complete.vms
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name; '' for none.")] = None,
    network: Network = None,
    wait: Wait = None,
) -> int:
    """Let VMs share an address; whichever announces it holds it."""
    number = maybe_vni(network) or 0
    body: Json = {}
    try:
        there = api().get(path_of("vips", number, ip))
        body = {field: there[field] for field in ("macs", "name")}
    except Refused as refused:
        if refused.status != 404:
            raise
        if not vm:
            raise WrongUsage(f"{ip} is new: say who shares it, with --vm") from refused
    if vm:
        body["macs"] = [as_mac(ref) or find_vm(ref, str(number))["mac"] for ref in vm]
    if name is not None:
        body["name"] = name or None
    answer = write("PUT", path_of("vips", number, ip), body, wait=wait)
    return report(f"virtual IP {answer['ip']} in network {number} is set", answer, wait)


@command(app, "delete", ["vxlanctl vip delete 10.1.1.100 --network blue"])
def delete(ip: Address, network: Network = None, wait: Wait = None) -> int:
    """Delete a virtual IP."""
    number = maybe_vni(network) or 0
    with hinting(ip, lambda: [vip["ip"] for vip in api().items("/v1/vips", vni=number)]):
        answer = write("DELETE", path_of("vips", number, ip), wait=wait)
    return report(f"virtual IP {ip} in network {number} is deleted", answer, wait)
