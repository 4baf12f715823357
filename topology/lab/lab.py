"""A lab: hosts, underlay and VMs on one machine, made and taken away as a whole."""

from __future__ import annotations

import atexit
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from topology.lab import capture as capturing
from topology.lab import netns
from topology.lab.addressing import (
    Addressing,
    Tunnels,
    TunnelType,
    Vms,
    kernel_station_mac,
    uplink_mac,
    vm_mac,
)
from topology.lab.capture import OVERLAY, Capture
from topology.lab.command import require_tools
from topology.lab.controller import Controller
from topology.lab.errors import LabError
from topology.lab.flow_watch import FlowWatch
from topology.lab.frame import in_tunnel
from topology.lab.host import UPLINK, LabHost
from topology.lab.kernel_vtep import KernelMode, KernelVtep
from topology.lab.ovs import OvsInstance, wait_until
from topology.lab.ping import PingResult
from topology.lab.process import Processes, start_time
from topology.lab.state import LabState, Node
from topology.lab.station import Station
from topology.lab.teardown import sweep, take_down
from topology.lab.underlay import Switch, Underlay
from topology.lab.vm import VmNs
from topology.lab.wire import Impairment

_NAME = re.compile(r"[a-z][a-z0-9]{0,9}")
_PREFIX_BITS_V6 = 64
_serial = itertools.count(1)

S = TypeVar("S")
T = TypeVar("T")


