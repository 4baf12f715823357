"""When which probes are sent (probes.py says what they are, tunnels.py what sized ones tell)."""

from __future__ import annotations

from collections.abc import Iterator

from controller import probes
from controller.flow import Action, Field, Output, SetField
from controller.pipeline import PROBE_VNI
from controller.replica import Replica
from controller.tunnels import Peer, Tunnel, Tunnels, Turn, around, peers_of_each
from controller.wire import encode
from topology.model import Topology
from topology.types import VtepIp

FAST_PROBE_S = 0.2
FAST_PROBES_FOR_S = 5.0
SLOW_PROBE_S = 1.0
SETTLED_PROBE_S = 10.0
ADDRESSED_PROBES_AT_ONCE = 16
PORTS_SETTLE_S = 5.0
"""So long after a change of its ports a host may lack one without its tunnels being down."""
BARRIER_XIDS = 0x75000000


class Prober:
    """Sends probes out of tunnel ports: often while a port is unknown, seldom once it is known."""

    def __init__(self, topology: Topology, replicas: dict[int, Replica], secret: bytes) -> None:
        self._topology = topology
        self._replicas = replicas
        self._secret = secret
        self.tunnels = Tunnels()

    # Where ports lead

    def probe(self, replica: Replica, now_s: float) -> None:
        """Blank, addressed, blank: a port with one peer shows itself by the last at the latest."""
        host = self._topology.hosts.get(replica.dpid)
        ports = replica.bridge.tunnel_ports
        remotes = {port: None if host is None else host.remote_of(name) for port, name in ports}
        unknown = sum(remote is None for remote in remotes.values())
        for port, remote in remotes.items():
            # First, so that what it tells is known before the port is known to lead anywhere.
            self._send(replica, port, None, now_s, keyed=True)
            for vtep in self._targets(replica, 1):
                self._send(replica, port, vtep, now_s, keyed=True)
            self._send(replica, port, None, now_s)
            count = 1 if remote is not None else max(1, ADDRESSED_PROBES_AT_ONCE // unknown)
            for vtep in self._targets(replica, count):
                self._send(replica, port, vtep, now_s)
            self._send(replica, port, None, now_s)
        fast = now_s - replica.connected_s < FAST_PROBES_FOR_S
        pause_s = (FAST_PROBE_S if fast else SLOW_PROBE_S) if unknown else SETTLED_PROBE_S
        replica.next_probe_s = now_s + pause_s

    def _targets(self, replica: Replica, count: int) -> list[VtepIp]:
        """Other connected hosts' VTEPs, another part of them each time."""
        replica.probe_turn += count
        dpids = list(self._replicas)
        found: list[VtepIp] = []
        for turn in range(len(dpids)):
            dpid = dpids[(replica.probe_turn + turn) % len(dpids)]
            vtep = self._topology.hosts[dpid].vtep
            if dpid != replica.dpid and vtep is not None:
                found.append(vtep)
                if len(found) == count:
                    break
        return found

    def _send(
        self,
        replica: Replica,
        port: int,
        vtep: VtepIp | None,
        now_s: float,
        *,
        keyed: bool = False,
    ) -> None:
        probe = probes.Probe(replica.dpid, port, replica.epoch, now_s, vtep is not None, keyed)
        to = () if vtep is None else (SetField(Field.TUN_DST, vtep.low32),)
        key = (SetField(Field.TUN_ID, PROBE_VNI),) if keyed else ()
        frame = probes.encode(probe, self._secret)
        replica.send(encode.packet_out((*key, *to, Output(port)), frame))

    # Whether tunnels are up, and how wide

    def watch(self, replica: Replica, now_s: float) -> Turn:
        """Give a host its turn at the tunnels; barriers may wake others too."""
        if self.tunnels.is_stale(replica.dpid, now_s):
            self.tunnels.plan(replica.dpid, self._peers(replica, now_s), now_s)
        turn = self.tunnels.turn(replica.dpid, now_s)
        for size_bytes, tunnels in turn.probes.items():
            probe = probes.Probe(
                replica.dpid, 0, replica.epoch, now_s, addressed=True, size_bytes=size_bytes
            )
            actions = [action for tunnel in tunnels for action in _into(tunnel)]
            replica.send(encode.packet_out(actions, probes.encode(probe, self._secret)))
        for dpid in turn.ask:
            xid = self.tunnels.barrier(dpid, now_s)
            self._replicas[dpid].send(encode.barrier(BARRIER_XIDS + xid))
        return turn

    def _peers(self, replica: Replica, now_s: float) -> Iterator[Peer]:
        egress, topology = replica.egress, self._topology
        wants = self._mtus(replica.dpid)
        settled = now_s - replica.connected_s > PORTS_SETTLE_S
        for dpid in self._neighbours(replica.dpid):
            vtep = topology.hosts[dpid].vtep
            port = None if vtep is None else egress.peers.get(vtep, egress.flow_port)
            if vtep is None or (port is None and not settled):
                continue
            shared = (mtu for mtu, vni in wants if topology.is_member(dpid, vni))
            yield Peer(dpid, vtep, port, next(shared, 0))

    def _neighbours(self, dpid: int) -> list[int]:
        """The hosts to watch from this one: all, or those that share a tenant's network first."""
        topology = self._topology
        most = peers_of_each(len(topology.hosts))
        if len(topology.hosts) - 1 <= most:
            return around(sorted(topology.hosts), dpid, most)
        found: dict[int, None] = {}
        for vni in topology.networks_on(dpid):
            if not topology.networks[vni].everywhere:
                found.update(dict.fromkeys(around(topology.members(vni), dpid, most // 2)))
                if len(found) >= most // 2:
                    break
        found.update(dict.fromkeys(around(sorted(topology.hosts), dpid, most - len(found))))
        return list(found)[:most]

    def _mtus(self, dpid: int) -> list[tuple[int, int]]:
        """(MTU, VNI) of the networks that the host carries, the largest first.

        Those without any VM or learned MAC count only where there are no others.
        """
        topology = self._topology
        carried = list(topology.networks_on(dpid))
        used = [vni for vni in carried if topology.vms_in(vni) or topology.learned_in(vni)]
        return sorted(
            ((topology.networks[vni].mtu_bytes, vni) for vni in used or carried),
            key=lambda want: (-want[0], not topology.networks[want[1]].everywhere, want[1]),
        )


def _into(tunnel: Tunnel) -> Iterator[Action]:
    assert tunnel.peer.port is not None
    yield SetField(Field.TUN_DST, tunnel.peer.vtep.low32)
    yield Output(tunnel.peer.port)
