"""The running controller: engine, clock, store, switches, and the answers to the API."""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import eventlet
from eventlet.event import Event as Signal
from eventlet.queue import LightQueue
from eventlet.timeout import Timeout

from controller import explain, flow_search
from controller.audit import Findings
from controller.engine import Engine, Settings
from controller.events import (
    Committed,
    Connected,
    Continue,
    Effects,
    Event,
    Lost,
    Message,
    PacketsIn,
    Received,
    Tick,
)
from controller.heap import Heap
from controller.openflow.front import Connection
from controller.replica import Replica, State
from controller.service import Applied, Diff, FlowPage, FlowQuestion, HostStatus, Ticket, TunnelPort
from controller.store.base import Store
from controller.store.committer import Committer
from controller.tables import Buffer
from controller.wire.decode import PacketIn
from topology.draft import Draft
from topology.errors import Conflict, VxlanError
from topology.model import Change, Topology
from topology.types import Dpid

LOG = logging.getLogger("vxlan_l2")

T = TypeVar("T")
TICK_S = 0.1
TELL_TURNS = 10
CHANGES_AT_ONCE = 200
"""Changes of one write that are applied before others get a turn: some milliseconds' worth."""
DIFF_TIMEOUT_S = 10.0


@dataclass(eq=False)
class _Waiter:
    """Somebody who waits for switches: what each that is left is to confirm."""

    pending: dict[int, tuple[tuple[int, int], ...]]
    done: Signal = field(default_factory=Signal)


