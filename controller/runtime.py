"""The running controller: engine, clock, store, switches, and the answers to the API."""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import eventlet
from eventlet.event import Event as Signal
from eventlet.queue import LightQueue
from eventlet.timeout import Timeout

from controller import doctor, explain, flow_search, tunnel_views
from controller.doctor import Evidence as Examined
from controller.engine import Engine, Settings
from controller.events import (
    Committed,
    Connected,
    Continue,
    Drift,
    Effects,
    Event,
    Lost,
    Message,
    PacketsIn,
    Received,
    Tick,
)
from controller.happenings import Happening
from controller.heap import Heap
from controller.identities import why_held
from controller.inspector import Inspector
from controller.journal import Journal
from controller.ledger import Ledger
from controller.measures import HostMeasures, Measures
from controller.news import WriteNews
from controller.openflow.complaints import Bucket
from controller.openflow.front import Connection
from controller.replica import State
from controller.service import (
    About,
    Applied,
    CheckResult,
    Diff,
    DriftCounts,
    FlowPage,
    FlowQuestion,
    Forecast,
    HostCounts,
    HostStatus,
    Question,
    Status,
    StoreUsage,
    Ticket,
    TraceReport,
    TunnelStatus,
    TunnelSummary,
    WhyReport,
)
from controller.sessions import Sessions
from controller.sparing import Sparing
from controller.standing import HELD, host_status, standing
from controller.store.base import Store
from controller.store.committer import Committer
from controller.tables import Buffer
from controller.wire.decode import PacketIn
from topology.draft import Draft
from topology.errors import StoreUnavailable, VxlanError
from topology.model import Change, Fact, Host, Key, MacKey, Put, Topology, Vm
from topology.types import Dpid, Location, VtepIp

LOG = logging.getLogger("vxlan_l2")

T = TypeVar("T")
_Seen: TypeAlias = dict[tuple[str, Any], tuple[Any, ...]]
"""By kind ("host", "vm", "vip") and key what was seen last; of a VM its place."""

REMEMBER_AGAIN_S, REMEMBER_AGAIN_MAX_S = 1.0, 15.0
TICK_S = 0.1
TELL_TURNS = 10
DRIFTS_KEPT = 256
CHANGES_AT_ONCE = 200
"""Changes of one write that are applied before others get a turn: some milliseconds' worth."""
TUNNELS_TRIED_AT_ONCE = 2000
SENDERS_AT_ONCE = 20
"""Hosts whose tunnels are listed before others get a turn: some milliseconds' worth."""
LOOK_MAX_S, LOOK_EVERY_S = 5.0, 0.05
COUNT_TIMEOUT_S = 10.0
FLOW_REPLY_BYTES = 1024
HELD_TOLD_MAX = 20
"""Switches that are held of which is told within a minute."""
LINES_BURST, LINES_EVERY_S = 300.0, 0.2
"""Lines that switches' doings may write to the log at once, and then one every so often."""

APPLY_TIMEOUT_S = 60.0
"""A write that takes longer to be applied everywhere is not watched any more."""


@dataclass(eq=False)
class _Waiter:
    """Somebody who waits for switches: what each that is left is to confirm."""

    pending: dict[int, tuple[tuple[int, int], ...]]
    done: Signal = field(default_factory=Signal)


class _Told(NamedTuple):
    """What was last told of a host."""

    state: str
    reason: str | None
    vtep: VtepIp | None
    name: str | None


