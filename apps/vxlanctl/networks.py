"""vxlanctl network: VNIs and their policy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from apps.vxlanctl.client import Json, path_of
from apps.vxlanctl.commands import command, noun
from apps.vxlanctl.failures import Refused, WrongUsage
from apps.vxlanctl.names import hinting, network_names, vni
from apps.vxlanctl.options import LIMIT, All, Limit, NetworkArgument, most
from apps.vxlanctl.receipts import Wait, report, write
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import Column, as_json, fields, show_list

app = noun("network", "Networks: a VNI, its local VLAN, and its policy.")


def _policy(network: Json) -> str:
    """What of a network is not as it is by default."""
    words = [
        f"{name.replace('_', '-')} {network[name]}"
        for name in ("unknown_unicast", "unknown_arp", "multicast")
        if network.get(name, "flood") != "flood"
    ]
    flags = ("quiet", "port_security", "follow_moves", "dhcp")
    words += [name.replace("_", "-") for name in flags if network.get(name)]
    words += [f"no {n.replace('_', '-')}" for n in ("arp_responder", "learning") if not network[n]]
    if network.get("hosts"):
        words.append("on all hosts" if network["hosts"] == "all" else "on hosts of its own")
    return ", ".join(words) or "-"


_COLUMNS = (
    Column("VNI", "vni"),
    Column("NAME", "name"),
    Column("VLAN", lambda network: "untagged" if network["vlan"] is None else network["vlan"]),
    Column("SUBNETS", "subnets"),
    Column("MODE", "mode"),
    Column("POLICY", _policy),
)


@command(app, "list", ["vxlanctl network list", "vxlanctl network list -o json"])
def list_networks(limit: Limit = LIMIT, everything: All = False) -> None:
    """List the networks."""
    show_list(_COLUMNS, "/v1/networks", "networks", most=most(limit, everything))


@command(app, "show", ["vxlanctl network show blue", "vxlanctl network show 100"])
def show(network: NetworkArgument) -> None:
    """Show a network with all its policy."""
    with hinting(network, _known):
        found = api().get(path_of("networks", vni(network)))
    if session().json:
        as_json(found)
    else:
        fields(found.items())


Policy = Literal["flood", "drop"]
Flag = bool | None


@command(
    app,
    "set",
    [
        "vxlanctl network set 100 --name blue --vlan 10 --subnet 10.1.1.0/24",
        "vxlanctl network set blue --unknown-arp drop --port-security",
        "vxlanctl network set blue --vlan untagged --host all",
        "vxlanctl network set blue --dhcp --gateway 10.1.1.1 --dns 10.1.1.53",
    ],
)
def set_network(
    network: NetworkArgument,
    name: Annotated[str | None, typer.Option(help="Its name; '' for none.")] = None,
    vlan: Annotated[
        str | None, typer.Option(help="The local VLAN on every host, 1 to 4094, or untagged.")
    ] = None,
    subnet: Annotated[
        list[str] | None, typer.Option(help="A prefix; again for more; '' for none.")
    ] = None,
    unknown_unicast: Annotated[Policy | None, typer.Option(help="To MACs nobody knows.")] = None,
    unknown_arp: Annotated[
        Policy | None, typer.Option(help="For unknown addresses in its subnets.")
    ] = None,
    multicast: Annotated[Policy | None, typer.Option(help="Multicast.")] = None,
    quiet: Annotated[Flag, typer.Option(help="Drop start-up chatter.")] = None,
    arp_responder: Annotated[Flag, typer.Option(help="Answer ARP and ND in the switch.")] = None,
    learning: Annotated[Flag, typer.Option(help="Learn MACs not registered.")] = None,
    port_security: Annotated[Flag, typer.Option(help="Only registered may send.")] = None,
    follow_moves: Annotated[
        Flag, typer.Option(help="VMs that announce themselves elsewhere move.")
    ] = None,
    mode: Annotated[
        Literal["proactive", "reactive"] | None, typer.Option(help="Flows for all, or who talks.")
    ] = None,
    host: Annotated[
        list[str] | None, typer.Option(help="A host that carries it always; all; '' for none.")
    ] = None,
    dhcp: Annotated[Flag, typer.Option(help="Answer DHCP for registered VMs.")] = None,
    gateway: Annotated[str | None, typer.Option(help="IPv4, told by DHCP; '' for none.")] = None,
    dns: Annotated[list[str] | None, typer.Option(help="IPv4, told by DHCP.")] = None,
    mtu: Annotated[int | None, typer.Option(metavar="BYTES", help="Told by DHCP.")] = None,
    lease: Annotated[int | None, typer.Option(metavar="SECONDS", help="Of DHCP.")] = None,
    wait: Wait = None,
) -> int:
    """Make a network, or change what is named here of one; the rest stays as it is."""
    number = vni(network)
    given: dict[str, Any] = {
        "name": name or None if name is not None else ...,
        "vlan": ... if vlan is None else _vlan(vlan),
        "subnets": _several(subnet),
        "hosts": "all" if host == ["all"] else _several(host),
        "gateway": gateway or None if gateway is not None else ...,
        "dns": _several(dns),
    }
    plain = {
        "unknown_unicast": unknown_unicast,
        "unknown_arp": unknown_arp,
        "multicast": multicast,
        "quiet": quiet,
        "arp_responder": arp_responder,
        "learning": learning,
        "port_security": port_security,
        "follow_moves": follow_moves,
        "mode": mode,
        "dhcp": dhcp,
        "mtu": mtu,
        "lease_s": lease,
    }
    given |= {field: ... if value is None else value for field, value in plain.items()}
    body = _there(number) | {field: value for field, value in given.items() if value is not ...}
    answer = write("PUT", path_of("networks", number), body, wait=wait)
    called = f" ({answer['name']})" if answer.get("name") else ""
    return report(f"network {number}{called} is set", answer, wait)


def _there(number: int) -> Json:
    """The network as it is, nothing if it is not there yet."""
    try:
        return dict(api().get(path_of("networks", number)))
    except Refused as refused:
        if refused.status != 404:
            raise
        return {}


def _vlan(text: str) -> int | None:
    if text in ("untagged", "none", ""):
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise WrongUsage(f"--vlan {text}: a number from 1 to 4094, or untagged")
    return int(text)


def _several(values: list[str] | None) -> Any:
    """A list that an option may fill; one empty text empties it; ``...`` leaves it alone."""
    return [value for value in values if value] if values else ...


@command(app, "delete", ["vxlanctl network delete blue"])
def delete(network: NetworkArgument, wait: Wait = None) -> int:
    """Delete a network. Refused while VMs, foreign VTEPs or virtual IPs name it."""
    number = vni(network)
    with hinting(network, _known):
        answer = write("DELETE", path_of("networks", number), wait=wait)
    return report(f"network {network} is deleted", answer, wait)


def _known() -> list[str]:
    return [text for number, name in network_names().items() for text in (str(number), name)]
