"""A VM: an address and a MAC on br-int, in a namespace of its own or as br-int's own port."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from topology.lab import netns
from topology.lab.dhcp import DhcpResult, run_client
from topology.lab.errors import LabError
from topology.lab.host import LabHost
from topology.lab.process import Processes
from topology.lab.station import Station


class VmNs(Station):
    """name: vm1, ...; host: where it is; vlan: its local VLAN there, None if untagged."""

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
        super().__init__(name, address, mac, netns_name, link, rundir, processes)
        self.host = host
        self.vlan: int | None = None

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

    def dhcp(self, timeout_s: float = 10.0, more: Iterable[str] = ()) -> DhcpResult:
        """Ask for an address as a VM does at boot, and use it and the MTU that comes with it.

        `more`: arguments for udhcpc, such as ["-r", "10.1.1.9"]. LabError if nobody answers.
        """
        lease = run_client(self.netns, self.link, self._rundir, timeout_s, more)
        if self.address:
            netns.ip(self.netns, f"addr del {self.address} dev {self.link}")
        self.address = f"{lease.ip}/{lease.prefix_bits}"
        netns.ip(self.netns, f"addr add {self.address} dev {self.link}")
        if lease.mtu_bytes is not None:
            netns.ip(self.netns, f"link set {self.link} mtu {lease.mtu_bytes}")
        return lease

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
        # Else the host greets the VM in IPv6 by this port's own MAC.
        netns.write_sysctl(self.host.netns, f"ipv6/conf/{self.port}/disable_ipv6", "1")
        netns.ip(self.host.netns, f"link set {self.port} up")
        self.host.vsctl("add-port", "br-int", self.port, *tag)
