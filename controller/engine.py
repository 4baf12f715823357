"""The engine: events in, effects out; the only writer of facts, tables and replicas.

It does no I/O and has no clock. ``handle`` never yields, so whoever calls it is alone with the
state. Facts flow one way: an event changes facts, facts change units in tables, and replicas that
follow these tables are woken. No handler issues a flow-mod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from controller import frames, learning, probes
from controller.bridges import (
    Bridge,
    Egress,
    PortNames,
    base_flows,
    flood_group,
    flow_port_flows,
    network_flows,
    port_flows,
    probe_flow,
    vtep_flows,
)
from controller.desired import Timing, group_id, ip_unit, mac_unit
from controller.events import (
    BarrierAnswered,
    BundleCommitted,
    Committed,
    Connected,
    DumpPart,
    Effects,
    Event,
    Lost,
    Received,
    Tick,
)
from controller.flow import Field as OxmField
from controller.flow import Output, SetField
from controller.pipeline import PROBE_ETH_TYPE, Kind, cookie_kind
from controller.refusals import explain
from controller.replica import PRIVATE, Findings, Replica, State
from controller.service import Applied, Ticket
from controller.tables import FlowTable, Unit
from controller.wire import decode, encode
from topology.model import (
    Change,
    Delta,
    Fact,
    Host,
    LearnedMac,
    MacKey,
    Network,
    Put,
    Remove,
    Topology,
    Vm,
)
from topology.types import Dpid, Mac, Vlan, VtepIp

FAST_PROBE_S = 0.2
FAST_PROBES_FOR_S = 5.0
SLOW_PROBE_S = 1.0
SETTLED_PROBE_S = 10.0
ADDRESSED_PROBES_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decides."""

    names: PortNames = field(default_factory=PortNames)
    learn_timeout_s: int = 300


