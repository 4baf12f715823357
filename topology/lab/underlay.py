"""The underlay: one switch in a namespace of its own, where everything on the wire can be seen."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from topology.lab import netns
from topology.lab.errors import LabError
from topology.lab.ovs import OvsInstance, wait_until
from topology.lab.process import Processes
from topology.lab.wire import Impairment

#: "linux": the kernel's bridge; "ovs": a userspace Open vSwitch; "auto": linux if it is there
Switch = Literal["auto", "linux", "ovs"]

BRIDGE = "br-under"


class Underlay:
    """netns: its namespace; ports: port name there -> who is at the other end."""

    def __init__(self, netns_name: str, rundir: Path, processes: Processes) -> None:
        self.netns = netns_name
        self.ports: dict[str, str] = {}
        self.switch = ""
        self._rundir = rundir
        self._processes = processes
        self._ovs: OvsInstance | None = None

    def start(self, switch: Switch) -> None:
        if switch == "ovs" or (switch == "auto" and not self._linux_bridge()):
            self._ovs_bridge()
        elif switch == "linux" and not self._linux_bridge():
            raise LabError("this kernel has no bridge: use underlay='ovs'")

    def plug(
        self, port: str, who: str, far_netns: str | None, far_link: str, mac: str = ""
    ) -> None:
        """A cable: `port` on the switch, `far_link` in the other namespace (None: the caller's)."""
        address = f" address {mac}" if mac else ""
        if far_netns is None:
            netns.ip(
                None, f"link add {far_link}{address} type veth peer name {port} netns {self.netns}"
            )
        else:
            netns.ip(
                self.netns,
                f"link add {port} type veth peer name {far_link}{address} netns {far_netns}",
            )
        netns.tx_checksum_off(self.netns, port)
        self.ports[port] = who
        self._join(port)

    @contextmanager
    def impaired(self, port: str, how: Impairment, rundir: Path) -> Iterator[None]:
        """While this lasts, a wire with a fault lies between the port and the switch."""
        near, far = f"{port}-in", f"{port}-out"
        netns.ip(self.netns, f"link add {near} type veth peer name {far}")
        netns.tx_checksum_off(self.netns, near, far)
        netns.ip(self.netns, f"link set {near} up")
        self._part(port)
        self._join(far)
        argv = [sys.executable, "-m", "topology.lab.wire", port, near, *how.argv()]
        log = rundir / f"wire-{port}.out"
        log.unlink(missing_ok=True)
        env = {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        child = self._processes.start(netns.argv_in(self.netns, argv), log, env)
        try:
            wait_until(lambda: log.read_bytes() != b"", f"a wire on {port}")
            yield
        finally:
            self._processes.end(child)
            self._part(far)
            netns.ip(self.netns, f"link del {near}")
            self._join(port)

    def _join(self, port: str) -> None:
        if self._ovs is None:
            netns.ip(self.netns, f"link set {port} master {BRIDGE}", f"link set {port} up")
        else:
            netns.ip(self.netns, f"link set {port} up")
            self._ovs.vsctl("add-port", BRIDGE, port)

    def _part(self, port: str) -> None:
        if self._ovs is None:
            netns.ip(self.netns, f"link set {port} nomaster")
        else:
            self._ovs.vsctl("del-port", BRIDGE, port)

    def _linux_bridge(self) -> bool:
        try:
            netns.ip(
                self.netns,
                f"link add name {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
                f"link set {BRIDGE} up",
            )
        except LabError:
            return False
        self.switch = "linux"
        return True

    def _ovs_bridge(self) -> None:
        self._ovs = OvsInstance(self.netns, self._rundir, self._processes)
        self._ovs.start()
        self._ovs.vsctl("add-br", BRIDGE, "--", "set", "bridge", BRIDGE, "datapath_type=netdev")
        self.switch = "ovs"
