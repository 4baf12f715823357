"""A host of the lab: a namespace with an Open vSwitch of its own and the seeds' bridges."""

from __future__ import annotations

import signal
import time
from typing import get_args

from topology.lab import netns
from topology.lab.addressing import Tunnels, TunnelType
from topology.lab.command import run
from topology.lab.ovs import OvsInstance
from topology.lab.seeds import seed_flows

_PROTOCOLS = "OpenFlow10,OpenFlow11,OpenFlow12,OpenFlow13,OpenFlow14,OpenFlow15"
UPLINK = "eth1"
TUNNEL_TYPES: tuple[TunnelType, ...] = get_args(TunnelType)


class LabHost:
    """name: h1, h2, ...; vtep: its underlay address; netns: the namespace."""

    def __init__(self, name: str, vtep: str, prefix_bits: int, ovs: OvsInstance) -> None:
        self.name = name
        self.vtep = vtep
        self.ovs = ovs
        self.netns = ovs.netns
        self.peers: list[str] = []
        self._prefix_bits = prefix_bits
        self._addresses: dict[str, str] = {}
        self._tunnel_type: TunnelType = "vxlan"
        self._key_flow = False
        self._tunnel_count = 0

    def __repr__(self) -> str:
        return f"<LabHost {self.name} vtep={self.vtep}>"

    # -- the switch ------------------------------------------------------------------------

    @property
    def dpid(self) -> str:
        """Datapath id of br-tun, 16 hex digits."""
        return self.vsctl("get", "bridge", "br-tun", "datapath_id").strip().strip('"')

    @property
    def ports(self) -> dict[str, int]:
        """Port name -> OpenFlow port number, of br-tun without its local port."""
        names = self.vsctl("list-ports", "br-tun").split()
        return {name: int(self.vsctl("get", "interface", name, "ofport")) for name in names}

    @property
    def tunnels(self) -> dict[int, str | None]:
        """Tunnel port number -> remote_ip, None where the flow says it."""
        remotes: dict[int, str | None] = {}
        for name, number in self.ports.items():
            if name.startswith(TUNNEL_TYPES):
                remote = (
                    self.vsctl("get", "interface", name, "options:remote_ip").strip().strip('"')
                )
                remotes[number] = None if remote == "flow" else remote
        return remotes

    def vsctl(self, *args: str, check: bool = True) -> str:
        return self.ovs.vsctl(*args, check=check)

    def ofctl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        return self.ovs.ofctl(*args, stdin=stdin, check=check)

    def appctl(self, *args: str, check: bool = True) -> str:
        return self.ovs.appctl(*args, check=check)

    def exec(self, *argv: str, check: bool = True, timeout_s: float = 30.0) -> str:
        """Run a command in the host's namespace, OVS_RUNDIR set; gives its standard output."""
        return run(
            *netns.argv_in(self.netns, argv), env=self.ovs.env, check=check, timeout_s=timeout_s
        )

    def set_controller(self, *targets: str) -> None:
        """Point br-tun at controllers, such as tcp:192.168.33.1:6653."""
        self.vsctl("set-controller", "br-tun", *targets)

    def del_controller(self) -> None:
        self.vsctl("del-controller", "br-tun")

    @property
    def controller_connected(self) -> bool:
        return "true" in self.vsctl("--columns=is_connected", "--bare", "list", "controller")

    def seed_flows(self) -> None:
        """Replace br-tun's flows by the seeds' hand-made ones, in the seeds' two steps."""
        self.ofctl("del-flows", "br-tun")
        flows = seed_flows(self.ports["patch-tun"], self.tunnels, self.peers)
        self.ofctl("add-flows", "br-tun", "-", stdin="\n".join(flows) + "\n")

    def dump_flows(self, table: int | None = None, stats: bool = True) -> list[str]:
        """Flows of br-tun, one a line in ovs-ofctl syntax; without stats only what was sent."""
        args = [] if stats else ["--no-stats"]
        where = [] if table is None else [f"table={table}"]
        lines = self.ofctl(*args, "dump-flows", "br-tun", *where).splitlines()
        return [line.strip() for line in lines if "actions=" in line]

    # -- failures --------------------------------------------------------------------------

    def stop_vswitchd(self, how: signal.Signals = signal.SIGKILL) -> None:
        """The switch is gone: its flows, its bridges' interfaces and their addresses too."""
        self.ovs.stop_vswitchd(how)

    def start_vswitchd(self) -> None:
        """Start it again on the same database and give the bridges' interfaces their addresses."""
        self.ovs.start_vswitchd()
        for bridge, address in self._addresses.items():
            self._up(bridge, address)

    def restart_vswitchd(self, down_s: float = 0.0, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill ovs-vswitchd, leave it down for down_s, start it again."""
        self.stop_vswitchd(how)
        time.sleep(down_s)
        self.start_vswitchd()

    def pause(self) -> None:
        """The switch neither reads nor forwards until resume()."""
        self.ovs.signal_vswitchd(signal.SIGSTOP)

    def resume(self) -> None:
        self.ovs.signal_vswitchd(signal.SIGCONT)

    def set_uplink(self, up: bool) -> None:
        """Pull or plug the cable to the underlay."""
        netns.ip(self.netns, f"link set {UPLINK} {'up' if up else 'down'}")

    # -- set-up, in the seeds' order -------------------------------------------------------

    def make_underlay_bridge(self, mac: str) -> None:
        """br-phy holds the uplink and the VTEP address."""
        netns.tx_checksum_off(self.netns, UPLINK)
        self.vsctl(
            *("add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev"),
            *(f"other_config:hwaddr={mac}", "fail_mode=standalone"),
            *("--", "add-port", "br-phy", UPLINK),
        )
        netns.ip(self.netns, f"link set {UPLINK} up")
        self._hold("br-phy", f"{self.vtep}/{self._prefix_bits}")

    def make_bridges(self) -> None:
        """br-int and br-tun, joined by the patch pair: patch-tun is port 1 of br-tun."""
        self.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", "datapath_type=netdev")
        self.vsctl(
            *("add-br", "br-tun", "--", "set", "bridge", "br-tun", "datapath_type=netdev"),
            *("fail_mode=secure", "other_config:disable-in-band=true"),
            f"protocols={_PROTOCOLS}",
        )
        for bridge, port, peer in (
            ("br-int", "patch-int", "patch-tun"),
            ("br-tun", "patch-tun", "patch-int"),
        ):
            self.vsctl(
                *("add-port", bridge, port, "--"),
                *("set", "interface", port, "type=patch", f"options:peer={peer}"),
            )

    def make_tunnels(
        self, tunnels: Tunnels, first_ofport: int | None, tunnel_type: TunnelType, key_flow: bool
    ) -> None:
        """vxlan0, vxlan1, ... to each peer in order, or one flow-based vxlan0."""
        self._tunnel_type, self._key_flow = tunnel_type, key_flow
        remotes = self.peers if tunnels == "peer" else ["flow"]
        for index, remote in enumerate(remotes):
            self.add_tunnel(remote, None if first_ofport is None else first_ofport + index)

    def add_tunnel(self, remote: str, ofport: int | None = None) -> str:
        """One more tunnel port, to `remote` ("flow": the flow says it); gives its name."""
        port = f"{self._tunnel_type}{self._tunnel_count}"
        self._tunnel_count += 1
        more = ["options:key=flow"] if self._key_flow or remote == "flow" else []
        if ofport is not None:
            more.append(f"ofport_request={ofport}")
        self.vsctl(
            *("add-port", "br-tun", port, "--", "set", "interface", port),
            *(f"type={self._tunnel_type}", f"options:remote_ip={remote}", *more),
        )
        return port

    def hold_vm_address(self, address: str, mac: str, mtu_bytes: int) -> None:
        """The seeds' VM: br-int's own port holds its address (with prefix length)."""
        self.vsctl(
            *("set", "bridge", "br-int", f"other_config:hwaddr={mac}"),
            *("--", "set", "interface", "br-int", f"mtu_request={mtu_bytes}"),
        )
        self._hold("br-int", address)

    def _hold(self, bridge: str, address: str) -> None:
        self._addresses[bridge] = address
        self._up(bridge, address)

    def _up(self, bridge: str, address: str) -> None:
        netns.ip(self.netns, f"addr replace {address} dev {bridge}", f"link set {bridge} up")
        netns.tx_checksum_off(self.netns, bridge)