class Engine:
    """Owns the topology, a flow table for each network, and a replica for each connected switch."""

    def __init__(self, settings: Settings, secret: bytes) -> None:
        self.settings = settings
        self.timing = Timing(settings.learn_timeout_s)
        self.topology = Topology()
        self.tables: dict[int, FlowTable] = {0: FlowTable()}
        self.replicas: dict[int, Replica] = {}
        self._ages = learning.Ages(settings.learn_timeout_s)
        self._secret = secret
        self._effects = Effects()

    # Events

    def load(self, facts: Iterable[Fact]) -> None:
        """Take the facts of the store, before any switch is heard."""
        for fact in facts:
            self._apply(Put(fact), 0.0)
        self._effects = Effects()

    def handle(self, event: Event, now_s: float) -> Effects:
        """Take one event; what follows from it is in the tables and in the effects."""
        match event:
            case Received():
                live = self.replicas.get(event.dpid)
                if live is not None and live.epoch == event.epoch:
                    self._received(live, event, now_s)
            case Committed():
                for change in event.changes:
                    self._apply(self._with_sightings(change), now_s)
            case Tick():
                self._tick(now_s)
            case Connected():
                self._connected(event, now_s)
            case Lost():
                live = self.replicas.get(event.dpid)
                if live is not None and live.epoch == event.epoch:
                    del self.replicas[event.dpid]
                    self._effects.confirmed = True
        effects, self._effects = self._effects, Effects()
        return effects

    def _connected(self, event: Connected, now_s: float) -> None:
        names = self.settings.names
        bridge = Bridge.of_ports(event.dpid, event.ports, names, meters=True)
        replica = Replica(event.epoch, event.peer, bridge, now_s)
        replica.ports = dict(event.ports)
        self.replicas[event.dpid] = replica
        host = self.topology.hosts.get(event.dpid, Host(Dpid(event.dpid)))
        if event.address is not None and host.seen_address != event.address:
            host = replace(host, seen_address=event.address, seen_vtep=None)
        self._sight(host, now_s)
        replica.greet()
        self._refresh_bridge(replica)
        self._probe(replica, now_s)
        replica.start_audit(now_s)
        self._effects.wake.add(event.dpid)

    def _received(self, replica: Replica, event: Received, now_s: float) -> None:
        match event.message:
            case decode.PacketIn():
                self._packet_in(replica, event.message, now_s)
            case BarrierAnswered(xid):
                ears = replica.ears_open
                if replica.barrier_answered(xid):
                    self._effects.confirmed = True
                if replica.ears_open and not ears:
                    self._probe_all_soon(now_s)
                self._effects.wake.add(replica.dpid)
            case DumpPart():
                if replica.take_dump(event.message):
                    self._audited(replica, now_s)
            case BundleCommitted(bundle_id):
                replica.bundle_committed(bundle_id)
            case decode.PortStatus():
                self._port_changed(replica, event.message, now_s)
            case decode.SwitchError():
                self._refused(replica, event.message)

    # Facts to tables

    def _apply(self, change: Change, now_s: float) -> None:
        delta = self.topology.apply(change)
        if delta.before == delta.after:
            return
        for fact in (delta.after, delta.before):
            match fact:
                case Vm():
                    self._vm_changed(delta)
                case LearnedMac():
                    self._learned_changed(delta)
                case Network():
                    self._network_changed(fact.vni)
                case Host():
                    self._host_changed(delta, fact.dpid)
                case _:
                    continue
            return

    def _vm_changed(self, delta: Delta) -> None:
        vms = [fact for fact in (delta.before, delta.after) if isinstance(fact, Vm)]
        vni, mac = vms[0].key
        if delta.after is not None and (vni, mac) in self.topology.learned:
            self._apply(Remove(LearnedMac, (vni, mac)), 0.0)
        hosts = {int(vm.host) for vm in vms}
        self._touch_mac(vni, mac)
        self._touch_ips(vni, {int(ip) for vm in vms for ip in vm.ips})
        network = self.topology.networks.get(vni)
        if network is not None and not network.everywhere:
            self._membership_changed(vni, hosts)

    def _learned_changed(self, delta: Delta) -> None:
        facts = [fact for fact in (delta.before, delta.after) if isinstance(fact, LearnedMac)]
        vni, mac = facts[0].key
        renew = len(facts) == 2 and facts[0].host == facts[1].host
        renew = renew and facts[1].seen_s > facts[0].seen_s
        self._touch_mac(vni, mac, renew=renew)
        self._touch_ips(vni, {int(ip) for fact in facts for ip, _seen_s in fact.ips}, renew=renew)
        if isinstance(delta.after, LearnedMac):
            self._ages.note(delta.after)

    def _network_changed(self, vni: int) -> None:
        if vni in self.topology.networks:
            self.tables.setdefault(vni, FlowTable())
            keys: set[MacKey] = {*self.topology.vms_in(vni), *self.topology.learned_in(vni)}
            for key in keys:
                self._touch_mac(*key)
            self._touch_ips(vni, self._ips_of(keys))
        for replica in self.replicas.values():
            self._refresh_network(replica, vni)
        if vni not in self.topology.networks:
            self.tables.pop(vni, None)

    def _ips_of(self, keys: Iterable[MacKey]) -> set[int]:
        ips: set[int] = set()
        for key in keys:
            vm = self.topology.vms.get(key)
            learned = self.topology.learned.get(key)
            ips.update(vm.ips if vm is not None else ())
            ips.update(ip for ip, _seen_s in (learned.ips if learned is not None else ()))
        return ips

    def _host_changed(self, delta: Delta, dpid: int) -> None:
        before, after = (
            fact.vtep if isinstance(fact, Host) else None for fact in (delta.before, delta.after)
        )
        vtep_moved = before != after or delta.before is None or delta.after is None
        if vtep_moved:
            for key in (*self.topology.vms_on(dpid), *self.topology.learned_on(dpid)):
                self._touch_mac(*key)
        own = self.replicas.get(dpid)
        if own is not None:
            self._refresh_bridge(own)
        if not vtep_moved:
            return
        for replica in self.replicas.values():
            if replica is not own:
                self._refresh_vteps(replica, {v for v in (before, after) if v is not None})

    def _membership_changed(self, vni: int, dpids: Iterable[int]) -> None:
        changed = set(dpids)
        for dpid, replica in self.replicas.items():
            if dpid in changed or vni in replica.tables:
                self._refresh_network(replica, vni)

    def _touch_mac(self, vni: int, mac: int, *, renew: bool = False) -> None:
        flows = mac_unit(self.topology, vni, mac, self.timing)
        unit = None if flows is None else Unit.of(flows)
        self._put(vni, ("mac", mac), unit, renew=renew)

    def _touch_ips(self, vni: int, ips: Iterable[int], *, renew: bool = False) -> None:
        for ip in ips:
            flows = ip_unit(self.topology, vni, ip, self.timing)
            unit = None if flows is None else Unit.of(flows)
            self._put(vni, ("ip", ip), unit, renew=renew)

    def _put(self, vni: int, key: tuple[str, int], unit: Unit | None, *, renew: bool) -> None:
        table = self.tables.get(vni)
        if table is not None and table.put(key, unit, renew=renew):
            for dpid, replica in self.replicas.items():
                if vni in replica.tables:
                    self._effects.wake.add(dpid)

    # A bridge's private table

    def _refresh_bridge(self, replica: Replica) -> None:
        """Recompute all that is this bridge's own."""
        bridge = replica.bridge
        egress = Egress.of(self.topology, bridge)
        private = replica.private
        private.put("base", Unit.private((*base_flows(), probe_flow(bridge.meters))))
        private.put("ports", Unit.private(port_flows(bridge, egress)))
        private.put("flow port", Unit.private(flow_port_flows(egress)))
        vteps = {host.vtep for host in self.topology.hosts.values() if host.vtep is not None}
        known = {key[1] for key in private.units if isinstance(key, tuple) and key[0] == "vtep"}
        for vtep in vteps | known:
            self._refresh_vtep(replica, egress, vtep)
        for vni in {*self.topology.networks, *replica.tables} - {PRIVATE}:
            self._refresh_network(replica, vni, egress)
        self._effects.wake.add(replica.dpid)

    def _refresh_vteps(self, replica: Replica, vteps: set[VtepIp]) -> None:
        egress = Egress.of(self.topology, replica.bridge)
        replica.private.put("ports", Unit.private(port_flows(replica.bridge, egress)))
        for vtep in vteps:
            self._refresh_vtep(replica, egress, vtep)
        for vni in set(replica.tables) - {PRIVATE}:
            self._refresh_network(replica, vni, egress)

    def _refresh_vtep(self, replica: Replica, egress: Egress, vtep: VtepIp) -> None:
        host = self.topology.host_at(vtep)
        unit = None
        if host is not None and host.dpid != replica.dpid:
            unit = Unit.private(vtep_flows(replica.bridge, egress, vtep))
        replica.private.put(("vtep", vtep), unit)

    def _refresh_network(self, replica: Replica, vni: int, egress: Egress | None = None) -> None:
        network = self.topology.networks.get(vni)
        private = replica.private
        if network is None or not self.topology.is_member(replica.dpid, vni):
            private.put(("net", vni), None)
            private.put_group(group_id(vni), None)
            replica.unfollow(vni)
        else:
            egress = egress or Egress.of(self.topology, replica.bridge)
            flows = network_flows(replica.bridge, egress, network)
            private.put(("net", vni), Unit.private(flows))
            group = flood_group(self.topology, replica.bridge, egress, network)
            private.put_group(group.group_id, encode.encode_buckets(group))
            replica.follow(vni, self.tables[vni])
        self._effects.wake.add(replica.dpid)

    # Hosts as they are seen

    def _sight(self, host: Host, now_s: float) -> None:
        """Take what was observed of a host at once, and have it remembered."""
        if self.topology.hosts.get(host.dpid) != host:
            self._apply(Put(host), now_s)
            self._effects.remember.add(host.dpid)

    def _with_sightings(self, change: Change) -> Change:
        """A host's declared facts change only what is declared: sightings are the engine's."""
        if not isinstance(change, Put) or not isinstance(change.fact, Host):
            return change
        seen = self.topology.hosts.get(change.fact.dpid)
        if seen is None:
            return change
        return Put(
            replace(
                change.fact,
                seen_address=seen.seen_address,
                seen_vtep=seen.seen_vtep,
                seen_remotes=seen.seen_remotes,
            )
        )

    def _port_changed(self, replica: Replica, status: decode.PortStatus, now_s: float) -> None:
        ports = replica.ports
        if status.reason == 1:
            ports.pop(status.port.number, None)
        else:
            ports[status.port.number] = status.port.name
        old = replica.bridge
        bridge = Bridge.of_ports(old.dpid, ports, self.settings.names, old.meters)
        if bridge != old:
            replica.bridge = bridge
            self._refresh_bridge(replica)
            replica.connected_s = replica.next_probe_s = now_s

    def _refused(self, replica: Replica, error: decode.SwitchError) -> None:
        refusal = explain(error)
        if refusal.ignorable:
            return
        if refusal.meter and replica.bridge.meters:
            replica.bridge = replace(replica.bridge, meters=False)
            self._refresh_bridge(replica)
        elif refusal.cookie is not None:
            replica.reject(refusal.cookie, refusal.text)
        self._effects.log.append(f"host {replica.dpid} refused: {refusal.text}")

    # Audits

    def _audited(self, replica: Replica, now_s: float) -> None:
        first = replica.state is State.AUDITING
        if (
            first
            and replica.is_foreign()
            and self._unproven(replica)
            and (now_s < replica.hold_until_s)
        ):
            replica.holding = True
            replica.drop_audit()
            return
        self._adopt(replica, replica.findings().learned, now_s)
        found = replica.findings()
        for waiter in replica.diff_waiters:
            waiter(found)
        replica.diff_waiters.clear()
        replica.reconcile(found)
        if found.drifted and not first:
            self._effects.log.append(
                f"host {replica.dpid} had drifted: {len(found.missing)} flows missing,"
                f" {len(found.extra)} extra; mended"
            )
        self._effects.wake.add(replica.dpid)

    def _adopt(self, replica: Replica, left: Iterable[decode.FlowEntry], now_s: float) -> None:
        """Learn back, from its own flows, what a host had taught before this controller started."""
        ages: dict[MacKey, tuple[float, dict[int, float]]] = {}
        for entry in left:
            if cookie_kind(entry.cookie) not in (Kind.LOCAL_LEARNED, Kind.LOCAL_LEARNED_ARP):
                continue
            source = decode.source_match(entry)
            vni = self._vni_on(source.vlan_vid & 0xFFF)
            if vni is None or not Mac(source.eth_src).is_station:
                continue
            seen_s = now_s - entry.duration_s
            best_s, ips = ages.setdefault((vni, source.eth_src), (seen_s, {}))
            if source.arp_spa is not None:
                ips[source.arp_spa] = seen_s
            ages[vni, source.eth_src] = (max(best_s, seen_s), ips)
        for (vni, mac), (seen_s, ips) in ages.items():
            entry_or_none = learning.recall(self.topology, vni, mac, replica.dpid, seen_s, ips)
            if entry_or_none is not None:
                self._apply(Put(entry_or_none), now_s)

    def _vni_on(self, vlan: int) -> int | None:
        wanted = Vlan(vlan) if vlan else None
        for network in self.topology.networks.values():
            if network.vlan == wanted:
                return network.vni
        return None

    def _unproven(self, replica: Replica) -> bool:
        return bool(Egress.of(self.topology, replica.bridge).unproven)

    # Packet-ins

    def _packet_in(self, replica: Replica, packet: decode.PacketIn, now_s: float) -> None:
        kind = cookie_kind(packet.cookie)
        frame = frames.parse(packet.frame)
        if frame is None:
            return
        if kind in (Kind.LOCAL_UNKNOWN, Kind.LOCAL_ARP):
            if packet.in_port != replica.bridge.patch_port:
                return
            entry = learning.observe(self.topology, packet.tun_id, replica.dpid, frame, now_s)
            if entry is not None:
                self._apply(Put(entry), now_s)
        elif kind is Kind.PROBE_IN and frame.eth_type == PROBE_ETH_TYPE:
            probe = probes.decode(frame.payload, self._secret)
            if probe is not None:
                self._probe_arrived(replica, packet, probe, now_s)

    def _probe_arrived(
        self, there: Replica, packet: decode.PacketIn, probe: probes.Probe, now_s: float
    ) -> None:
        sender = self.replicas.get(probe.dpid)
        if sender is None or sender.epoch != probe.epoch or sender is there:
            return
        self._saw_vtep(sender.dpid, packet.tun_src, now_s)
        self._saw_vtep(there.dpid, packet.tun_dst, now_s)
        vtep = self.topology.hosts[there.dpid].vtep
        port_name = sender.ports.get(probe.port)
        if vtep is None or port_name is None:
            return
        host = self.topology.hosts[sender.dpid]
        known = host.remote_of(port_name)
        if not probe.addressed:
            self._sight(host.seen(port_name, vtep), now_s)
        elif known not in (vtep, "flow"):
            self._sight(host.seen(port_name, "flow"), now_s)
        if sender.holding and not self._unproven(sender):
            self._release(sender, now_s)

    def _saw_vtep(self, dpid: Dpid, address: int, now_s: float) -> None:
        if not 0 < address < 0xE0000000:
            return
        vtep = VtepIp(VtepIp.v4(address))
        host = self.topology.hosts.get(dpid)
        if host is not None and host.vtep != vtep and host.declared_vtep is None:
            self._sight(replace(host, seen_vtep=vtep), now_s)

    # Time

    def _tick(self, now_s: float) -> None:
        timeout_s = self.settings.learn_timeout_s
        for key in list(self._ages.due(now_s)):
            entry = self.topology.learned.get(key)
            if entry is None:
                continue
            left = learning.aged(entry, now_s, timeout_s)
            if left is None:
                self._apply(Remove(LearnedMac, key), now_s)
            elif left != entry:
                self._apply(Put(left), now_s)
            else:
                self._ages.note(entry)
        for replica in self.replicas.values():
            if now_s >= replica.next_probe_s:
                self._probe(replica, now_s)
            if replica.holding and now_s >= replica.hold_until_s:
                self._release(replica, now_s)
            if replica.state is State.LIVE and now_s >= replica.next_audit_s:
                replica.start_audit(now_s)
                self._effects.wake.add(replica.dpid)

    def _release(self, replica: Replica, now_s: float) -> None:
        """Take the bridge over: the ports are known, or will not be."""
        replica.holding = False
        replica.hold_until_s = now_s
        replica.start_audit(now_s)
        self._effects.wake.add(replica.dpid)

    def _probe_all_soon(self, now_s: float) -> None:
        for replica in self.replicas.values():
            if self._unproven(replica):
                replica.next_probe_s = now_s
                self._probe(replica, now_s)

    def _probe(self, replica: Replica, now_s: float) -> None:
        """Blank, addressed, blank: a port with one peer shows itself by the last at the latest."""
        host = self.topology.hosts.get(replica.dpid)
        ports = replica.bridge.tunnel_ports
        remotes = {port: None if host is None else host.remote_of(name) for port, name in ports}
        unknown = sum(remote is None for remote in remotes.values())
        for port, remote in remotes.items():
            self._send_probe(replica, port, None, now_s)
            count = 1 if remote is not None else max(1, ADDRESSED_PROBES_AT_ONCE // unknown)
            for vtep in self._probe_targets(replica, count):
                self._send_probe(replica, port, vtep, now_s)
            self._send_probe(replica, port, None, now_s)
        fast = now_s - replica.connected_s < FAST_PROBES_FOR_S
        pause_s = (FAST_PROBE_S if fast else SLOW_PROBE_S) if unknown else SETTLED_PROBE_S
        replica.next_probe_s = now_s + pause_s

    def _probe_targets(self, replica: Replica, count: int) -> list[VtepIp]:
        """Other connected hosts' VTEPs, another part of them each time."""
        others = [
            vtep
            for dpid in self.replicas
            if dpid != replica.dpid and (vtep := self.topology.hosts[dpid].vtep) is not None
        ]
        replica.probe_turn += count
        start = replica.probe_turn % len(others) if others else 0
        return (others[start:] + others[:start])[:count]

    def _send_probe(self, replica: Replica, port: int, vtep: VtepIp | None, now_s: float) -> None:
        probe = probes.Probe(replica.dpid, port, replica.epoch, now_s, vtep is not None)
        to = () if vtep is None else (SetField(OxmField.TUN_DST, vtep.low32),)
        frame = probes.encode(probe, self._secret)
        replica.send(encode.packet_out((*to, Output(port)), frame))
        self._effects.wake.add(replica.dpid)

    # Questions

    def ticket(self, changes: Iterable[Change]) -> Ticket:
        """What to wait for, so that these changes (applied already) are on every switch."""
        vnis: set[int] = set()
        hosts_changed = False
        for change in changes:
            match change:
                case Put(Vm(vni=vni)) | Put(Network(vni=vni)):
                    vnis.add(vni)
                case Remove(kind, key) if kind is Vm and isinstance(key, tuple):
                    vnis.add(key[0])
                case Remove(kind, int(key)) if kind is Network:
                    vnis.add(key)
                case _:
                    hosts_changed = True
        targets = []
        for dpid, replica in self.replicas.items():
            followed = replica.tables.keys() if hosts_changed else vnis & replica.tables.keys()
            if followed or hosts_changed:
                keys = {*followed, PRIVATE}
                revs = tuple((key, replica.tables[key].rev) for key in sorted(keys))
                targets.append((dpid, revs))
        return Ticket(tuple(targets))

    def applied(self, ticket: Ticket) -> Applied:
        """On how many of the ticket's switches that are still connected it is confirmed."""
        done = of = 0
        for dpid, targets in ticket.targets:
            replica = self.replicas.get(dpid)
            if replica is not None:
                of += 1
                done += replica.confirmed(targets)
        return Applied(done, of)

    def request_diff(self, dpid: int, waiter: Callable[[Findings], None], now_s: float) -> Effects:
        """Have the switch dumped now; the waiter is called once with what the audit finds."""
        replica = self.replicas[dpid]
        replica.diff_waiters.append(waiter)
        if replica.state is State.LIVE:
            replica.start_audit(now_s)
        return Effects(wake={dpid})
