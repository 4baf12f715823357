"""What prepares a host, as text. The controller comes last: by then all it looks at is there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass

OVERHEAD_BYTES = {"vxlan": 50, "geneve": 50, "gre": 42}
"""Of an untagged inner frame in IPv4, its Ethernet header included (RFC 7348, 8926, 2890)."""

_INSIDE_BYTES = 1450


@dataclass(frozen=True)
class Host:
    """peers: VTEPs with a tunnel port each; none: one flow-based port."""

    name: str | None
    vtep: str | None
    controller: str
    kind: str
    peers: tuple[str, ...]
    datapath: str

    @property
    def ports(self) -> list[tuple[str, str]]:
        """(port, its interface's settings); the names are known to the controller's globs."""
        own = f" options:local_ip={self.vtep}" if self.vtep else ""
        if not self.peers:
            return [(f"{self.kind}0", f"options:remote_ip=flow options:key=flow{own}")]
        return [
            (f"{self.kind}-{_hex(peer)}", f"options:remote_ip={peer} options:key=flow{own}")
            for peer in self.peers
        ]

    @property
    def mtu_hint(self) -> str:
        needed = _INSIDE_BYTES + OVERHEAD_BYTES[self.kind]
        return (
            f"{self.kind} adds {OVERHEAD_BYTES[self.kind]} bytes: an underlay MTU of {needed}"
            f" carries VMs of MTU {_INSIDE_BYTES}; for VMs of 1500 make it"
            f" {1500 + OVERHEAD_BYTES[self.kind]} or more"
        )


def _hex(address: str) -> str:
    return socket.inet_aton(address).hex()


_PATCHES = (("br-int", "patch-int", "patch-tun"), ("br-tun", "patch-tun", "patch-int"))


def shell(host: Host) -> str:
    """POSIX shell. A second run changes nothing."""
    return "\n".join(_shell_lines(host)) + "\n"


def _shell_lines(host: Host) -> Iterator[str]:
    kind = f" -- set bridge {{}} datapath_type={host.datapath}" if host.datapath != "system" else ""
    yield "#!/bin/sh"
    yield f"# Prepares {host.name or 'a host'} for vxlan-l2. As root; run it as often as you like."
    yield f"# {host.mtu_hint}."
    yield "set -eu"
    yield f"controller={host.controller}"
    yield ""
    yield "ovs-vsctl --may-exist add-br br-int" + kind.format("br-int")
    yield "# Secure: without a controller it keeps its flows, instead of turning into a learning"
    yield "# switch that loops. Out-of-band: no hidden flows."
    yield "ovs-vsctl --may-exist add-br br-tun" + kind.format("br-tun") + " \\"
    yield "    -- set-fail-mode br-tun secure \\"
    yield "    -- set bridge br-tun other_config:disable-in-band=true \\"
    yield "    -- add bridge br-tun protocols OpenFlow13"
    first, *others = [
        f"--may-exist add-port {bridge} {port} "
        f"-- set interface {port} type=patch options:peer={peer}"
        for bridge, port, peer in _PATCHES
    ]
    yield f"ovs-vsctl {first} \\"
    yield from (f"    -- {line}" for line in others)
    for port, settings in host.ports:
        yield f"ovs-vsctl --may-exist add-port br-tun {port} \\"
        yield f"    -- set interface {port} type={host.kind} {settings}"
    yield ""
    yield "# Last, and only where it is not there yet: Open vSwitch flushes the flows of a bridge"
    yield "# that had no controller."
    yield "there=$(ovs-vsctl get-controller br-tun)"
    yield 'if ! printf \'%s\\n\' "$there" | grep -Fqx "$controller"; then'
    yield '    if [ -z "$there" ] &&'
    yield "        ovs-ofctl -O OpenFlow13 dump-flows br-tun |"
    yield "        grep actions= | grep -qv 'actions=NORMAL$'"
    yield "    then"
    yield '        echo "br-tun carries traffic by flows of its own: to lose nothing, end with" >&2'
    yield '        echo "    contrib/takeover.sh br-tun $controller" >&2'
    yield "        exit 1"
    yield "    fi"
    yield '    ovs-vsctl set-controller br-tun "$controller"'
    yield "fi"
    yield ""
    yield "dpid=$(ovs-vsctl get bridge br-tun datapath_id | tr -d '\"')"
    yield 'echo "prepared: br-tun is $dpid, its controller is $controller"'
    if host.vtep or host.name:
        name = f" --name {host.name}" if host.name else ""
        vtep = f" --vtep {host.vtep}" if host.vtep else ""
        yield f'echo "then: vxlanctl host declare $dpid{name}{vtep}"'
    else:
        yield 'echo "then: vxlanctl host declare $dpid --name NAME"'


def ifupdown(host: Host) -> str:
    """Stanzas of interfaces(5), as Debian's openvswitch-switch reads them (README.Debian)."""
    return "\n\n".join(_stanzas(host)) + "\n"


def _stanzas(host: Host) -> Iterator[str]:
    kind = (
        []
        if host.datapath == "system"
        else [f"set bridge ${{IFACE}} datapath_type={host.datapath}"]
    )
    yield (
        "# /etc/network/interfaces.d/vxlan-l2, once; then: ifup --allow=ovs br-int br-tun\n"
        f"# {host.mtu_hint}."
    )
    yield _stanza("allow-ovs", "br-int", "OVSBridge", ("ovs_ports", "patch-int"), *_extra(kind))
    yield _stanza(
        "allow-br-int",
        "patch-int",
        "OVSPatchPort",
        ("ovs_bridge", "br-int"),
        ("ovs_patch_peer", "patch-tun"),
    )
    names = ["patch-tun", *(port for port, _settings in host.ports)]
    secure = [
        "set-fail-mode ${IFACE} secure",
        "set bridge ${IFACE} other_config:disable-in-band=true",
        "add bridge ${IFACE} protocols OpenFlow13",
    ]
    ports = ("ovs_ports", " ".join(names))
    yield _stanza("allow-ovs", "br-tun", "OVSBridge", ports, *_extra([*kind, *secure]))
    yield _stanza(
        "allow-br-tun",
        "patch-tun",
        "OVSPatchPort",
        ("ovs_bridge", "br-tun"),
        ("ovs_patch_peer", "patch-int"),
    )
    for port, settings in host.ports:
        # The controller with the last port: ports come up in the order of ovs_ports.
        last = [f"set-controller br-tun {host.controller}"] if port == names[-1] else []
        yield _stanza(
            "allow-br-tun",
            port,
            "OVSTunnel",
            ("ovs_bridge", "br-tun"),
            ("ovs_tunnel_type", host.kind),
            ("ovs_tunnel_options", settings),
            *_extra(last),
        )


def _extra(commands: list[str]) -> list[tuple[str, str]]:
    return [("ovs_extra", " -- ".join(commands))] if commands else []


def _stanza(allow: str, name: str, kind: str, *options: tuple[str, str]) -> str:
    lines = [f"{allow} {name}", f"iface {name} inet manual", f"    ovs_type {kind}"]
    return "\n".join([*lines, *(f"    {option} {value}" for option, value in options)])
