"""Commands that mend what is wrong, as an operator types them on a host."""

from __future__ import annotations

from collections.abc import Iterable

from topology.types import Mac, Vlan, VtepIp


def add_tunnel_port(name: str, remote: str) -> str:
    """A tunnel port, of the kind that its name says; ``remote`` is an address, or "flow"."""
    return (
        f"ovs-vsctl --may-exist add-port br-tun {name} -- set interface {name}"
        f" type={kind_of([name])}"
        f" options:remote_ip={remote} options:key=flow"
    )


def kind_of(names: Iterable[str]) -> str:
    """The kind of tunnel that ports with these names are: vxlan, unless they say another."""
    listed = list(names)
    return next((kind for kind in ("gre", "geneve") for n in listed if n.startswith(kind)), "vxlan")


def port_name(vtep: VtepIp, kind: str) -> str:
    """A name for a tunnel port that no other peer's has, and that fits an interface."""
    separator = "" if kind == "geneve" else "-"
    return f"{kind}{separator}{int(vtep) & 0xFFFFFFFF:08x}"


def join_bridges(patch: str) -> str:
    """Join br-int and br-tun by patch ports, whatever of them is there."""
    return (
        "ovs-vsctl --may-exist add-port br-int patch-int"
        f" -- set interface patch-int type=patch options:peer={patch}"
        f" -- --may-exist add-port br-tun {patch}"
        f" -- set interface {patch} type=patch options:peer=patch-int"
    )


def set_tag(mac: Mac, vlan: Vlan | None) -> str:
    """Give a VM's port on br-int, found by its MAC, the tag of its network."""
    number = f"$(ovs-appctl fdb/show br-int | awk '$3 == \"{mac}\" {{print $1; exit}}')"
    port = f'"$(ovs-ofctl show br-int | sed -n "s/^ *{number}(\\(.*\\)): .*/\\1/p")"'
    if vlan is None:
        return f"ovs-vsctl clear port {port} tag"
    return f"ovs-vsctl set port {port} tag={int(vlan)}"


def find_port(mac: Mac) -> str:
    """Show on which port of br-int a MAC was last seen."""
    return f"ovs-appctl fdb/show br-int | grep -i {mac}"


def on(command: str, host: str) -> str:
    """The command, with the host to type it on."""
    return command if "# on " in command else f"{command}   # on {host}"
