"""Answers questions about the running fabric: what it holds, what becomes of a packet, and why.

It asks switches and VMs and waits for them, one greenlet for each question; nothing else waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Final, TypeVar

import eventlet
from eventlet.event import Event as Signal
from eventlet.timeout import Timeout

from controller import craft, inquiries
from controller.audit import Findings
from controller.engine import Engine
from controller.events import Drift, Effects
from controller.explain import entry_view, views_of
from controller.faults import Fault, lost_between
from controller.inquiries import Answer, Ask
from controller.journey import Packet
from controller.pipeline import Kind, cookie_kind
from controller.replica import Replica
from controller.scene import Installed
from controller.service import (
    CheckResult,
    Evidence,
    Question,
    TracedHop,
    TraceReport,
    TunnelStatus,
    WhyReport,
)
from controller.stations import BROADCAST_NAME, Station, find_destination, find_source, place_name
from controller.trace import Asked, Stage, Trace, Tracer
from controller.why import Presence, answer, concerns, names, of_check
from controller.wire import decode
from controller.wire.readback import read_entry, read_flow
from topology.errors import Conflict, InvalidValue, NotFound
from topology.model import MacKey
from topology.types import Dpid, Foreign, Ip, Vlan, VtepIp

T = TypeVar("T")

ANSWER_S: Final = 10.0
"""So long a switch may take to tell what it holds."""

ASK_S: Final = 0.7
ASKS: Final = 2
SECOND_ANSWER_S: Final = 0.15
"""So long a second one who has the same address may take after the first."""

PROBES: Final = 3
COUNT_S: Final = (0.1, 0.4, 1.0)
"""When counters are read after a probe: a datapath hands them over twice a second."""

HOSTS_ASKED_MAX: Final = 256
LATELY_S, JUST_NOW_S = 300.0, 60.0
NEIGHBOURS_ASKED_MAX: Final = 8


class Inspector:
    """Asks on behalf of the API. ``carry_out`` takes the effects of what it has the engine do."""

    def __init__(
        self,
        engine: Engine,
        now_s: Callable[[], float],
        carry_out: Callable[[Effects], None],
        since: Callable[[Iterable[MacKey]], Mapping[MacKey, str]],
        tunnels: Callable[[int], list[TunnelStatus]],
        drifted_lately: Callable[[], Iterable[tuple[float, Drift]]],
        noticed: Callable[[Iterable[int]], list[CheckResult]],
    ) -> None:
        self._engine = engine
        self._now_s = now_s
        self._carry_out = carry_out
        self._since = since
        self._tunnels = tunnels
        self._drifted_lately = drifted_lately
        self._noticed = noticed

    # What a switch holds

    def findings(self, dpid: int) -> Findings:
        """Ask a switch for its flows and compare; Conflict when it does not answer."""

        def ask(_replica: Replica, send: Callable[[Findings], None]) -> None:
            self._carry_out(self._engine.request_diff(dpid, send, self._now_s()))

        return self._answer_of(dpid, ask)

    def _answer_of(self, dpid: int, ask: Callable[[Replica, Callable[[T], None]], None]) -> T:
        """Ask a connected switch something and wait for what it sends; else a Conflict."""
        replica = self._engine.replicas.get(dpid)
        if replica is None:
            raise Conflict(f"host {self._called(dpid)} is not connected: its flows cannot be read")
        found: Signal = Signal()

        def send(answer: T) -> None:
            if not found.ready():
                found.send(answer)

        ask(replica, send)
        with Timeout(ANSWER_S, False):
            answer: T = found.wait()
            return answer
        raise Conflict(f"host {self._called(dpid)} did not answer within {ANSWER_S:.0f} s")

    def _called(self, dpid: int) -> str:
        return place_name(self._engine.topology, Dpid(dpid))

    def count(self, dpid: int, cookies: Iterable[int]) -> dict[int, decode.FlowEntry]:
        """Read flows by cookie; those that are not there are missing in the answer."""

        def ask(replica: Replica, send: inquiries.Counted) -> None:
            self._engine.inquiries.count(replica, cookies, send)
            self._wake(dpid)

        return self._answer_of(dpid, ask)

    def _tried(self, dpid: Dpid, met: Iterable[int]) -> Installed | Conflict:
        try:
            return self._installed(dpid, met)
        except Conflict as error:
            return error

    def _installed(self, dpid: Dpid, met: Iterable[int]) -> Installed:
        """How a bridge differs from what it should hold; of the flows met, their actions too."""
        found = self.findings(dpid)
        foreign = []
        for entry in found.extra:
            with suppress(decode.Malformed):
                foreign.append((entry.cookie, read_entry(entry)))
        missing = set(found.missing)
        changed = {}
        there: Mapping[int, decode.FlowEntry] = self.count(dpid, met)
        replica = self._engine.replicas.get(dpid)
        if replica is None:
            raise Conflict(f"host {dpid} disconnected meanwhile: its flows cannot be read")
        wanted = replica.named(met)
        for cookie, add in wanted.items():
            held = there.get(cookie)
            if held is None:
                missing.add(cookie)
                continue
            try:
                flow = read_entry(held)
            except decode.Malformed:
                continue
            should = read_flow(add)
            if (flow.actions, flow.goto) != (should.actions, should.goto):
                changed[cookie] = flow
        return Installed(frozenset(missing), tuple(foreign), changed)

    def _wake(self, dpid: int) -> None:
        effects = Effects()
        effects.wake.add(dpid)
        self._carry_out(effects)

    # Trace

    def trace(self, question: Question) -> TraceReport:
        """What becomes of a packet: by what should be installed, or (live) by what is."""
        asked = self._resolve(question)
        return self._traced(asked, live=question.live)[0].told()

    def _traced(
        self, asked: Asked, *, live: bool, silent: dict[Dpid, str] | None = None
    ) -> tuple[Trace, Tracer]:
        """The trace, and who made it. Hosts that do not answer go into ``silent`` if it is there;
        else that is a Conflict.
        """
        since = self._since(
            [
                (station.vni, station.mac)
                for station in (asked.src, asked.dst)
                if station is not None and station.registered and station.mac is not None
            ]
        )
        tracer = self._tracer(asked, since)
        trace = tracer.trace()
        connected = [dpid for dpid in tracer.hosts if dpid in self._engine.replicas]
        if not live or not connected:
            return trace, tracer
        met = {
            dpid: [cookie for stage in trace.stages for cookie in stage.met(dpid)]
            for dpid in connected
        }
        installed: dict[Dpid, Installed] = {}
        # All at once: hosts that do not answer are waited for together.
        asking = [(dpid, eventlet.spawn(self._tried, dpid, met[dpid])) for dpid in connected]
        for dpid, reading in asking:
            found = reading.wait()
            if not isinstance(found, Conflict):
                installed[dpid] = found
            elif silent is None:
                raise found
            else:
                silent[dpid] = str(found)
        tracer = self._tracer(asked, since, installed)
        trace = tracer.trace()
        for stage in trace.stages:
            if stage.probed and stage.packet is not None and not silent:
                self._probe(stage, stage.packet)
        return replace(trace, verdict=tracer.verdict(trace.stages)), tracer

    def _tracer(
        self,
        asked: Asked,
        since: Mapping[MacKey, str],
        installed: Mapping[Dpid, Installed] | None = None,
    ) -> Tracer:
        """Facts may have changed since the question was read."""
        if asked.src.vni not in self._engine.topology.networks:
            raise NotFound(f"network {asked.src.vni} was deleted meanwhile")
        return Tracer(self._engine, asked, now_s=self._now_s(), since=since, installed=installed)

    def _resolve(self, question: Question) -> Asked:
        topology = self._engine.topology
        src = find_source(topology, question.src, question.vni)
        dst = None
        if question.dst and question.dst != BROADCAST_NAME:
            dst = find_destination(topology, question.dst, src.vni)
            if (dst.vni, dst.mac, dst.ip) == (src.vni, src.mac, src.ip) and dst.mac is not None:
                raise InvalidValue("dst", f"{question.dst!r} is the source itself")
        frame = None
        if question.frame is not None:
            frame = self._frame(question.frame, src)
        elif not question.dst:
            raise InvalidValue("dst", "is required: a VM's name, MAC or IP, or broadcast")
        return Asked(src, dst, question.kind, frame)

    def _frame(self, data: bytes, src: Station) -> Packet:
        try:
            packet = craft.from_bytes(data)
        except craft.Unreadable as error:
            raise InvalidValue("frame", str(error)) from error
        network = self._engine.topology.networks[src.vni]
        # As the VM sends it, it has no tag; br-int adds its network's.
        return packet if packet.vlan is not None else replace(packet, vlan=network.vlan)

    # Probes

    def _probe(self, stage: Stage, packet: Packet) -> None:
        """Send some frames as the VM would, and see how far the counters follow them."""
        hops = [hop for hop in stage.hops if hop.cookie is not None]
        origin = self._engine.replicas.get(hops[0].dpid)
        if origin is None:
            return
        by_host: dict[Dpid, list[int]] = {}
        for hop in hops:
            by_host.setdefault(hop.dpid, []).append(hop.cookie or 0)
        before = self._counted(by_host)
        frame = craft.to_bytes(craft.harmless(packet))
        for _ in range(PROBES):
            inquiries.inject(origin, frame)
        self._wake(origin.dpid)
        grown: dict[tuple[Dpid, int], int] = {}
        for pause_s in COUNT_S:
            eventlet.sleep(pause_s)
            after = self._counted(by_host)
            grown = {at: count - before.get(at, 0) for at, count in after.items()}
            if all(grown.get((hop.dpid, hop.cookie or 0), 0) >= PROBES for hop in hops):
                break
        stage.hops = [_with_packets(hop, grown) for hop in stage.hops]
        self._judge_probe(stage, hops, grown)

    def _counted(self, by_host: Mapping[Dpid, list[int]]) -> dict[tuple[Dpid, int], int]:
        return {
            (dpid, cookie): entry.packets
            for dpid, cookies in by_host.items()
            for cookie, entry in self.count(dpid, cookies).items()
        }

    def _judge_probe(
        self, stage: Stage, hops: list[TracedHop], grown: Mapping[tuple[Dpid, int], int]
    ) -> None:
        """The first flow that did not count the probe's frames: there they were lost."""
        topology = self._engine.topology
        punted = any(cookie_kind(hop.cookie or 0) == Kind.UNICAST_PUNT for hop in hops)
        arrived = grown.get((hops[-1].dpid, hops[-1].cookie or 0), 0) >= PROBES
        for last, hop in zip([None, *hops], hops, strict=False):
            if grown.get((hop.dpid, hop.cookie or 0), 0) >= PROBES:
                continue
            if arrived and punted:
                continue  # for the first of its frames the controller made a flow for the rest
            stage.ok, stage.outcome = False, "lost"
            name = place_name(topology, hop.dpid)
            if last is not None and last.dpid != hop.dpid:
                sender = place_name(topology, last.dpid)
                vtep = topology.vtep_of(hop.dpid)
                stage.fault = lost_between(sender, name, vtep, self._own_port(last.dpid, vtep))
            else:
                stage.fault = Fault(
                    "flow-not-hit",
                    f"host {name}: the frames of a probe do not reach table {hop.table_name}"
                    f" ({hop.why})",
                    f"vxlanctl host diff {name}",
                )
            return

    def _own_port(self, dpid: int, vtep: VtepIp | None) -> str | None:
        """The port that leads to this VTEP alone, if a bridge has one."""
        replica = self._engine.replicas.get(dpid)
        port = None if replica is None or vtep is None else replica.egress.peers.get(vtep)
        return None if replica is None or port is None else replica.ports.get(port)

    # Why

    def why(self, question: Question) -> WhyReport:
        """One sentence with evidence: facts, flows as installed, tunnels, and the VMs' own word."""
        asked = self._resolve(question)
        if asked.dst is None or asked.frame is not None:
            raise InvalidValue("dst", "why is about one destination: a VM's name, MAC or IP")
        silent: dict[Dpid, str] = {}
        trace, tracer = self._traced(asked, live=True, silent=silent)
        tunnels = [
            status
            for dpid in tracer.hosts
            for status in self._tunnels(dpid)
            if status.peer in tracer.hosts
        ]
        apart = asked.dst.vni != asked.src.vni
        asking = [
            eventlet.spawn(self.presence, station)
            for station in (asked.dst, asked.src)
            if not apart and not isinstance(station.place, Foreign) and station.place not in silent
        ]
        presences = [asked_of.wait() for asked_of in asking]
        noticed = self._drifts(tracer.hosts, trace)
        well = [one.station.mac for one in presences if one.is_well and one.station.mac]
        hosts = [place_name(self._engine.topology, dpid) for dpid in tracer.hosts]
        for result in self._noticed(tracer.hosts):
            if result.status != "ok" and concerns(result, (asked.src, asked.dst), hosts):
                answered = next((mac for mac in well if names(result, str(mac))), None)
                noticed.append(of_check(result, answered))
        return answer(self._engine.topology, asked, trace, tunnels, presences, silent, noticed)

    def _drifts(self, hosts: Iterable[int], trace: Trace) -> list[tuple[Evidence, Fault | None]]:
        """The latest drift of each host, and the latest that touched a flow of this question."""
        latest: dict[int, tuple[Evidence, Fault | None]] = {}
        touching: dict[int, tuple[Evidence, Fault | None]] = {}
        for at_s, drift in sorted(self._drifted_lately(), key=lambda one: -one[0]):
            ago_s = self._now_s() - at_s
            if drift.dpid not in hosts or ago_s >= LATELY_S or drift.dpid in touching:
                continue
            found = self._drifted(drift, ago_s, trace)
            latest.setdefault(drift.dpid, found)
            if found[1] is not None:
                touching[drift.dpid] = found
        # By time, not by host: what was done last comes first.
        return list(dict.fromkeys([*touching.values(), *latest.values()]))

    def _drifted(self, drift: Drift, ago_s: float, trace: Trace) -> tuple[Evidence, Fault | None]:
        """A drift that is mended; a fault of this question if a flow that it meets was touched."""
        met = {cookie for stage in trace.stages for cookie in stage.met(Dpid(drift.dpid))}
        touched = met & {*drift.missing, *drift.changed}
        name = place_name(self._engine.topology, Dpid(drift.dpid))
        first = set([*touched, *drift.missing, *drift.changed][:1])
        flows = [*views_of(self._engine, drift.dpid, first), *map(entry_view, drift.extra[:1])]
        what = f", such as {flows[0].match or 'any'} ({flows[0].why})" if flows else ""
        text = (
            f"host {name}: {ago_s:.0f} s ago somebody else had changed its flows:"
            f" {len(drift.missing)} missing, {len(drift.changed)} changed, {len(drift.extra)}"
            f" extra{what}; mended"
        )
        fault = Fault("recent-drift", text, "vxlanctl events --types drift")
        matters = ago_s < JUST_NOW_S and (touched or drift.extra)
        return Evidence(f"host {name}", "warning", text), fault if matters else None

    def presence(self, station: Station) -> Presence:
        """Whether a VM answers where it is said to be; if not, whether it does elsewhere."""
        engine, topology = self._engine, self._engine.topology
        ip = station.ip or next(iter(station.ips), None)
        replica = engine.replicas.get(station.place or -1)
        network = topology.networks.get(station.vni)
        vlan = None if network is None else network.vlan
        if ip is not None and network is not None and not station.is_known:
            found = self._ask(self._others(station), ip, [vlan])
            where = found[0].dpid if found else None
            return Presence(station, answers=tuple(found), where=where, vlan=vlan)
        if ip is None or network is None or replica is None or not replica.can_ask:
            return Presence(station, asked=False)
        here = self._ask([replica], ip, [vlan])
        if here:
            return Presence(station, answers=tuple(here), where=replica.dpid, vlan=vlan)
        others = [tag for tag in self._vlans_on(replica) if tag != vlan]
        astray = self._ask([replica], ip, others)
        if astray:
            return Presence(station, answers=tuple(astray), where=replica.dpid, vlan=vlan)
        found = self._ask(self._others(station), ip, [vlan])
        if found:
            return Presence(station, answers=tuple(found), where=found[0].dpid, vlan=vlan)
        silent = self._silent_neighbours(replica, station)
        patch = replica.bridge.names.patch
        return Presence(station, vlan=vlan, neighbours=silent, patch=patch)

    def _silent_neighbours(self, replica: Replica, station: Station) -> int:
        """How many other VMs of its host are silent too; 0 if one of them answers."""
        topology = self._engine.topology
        others = [
            (vm.ips[0], topology.networks[vm.vni].vlan)
            for key in islice(topology.vms_on(replica.dpid), NEIGHBOURS_ASKED_MAX + 1)
            if (vm := topology.vms[key]).mac != station.mac and vm.ips
        ]
        asking = [eventlet.spawn(self._ask, [replica], ip, [vlan], 1) for ip, vlan in others]
        answered = [asked.wait() for asked in asking]
        return 0 if any(answered) else len(others)

    def _others(self, station: Station) -> list[Replica]:
        """The bridges of other hosts that can ask their VMs."""
        replicas = (self._engine.replicas[dpid] for dpid in self._hosts_to_ask(station))
        return [replica for replica in replicas if replica.can_ask]

    def _hosts_to_ask(self, station: Station) -> list[int]:
        """Other connected hosts, those that carry the network first."""
        engine = self._engine
        members = set(engine.topology.members(int(station.vni)))
        others = [dpid for dpid in engine.replicas if dpid != station.place]
        others.sort(key=lambda dpid: dpid not in members)
        return others[:HOSTS_ASKED_MAX]

    def _vlans_on(self, replica: Replica) -> list[Vlan | None]:
        topology = self._engine.topology
        return list(dict.fromkeys(network.vlan for network in topology.networks.values()))[:512]

    def _ask(
        self, replicas: Iterable[Replica], ip: Ip, vlans: list[Vlan | None], times: int = ASKS
    ) -> list[Answer]:
        """Ask on all of these at once, more than once; the answers that came first."""
        replicas = list(replicas)
        if not replicas or not vlans:
            return []
        for _ in range(times):
            heard: Signal = Signal()

            def hear(signal: Signal = heard) -> None:
                if not signal.ready():
                    signal.send()

            asks: list[Ask] = []
            try:
                for replica in replicas:
                    ask = self._engine.inquiries.ask(replica, ip, vlans, self._now_s(), hear)
                    asks.append(ask)
                    self._wake(replica.dpid)
                with Timeout(ASK_S, False):
                    heard.wait()
                    eventlet.sleep(SECOND_ANSWER_S)
            finally:
                for ask in asks:
                    self._engine.inquiries.close(ask)
            answers = [answer for ask in asks for answer in ask.answers]
            if answers:
                return answers
        return []


def _with_packets(hop: TracedHop, grown: Mapping[tuple[Dpid, int], int]) -> TracedHop:
    if hop.cookie is None:
        return hop
    return replace(hop, packets=max(0, grown.get((hop.dpid, hop.cookie), 0)))
