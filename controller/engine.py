"""The engine: events in, effects out; the only writer of facts, tables and replicas.

It does no I/O and has no clock. ``handle`` never yields, so whoever calls it is alone with the
state. Facts flow one way: an event changes facts, facts change units in tables, and replicas that
follow these tables are woken. No handler issues a flow-mod.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace

from controller import frames, learning, probes
from controller.adoption import Adoption
from controller.audit import Findings
from controller.bridges import Bridge, PortNames
from controller.budget import REST_S, Budget, Budgets, told
from controller.counting import FLOOD_MISS, Counting
from controller.derivation import Derivation
from controller.events import (
    BarrierAnswered,
    BundleCommitted,
    Committed,
    Connected,
    Continue,
    Drift,
    DumpPart,
    Effects,
    Event,
    FlowUpdates,
    Lost,
    MonitorPaused,
    PacketsIn,
    Received,
    Tick,
)
from controller.examiner import Examiner
from controller.forecast import forecast
from controller.happenings import Happening
from controller.identities import Identities
from controller.inquiries import Inquiries
from controller.learning import Limits
from controller.packets import PacketIns
from controller.pipeline import (
    FOREIGN_KINDS,
    ND_RESPONDER_KINDS,
    PROBE_ETH_TYPE,
    PROBE_VNI,
    Kind,
    cookie_kind,
)
from controller.prober import BARRIER_XIDS, Prober
from controller.refusals import explain
from controller.replica import PRIVATE, Replica, State
from controller.service import Applied, Forecast, Ticket
from controller.terms import Timing
from controller.tunnels import Tunnel
from controller.wire import decode
from topology.model import (
    Change,
    Fact,
    Host,
    LearnedMac,
    Network,
    Put,
    Remove,
    Vip,
    Vm,
)
from topology.types import Dpid, Ip, VtepIp

ARRIVALS_S, ARRIVALS_HOLD_S = 1.5, 30.0
"""Hosts that connect closer together than this come as a group; and how long a group may take."""

STUMBLES_TOLD = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decides."""

    names: PortNames = field(default_factory=PortNames)
    learn_timeout_s: int = 300
    limits: Limits = field(default_factory=Limits)
    hold_unknown: bool = False
    bind_certificates: bool = False


