"""A host that no controller manages: a Linux kernel vxlan device, as the second seed sets it up."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from topology.lab import netns
from topology.lab.host import UPLINK
from topology.lab.process import Processes
from topology.lab.station import Station

#: "learn": flood and learn; "proxy": nolearning proxy, it knows what add_static() told it
KernelMode = Literal["learn", "proxy"]

_ALL_OTHERS = "00:00:00:00:00:00"
_VXLAN_PORT = 4789
_BRIDGE = "br0"


class KernelVtep(Station):
    """vtep: its underlay address; device: the vxlan device, port of the bridge `link`.

    The bridge holds the inner address: it is a VM and its host in one.
    """

    def __init__(
        self,
        name: str,
        vtep: str,
        vni: int,
        mode: KernelMode,
        address: str,
        mac: str,
        netns_name: str,
        rundir: Path,
        processes: Processes,
    ) -> None:
        super().__init__(name, address, mac, netns_name, _BRIDGE, rundir, processes)
        self.vtep = vtep
        self.vni = vni
        self.mode = mode
        self.device = f"vxlan{vni}"

    def __repr__(self) -> str:
        return f"<KernelVtep {self.name} {self.ip} {self.mac} vni={self.vni} vtep={self.vtep}>"

    def add_remote(self, vtep: str) -> None:
        """Flood to this VTEP too."""
        self._bridge("append", _ALL_OTHERS, vtep)

    def del_remote(self, vtep: str) -> None:
        self._bridge("del", _ALL_OTHERS, vtep)

    def add_static(self, mac: str, ip: str, vtep: str) -> None:
        """That MAC is behind that VTEP; in mode "proxy" requests for `ip` are answered here."""
        self._bridge("replace", mac, vtep)
        netns.ip(self.netns, f"neigh replace {ip} lladdr {mac} dev {self.device} nud permanent")

    def fdb(self) -> dict[str, set[str]]:
        """MAC -> VTEPs it is sent to, learned ones included; 00:...:00 is everything else."""
        found: dict[str, set[str]] = {}
        for line in self.exec("bridge", "fdb", "show", "dev", self.device).splitlines():
            words = line.split()
            if "dst" in words:
                found.setdefault(words[0], set()).add(words[words.index("dst") + 1])
        return found

    def make(self, prefix_bits: int, mtu_bytes: int, remotes: Iterable[str]) -> None:
        """Everything inside its namespace, where the uplink is already."""
        learning = " nolearning proxy" if self.mode == "proxy" else ""
        netns.ip(
            self.netns,
            f"addr add {self.vtep}/{prefix_bits} dev {UPLINK}",
            f"link set {UPLINK} up",
            f"link add {self.device} mtu {mtu_bytes} type vxlan id {self.vni}"
            f" dstport {_VXLAN_PORT} local {self.vtep}{learning}",
            f"link add {self.link} address {self.mac} type bridge"
            " stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {self.device} master {self.link} up",
            f"link set {self.link} mtu {mtu_bytes} up",
        )
        netns.tx_checksum_off(self.netns, UPLINK, self.device, self.link)
        self.add_addresses()
        for remote in remotes:
            self.add_remote(remote)

    def _bridge(self, verb: str, mac: str, vtep: str) -> None:
        self.exec("bridge", "fdb", verb, mac, "dev", self.device, "dst", vtep)