class Runtime:
    """Implements controller.service.Service, and hears of the switches as their Listener."""

    def __init__(self, store: Store, settings: Settings, about: About | None = None) -> None:
        self.engine = Engine(settings, secret=os.urandom(32))
        self._store = store
        self._connections: dict[int, Connection] = {}
        self._waiters: dict[int, set[_Waiter]] = {}  # by dpid of a switch that is waited for
        self._to_remember: LightQueue = LightQueue()
        self._committer: Committer[Ticket] = Committer(store, self.topology, self._committed)
        self._about = about or About()
        self._started_s = time.time()
        self._started_monotonic_s = time.monotonic()
        self.journal = Journal(secrets.token_hex(4))
        self._told: dict[int, _Told] = {}
        self._held_told = Sparing(HELD_TOLD_MAX, per_s=60.0)
        self._announced: set[tuple[MacKey, Location]] = set()  # moves on their way to the store
        self._sessions = Sessions(self.now_s())
        self._target = "tcp:CONTROLLER:6653"  # until a switch has connected
        self._ready = False
        self._loops: dict[str, eventlet.greenthread.GreenThread] = {}
        self._at_work = False
        self._lines = Bucket(LINES_BURST, LINES_EVERY_S, self.now_s())
        self._unsaid = 0
        self._heap = Heap()
        self._drifted_lately: deque[tuple[float, Drift]] = deque(maxlen=DRIFTS_KEPT)
        self._inspector = Inspector(
            self.engine,
            self.now_s,
            self._carry_out,
            self._registered_since,
            self.tunnels,
            lambda: self._drifted_lately,
            self._noticed,
        )
        self._epoch_s = time.time() - time.monotonic()
        self._measures = Measures(time.time())
        self._measures.version = self._about.version
        self._watching = False  # a write, until it is applied
        self._looking: Signal | None = None  # the doctor, until it has its answers

    def start(self) -> None:
        """Load the store; nothing may be sent to any switch before."""
        self._store.open()
        with self._heap.filling():
            self.engine.load(self._store.load())
        self._committer.start()
        self._loops = {
            "the clock": eventlet.spawn(self._tick_for_ever),
            "what writes down what was seen": eventlet.spawn(self._remember_for_ever),
        }
        self._ready = True

    def stop(self) -> None:
        """Finish what is being written."""
        self._ready = False
        self._loops = {}  # from now on it is right that they end
        self._committer.stop()
        self._store.close()

    # Service

    @property
    def topology(self) -> Topology:
        return self.engine.topology

    def ready(self) -> bool:
        return self._ready

    def ended(self) -> list[str]:
        ended = [name for name, loop in self._loops.items() if loop.dead]
        if self._loops and not self._committer.alive:
            ended.append("the store's writer")
        return ended

    def now_s(self) -> float:
        return time.monotonic()

    def learn_timeout_s(self) -> float:
        return float(self.engine.settings.learn_timeout_s)

    def status(self) -> Status:
        usage = self._store.usage()
        states = Counter(told.state for told in self._told.values())
        counts = HostCounts(
            len(self.topology.hosts),
            len(self.engine.replicas),
            states["LIVE"],
            states["DEGRADED"],
            len(self.engine.identities.held),
        )
        return Status(
            self._about,
            self._started_s,
            time.time(),
            time.monotonic() - self._started_monotonic_s,
            None if usage is None else StoreUsage(*usage),
            counts,
        )

    def drifts(self) -> DriftCounts:
        return DriftCounts(**self.engine.drifts)

    def commit(self, plan: Callable[[Draft], T]) -> tuple[T, Ticket]:
        return self._committer.commit(plan)

    def forecast(self, changes: Sequence[Change]) -> Forecast:
        steps = self.engine.forecast(changes)
        while True:
            try:
                next(steps)
            except StopIteration as done:
                found: Forecast = done.value
                return found
            eventlet.sleep(0)

    def applied(self, ticket: Ticket) -> Applied:
        return self.engine.applied(ticket)

    def wait(self, ticket: Ticket, timeout_s: float) -> Applied:
        waiter = _Waiter(dict(ticket.targets))
        self._look_again(waiter, list(waiter.pending))
        if waiter.pending:
            concerned = list(waiter.pending)
            for dpid in concerned:
                self._waiters.setdefault(dpid, set()).add(waiter)
            try:
                with Timeout(timeout_s, False):
                    waiter.done.wait()
            finally:
                for dpid in concerned:
                    self._stop_waiting(waiter, dpid)
        return self.applied(ticket)

    def _look_again(self, waiter: _Waiter, dpids: Iterable[int]) -> None:
        """Strike off the switches that have confirmed, or are gone."""
        for dpid in dpids:
            replica = self.engine.replicas.get(dpid)
            if replica is None or replica.confirmed(waiter.pending[dpid]):
                del waiter.pending[dpid]

    def _stop_waiting(self, waiter: _Waiter, dpid: int) -> None:
        waiters = self._waiters.get(dpid)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[dpid]

    def host_status(self, dpid: int) -> HostStatus:
        return host_status(self.engine, dpid)

    def held(self) -> list[int]:
        return sorted(self.engine.identities.held)

    def tunnels(self, dpid: int | None = None) -> list[TunnelStatus]:
        replicas = self.engine.replicas
        senders = sorted(replicas) if dpid is None else [dpid] if dpid in replicas else []
        now_s = self.now_s()
        found: list[TunnelStatus] = []
        for at, sender in enumerate(senders, start=1):
            replica = replicas.get(sender)
            if replica is not None:
                found += tunnel_views.tunnels_of(self.engine, replica, now_s)
            if at % SENDERS_AT_ONCE == 0:
                eventlet.sleep(0)
        return found

    def tunnel_summary(self, dpid: int) -> TunnelSummary:
        return tunnel_views.summary_of(self.engine.tunnels, dpid)

    def trace(self, question: Question) -> TraceReport:
        return self._inspector.trace(question)

    def why(self, question: Question) -> WhyReport:
        return self._inspector.why(question)

    def doctor(self, check: str | None = None) -> list[CheckResult]:
        """What is wrong, check by check."""
        self._look_closer()
        evidence = self._evidence(self.tunnels())
        found: list[CheckResult] = []
        for name in doctor.CHECKS if check is None else (check,):
            found += doctor.results(name, evidence)
            eventlet.sleep(0)
        return found

    def _noticed(self, dpids: Iterable[int]) -> list[CheckResult]:
        """What checks find by what is known already; of tunnels, only those between these hosts."""
        hosts = set(dpids)
        tunnels = [one for dpid in hosts for one in self.tunnels(dpid) if one.peer in hosts]
        evidence = self._evidence(tunnels)
        return [one for name in doctor.CHECKS for one in doctor.results(name, evidence)]

    def _evidence(self, tunnels: list[TunnelStatus]) -> Examined:
        usage = self._store.usage()
        free_bytes = None if usage is None else usage[1]
        store = doctor.StoreEvidence(
            self._store.describe(), free_bytes, self._committer.trouble, self._committer.stalled_s
        )
        return doctor.gather(
            self.engine,
            self._sessions,
            store,
            tunnels,
            self._target,
            self.now_s(),
            partial(eventlet.sleep, 0),
        )

    def _look_closer(self) -> None:
        """Ask the switches, and have tunnels tried at once where that is not too many.

        Whoever comes while somebody looks already waits for what that one finds.
        """
        if self._looking is not None:
            self._looking.wait()
            return
        looking = self._looking = Signal()
        try:
            self._look()
        finally:
            self._looking = None
            looking.send()

    def _look(self) -> None:
        engine = self.engine
        if engine.tunnels.count <= TUNNELS_TRIED_AT_ONCE:
            engine.tunnels.refresh(self.now_s())
        self._examine()
        self._wait_while(lambda: engine.examiner.busy or engine.tunnels.busy, LOOK_MAX_S)

    def _examine(self) -> None:
        for dpid, connection in list(self._connections.items()):
            if dpid in self.engine.replicas:
                self._carry_out(self.engine.examine(dpid, connection.controller_ip))
                eventlet.sleep(0)

    def _wait_while(self, busy: Callable[[], bool], most_s: float) -> None:
        end_s = self.now_s() + most_s
        while busy() and self.now_s() < end_s:
            eventlet.sleep(LOOK_EVERY_S)

    def flows(self, dpid: int, question: FlowQuestion) -> FlowPage:
        search = flow_search.find_flows(self.engine, dpid, question)
        while True:
            try:
                next(search)
            except StopIteration as end:
                page: FlowPage = end.value
                return page
            eventlet.sleep(0)

    def diff(self, dpid: int) -> Diff:
        findings = self._inspector.findings(dpid)
        missing = explain.views_of(self.engine, dpid, findings.missing)
        return Diff(missing, tuple(explain.entry_view(entry) for entry in findings.extra))

    def _registered_since(self, keys: Iterable[MacKey]) -> dict[MacKey, str]:
        """Since when these VMs are registered as they are, of those for which it is known."""
        keys = list(keys)
        try:
            dates = self._committer.since([(Vm, key) for key in keys])
        except StoreUnavailable:
            return {}
        return {key: f"{dates[Vm, key]:%Y-%m-%d %H:%M} UTC" for key in keys if (Vm, key) in dates}

    # The ledger

    def ledger(self) -> Ledger:
        return self.engine.counting.ledger

    def count_now(self, vni: int | None) -> None:
        asked = self._carriers(vni)
        left, told = set(asked), Signal()

        def heard(dpid: int) -> None:
            left.discard(dpid)
            if not left and not told.ready():
                told.send()

        self._carry_out(self.engine.request_counters(asked, heard, self.now_s()))
        if left:
            with Timeout(COUNT_TIMEOUT_S, False):
                told.wait()

    def counted_s(self, vni: int | None) -> float:
        now_s, since_s = self.now_s(), self.ledger().since_s
        read_s = self.engine.counting.read_s(self._carriers(vni), now_s)
        return read_s if read_s is not None else since_s if since_s is not None else now_s

    def unix_s(self, at_s: float) -> float:
        return self._epoch_s + at_s

    def _carriers(self, vni: int | None) -> list[int]:
        """The hosts that are LIVE and carry a network, or any."""
        return [
            dpid
            for dpid, replica in self.engine.replicas.items()
            if replica.state is State.LIVE and (vni is None or vni in replica.tables)
        ]

    # What is measured

    def measures(self) -> Measures:
        measures, committer, engine = self._measures, self._committer, self.engine
        measures.commits, measures.commits_failed = committer.latency, committer.failures
        measures.packet_ins_dropped = engine.packet_ins_dropped
        measures.packet_ins_shed = engine.budgets.shed
        measures.moves_refused = engine.packets.moves.refused
        now = sum(replica.flow_mods for replica in engine.replicas.values())
        measures.flow_mods = engine.flow_mods_before + now
        return measures

    def host_measures(self, dpid: int) -> HostMeasures | None:
        replica = self.engine.replicas.get(dpid)
        if replica is None:
            return None
        return HostMeasures(
            standing(self.topology, replica)[0],
            replica.rough_count(),
            len(replica.rejected),
            replica.audits,
            replica.drifts,
        )

    def _watch(self, ticket: Ticket) -> None:
        """Measure how long a write takes to be applied everywhere: one at a time, as a sample."""
        if ticket.targets and not self._watching:
            self._watching = True
            eventlet.spawn_n(self._observe, ticket, self.now_s())

    def _observe(self, ticket: Ticket, since_s: float) -> None:
        try:
            self.wait(ticket, APPLY_TIMEOUT_S)
            self._measures.applied.observe(self.now_s() - since_s)
        finally:
            self._watching = False

    # Listener

    def objection(self, connection: Connection) -> str | None:
        return self.engine.identities.objection(int(connection.id), connection.certificate)

    def connected(self, connection: Connection, ports: dict[int, str]) -> None:
        dpid = int(connection.id)
        old = self._connections.get(dpid)
        self._connections[dpid] = connection
        if old is not None:
            LOG.warning(
                "host %s: a new connection from %s replaces %s's",
                connection.dpid_text,
                connection.peer,
                old.peer,
            )
            old.close()
        if not self.engine.identities.is_to_be_held(dpid):
            self._note_arrival(connection, None if old is None else old.address[0])
        self._target = connection.target
        self._handle(
            Connected(
                dpid,
                connection.epoch,
                connection.peer,
                connection.vtep,
                ports,
                connection.certificate,
            )
        )
        self._tell_host(dpid)

    def _note_arrival(self, connection: Connection, replaced: str | None = None) -> None:
        """A host's session begins; nothing is noted of switches that are held: they may be many."""
        dpid = int(connection.id)
        self._measures.connects[dpid] += 1
        LOG.info("host %s connected from %s", connection.dpid_text, connection.peer)
        self._sessions.came(dpid, connection.address[0], self.now_s(), replaced)

    def lost(self, connection: Connection) -> None:
        dpid = int(connection.id)
        if self._connections.get(dpid) is connection:
            del self._connections[dpid]
            self._sessions.left(dpid, self.now_s())
            if dpid not in self.engine.identities.held:
                LOG.warning("host %s is DISCONNECTED; it keeps its flows", connection.dpid_text)
        self._handle(Lost(dpid, connection.epoch))
        self._heap.ended()
        self._tell_host(dpid)

    def refused(self, connection: Connection, reason: str) -> None:
        self.turned_away(connection.address[0], reason)

    def turned_away(self, address: str, reason: str) -> None:
        self._sessions.refuse(address, reason, self.now_s())

    def duplicate(self, connection: Connection, there: Connection) -> None:
        """A connection wants to be a switch that is there, and answers."""
        addresses = there.address[0], connection.address[0]
        self._sessions.clash(int(connection.id), *addresses, self.now_s())

    def holds_bytes(self, connection: Connection) -> int:
        """About so much has a reply that tells of all flows that a switch should hold."""
        replica = self.engine.replicas.get(int(connection.id))
        return 0 if replica is None else replica.rough_count() * FLOW_REPLY_BYTES

    def received(self, connection: Connection, message: Message) -> None:
        self._handle(Received(int(connection.id), connection.epoch, message))

    def packets_in(self, connection: Connection, packets: list[PacketIn]) -> None:
        self._measures.packet_ins += len(packets)
        self._handle(PacketsIn(int(connection.id), connection.epoch, packets))
        self._heap.changed(len(packets))

    def pull(self, connection: Connection) -> list[Buffer]:
        replica = self.engine.replicas.get(int(connection.id))
        if replica is None or replica.epoch != connection.epoch:
            return []
        buffers = replica.pull()
        self._measures.sent_bytes += sum(map(len, buffers))
        return buffers

    # Effects

    def _handle(self, event: Event) -> None:
        now_s = self.now_s()
        effects = self.engine.handle(event, now_s)
        self._measures.turns.observe(self.now_s() - now_s)
        self._carry_out(effects)

    def _carry_out(self, effects: Effects) -> None:
        for dpid in effects.wake:
            connection = self._connections.get(dpid)
            if connection is not None:
                connection.wake()
        for dpid in effects.remember:
            self._to_remember.put(("host", dpid))
        for key in effects.holders:
            self._to_remember.put(("vip", key))
        for key, place in effects.moves.items():
            self._announced.add((key, place))
            self._to_remember.put(("vm", key, place))
        for dpid in effects.close:
            if dpid in self._connections:
                self._connections[dpid].close()
        for dpid, seconds in effects.rest.items():
            if dpid in self._connections:
                self._connections[dpid].rest(seconds)
        for line in effects.log:
            self._say(line)
        if effects.happened:
            self._publish(effects.happened)
        for drift in effects.drifted:
            self._drifted_lately.append((self.now_s(), drift))
            self.happened("drift", explain.drift_told(self.engine, drift))
        if effects.again and not self._at_work:
            self._at_work = True
            eventlet.spawn_n(self._go_on)
        for dpid in effects.confirmed & self._waiters.keys():
            for waiter in self._waiters[dpid].copy():
                if dpid in waiter.pending:
                    self._look_again(waiter, (dpid,))
                    if not waiter.pending and not waiter.done.ready():
                        waiter.done.send()

    def _say(self, line: str) -> None:
        """A line about a switch; a storm of them, as one that refuses everything makes, is cut."""
        if not self._lines.take(self.now_s()):
            self._unsaid += 1
            return
        LOG.warning("%s", line)
        if self._unsaid:
            LOG.warning("%d more lines about switches were left out", self._unsaid)
            self._unsaid = 0

    def happened(self, kind: str, data: dict[str, object]) -> None:
        """Tell who listens to /v1/events of something that is no change of the engine's state."""
        self._publish([Happening(kind, data)])

    def _publish(self, happenings: list[Happening]) -> None:
        self.journal.publish(happenings)
        for one in happenings:
            self._measures.happened[one.kind] += 1

    def _go_on(self) -> None:
        """Give the engine a turn after everybody else, as long as it has work left over."""
        try:
            effects = Effects(again=True)
            while effects.again:
                eventlet.sleep(0)
                now_s = self.now_s()
                effects = self.engine.handle(Continue(), now_s)
                self._measures.turns.observe(self.now_s() - now_s)
                self._carry_out(effects)
        finally:
            self._at_work = False

    def _committed(self, changes: list[Change]) -> Ticket:
        departing = self.engine.followers(changes)
        news = WriteNews()
        for at in range(0, len(changes), CHANGES_AT_ONCE):
            if at:
                eventlet.sleep(0)
            part = tuple(changes[at : at + CHANGES_AT_ONCE])
            keys = [_kind_and_key(change) for change in part]
            before = [self.topology.fact(*key) for key in keys]
            self._handle(Committed(part))
            self._note_changes(news, keys, before)
            self._heap.changed(len(part))
        if happened := news.happenings():
            self._publish(happened)
        ticket = self.engine.ticket(changes, departing)
        self._watch(ticket)
        return ticket

    def _note_changes(
        self, news: WriteNews, keys: list[tuple[type[Fact], Key]], before: list[Fact | None]
    ) -> None:
        """What a part of a write changed; a host is told of by its state."""
        announced = self._announced
        for (kind, key), was in zip(keys, before, strict=True):
            now = self.topology.fact(kind, key)
            if kind is Host:
                if was is None and key in self._connections and key in self.engine.replicas:
                    self._note_arrival(self._connections[key])  # it was held
                self._tell_host(cast(int, key))
            elif announced and isinstance(now, Vm):
                news.changed(was, now, announced=(now.key, now.host) in announced)
            else:
                news.changed(was, now)

    def _remember_for_ever(self) -> None:
        """Write down what was seen; trouble with the store must not stop forwarding."""
        seen: _Seen = {}
        pause_s = 0.0
        while True:
            if not seen:
                self._gather(seen, self._to_remember.get())
            eventlet.sleep(pause_s)
            while not self._to_remember.empty():
                self._gather(seen, self._to_remember.get())
            try:
                pause_s = self._remember(seen, pause_s)
            except Exception:
                LOG.exception("what was seen (%d facts) is not stored; the next will be", len(seen))
                seen.clear()

    def _gather(self, seen: _Seen, fact: tuple[Any, ...]) -> None:
        """The last that was seen of each thing counts."""
        kind, key, *place = fact
        was = seen.get((kind, key))
        seen[kind, key] = tuple(place)
        if was is not None and kind == "vm" and was != tuple(place):
            self._announced.discard((key, *was))

    def _remember(self, seen: _Seen, paused_s: float) -> float:
        """Store it, or keep it while the store takes no writes; how long to pause then."""
        try:
            self.commit(partial(remember, self.topology, seen))
        except StoreUnavailable as error:
            if not paused_s:
                LOG.warning("cannot store what was seen yet (%d facts): %s", len(seen), error)
            return min(REMEMBER_AGAIN_MAX_S, max(REMEMBER_AGAIN_S, paused_s * 2))
        except VxlanError as error:
            if len(seen) > 1:  # each for itself: one that cannot be takes no other with it
                for one in list(seen.items()):
                    paused_s = self._remember(dict([one]), paused_s)
                    if paused_s:
                        return paused_s
                    self._over(seen, [one[0]])
                return 0.0
            LOG.warning("cannot store what was seen: %s", error)
        self._over(seen, list(seen))
        return 0.0

    def _over(self, seen: _Seen, things: list[tuple[str, Any]]) -> None:
        for kind, key in things:
            place = seen.pop((kind, key))
            if kind == "vm":
                self._announced.discard((key, *place))

    def _tell_states(self, turn: int) -> None:
        """Tell of each host whose state is another; a part of them a turn."""
        for dpid in list(self.engine.replicas)[turn % TELL_TURNS :: TELL_TURNS]:
            self._tell_host(dpid)

    def _tell_host(self, dpid: int) -> None:
        """Log a host that became LIVE, or DEGRADED for a reason; an event for each change."""
        replica = self.engine.replicas.get(dpid)
        host = self.topology.hosts.get(dpid)
        if host is None and dpid in self.engine.identities.held:
            self._tell_held(dpid)
            return
        if host is None:
            if self._told.pop(dpid, None) is not None:
                self._publish_host(dpid, _Told("FORGOTTEN", None, None, None))
                self._measures.connects.pop(dpid, None)
            return
        state, reason = (
            ("DISCONNECTED", None) if replica is None else standing(self.topology, replica)
        )
        told, before = _Told(state, reason, host.vtep, host.name), self._told.get(dpid)
        if told == before:
            return
        self._told[dpid] = told
        self._publish_host(dpid, told)
        if before is not None and (before.state, before.reason) == (state, reason):
            return
        if state == State.LIVE:
            LOG.info("host %s is LIVE", Dpid(dpid))
        elif state == "DEGRADED":
            LOG.warning("host %s is DEGRADED: %s", Dpid(dpid), reason)

    def _tell_held(self, dpid: int) -> None:
        """Log a switch that is held, and tell of it; not of too many, which somebody may send."""
        now_s = self.now_s()
        if dpid in self._told or not self._held_told.take(now_s):
            return
        self._told[dpid] = _Told(HELD, why_held(dpid), None, None)
        self._publish_host(dpid, self._told[dpid])
        at = self.engine.identities.held[dpid].peer
        LOG.warning("switch %s at %s is HELD: %s", Dpid(dpid), at, why_held(dpid))

    def _publish_host(self, dpid: int, told: _Told) -> None:
        self.happened(
            "host",
            {
                "host": str(Dpid(dpid)),
                "host_name": told.name,
                "vtep": None if told.vtep is None else str(told.vtep),
                "state": told.state,
                "reason": told.reason,
                "connected": dpid in self.engine.replicas or told.state == HELD,
            },
        )

    def _tick_for_ever(self) -> None:
        for tick in itertools.count():
            eventlet.sleep(TICK_S)
            try:
                self._handle(Tick())
                self._tell_states(tick)
                self._heap.sweep_if_due()
            except Exception:
                LOG.exception("the engine's clock stumbled; it goes on")


def _kind_and_key(change: Change) -> tuple[type[Fact], Key]:
    if isinstance(change, Put):
        return type(change.fact), change.fact.key
    return change.kind, change.key


def remember(topology: Topology, seen: _Seen, draft: Draft) -> None:
    """What was seen of hosts, of VMs that moved, and of who holds virtual IPs."""
    for (kind, key), place in seen.items():
        match kind:
            case "host":
                draft.remember_host(key)
            case "vm":
                draft.move_vm(key, *place)
            case "vip":
                vip = topology.vips.get(key)
                if vip is not None and vip.holder is not None:
                    draft.hold_vip(key, vip.holder)