class Engine:
    """Owns the topology, a flow table for each network, and a replica for each connected switch."""

    def __init__(self, settings: Settings, secret: bytes) -> None:
        self.settings = settings
        self.timing = Timing(settings.learn_timeout_s)
        self._derivation = Derivation(self.timing)
        self.topology = self._derivation.topology
        self.tables = self._derivation.tables
        self.replicas = self._derivation.replicas
        self.identities = Identities(
            self.topology, hold=settings.hold_unknown, bind=settings.bind_certificates
        )
        self._prober = Prober(self.topology, self.replicas, secret)
        self.tunnels = self._prober.tunnels
        self.heard_at: dict[int, VtepIp] = {}  # the address that a host's tunnels end at, by probes
        self.examiner = Examiner()
        self.counting = Counting(self.topology, self.replicas)
        self.packets = PacketIns(self._derivation, settings.limits, self.counting)
        self._adoption = Adoption(self._derivation, self.packets)
        self._secret = secret
        self.inquiries = Inquiries()
        self._effects = Effects()
        self.packet_ins_dropped = 0
        self.stumbles = 0  # packet-ins that led to an exception
        self.budgets = Budgets()
        self.flow_mods_before = 0  # of connections that are over
        self._at_work: dict[int, None] = {}  # switches whose audits have more to do
        self._suspicious: dict[int, None] = {}  # switches whose flow monitors said something
        self.drifts = {"missing": 0, "extra": 0, "changed": 0}
        self._last_arrival_s = float("-inf")
        self._forget_moves_s = float("-inf")
        self._knows_all_s: float | None = None  # when whatever was taught before is over

    # Events

    def load(self, facts: Iterable[Fact]) -> None:
        """Take the facts of the store, before any switch is heard."""
        for fact in facts:
            self._derivation.apply_stored(Put(fact))
        self._derivation.spread()
        self._derivation.woken.clear()

    def handle(self, event: Event, now_s: float) -> Effects:
        """Take one event; what follows from it is in the tables and in the effects."""
        if self._knows_all_s is None:
            self._knows_all_s = now_s + self.settings.learn_timeout_s
        match event:
            case Received():
                live = self.replicas.get(event.dpid)
                if live is not None and live.epoch == event.epoch:
                    self._received(live, event, now_s)
                elif live is None:
                    self.identities.heard(event)
            case PacketsIn():
                live = self.replicas.get(event.dpid)
                if live is not None and live.epoch == event.epoch:
                    self._packets_in(live, event.packets, now_s)
            case Committed():
                for change in event.changes:
                    self._derivation.apply_stored(self._with_sightings(change))
                    if isinstance(change, Put) and isinstance(change.fact, Host):
                        self._identify(change.fact.dpid, now_s)
            case Continue():
                self._go_on(now_s)
            case Tick():
                self._tick(now_s)
            case Connected():
                self._arrived(event, now_s)
            case Lost():
                live = self.replicas.get(event.dpid)
                if live is not None and live.epoch == event.epoch:
                    self._let_go(live)
                    self.tunnels.lost(event.dpid)
                    self.heard_at.pop(event.dpid, None)
                self.identities.lost(event)
        self._derivation.spread(floods_of_all=isinstance(event, Tick | Committed))
        return self._hand_over()

    def _hand_over(self) -> Effects:
        effects, self._effects = self._effects, Effects()
        effects.again = bool(self._at_work)
        effects.wake |= self._derivation.woken | self.counting.woken
        if self._derivation.mending.told:
            effects.log += self._derivation.mending.told
            self._derivation.mending.told.clear()
        if self._derivation.learned_news.any:
            effects.happened += self._derivation.learned_news.take()
        self._derivation.woken.clear()
        self.counting.woken.clear()
        return effects

    def _arrived(self, event: Connected, now_s: float) -> None:
        """Facts may have changed since it was let in: whom it is taken for is settled here."""
        objection = self.identities.objection(event.dpid, event.certificate)
        if objection is not None:
            self._effects.log.append(f"host {Dpid(event.dpid)}: connection closed: {objection}")
            self._effects.close.add(event.dpid)
        elif not self.identities.hold(event):
            self._connected(event, now_s)

    def _connected(self, event: Connected, now_s: float) -> None:
        host = self.topology.hosts.get(event.dpid, Host(Dpid(event.dpid)))
        bridge = Bridge(
            event.dpid, names=self.settings.names, trusting=not host.seen_remotes
        ).with_ports(event.ports)
        former = self.replicas.get(event.dpid)
        if former is not None:
            self._let_go(former)
        replica = Replica(event.epoch, event.peer, bridge, now_s, self._derivation.next_rev)
        replica.certificate = event.certificate
        replica.ports = dict(event.ports)
        replica.returns = host.seen_address is not None or host.seen_vtep is not None
        self.replicas[event.dpid] = replica
        self.tunnels.connected(event.dpid)
        self._last_arrival_s = now_s
        address = event.address
        if address not in (None, host.seen_address) and not self._is_anothers(address, host.dpid):
            host = replace(host, seen_address=address, seen_vtep=None)
        self._sight(host)
        self._succeed(host)
        self._derivation.refresh_bridge(replica)
        self._prober.probe(replica, now_s)
        self._start_audit(replica, now_s)

    def _identify(self, dpid: int, now_s: float) -> None:
        """A host is declared, or otherwise than before: whoever is it now, or waits to be, may be
        another one.
        """
        held = self.identities.release(dpid)
        here = held or self.replicas.get(dpid)
        if here is None:
            return
        objection = self.identities.objection(dpid, here.certificate)
        if objection is not None:
            self._effects.log.append(f"host {Dpid(dpid)}: connection closed: {objection}")
            self._effects.close.add(dpid)
        elif held is not None:
            self._connected(held, now_s)

    def _let_go(self, replica: Replica) -> None:
        """A connection is over."""
        self._derivation.drop(replica)
        self.inquiries.forget(replica.dpid)
        self.examiner.lost(replica.dpid)
        self.flow_mods_before += replica.flow_mods
        self.counting.lost(replica.dpid)
        self._effects.confirmed.add(replica.dpid)

    def _received(self, replica: Replica, event: Received, now_s: float) -> None:
        match event.message:
            case decode.PacketIn():
                self._packets_in(replica, (event.message,), now_s)
            case BarrierAnswered(xid) if xid & 0xFF000000 == BARRIER_XIDS:
                self.tunnels.answered(replica.dpid, xid - BARRIER_XIDS, now_s)
            case BarrierAnswered(xid):
                ears = replica.ears_open
                if replica.barrier_answered(xid):
                    self._effects.confirmed.add(replica.dpid)
                if replica.ears_open and not ears:
                    self._probe_all_soon(now_s)
                self._effects.wake.add(replica.dpid)
            case DumpPart() if self.examiner.take(replica.dpid, event.message):
                pass
            case DumpPart():
                if self.inquiries.take(replica, event.message):
                    pass
                elif not self._counted(replica, event.message, now_s):
                    replica.take_dump(event.message)
                    self._work(replica, now_s)
            case BundleCommitted(bundle_id):
                replica.bundle_committed(bundle_id)
            case decode.FlowRemoved(cookie, timed_out):
                self.counting.removed(replica, event.message)
                if timed_out and replica.fell_silent(cookie):
                    self._effects.wake.add(replica.dpid)
            case decode.PortStatus():
                self._port_changed(replica, event.message, now_s)
            case decode.SwitchError():
                self._refused(replica, event.message, now_s)
            case FlowUpdates(body):
                self._updated(replica, body)
            case MonitorPaused(paused):
                replica.watch.paused(paused)
                if not paused:
                    self._suspicious[replica.dpid] = None

    # Hosts as they are seen

    def _sight(self, host: Host) -> None:
        """Take what was observed of a host at once, and have it remembered."""
        if self.topology.hosts.get(host.dpid) != host:
            self._derivation.apply(Put(host))
            self._effects.remember.add(host.dpid)

    def _succeed(self, host: Host) -> None:
        """A bridge that was made anew has another dpid: the old one's address is its own now."""
        for old in () if host.vtep is None else self.topology.hosts_at(host.vtep):
            declared = old.declared_vtep is not None
            if old.dpid not in self.replicas and old.dpid != host.dpid and not declared:
                self._sight(replace(old, seen_address=None, seen_vtep=None))

    def _is_anothers(self, vtep: VtepIp | None, dpid: Dpid) -> bool:
        """Whether this address is declared to be another host's: nobody takes it by a claim."""
        there = () if vtep is None else self.topology.hosts_at(vtep)
        return any(host.dpid != dpid and host.declared_vtep == vtep for host in there)

    def _with_sightings(self, change: Change) -> Change:
        """A host's declared facts change only what is declared: sightings are the engine's.

        A host that connected while it was being deleted is there, as what was seen of it.
        """
        if isinstance(change, Remove):
            there = self.topology.hosts.get(change.key) if isinstance(change.key, int) else None
            if change.kind is not Host or there is None or there.dpid not in self.replicas:
                return change
            self._effects.remember.add(there.dpid)
            return Put(there.undeclared())
        if isinstance(change.fact, Vip):
            vip = self.topology.vips.get(change.fact.key)
            return change if vip is None else Put(replace(change.fact, holder=vip.holder))
        if not isinstance(change.fact, Host):
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
                seen_keyless=seen.seen_keyless,
            )
        )

    def _port_changed(self, replica: Replica, status: decode.PortStatus, now_s: float) -> None:
        ports = replica.ports
        if status.reason == 1:
            ports.pop(status.port.number, None)
        else:
            ports[status.port.number] = status.port.name
        old = replica.bridge
        bridge = old.with_ports(ports)
        if bridge != old:
            replica.bridge = bridge
            self._derivation.refresh_bridge(replica)
            replica.connected_s = replica.next_probe_s = now_s
            self.tunnels.replan((replica.dpid,))

    def _refused(self, replica: Replica, error: decode.SwitchError, now_s: float) -> None:
        refusal = explain(error)
        if refusal.monitor:
            replica.watch.refused()
        if refusal.ignorable:
            return
        if refusal.meter and replica.bridge.meters:
            replica.bridge = replace(replica.bridge, meters=False)
            self._derivation.refresh_bridge(replica)
        elif refusal.cookie is not None and cookie_kind(refusal.cookie) in ND_RESPONDER_KINDS:
            if not replica.bridge.nd:
                return
            replica.bridge = replace(replica.bridge, nd=False)
            self._derivation.refresh_bridge(replica)
        elif refusal.cookie is not None:
            replica.reject(refusal.cookie, refusal.text, now_s)
        self._effects.log.append(f"host {replica.dpid} refused: {refusal.text}")

    # Audits

    def _start_audit(self, replica: Replica, now_s: float) -> None:
        replica.start_audit(now_s)
        self._effects.wake.add(replica.dpid)
        self._work(replica, now_s)

    def _counted(self, replica: Replica, part: DumpPart, now_s: float) -> bool:
        """Take a part of a dump that the ledger asked for, if it is one."""
        try:
            return self.counting.take(replica, part, now_s)
        except decode.Malformed as error:
            self._hang_up(replica, error)
            return True

    def _hang_up(self, replica: Replica, error: decode.Malformed) -> None:
        self._effects.log.append(f"host {replica.dpid}: closed: {error}")
        self._effects.close.add(replica.dpid)

    def _work(self, replica: Replica, now_s: float) -> None:
        """Do a slice of an audit; the rest in turns of its own."""
        try:
            if replica.work():
                self._at_work[replica.dpid] = None
                return
            self._at_work.pop(replica.dpid, None)
            if replica.audited:
                self._audited(replica, now_s)
        except decode.Malformed as error:
            self._at_work.pop(replica.dpid, None)
            replica.drop_audit()
            self._hang_up(replica, error)

    def _go_on(self, now_s: float) -> None:
        """One slice for one of the switches that are at work, each in turn."""
        dpid = next(iter(self._at_work), None)
        if dpid is not None:
            del self._at_work[dpid]
            if dpid in self.replicas:
                self._work(self.replicas[dpid], now_s)

    def _audited(self, replica: Replica, now_s: float) -> None:
        first = replica.state is State.AUDITING
        if first and replica.needs_greeting():
            replica.greet()
            replica.drop_audit()
            self._start_audit(replica, now_s)
            return
        if first:
            self._probe_all_soon(now_s)
        if first and replica.is_foreign() and self._must_wait(replica, now_s):
            replica.holding = True
            replica.drop_audit()
            return
        fresh = self._knows_all_s is None or now_s < self._knows_all_s
        found = replica.findings(keep_learned=fresh)
        if found is not None and found.extra:
            self._adoption.adopt(replica, found.extra, now_s)
            found = replica.findings(keep_learned=fresh)
        if found is None:
            self._audit_again(replica, now_s, at_once=first)
            return
        if found.emptied and FLOOD_MISS in found.missing:
            self.counting.emptied(replica.dpid)
        for waiter in replica.diff_waiters:
            waiter(found)
        replica.diff_waiters.clear()
        replica.rest(now_s)
        suspected = replica.watch.audited()
        replica.reconcile(found)
        if first:
            replica.emptied = found.fresh and replica.returns
        if found.drifted and not first:
            self._drifted(replica, found, "monitor" if suspected else "audit", now_s)
        self._effects.wake.add(replica.dpid)

    def _drifted(self, replica: Replica, found: Findings, seen_by: str, now_s: float) -> None:
        """Count it, log it, tell who listens."""
        replica.drifts += 1
        replica.drifted = (now_s, len(found.missing) + len(found.changed), len(found.extra))
        changed = tuple(dict.fromkeys(entry.cookie for entry in found.changed))
        counts = {
            "missing": len(found.missing),
            "extra": len(found.extra),
            "changed": len(changed),
        }
        for how, count in counts.items():
            self.drifts[how] += count
        missing = tuple(found.missing)
        refused = any(cookie in replica.rejected for cookie in (*missing, *changed))
        self._effects.drifted.append(
            Drift(replica.dpid, missing, found.extra, changed, not refused, seen_by)
        )
        told = ", ".join(f"{count} {how}" for how, count in counts.items() if count)
        if replica.contest.mended(now_s):
            self._effects.log.append(
                f"host {replica.dpid}: its flows are changed as fast as they are mended: does"
                " another controller drive it (ovs-vsctl get-controller br-tun), or a script?"
                " Mended more and more rarely while that goes on"
            )
        elif not replica.contest.goes_on(now_s):
            self._effects.log.append(f"host {replica.dpid} had drifted: flows {told}; mended")

    # What flow monitors say

    def _updated(self, replica: Replica, body: bytes) -> None:
        try:
            if replica.watch.take(body):
                self._suspicious[replica.dpid] = None
        except decode.Malformed as error:
            self._hang_up(replica, error)

    def _look_into(self, now_s: float) -> None:
        """Mend what others changed; what cannot be told without a dump is left to an audit."""
        for dpid in list(self._suspicious):
            replica = self.replicas.get(dpid)
            if replica is not None and not (replica.can_mend and now_s >= replica.contest.until_s):
                continue
            del self._suspicious[dpid]
            if replica is None:
                continue
            if replica.watch.suspects:
                replica.audit_soon(now_s)
            found = replica.tampered()
            if found.missing or found.extra or found.changed:
                replica.mend(found)
                self._drifted(replica, found, "monitor", now_s)
                self._effects.wake.add(dpid)

    def _audit_again(self, replica: Replica, now_s: float, *, at_once: bool) -> None:
        """Too much changed meanwhile: a live switch is not asked again and again."""
        replica.rest(now_s)
        replica.drop_audit()
        if at_once:
            self._start_audit(replica, now_s)
        elif replica.diff_waiters:
            replica.next_audit_s = now_s + 1.0

    def _must_wait(self, replica: Replica, now_s: float) -> bool:
        """Whether a takeover is too early: its old flows reach more hosts than ours would.

        Probes have not told the ports yet; or one port leads to all hosts and more still arrive.
        """
        egress = replica.egress
        if egress.flow_port is not None and now_s < self._last_arrival_s + ARRIVALS_S:
            return now_s < replica.connected_s + ARRIVALS_HOLD_S
        return bool(egress.unproven) and now_s < replica.hold_until_s

    # Packet-ins

    def _packets_in(
        self, replica: Replica, packets: Sequence[decode.PacketIn], now_s: float
    ) -> None:
        take, effects = self.packets.take, self._effects
        budget = self.budgets.of(replica.dpid, now_s)
        before = budget.shed
        for packet in budget.admit(packets, now_s):
            kind = cookie_kind(packet.cookie)
            try:
                frame = frames.parse(packet.frame)
                if frame is None or kind is None:
                    self.packet_ins_dropped += 1
                    continue
                if kind is Kind.PROBE_IN:
                    self._probed(replica, packet, frame, now_s)
                    continue
                if kind is Kind.ASK_ANSWER:
                    self.inquiries.hear(replica, packet, frame, now_s)
                    continue
                if kind in FOREIGN_KINDS:
                    self._saw_foreign(replica, packet)
                if not take(replica, kind, packet, frame, now_s, effects):
                    budget.note_shed(packet.tun_id, packet.frame, now_s)
            except Exception as error:
                # A VM made this frame: it must not cost its host the connection.
                self._stumbled(replica, packet, error)
        if budget.shed != before:
            self._shed(replica, budget, budget.shed - before, now_s)

    def _stumbled(self, replica: Replica, packet: decode.PacketIn, error: Exception) -> None:
        """A fault of ours: the first few are told with all that it takes to repeat them."""
        self.packet_ins_dropped += 1
        self.stumbles += 1
        if self.stumbles <= STUMBLES_TOLD:
            self._effects.log.append(
                f"a fault of this controller, please report it: {error!r} at a packet-in of host"
                f" {replica.dpid}, cookie {packet.cookie:#x}, network {packet.tun_id}, frame"
                f" {packet.frame.hex()}"
            )

    def _shed(self, replica: Replica, budget: Budget, count: int, now_s: float) -> None:
        """A host's packet-ins were too many."""
        self.budgets.shed += count
        self._effects.rest[replica.dpid] = count * REST_S
        if budget.is_to_be_told(now_s):
            host = self._called(replica.dpid)
            self._effects.log.append(
                f"host {host} sends more packet-ins than are taken of one host, {budget.shed} shed"
                f" so far: {told(budget)}"
            )

    def _probed(
        self, replica: Replica, packet: decode.PacketIn, frame: frames.Frame, now_s: float
    ) -> None:
        if frame.eth_type == PROBE_ETH_TYPE and packet.in_port != replica.bridge.patch_port:
            probe = probes.decode(frame.payload, self._secret)
            if probe is not None:
                self._probe_arrived(replica, packet, probe, now_s)

    def _probe_arrived(
        self, there: Replica, packet: decode.PacketIn, probe: probes.Probe, now_s: float
    ) -> None:
        sender = self.replicas.get(probe.dpid)
        if sender is None or sender.epoch != probe.epoch or sender is there:
            return
        self._saw_vtep(sender.dpid, packet.tun_src)
        self._saw_vtep(there.dpid, packet.tun_dst)
        if probe.size_bytes:
            risen = self.tunnels.arrived(
                sender.dpid, there.dpid, probe.size_bytes, probe.sent_s, now_s
            )
            if risen is not None:
                self._tunnel_changed(sender.dpid, risen)
            return
        vtep = self.topology.hosts[there.dpid].vtep
        port_name = sender.ports.get(probe.port)
        if vtep is None or port_name is None:
            return
        host = self.topology.hosts[sender.dpid]
        if probe.keyed:
            host = host.seen_key(port_name, lost=packet.tun_id != PROBE_VNI)
            self._sight(host)
        known = host.remote_of(port_name)
        if not probe.addressed:
            sender.forget_addressed(probe.port)
            self._sight(host.seen(port_name, vtep))
        elif known not in (vtep, "flow") and sender.shows_flow_based(
            probe.port, vtep, probe.sent_s
        ):
            self._sight(host.seen(port_name, "flow"))
        if sender.holding and not self._must_wait(sender, now_s):
            self._release(sender, now_s)

    def _saw_foreign(self, replica: Replica, packet: decode.PacketIn) -> None:
        """A foreign VTEP is heard through one of several ports: that one leads there.

        A single port may be flow-based, and needs no such knowledge.
        """
        vtep = self.topology.vteps.get(Ip.v4(packet.tun_src))
        name = replica.ports.get(packet.in_port)
        host = self.topology.hosts[replica.dpid]
        if vtep is None or name is None or len(replica.bridge.tunnel_ports) == 1:
            return
        if host.remote_of(name) is None:
            self._sight(host.seen(name, vtep.ip))

    def _saw_vtep(self, dpid: Dpid, address: int) -> None:
        if not 0 < address < 0xE0000000:
            return
        vtep = VtepIp(VtepIp.v4(address))
        self.heard_at[dpid] = vtep
        host = self.topology.hosts.get(dpid)
        if host is None or host.vtep == vtep or host.declared_vtep is not None:
            return
        if not self._is_anothers(vtep, host.dpid):
            self._sight(replace(host, seen_vtep=vtep))

    # Time

    def _tick(self, now_s: float) -> None:
        timeout_s = self.settings.learn_timeout_s
        for key in list(self._derivation.ages.due(now_s)):
            entry = self.topology.learned.get(key)
            if entry is None:
                continue
            left = learning.aged(entry, now_s, timeout_s)
            if left is None:
                self._derivation.apply(Remove(LearnedMac, key))
            elif left != entry:
                self._derivation.apply(Put(left))
            else:
                self._derivation.ages.note(entry)
        self._derivation.spread()  # an audit that begins now is not to take what goes for drift
        self._derivation.learned_news.tick(now_s)
        self._effects.happened += self.counting.tick(now_s)
        if now_s >= self._forget_moves_s:
            self._forget_moves_s = now_s + 60.0
            self.packets.forget(now_s)
        if self._derivation.mending:
            self._derivation.mend(now_s)
        if self._suspicious:
            self._look_into(now_s)
        for replica in self.replicas.values():
            if replica.bridge.trusting and now_s >= replica.trust_until_s:
                replica.bridge = replace(replica.bridge, trusting=False)
                if replica.egress.unproven:
                    self._derivation.refresh_bridge(replica)
            if now_s >= replica.next_probe_s:
                self._prober.probe(replica, now_s)
                self._effects.wake.add(replica.dpid)
            if replica.ears_open and self.tunnels.due(replica.dpid, now_s):
                self._watch(replica, now_s)
            if replica.is_stuck(now_s):
                self._effects.log.append(f"host {replica.dpid} does not finish its dump of flows")
                self._effects.close.add(replica.dpid)
            if replica.holding and not self._must_wait(replica, now_s):
                self._release(replica, now_s)
            if (
                replica.state is State.LIVE
                and now_s >= replica.next_audit_s
                and not replica.is_behind
            ):
                self._start_audit(replica, now_s)

    def _watch(self, replica: Replica, now_s: float) -> None:
        """A host's turn at its tunnels."""
        turn = self._prober.watch(replica, now_s)
        self._effects.wake |= turn.ask
        for tunnel in turn.changed:
            self._tunnel_changed(replica.dpid, tunnel)
        for tunnel in turn.short:
            self._effects.log.append(
                f"tunnel from {self._called(replica.dpid)} to {self._called(tunnel.peer.dpid)}:"
                f" IP packets of {tunnel.peer.mtu_bytes} bytes do not come through"
            )

    def _tunnel_changed(self, dpid: int, tunnel: Tunnel) -> None:
        there = tunnel.peer.dpid
        state, trip_s = self.tunnels.state_of(tunnel), self.tunnels.round_trip_s(dpid, there)
        self._effects.happened.append(
            Happening(
                "tunnel",
                {
                    "host": str(Dpid(dpid)),
                    "host_name": self.topology.hosts[dpid].name,
                    "vtep": str(tunnel.peer.vtep),
                    "peer": str(Dpid(there)),
                    "state": str(state),
                    "rtt_ms": None if trip_s is None else round(trip_s * 1000, 3),
                },
            )
        )

    def _called(self, dpid: int) -> str:
        host = self.topology.hosts.get(dpid)
        return str(Dpid(dpid)) if host is None or host.name is None else host.name

    def _release(self, replica: Replica, now_s: float) -> None:
        """Take the bridge over: the ports are known, or will not be."""
        replica.holding = False
        replica.hold_until_s = now_s
        self._start_audit(replica, now_s)

    def _probe_all_soon(self, now_s: float) -> None:
        for replica in self.replicas.values():
            if replica.egress.unproven:
                self._prober.probe(replica, now_s)
                self._effects.wake.add(replica.dpid)

    # Questions

    def followers(self, changes: Iterable[Change]) -> set[int]:
        """The connected hosts that a write concerns, as the facts are now."""
        vnis, everybody = _concerned(changes)
        if everybody:
            return set(self.replicas)
        tables = (self.tables.get(vni) for vni in vnis)
        return {dpid for table in tables if table is not None for dpid in table.cursors}

    def ticket(self, changes: Iterable[Change], departing: Iterable[int] = ()) -> Ticket:
        """What to wait for, so that these changes (applied already) are on every switch.

        ``departing`` carried these networks before, and may be losing them by these changes.
        """
        changes = list(changes)
        vnis, everybody = _concerned(changes)
        targets = []
        for dpid in sorted(self.followers(changes) | set(departing) & self.replicas.keys()):
            replica = self.replicas[dpid]
            followed = replica.tables.keys() if everybody else vnis & replica.tables.keys()
            keys = sorted({*followed, PRIVATE})
            targets.append((dpid, tuple((key, replica.tables[key].rev) for key in keys)))
        return Ticket(tuple(targets))

    def applied(self, ticket: Ticket) -> Applied:
        """On how many of the ticket's switches that are still connected it is confirmed."""
        done, behind = 0, []
        for dpid, targets in ticket.targets:
            replica = self.replicas.get(dpid)
            if replica is not None and replica.confirmed(targets):
                done += 1
            elif replica is not None:
                behind.append(dpid)
        return Applied(done, done + len(behind), tuple(behind))

    def forecast(self, changes: Sequence[Change]) -> Generator[None, None, Forecast]:
        """What these changes would do to the switches; counted in slices."""
        return forecast(self._derivation, changes)

    def examine(self, dpid: int, controller_ip: int | None) -> Effects:
        """Have a closer look at a bridge; ``examiner`` has what it found."""
        replica = self.replicas[dpid]
        self.examiner.look(replica, controller_ip)
        self._effects.wake.add(dpid)
        return self._hand_over()

    def request_counters(
        self, dpids: Iterable[int], waiter: Callable[[int], None], now_s: float
    ) -> Effects:
        """Have switches tell their counters now; the waiter is called once for each."""
        self.counting.request(dpids, waiter, now_s)
        return self._hand_over()

    def request_diff(self, dpid: int, waiter: Callable[[Findings], None], now_s: float) -> Effects:
        """Have the switch dumped now; the waiter is called once with what the audit finds."""
        replica = self.replicas[dpid]
        replica.diff_waiters.append(waiter)
        if replica.is_behind:
            replica.next_audit_s = 0.0  # what was not sent yet is not missing
        elif replica.state is State.LIVE:
            self._start_audit(replica, now_s)
        self._effects.wake.add(dpid)
        return self._hand_over()


def _concerned(changes: Iterable[Change]) -> tuple[set[int], bool]:
    """The networks that changes are about; or whether they are everybody's business."""
    vnis: set[int] = set()
    everybody = False
    for change in changes:
        match change:
            case Put(Vm(vni=vni)) | Put(Network(vni=vni)) | Put(Vip(vni=vni)):
                vnis.add(vni)
            case Remove(kind, key) if kind in (Vm, Vip) and isinstance(key, tuple):
                vnis.add(key[0])
            case Remove(kind, int(key)) if kind is Network:
                vnis.add(key)
            case _:
                everybody = True
    return vnis, everybody