class Lab:
    """`with Lab(hosts=3) as lab:` three hosts as the seeds draw them, gone again at the end.

    tunnels: "peer" (a tunnel port per peer) or "flow" (one flow-based port).
    tunnel_type: "vxlan", "gre" or "geneve". key_flow: whether flows choose the VNI on per-peer
    ports too, as they always do on a flow-based one; else these ports carry VNI 0.
    vtep_ofports: number of the first tunnel port; None leaves it to Open vSwitch (2).
    vms: "bridge" (br-int's own port, as in the seeds), "namespace", or "none"; one per host.
    name: prefix of every name outside, 1 to 10 of a-z 0-9; None makes one up.
    subnet, vm_subnet: underlay and overlay; the caller gets the underlay's first address.
    underlay: "linux", "ovs" or "auto". ipv6: whether VMs with a namespace speak it.
    keep: the lab outlives this process, until `python -m topology.lab down`.
    """

    def __init__(
        self,
        hosts: int = 3,
        tunnels: Tunnels = "peer",
        name: str | None = None,
        *,
        tunnel_type: TunnelType = "vxlan",
        key_flow: bool = False,
        vtep_ofports: int | None = None,
        vms: Vms = "bridge",
        subnet: str = "192.168.33.0/24",
        vm_subnet: str = "10.1.1.0/24",
        vm_mtu_bytes: int = 1450,
        underlay: Switch = "auto",
        ipv6: bool = True,
        keep: bool = False,
    ) -> None:
        self.name = name or f"l{os.getpid()}x{next(_serial)}"
        if not _NAME.fullmatch(self.name):
            raise LabError(f"lab name {self.name!r}: a letter, then up to 9 of a-z 0-9")
        self.tunnels: Tunnels = tunnels
        self.tunnel_type: TunnelType = tunnel_type
        self.key_flow = key_flow
        self.addressing = Addressing(IPv4Network(subnet), IPv4Network(vm_subnet))
        self.hosts: list[LabHost] = []
        self.vms: list[VmNs] = []
        self.kernel_vteps: list[KernelVtep] = []
        self._count = hosts
        self._vtep_ofports = vtep_ofports
        self._vm_kind = vms
        self._vm_mtu_bytes = vm_mtu_bytes
        self._switch: Switch = underlay
        self._ipv6 = ipv6
        self._captures = itertools.count(1)
        self._state = LabState(
            name=self.name, keep=keep, owner=(os.getpid(), start_time(os.getpid()) or 0)
        )
        #: for what is to run beside the lab's own, and ends with it
        self.processes = Processes(self._state)
        self.underlay = Underlay(
            f"{self.name}-net", self._state.directory / "underlay", self.processes
        )

    # -- life ------------------------------------------------------------------------------

    def __enter__(self) -> Lab:
        return self.up()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def up(self) -> Lab:
        """Make everything; on failure leave nothing behind."""
        require_tools()
        sweep()
        try:
            self._state.create()
        except FileExistsError as error:
            raise LabError(f"there is a lab named {self.name} already") from error
        atexit.register(self._at_exit)
        try:
            self._make()
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Take everything away; harmless when repeated."""
        atexit.unregister(self._at_exit)
        self.processes.end_all()
        take_down(self._state)

    def _at_exit(self) -> None:
        if not self._state.keep:
            self.down()

    # -- use -------------------------------------------------------------------------------

    @property
    def controller_ip(self) -> str:
        """The caller's address on the underlay, where a controller can listen."""
        return self.addressing.controller

    def add_vm(
        self,
        host: LabHost | int,
        ip: str | None,
        mac: str | None = None,
        vlan: int | None = None,
        name: str | None = None,
        *,
        vni: int = 0,
        ip6: str | None = None,
        dad: bool = False,
    ) -> VmNs:
        """A VM in a namespace of its own, cabled to br-int; addresses may carry a prefix length.

        ip None: it has no IPv4 address (yet: dhcp()). dad: whether it first asks who else has
        ip6, as a real one would. vni: the network it belongs to, for who registers it.
        """
        at = self.hosts[host] if isinstance(host, int) else host
        index = len(self.vms)
        vm = self._new_vm(name or f"vm{index + 1}", at, ip, mac or vm_mac(index))
        vm.vlan, vm.vni, vm.address6 = vlan, vni, _with_prefix(ip6, _PREFIX_BITS_V6)
        self._add_station(vm)
        netns.ip(
            vm.netns,
            f"link add {vm.link} address {vm.mac} mtu {self._vm_mtu_bytes}"
            f" type veth peer name {vm.port} netns {at.netns}",
        )
        vm.add_addresses(dad)
        netns.tx_checksum_off(vm.netns, vm.link)
        vm.plug()
        netns.ip(vm.netns, f"link set {vm.link} up")
        self.vms.append(vm)
        return vm

    def add_kernel_vtep(
        self,
        vni: int,
        ip: str,
        mac: str | None = None,
        *,
        remotes: Iterable[str] | None = None,
        mode: KernelMode = "learn",
        vtep: str | None = None,
        ip6: str | None = None,
        name: str | None = None,
    ) -> KernelVtep:
        """A Linux kernel vxlan device on the underlay, with one station behind it.

        remotes: VTEPs it floods to, None for every host's. vtep: its underlay address, None for
        the next free one. On a fabric of per-peer ports, host.add_tunnel(it.vtep) lets it in.
        """
        index = len(self.kernel_vteps)
        name = name or f"k{index + 1}"
        one = KernelVtep(
            name=name,
            vtep=vtep or self.addressing.vtep(len(self.hosts) + index),
            vni=vni,
            mode=mode,
            address=_with_prefix(ip, self.addressing.overlay.prefixlen),
            mac=mac or kernel_station_mac(index),
            netns_name=f"{self.name}-{name}",
            rundir=self._state.directory,
            processes=self.processes,
        )
        one.address6 = _with_prefix(ip6, _PREFIX_BITS_V6)
        self._add_station(one)
        self.underlay.plug(f"f{index + 1}", name, one.netns, UPLINK, uplink_mac(one.vtep))
        if remotes is None:
            remotes = [host.vtep for host in self.hosts]
        one.make(self.addressing.underlay.prefixlen, self._vm_mtu_bytes, remotes)
        self.kernel_vteps.append(one)
        return one

    def set_controller(self, *targets: str) -> None:
        """Point every host's br-tun at the controllers."""
        _together(lambda host: host.set_controller(*targets), self.hosts)

    def seed_flows(self) -> None:
        """Put the seeds' hand-made flows on every host."""
        _together(LabHost.seed_flows, self.hosts)

    def flush_arp(self) -> None:
        """Empty the neighbour table of every VM."""
        for vm in self.vms:
            vm.flush_arp()

    def ping_all(
        self, count: int = 3, interval_s: float = 0.2, timeout_s: float = 1.0
    ) -> dict[tuple[str, str], PingResult]:
        """Ping from every VM to every other, all at once; (from, to) by name -> result."""
        pairs = [(src, dst) for src in self.vms for dst in self.vms if src is not dst]
        pings = {
            (src.name, dst.name): src.ping_start(dst.ip, count, interval_s, timeout_s)
            for src, dst in pairs
        }
        return {pair: ping.wait() for pair, ping in pings.items()}

    def warm_underlay(self, timeout_s: float = 5.0) -> None:
        """Return when every host's switch knows the MAC of every other VTEP of the lab."""
        foreign = [one.vtep for one in self.kernel_vteps]

        def warm(host: LabHost) -> None:
            def knows_all() -> bool:
                cache = host.appctl("tnl/neigh/show")
                cold = [peer for peer in (*host.peers, *foreign) if f"{peer} " not in cache]
                for peer in cold:
                    # The kernel's own ARP reply passes br-phy, where the switch reads it too.
                    host.exec("ip", "neigh", "flush", "to", peer, "nud", "all")
                    host.exec("ping", "-n", "-c1", "-W1", peer, check=False)
                return not cold

            wait_until(knows_all, f"underlay of {host.name}", timeout_s)

        _together(warm, self.hosts)

    def inject(self, outer_src: str, host: LabHost | int, vni: int, *frames: bytes) -> None:
        """Send frames to a host's VTEP as if the VTEP `outer_src` had encapsulated them.

        They reach the host's cable directly: captures on the underlay do not show them.
        """
        at = self.hosts[host] if isinstance(host, int) else host
        port = next(port for port, who in self.underlay.ports.items() if who == at.name)
        macs = uplink_mac(outer_src), uplink_mac(at.vtep)
        packets = [
            in_tunnel(inner, self.tunnel_type, vni, macs[0], outer_src, macs[1], at.vtep)
            for inner in frames
        ]
        netns.send_frames(self.underlay.netns, port, packets)

    def capture(self, at: Station | None = None, expression: str = OVERLAY) -> Capture:
        """Frames on the underlay as each host sends them, or all at one station's interface."""
        file = self._state.directory / f"capture-{next(self._captures)}.pcap"
        if at is not None:
            return Capture(at.netns, file, self.processes, {}, at.link, expression)
        ports = self.underlay.ports
        return capturing.on_ports(self.underlay.netns, file, self.processes, ports, expression)

    def watch_flows(self, host: LabHost, *, adds: bool = False) -> FlowWatch:
        """Whatever happens to the flows of a host's br-tun, as told by its switch."""
        file = self._state.directory / f"flows-{host.name}-{next(self._captures)}.out"
        return FlowWatch(host, self.processes, file, adds=adds)

    @contextmanager
    def impaired(self, host: LabHost, how: Impairment) -> Iterator[None]:
        """The host's cable to the underlay has a fault; changing cables costs some frames too."""
        port = next(port for port, who in self.underlay.ports.items() if who == host.name)
        with self.underlay.impaired(port, how, self._state.directory):
            yield

    def controller(
        self, directory: Path, options: Mapping[str, object] | None = None
    ) -> Controller:
        """A controller for this lab, not started; it goes when the lab goes."""
        return Controller(self.processes, directory, self.controller_ip, options)

    # -- making ----------------------------------------------------------------------------

    def _make(self) -> None:
        self._add_netns(self.underlay.netns)
        self.underlay.start(self._switch)
        control = f"{self.name}-ctl"
        self._state.add_link(control)
        netns.delete_link(control)
        self.underlay.plug("ctl", "controller", None, control)
        prefix_bits = self.addressing.underlay.prefixlen
        netns.tx_checksum_off(None, control)
        netns.ip(
            None,
            f"addr add {self.controller_ip}/{prefix_bits} dev {control}",
            f"link set {control} up",
        )
        self.hosts = [self._new_host(index) for index in range(self._count)]
        for host in self.hosts:
            host.peers = [other.vtep for other in self.hosts if other is not host]
        _together(self._make_host, list(enumerate(self.hosts)))
        if self._vm_kind == "namespace":
            for index in range(self._count):
                self.add_vm(index, self.addressing.vm(index))

    def _new_host(self, index: int) -> LabHost:
        name = f"h{index + 1}"
        rundir = self._state.directory / name
        ovs = OvsInstance(f"{self.name}-{name}", rundir, self.processes)
        self._add_netns(ovs.netns)
        self._state.add_node(name, Node(ovs.netns, str(rundir)))
        prefix_bits = self.addressing.underlay.prefixlen
        host = LabHost(name, self.addressing.vtep(index), prefix_bits, ovs)
        self.underlay.plug(f"u{index + 1}", name, host.netns, UPLINK, uplink_mac(host.vtep))
        if self._vm_kind == "bridge":
            vm = self._new_vm(f"vm{index + 1}", host, self.addressing.vm(index), vm_mac(index))
            vm.netns, vm.link = host.netns, "br-int"
            self.vms.append(vm)
        return host

    def _make_host(self, numbered: tuple[int, LabHost]) -> None:
        index, host = numbered
        host.ovs.start()
        host.make_underlay_bridge(uplink_mac(host.vtep))
        host.make_bridges()
        host.make_tunnels(self.tunnels, self._vtep_ofports, self.tunnel_type, self.key_flow)
        if self._vm_kind == "bridge":
            vm = self.vms[index]
            host.hold_vm_address(vm.address, vm.mac, self._vm_mtu_bytes)

    def _new_vm(self, name: str, host: LabHost, ip: str | None, mac: str) -> VmNs:
        return VmNs(
            name=name,
            host=host,
            address=_with_prefix(ip, self.addressing.overlay.prefixlen),
            mac=mac,
            netns_name=f"{self.name}-{name}",
            link="eth0",
            rundir=self._state.directory,
            processes=self.processes,
        )

    def _add_station(self, station: Station) -> None:
        """Its namespace, which speaks IPv6 if the lab or the station does."""
        self._add_netns(station.netns)
        self._state.add_node(station.name, Node(station.netns))
        if not self._ipv6 and not station.ip6:
            netns.write_sysctl(station.netns, "ipv6/conf/all/disable_ipv6", "1")
            netns.write_sysctl(station.netns, "ipv6/conf/default/disable_ipv6", "1")

    def _add_netns(self, name: str) -> None:
        if netns.exists(name):
            raise LabError(f"a namespace named {name} is there already and is not this lab's")
        self._state.add_namespace(name)
        netns.add(name)


def _with_prefix(ip: str | None, prefix_bits: int) -> str:
    """The address with a prefix length; none of either is ""."""
    if not ip or "/" in ip:
        return ip or ""
    return f"{ip}/{prefix_bits}"


def _together(work: Callable[[S], T], items: Iterable[S]) -> list[T]:
    """Do the work for all items at once; the first error is raised when all have ended."""
    items = list(items)
    if not items:
        return []
    with ThreadPoolExecutor(max_workers=min(8, len(items))) as pool:
        return list(pool.map(work, items))
