"""vxlanctl vtep: tunnel endpoints that do not connect here."""

from __future__ import annotations

from typing import Annotated

import typer

from apps.vxlanctl import complete
from apps.vxlanctl.client import Json, path_of
from apps.vxlanctl.commands import command, noun
from apps.vxlanctl.failures import Refused, WrongUsage
from apps.vxlanctl.names import hinting, vni
from apps.vxlanctl.options import LIMIT, All, Limit, most
from apps.vxlanctl.receipts import Wait, report, write
from apps.vxlanctl.session import api
from apps.vxlanctl.show import Column, show_list

app = noun("vtep", "Foreign VTEPs: tunnel endpoints that do not connect here.")

Address = Annotated[
    str,
    typer.Argument(metavar="IP", help="Underlay address.", autocompletion=complete.vteps),
]


@command(app, "list", ["vxlanctl vtep list"])
def list_vteps(limit: Limit = LIMIT, everything: All = False) -> None:
    """List the foreign VTEPs."""
    columns = (
        Column("VTEP", "vtep"),
        Column("NAME", "name"),
        Column("NETWORKS", "vnis"),
        Column("LEARNING", "learning"),
        Column("VMS", "vms"),
        Column("LEARNED", "learned"),
    )
    show_list(columns, "/v1/vteps", "foreign VTEPs", most=most(limit, everything))


@command(
    app,
    "set",
    [
        "vxlanctl vtep set 192.168.33.20 --name rack-7 -n 100 -n blue",
        "vxlanctl vtep set 192.168.33.20 --no-learning",
    ],
)
def set_vtep(
    ip: Address,
    network: Annotated[
        list[str] | None,
        typer.Option("--network", "-n", help="All its networks.", autocompletion=complete.networks),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Its name; '' for none.")] = None,
    learning: Annotated[bool | None, typer.Option(help="Learn what is behind it.")] = None,
    wait: Wait = None,
) -> int:
    """Declare a foreign VTEP, or change what is named here of one."""
    body: Json = {}
    try:
        there = api().get(path_of("vteps", ip))
        body = {field: there[field] for field in ("name", "vnis", "learning")}
    except Refused as refused:
        if refused.status != 404:
            raise
        if not network:
            raise WrongUsage(f"{ip} is new: say its networks, such as --network 100") from refused
    if network:
        body["vnis"] = [vni(ref) for ref in network]
    if name is not None:
        body["name"] = name or None
    if learning is not None:
        body["learning"] = learning
    answer = write("PUT", path_of("vteps", ip), body, wait=wait)
    return report(f"foreign VTEP {answer['vtep']} is set", answer, wait)


@command(app, "delete", ["vxlanctl vtep delete 192.168.33.20"])
def delete(ip: Address, wait: Wait = None) -> int:
    """Delete a foreign VTEP. Refused while VMs are behind it."""
    with hinting(ip, lambda: [vtep["vtep"] for vtep in api().items("/v1/vteps")]):
        answer = write("DELETE", path_of("vteps", ip), wait=wait)
    return report(f"foreign VTEP {ip} is deleted", answer, wait)