class Runtime:
    """Implements controller.service.Service, and hears of the switches as their Listener."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.engine = Engine(settings, secret=os.urandom(32))
        self._store = store
        self._connections: dict[int, Connection] = {}
        self._waiters: dict[int, set[_Waiter]] = {}  # by dpid of a switch that is waited for
        self._to_remember: LightQueue = LightQueue()
        self._committer: Committer[Ticket] = Committer(store, self.topology, self._committed)
        self._told: dict[int, str | None] = {}  # why a host is DEGRADED, None: it is LIVE
        self._ready = False
        self._at_work = False
        self._heap = Heap()

    def start(self) -> None:
        """Load the store; nothing may be sent to any switch before."""
        self._store.open()
        with self._heap.filling():
            self.engine.load(self._store.load())
        self._committer.start()
        eventlet.spawn(self._tick_for_ever)
        eventlet.spawn(self._remember_for_ever)
        self._ready = True

    def stop(self) -> None:
        """Finish what is being written."""
        self._ready = False
        self._committer.stop()
        self._store.close()

    # Service

    @property
    def topology(self) -> Topology:
        return self.engine.topology

    def ready(self) -> bool:
        return self._ready

    def now_s(self) -> float:
        return time.monotonic()

    def learn_timeout_s(self) -> float:
        return float(self.engine.settings.learn_timeout_s)

    def commit(self, plan: Callable[[Draft], T]) -> tuple[T, Ticket]:
        return self._committer.commit(plan)

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
        replica = self.engine.replicas.get(dpid)
        if replica is None:
            return HostStatus(False, "DISCONNECTED", None, (), 0)
        reason = self._trouble(replica)
        degraded = reason is not None and replica.state is State.LIVE
        host = self.topology.hosts.get(dpid)
        ports = tuple(
            TunnelPort(port, name, None if (r := host and host.remote_of(name)) is None else str(r))
            for port, name in replica.bridge.tunnel_ports
        )
        state = "DEGRADED" if degraded else str(replica.state)
        answers = "switch" if replica.bridge.nd else "controller"
        return HostStatus(True, state, reason, ports, replica.desired_count(), answers)

    def _trouble(self, replica: Replica) -> str | None:
        bridge = replica.bridge
        host = self.topology.hosts.get(replica.dpid)
        if bridge.patch_port is None:
            return f"no patch port: br-tun has no port named {bridge.names.patch!r}"
        if not bridge.tunnel_ports:
            return f"no tunnel port: none is named like {', '.join(bridge.names.tunnels)}"
        if host is None or host.vtep is None:
            return "VTEP address not known; set it with PUT /v1/hosts/{dpid}"
        unproven = self._unproven(replica)
        if unproven:
            return unproven
        if replica.rejected:
            first = next(iter(replica.rejected.values()))
            return f"{len(replica.rejected)} flows refused by the switch, such as {first.reason}"
        return None

    def _unproven(self, replica: Replica) -> str | None:
        bridge = replica.bridge
        names = dict(bridge.tunnel_ports)
        egress = replica.egress
        if egress.unproven and egress.flow_port is None and not bridge.trusting:
            return (
                f"tunnel port {names[egress.unproven[0]]}: no known VTEP answers through it, so it"
                " is not used; connect its peer, or declare it with PUT /v1/vteps/{ip} and PUT"
                " /v1/hosts/{dpid}"
            )
        if egress.keyless and any(vni for vni in self.topology.networks_on(bridge.dpid)):
            return (
                f"tunnel port {names[min(egress.keyless)]} carries network 0 only: it needs"
                " options:key=flow for the others"
            )
        return None

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
        if dpid not in self.engine.replicas:
            raise Conflict(f"host {Dpid(dpid)} is not connected: its flows cannot be read")
        found: Signal = Signal()
        effects = self.engine.request_diff(dpid, _once(found), self.now_s())
        self._carry_out(effects)
        with Timeout(DIFF_TIMEOUT_S, False):
            findings: Findings = found.wait()
            missing = explain.views_of(self.engine, dpid, findings.missing)
            return Diff(missing, tuple(explain.entry_view(entry) for entry in findings.extra))
        raise Conflict(f"host {Dpid(dpid)} did not answer within {DIFF_TIMEOUT_S:.0f} s")

    # Listener

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
        LOG.info("host %s connected from %s", connection.dpid_text, connection.peer)
        self._handle(Connected(dpid, connection.epoch, connection.peer, connection.vtep, ports))

    def lost(self, connection: Connection) -> None:
        dpid = int(connection.id)
        if self._connections.get(dpid) is connection:
            del self._connections[dpid]
            self._told.pop(dpid, None)
            LOG.warning("host %s is DISCONNECTED; it keeps its flows", connection.dpid_text)
        self._handle(Lost(dpid, connection.epoch))

    def received(self, connection: Connection, message: Message) -> None:
        self._handle(Received(int(connection.id), connection.epoch, message))

    def packets_in(self, connection: Connection, packets: list[PacketIn]) -> None:
        self._handle(PacketsIn(int(connection.id), connection.epoch, packets))
        self._heap.changed(len(packets))

    def pull(self, connection: Connection) -> list[Buffer]:
        replica = self.engine.replicas.get(int(connection.id))
        if replica is None or replica.epoch != connection.epoch:
            return []
        return replica.pull()

    # Effects

    def _handle(self, event: Event) -> None:
        self._carry_out(self.engine.handle(event, self.now_s()))

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
            self._to_remember.put(("vm", key, place))
        for dpid in effects.close:
            if dpid in self._connections:
                self._connections[dpid].close()
        for line in effects.log:
            LOG.warning("%s", line)
        if effects.again and not self._at_work:
            self._at_work = True
            eventlet.spawn_n(self._go_on)
        for dpid in effects.confirmed & self._waiters.keys():
            for waiter in self._waiters[dpid].copy():
                if dpid in waiter.pending:
                    self._look_again(waiter, (dpid,))
                    if not waiter.pending and not waiter.done.ready():
                        waiter.done.send()

    def _go_on(self) -> None:
        """Give the engine a turn after everybody else, as long as it has work left over."""
        try:
            effects = Effects(again=True)
            while effects.again:
                eventlet.sleep(0)
                effects = self.engine.handle(Continue(), self.now_s())
                self._carry_out(effects)
        finally:
            self._at_work = False

    def _committed(self, changes: list[Change]) -> Ticket:
        departing = self.engine.followers(changes)
        for at in range(0, len(changes), CHANGES_AT_ONCE):
            if at:
                eventlet.sleep(0)
            part = tuple(changes[at : at + CHANGES_AT_ONCE])
            self._handle(Committed(part))
            self._heap.changed(len(part))
        return self.engine.ticket(changes, departing)

    def _remember_for_ever(self) -> None:
        """Write down what was seen; trouble with the store must not stop forwarding."""
        while True:
            seen = {self._to_remember.get()}
            while not self._to_remember.empty():
                seen.add(self._to_remember.get())
            try:
                self.commit(partial(_remember, self.topology, seen))
            except VxlanError as error:
                LOG.warning("cannot store what was seen (%d facts): %s", len(seen), error)

    def _tell_states(self, turn: int) -> None:
        """Log each host that became LIVE, or DEGRADED for a reason, once; a part of them a turn."""
        replicas = self.engine.replicas
        for dpid in list(replicas)[turn % TELL_TURNS :: TELL_TURNS]:
            replica = replicas[dpid]
            if replica.state is State.LIVE:
                reason = self._trouble(replica)
                if self._told.get(dpid, "untold") == reason:
                    continue
                self._told[dpid] = reason
                if reason is None:
                    LOG.info("host %s is LIVE", Dpid(dpid))
                else:
                    LOG.warning("host %s is DEGRADED: %s", Dpid(dpid), reason)

    def _tick_for_ever(self) -> None:
        for tick in itertools.count():
            eventlet.sleep(TICK_S)
            try:
                self._handle(Tick())
                self._tell_states(tick)
            except Exception:
                LOG.exception("the engine's clock stumbled; it goes on")


def _once(signal: Signal) -> Callable[[Findings], None]:
    def send(findings: Findings) -> None:
        if not signal.ready():
            signal.send(findings)

    return send


def _remember(topology: Topology, seen: set[tuple[Any, ...]], draft: Draft) -> None:
    for fact in seen:
        match fact:
            case ("host", dpid):
                draft.remember_host(dpid)
            case ("vm", key, place):
                draft.move_vm(key, place)
            case ("vip", key):
                vip = topology.vips.get(key)
                if vip is not None and vip.holder is not None:
                    draft.hold_vip(key, vip.holder)
