"""Who has which address, port and name in a lab: the numbers of the seeds' drawings."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Literal

#: "peer": one tunnel port per peer; "flow": one port, remote_ip=flow key=flow
Tunnels = Literal["peer", "flow"]
#: how frames are carried on the underlay; br-tun's ports are named by it: vxlan0, gre0, geneve0
TunnelType = Literal["vxlan", "gre", "geneve"]
#: "bridge": br-int's own port; "namespace": a namespace each; "none": made by hand
Vms = Literal["bridge", "namespace", "none"]

_CONTROLLER = 1
_FIRST_VTEP = 12
_FIRST_VM = 2


@dataclass(frozen=True)
class Addressing:
    """Addresses as dotted IPv4 text, without prefix length."""

    underlay: IPv4Network
    overlay: IPv4Network

    @property
    def controller(self) -> str:
        return str(self.underlay[_CONTROLLER])

    def vtep(self, host: int) -> str:
        """VTEP of the host with that index, from 0: .12, .13, .14, ..."""
        return str(self.underlay[_FIRST_VTEP + host])

    def vm(self, index: int) -> str:
        """Address of the first VM on the host with that index: .2, .3, .4, ..."""
        return str(self.overlay[_FIRST_VM + index])


def uplink_mac(vtep: str) -> str:
    """MAC of the interface that holds that underlay address."""
    return "02:00:" + IPv4Address(vtep).packed.hex(":")


def vm_mac(index: int) -> str:
    """52:54:00:00:00:01 for index 0, and so on."""
    return "52:54:" + ":".join(f"{byte:02x}" for byte in (index + 1).to_bytes(4, "big"))


def kernel_station_mac(index: int) -> str:
    """52:54:00:01:00:01 for index 0, and so on."""
    return vm_mac(0x10000 + index)
