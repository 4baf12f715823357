"""When which probes are sent (probes.py says what they are and what they tell)."""

from __future__ import annotations

from controller import probes
from controller.flow import Field, Output, SetField
from controller.pipeline import PROBE_VNI
from controller.replica import Replica
from controller.wire import encode
from topology.model import Topology
from topology.types import VtepIp

FAST_PROBE_S = 0.2
FAST_PROBES_FOR_S = 5.0
SLOW_PROBE_S = 1.0
SETTLED_PROBE_S = 10.0
ADDRESSED_PROBES_AT_ONCE = 16


class Prober:
    """Sends probes out of tunnel ports: often while a port is unknown, seldom once it is known."""

    def __init__(self, topology: Topology, replicas: dict[int, Replica], secret: bytes) -> None:
        self._topology = topology
        self._replicas = replicas
        self._secret = secret

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
