"""A VM: an address and a MAC on br-int, in a namespace of its own or as br-int's own port."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from topology.lab import netns
from topology.lab.command import run
from topology.lab.errors import LabError
from topology.lab.frame import garp
from topology.lab.host import LabHost
from topology.lab.ping import Ping, PingResult, start
from topology.lab.process import Processes


class VmNs:
    """name: vm1, ...; ip and mac as text; link: its interface in namespace netns."""

    _pings = itertools.count(1)

    def __init__(
        self,
        name: str,
        host: LabHost,
        address: str,
        mac: str,
        netns_name: str,
        link: str,
        rundir: Path,
        processes: Processes,
    ) -> None:
        self.name = name
        self.host = host
        self.address = address
        self.ip = address.partition("/")[0]
        self.mac = mac
        self.netns = netns_name
        self.link = link
        self.vlan: int | None = None
        self._rundir = rundir
        self._processes = processes

    def __repr__(self) -> str:
        return f"<VmNs {self.name} {self.ip} {self.mac} on {self.host.name}>"

    @property
    def port(self) -> str:
        """Name of the VM's port on br-int."""
        return self.link if self.on_bridge else f"vnet-{self.name}"[:15]

    @property
    def on_bridge(self) -> bool:
        """True for the seeds' kind: br-int's own port."""
        return self.netns == self.host.netns

    def exec(self, *argv: str, check: bool = True, timeout_s: float = 30.0) -> str:
        """Run a command where the VM lives; gives its standard output."""
        return run(*netns.argv_in(self.netns, argv), check=check, timeout_s=timeout_s)

    def ping_start(
        self, ip: str, count: int | None = None, interval_s: float = 0.1, timeout_s: float = 1.0
    ) -> Ping:
        """Ping in the background, until finish() if count is None; timeout_s per packet."""
        log = self._rundir / f"ping-{self.name}-{next(self._pings)}.out"
        return start(self.netns, log, self._processes, ip, count, interval_s, timeout_s, self.link)

    def ping(
        self, ip: str, count: int = 3, interval_s: float = 0.2, timeout_s: float = 1.0
    ) -> PingResult:
        """Ping and wait for the result."""
        whole_s = count * (interval_s + 0.05) + timeout_s + 10
        return self.ping_start(ip, count, interval_s, timeout_s).wait(whole_s)

    def flush_arp(self) -> None:
        """Forget every neighbour."""
        netns.ip(self.netns, f"neigh flush dev {self.link} nud all")

    def send_frames(self, frames: Iterable[bytes]) -> None:
        """Send raw Ethernet frames from the VM's interface."""
        netns.send_frames(self.netns, self.link, frames)

    def send_garp(self) -> None:
        """Announce the VM's address by a gratuitous ARP request."""
        self.send_frames([garp(self.mac, self.ip)])

    def set_link(self, up: bool) -> None:
        netns.ip(self.netns, f"link set {self.link} {'up' if up else 'down'}")

    def move_to(self, host: LabHost) -> None:
        """Unplug from one host's br-int and plug into another's; the VM notices nothing."""
        if self.on_bridge:
            raise LabError(f"{self.name} is br-int's own port: only a VM with a namespace moves")
        self.host.vsctl("--if-exists", "del-port", "br-int", self.port)
        netns.ip(self.host.netns, f"link set {self.port} netns {host.netns}")
        self.host = host
        self.plug()

    def plug(self) -> None:
        """Join the host end of the VM's cable to br-int, on the VM's local VLAN if it has one."""
        tag = [] if self.vlan is None else [f"tag={self.vlan}"]
        netns.tx_checksum_off(self.host.netns, self.port)
        netns.ip(self.host.netns, f"link set {self.port} up")
        self.host.vsctl("add-port", "br-int", self.port, *tag)
