"""A switch as a replica: it follows the flow tables with a cursor each.

States, and what leaves them:

WAITING   its host is not among the facts yet            -> AUDITING when it is
AUDITING  its flows and groups are being dumped, or a    -> SYNCING when the dump is compared
          takeover waits for probes to tell the ports
SYNCING   the difference was sent, a barrier is out      -> LIVE when the barrier is answered
LIVE      changes are sent as they come; from time to time an audit runs beside them

A lost connection ends a replica; the next one starts from WAITING with a higher epoch.
Nothing is sent from here: ``pull`` says what to send next, and the sender asks when it can send.

Changes are plain flow-mods ended by a barrier: they forward from the first one on, may be sent in
parts, and each is a step from one right state to another. A bundle carries what an audit found,
where flows of ours replace others: all at once or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from controller.audit import Audit, Findings
from controller.bridges import METERS, Bridge, Egress, probe_flow
from controller.certificates import Certificate
from controller.contest import Contest
from controller.events import DumpPart
from controller.flow import Flow
from controller.neighbours import nd_trial
from controller.pipeline import ND_RESPONDER_KINDS, cookie_kind
from controller.tables import Buffer, FlowTable, Segment, Snapshot, Unit
from controller.watch import Watch
from controller.wire import decode, encode
from topology.types import Dpid

PRIVATE = -1
"""The private table's key among those that a switch follows; networks' tables go by their VNI."""

FIRST_VTEPS = -2
"""The key, and those below are others', of a table of hosts that may send through tunnels."""

XID_BASE, XID_SPAN = 0x77000000, 0x00F00000
LARGE_FLOWS = 20_000
AUDIT_EVERY_S = 20.0
SECOND_AUDIT_S = 2.0
AUDIT_REST = 50
"""A switch rests this many times as long as its audit took before the next one."""
TAKEOVER_HOLD_S = 3.0
RETRY_MAX_S = 320.0
ADDRESSED_ROUNDS = 3
PULL_BYTES = 512 * 1024
"""About so much is sent between two barriers; another one may be under way meanwhile."""
WINDOW = 2
WATCHED_BYTES = 16 * 1024
"""When more than this is sent before the last of it is confirmed, some hundred flow-mods, the flow
monitor would have too much to say about it."""
SOON_REST, SOON_S = 5, 0.5
"""An audit for what the monitor said waits this many times as long as the last one took, or so
many seconds, since that one."""
DUMP_TIMEOUT_S = 60.0
REJECTED_MAX = 1000
"""More refused flows are remembered only where they are wanted: a switch may quote any cookie."""

IDLE_MAX_BYTES = 1 << 20
"""So much of what is of no consequence to the tables waits for a switch that does not read."""

TRUST_S = 15.0
"""So long may a bridge that is new here take to show where its tunnel ports lead."""


Conversation: TypeAlias = tuple[int, str, int]
"""(VNI, "mac" or "ip", value): what a host of a reactive network has been told of."""


class State(StrEnum):
    WAITING = "WAITING"
    AUDITING = "AUDITING"
    SYNCING = "SYNCING"
    LIVE = "LIVE"


@dataclass(slots=True)
class Rejection:
    """A flow that the switch refused: why, and when it is to be offered again."""

    reason: str
    pause_s: float
    retry_s: float
    trying: bool = False


@dataclass(slots=True)
class _Barrier:
    """What an answered barrier proves: among others, that tables are there up to a revision."""

    revs: dict[int, int]
    stale_groups: tuple[int, ...] = ()
    retry: tuple[list[bytes], list[bytes]] | None = None
    bundle_id: int | None = None
    ears: bool = False
    catches_up: bool = False
    tried: tuple[int, ...] = ()


@dataclass(slots=True)
class _Joining:
    """A table that is sent as a whole, segment by segment."""

    snapshot: Snapshot
    next: int = 0


class Replica:
    """One connection of one switch: what it has been sent, what it confirmed, what comes next."""

    def __init__(
        self, epoch: int, address: str, bridge: Bridge, now_s: float, rev: int = 0
    ) -> None:
        self.dpid = Dpid(bridge.dpid)
        self.epoch = epoch
        self.address = address
        self.certificate: Certificate | None = None
        self.bridge = bridge
        self.egress = Egress({}, (), None)  # as derivation.py last saw it
        self.ports: dict[int, str] = {}
        self.state = State.WAITING
        self.private = FlowTable(rev)
        self.private.cursors[bridge.dpid] = -1
        self.tables: dict[int, FlowTable] = {PRIVATE: self.private}
        self.acked: dict[int, int] = {}
        self.rejected: dict[int, Rejection] = {}
        self.watch = Watch()
        self.contest = Contest()
        self.drifts = 0  # found and mended
        self.drifted: tuple[float, int, int] | None = None  # when last; flows missing, extra
        self.returns = False  # it was here before
        self.emptied = False  # and came back without any flow
        self.audits = 0
        self.flow_mods = 0  # sent
        self.connected_s = now_s
        self.hold_until_s = now_s + TAKEOVER_HOLD_S
        self.trust_until_s = now_s + TRUST_S
        self.holding = False
        self.next_audit_s = now_s
        self.next_probe_s = now_s
        self.probe_turn = 0
        self.greeted = False
        self.ears_open = False
        self.diff_waiters: list[Callable[[Findings], None]] = []
        self._behind: dict[int, None] = {}  # tables that moved on
        self._joining: dict[int, _Joining] = {}
        self._skipped: dict[int, int] = {}  # tables that an audit is to bring up to a revision
        self._under_way = 0  # barriers of catching up that are not answered
        self._unconfirmed_bytes = 0  # what was sent before these
        self._bundles_out = 0
        self._groups: dict[int, bytes] = {}
        self._groups_moved = False  # since the audit began
        self._audit: Audit | None = None
        self._control: list[Buffer] = [encode.set_async()]
        self._barriers: dict[int, _Barrier] = {}
        self._committed: set[int] = set()
        self._audited_s = self._audit_took_s = float("-inf")
        self._idle_bytes = 0
        self._addressed: dict[int, tuple[set[int], set[float]]] = {}  # port -> VTEPs, rounds
        self._left: list[tuple[int, bytes]] = []  # tables, and deletes of what they gave
        self._conversations: dict[int, Conversation] = {}  # cookie -> key in the private table
        self._xid = 0

    # What to send

    def pull(self) -> list[Buffer]:
        """What is to be sent next, in order; empty when there is nothing, or too much under way."""
        out, self._control = self._control, []
        self._idle_bytes = 0
        # A bundle is settled first: where it is refused, its flows are sent again, one by one.
        ready = self._under_way < WINDOW and not self._bundles_out
        if ready and self.is_behind and self.state in (State.LIVE, State.SYNCING):
            out += self._catch_up()
        if self.watch.is_due and self.state is State.LIVE and not self._under_way:
            out.append(self.watch.subscribe(self._next_xid()))
        return out

    def needs_greeting(self) -> bool:
        """Whether the first dump shows a bridge that does not run this pipeline yet.

        One without the probe flow is not heard of by probes. One without responders for neighbour
        solicitations may be unable to hold them: that is tried before any bundle depends on it.
        """
        if self.greeted:
            return False
        self.greeted = True
        assert self._audit is not None
        probe = encode.cookie_of(encode.encode_flow(probe_flow(self.bridge.meters)))
        if self._audit.lacks_flow(probe):
            return True
        self.ears_open = True
        return self.bridge.nd and self._audit.lacks(ND_RESPONDER_KINDS)

    def greet(self) -> None:
        """Meters and the probe flow: harmless under whatever pipeline runs there still."""
        assert self._audit is not None
        self._mend_meters(self._audit)
        self._control.append(encode.encode_flow(probe_flow(self.bridge.meters)))
        for flow in map(encode.encode_flow, nd_trial()):
            self._control += (flow, encode.delete_of(flow))
        self._send_barrier(_Barrier({}, ears=True))

    def shows_flow_based(self, port: int, vtep: int, sent_s: float) -> bool:
        """Whether addressed probes out of a port prove that it takes its address from the flow.

        They do when they reached two VTEPs; or one, again and again, with no blank one beside
        them: a blank probe that was lost proves nothing.
        """
        reached, rounds = self._addressed.setdefault(port, (set(), set()))
        reached.add(vtep)
        rounds.add(sent_s)
        return len(reached) > 1 or len(rounds) >= ADDRESSED_ROUNDS

    def forget_addressed(self, port: int) -> None:
        """A blank probe arrived: the port leads to one peer."""
        self._addressed.pop(port, None)

    def send(self, message: bytes) -> None:
        """Queue a message of no consequence to the tables, such as a packet-out.

        It is dropped where many wait already: the switch does not read.
        """
        if self._idle_bytes < IDLE_MAX_BYTES:
            self._idle_bytes += len(message)
            self._control.append(message)

    @property
    def can_ask(self) -> bool:
        """Whether VMs can be asked through this bridge, and their answers come back."""
        return self.bridge.patch_port is not None and self.bridge.meters

    def named(self, cookies: Iterable[int]) -> dict[int, bytes]:
        """Those of the cookies that it should hold, with their add messages."""
        wanted = list(cookies)
        found: dict[int, bytes] = {}
        for table in self.tables.values():
            found.update(table.named(wanted, self.dpid))
        return found

    def ask_flow(self, cookie: int) -> int:
        """Ask for the flows with this cookie; the xid of the answer."""
        xid = self._next_xid()
        self.send(encode.flow_request(xid, cookie))
        return xid

    def ask_flows(self, table: int) -> int:
        """Ask for what one table holds; the answer's parts bear the xid that this returns."""
        xid = self._next_xid()
        self.send(encode.multipart_request(encode.MP_FLOW, xid, table))
        return xid

    def follow(self, vni: int, table: FlowTable) -> None:
        """Follow a network's table from its beginning."""
        if vni not in self.tables:
            self.tables[vni] = table
            table.cursors[self.dpid] = -1
            self._behind[vni] = None

    def moved_on(self, vni: int) -> None:
        """A table that this switch follows has changed."""
        self._behind[vni] = None

    def leave(self) -> None:
        """The connection is over."""
        self.drop_audit()
        for table in self.tables.values():
            table.cursors.pop(self.dpid, None)

    def converse(self, key: Conversation, flows: Iterable[Flow]) -> None:
        """Hold what a conversation of a reactive network needs; sent again if it is there."""
        unit = Unit.private(flows)
        if unit.remote:
            self.private.put(key, unit, renew=True)
            for cookie in encode.cookies_of(unit.remote):
                self._conversations[cookie] = key

    def talks(self, key: Conversation) -> bool:
        """Whether this conversation goes on here."""
        return key in self.private.units

    def revise(self, key: Conversation, flows: Iterable[Flow]) -> None:
        """The facts behind a conversation that goes on changed: its flows follow them, or go."""
        self.hang_up(key)
        self.converse(key, flows)

    def hang_up(self, key: Conversation) -> None:
        """A conversation is over."""
        unit = self.private.units.get(key)
        if unit is not None:
            for cookie in encode.cookies_of(unit.remote):
                self._conversations.pop(cookie, None)
            self.private.put(key, None)

    def fell_silent(self, cookie: int) -> bool:
        """A flow timed out in the switch; True if it was a conversation's, which then ends."""
        key = self._conversations.get(cookie)
        if key is None:
            return False
        self.hang_up(key)
        return True

    def conversations(self, vni: int) -> list[Conversation]:
        """The conversations of one network."""
        return [key for key in set(self._conversations.values()) if key[0] == vni]

    def unfollow(self, vni: int) -> None:
        """Stop following: what is held of the table goes with the next changes."""
        table = self.tables.pop(vni, None)
        if table is None:
            return
        self.acked.pop(vni, None)
        self._behind.pop(vni, None)
        self._joining.pop(vni, None)
        self._skipped.pop(vni, None)
        cursor = table.cursors.pop(self.dpid, -1)
        if cursor < 0:
            return
        held = table.held_at(cursor, self.dpid)
        if held is None:
            self.next_audit_s = 0.0
        else:
            self._left += [(vni, encode.delete_of(flow)) for flow in held]

    def _catch_up(self) -> list[Buffer]:
        adds: list[Buffer] = []
        deletes: list[Buffer] = []
        revs: dict[int, int] = {}
        room = PULL_BYTES
        while room > 0 and (key := self._next_behind()) is not None:
            segment = self._next_segment(key)
            if segment is None:
                continue
            plus, minus, count = segment.for_host(self.dpid)
            self.flow_mods += count
            adds += plus
            if key == PRIVATE:
                self.flow_mods -= sum(len(_split(part)) for part in minus)  # counted when sent
                self._left += [(key, gone) for part in minus for gone in _split(part)]
            elif self._conversations:
                there = self.private.names
                deletes += [
                    gone
                    for part in minus
                    for gone in _split(part)
                    if encode.cookie_of(gone) not in there
                ]
            else:
                deletes += minus
            room -= len(segment.adds) + len(segment.deletes)
            if key not in self._joining:
                revs[key] = self.tables[key].cursors[self.dpid]
        left = self._settled_deletes()
        if not adds and not deletes and not revs and not left:
            return []
        adds = self._takeable(adds)
        stale: list[int] = []
        if self.private.changed_groups:
            mods, stale = self._group_changes()
            adds = [*mods, *adds]
        out = [*adds, *deletes, *left]
        self._unconfirmed_bytes += PULL_BYTES - room
        if self._unconfirmed_bytes > WATCHED_BYTES:
            out = [*self.watch.suspend(), *out]
        self.flow_mods += len(left)
        self._under_way += 1
        self._send_barrier(_Barrier(revs, tuple(stale), catches_up=True), out)
        return out

    def _settled_deletes(self) -> list[bytes]:
        """What is left behind goes last, when all that may take its place was sent.

        A network that was left and joined again gives the same flow anew, as does a network made
        proactive for what was some conversation's, and a table of VTEPs for another port.
        """
        if not self._left or self._behind:
            return []
        left = [(encode.cookie_of(gone), key, gone) for key, gone in self._left]
        self._left = []
        wanted: set[int] = set()
        for key, table in self.tables.items():
            wanted.update(cookie for cookie, _key, _gone in left if cookie in table.names)
            own = [cookie for cookie, of, _gone in left if of == key and of != PRIVATE]
            wanted.update(cookie for cookie, _add in table.named(own, self.dpid))
        return [gone for cookie, _key, gone in left if cookie not in wanted]

    def _next_behind(self) -> int | None:
        """The table to send from next: a bridge's own flows last while it is filled."""
        if self.private.rev != self.private.cursors[self.dpid]:
            self._behind[PRIVATE] = None
        if not self._behind:
            return None
        if PRIVATE in self._behind and (len(self._behind) == 1 or self.state is State.LIVE):
            return PRIVATE
        return next(key for key in self._behind if key != PRIVATE)

    def _next_segment(self, key: int) -> Segment | None:
        """What comes next of a table that is behind; None when it is not, after all."""
        table, dpid = self.tables[key], self.dpid
        cursor = table.cursors[dpid]
        if cursor < 0:
            self._joining[key] = _Joining(table.snapshot())
            cursor = table.cursors[dpid] = table.rev
        joining = self._joining.get(key)
        if joining is not None:
            segment = joining.snapshot.segment(joining.next)
            joining.next += 1
            if joining.next >= len(joining.snapshot):
                del self._joining[key]
            return segment
        if cursor == table.rev:
            del self._behind[key]
            return None
        upcoming = table.segment(cursor)
        if upcoming is None:
            # It is further behind than the log reaches: an audit tells what it lacks.
            del self._behind[key]
            table.cursors[dpid] = self._skipped[key] = table.rev
            self.next_audit_s = 0.0
            return None
        table.cursors[dpid] = upcoming.rev
        if upcoming.rev == table.rev:
            del self._behind[key]
        return upcoming

    def _takeable(self, adds: list[Buffer]) -> list[Buffer]:
        """Those that the switch has not refused, one by one or as a kind."""
        skips, rejected = self.bridge.skips, self.rejected
        if not skips and not rejected:
            return adds
        return [
            flow
            for part in adds
            for flow in _split(part)
            if ((cookie := encode.cookie_of(flow)) not in rejected or rejected[cookie].trying)
            and cookie_kind(cookie) not in skips
        ]

    def _group_changes(self, changed: Iterable[int] | None = None) -> tuple[list[bytes], list[int]]:
        """Group-mods to send before any flow, and the ids to delete once all flows are settled."""
        there, wanted = self._groups, self.private.groups
        if changed is None:
            changed = self.private.changed_groups
        mods = []
        stale = []
        for group_id in changed:
            buckets = wanted.get(group_id)
            if buckets is None:
                stale.append(group_id)
            elif there.get(group_id) != buckets:
                command = encode.GROUP_MODIFY if group_id in there else encode.GROUP_ADD
                mods.append(encode.group_mod(command, group_id, buckets))
                there[group_id] = buckets
        self.private.changed_groups.clear()
        self._groups_moved = self._groups_moved or bool(mods)
        return mods, stale

    def _delete_groups(self, group_ids: Iterable[int]) -> None:
        for group_id in group_ids:
            if group_id not in self.private.groups and group_id in self._groups:
                del self._groups[group_id]
                self._groups_moved = True
                self._control.append(encode.group_mod(encode.GROUP_DELETE, group_id))

    def _next_xid(self) -> int:
        self._xid = (self._xid + 1) % XID_SPAN
        return XID_BASE + self._xid

    def _send_barrier(self, barrier: _Barrier, out: list[Buffer] | None = None) -> None:
        xid = self._next_xid()
        self._barriers[xid] = barrier
        (self._control if out is None else out).append(encode.barrier(xid))

    # Audits

    def desired(self) -> dict[int, bytes]:
        """Cookie -> add message of everything this switch should hold."""
        skips = self.bridge.skips
        return {
            cookie: flow
            for table in self.tables.values()
            for flow in table.flows_for(self.dpid)
            if cookie_kind(cookie := encode.cookie_of(flow)) not in skips
        }

    def wanted(self) -> set[int]:
        """The cookies of everything this switch should hold."""
        wanted: set[int] = set()
        for table in self.tables.values():
            wanted |= table.wanted(self.dpid)
        skips = self.bridge.skips
        if skips:
            return {cookie for cookie in wanted if cookie_kind(cookie) not in skips}
        return wanted

    def desired_count(self) -> int:
        """How many flows that is."""
        if self.bridge.skips:
            return len(self.wanted())
        return self.rough_count()

    def rough_count(self) -> int:
        """The same at once, with flows of kinds that this switch cannot take."""
        return sum(table.count_for(self.dpid) for table in self.tables.values())

    def start_audit(self, now_s: float) -> None:
        """Ask for meters, groups and flows. The first time, changes wait for what it finds."""
        if self._audit is not None:
            return
        if self.state is State.LIVE:
            self.next_audit_s = now_s + AUDIT_EVERY_S
        else:
            # Whoever pointed the bridge here may have put its old flows back after this dump.
            self.next_audit_s = now_s + SECOND_AUDIT_S
            self.state = State.AUDITING
            for table in self.tables.values():
                table.cursors[self.dpid] = table.rev
        self._audit = Audit(
            self.dpid, self.tables, self.bridge.skips, now_s, live=self.state is State.LIVE
        )
        self._groups_moved = False
        self.watch.audit_begins()
        self._retry_rejected(now_s)
        for kind in (encode.MP_METER_CONFIG, encode.MP_GROUP_DESC, encode.MP_FLOW):
            if kind != encode.MP_METER_CONFIG or self.bridge.meters:
                xid = self._next_xid()
                self._audit.xids.add(xid)
                self._control.append(encode.multipart_request(kind, xid))

    @property
    def is_behind(self) -> bool:
        """Whether tables have moved on from what it was sent: an audit would call that missing."""
        if self._behind or self._left:
            return True
        return self.private.rev != self.private.cursors[self.dpid]

    def take_dump(self, part: DumpPart) -> None:
        """Take a part of a dump."""
        audit, kind, body = self._audit, part.kind, part.body
        if kind == encode.MP_EXPERIMENTER:
            self.watch.answered(part.xid, body)
            return
        if audit is None or part.xid not in audit.xids:
            return
        if kind == encode.MP_GROUP_DESC:
            for group_id, group_type, buckets in decode.group_entries(body):
                audit.groups[group_id] = (group_type, buckets)
        elif kind == encode.MP_METER_CONFIG:
            audit.meters.update(decode.meter_entries(body))
        elif kind == encode.MP_FLOW:
            audit.take_flows(body, last=not part.more)

    def work(self) -> bool:
        """Do a slice of an audit's work; True while there is more that can be done now."""
        return self._audit is not None and self._audit.advance()

    @property
    def audited(self) -> bool:
        """Whether an audit has all it asked for, and compared it."""
        return self._audit is not None and self._audit.finished

    def findings(self, *, keep_learned: bool) -> Findings | None:
        """What the finished audit found; None when it is to be done again."""
        assert self._audit is not None
        return self._audit.findings(self.tables, self.rejected, keep_learned=keep_learned)

    def is_foreign(self) -> bool:
        """Whether the dump shows a bridge that still runs somebody else's flows."""
        return self._audit is not None and self._audit.is_foreign

    def _retry_rejected(self, now_s: float) -> None:
        """Offer again what was refused and is due, and forget what is not wanted any more."""
        if not self.rejected:
            return
        wanted = {
            cookie
            for table in self.tables.values()
            for cookie, _add in table.named(self.rejected, self.dpid)
        }
        for cookie, rejection in list(self.rejected.items()):
            if cookie not in wanted:
                del self.rejected[cookie]
            elif now_s >= rejection.retry_s:
                rejection.trying = True

    def rest(self, now_s: float) -> None:
        """Let the next audit wait: one that takes long is not to keep the switch from its work."""
        if self._audit is not None:
            self._audited_s, self._audit_took_s = now_s, now_s - self._audit.since_s
            pause_s = self._audit_took_s * AUDIT_REST
            self.next_audit_s = max(self.next_audit_s, now_s + pause_s)

    def audit_soon(self, now_s: float) -> None:
        """Look into what the flow monitor said, as soon as the last audit was long enough ago."""
        rest_s = max(SOON_S, self._audit_took_s * SOON_REST)
        self.next_audit_s = min(self.next_audit_s, max(now_s, self._audited_s + rest_s))

    def drop_audit(self) -> None:
        if self._audit is not None:
            self._audit.stop()
        self._audit = None

    def is_stuck(self, now_s: float) -> bool:
        """Whether the switch never finished a dump that it was asked for."""
        return self._audit is not None and now_s - self._audit.since_s > DUMP_TIMEOUT_S

    def reconcile(self, found: Findings) -> None:
        """Send what the audit found: groups, then one bundle of adds and exact deletes."""
        audit, self._audit = self._audit, None
        assert audit is not None
        self.audits += 1
        self._mend_meters(audit)
        self.watch.settled(found.missing)
        barrier = _Barrier({})
        if not self._groups_moved:
            self._groups = {
                group_id: buckets if kind == encode.GROUP_TYPE_ALL else b"another type"
                for group_id, (kind, buckets) in audit.groups.items()
            }
            wanted = self.private.groups
            mods, stale = self._group_changes({**self._groups, **wanted})
            self._control.extend(mods)
            barrier.stale_groups = tuple(stale)
        barrier.tried = tuple(
            cookie for cookie, rejection in self.rejected.items() if rejection.trying
        )
        if self.state is State.LIVE:
            barrier.revs, self._skipped = self._skipped, {}
        else:
            self.state = State.SYNCING
            self._left.clear()
            self._start_from(found, barrier)
        if not found.fresh:
            self._bundle(found, barrier)
        self._send_barrier(barrier)

    @property
    def can_mend(self) -> bool:
        """Whether nothing is under way that would tell, or settle, the same."""
        return self._audit is None and not self._bundles_out and self.state is State.LIVE

    def tampered(self) -> Findings:
        """What the flow monitor said, against what this switch should hold now.

        What was added is left to an audit, which tells also what it took the place of; where that
        takes long, it is deleted at once.
        """
        gone, there = self.watch.evidence()
        wanted = self._named([*gone, *(entry.cookie for entry in there)])
        large = sum(table.count_for(self.dpid) for table in self.tables.values()) > LARGE_FLOWS
        return Findings(
            [cookie for cookie in dict.fromkeys(gone) if cookie in wanted],
            tuple(entry for entry in there if large and entry.cookie not in wanted),
            drifted=True,
            fresh=False,
            changed=tuple(entry for entry in there if entry.cookie in wanted),
        )

    def mend(self, found: Findings) -> None:
        """Send what puts these flows right."""
        barrier = _Barrier({})
        self._bundle(found, barrier)
        self._send_barrier(barrier)

    def _named(self, cookies: Collection[int]) -> dict[int, bytes]:
        """Those of the cookies that this switch should hold, with their add messages."""
        skips = self.bridge.skips
        return {
            cookie: add
            for table in self.tables.values()
            for cookie, add in table.named(cookies, self.dpid)
            if cookie_kind(cookie) not in skips
        }

    def _start_from(self, found: Findings, barrier: _Barrier) -> None:
        """Where following begins: behind what the audit settles, or at the beginning of it all."""
        for table in self.tables.values():
            table.cursors[self.dpid] = -1 if found.fresh else table.rev
        if found.fresh:
            self._behind = dict.fromkeys(self.tables)
        else:
            self._behind.clear()
            barrier.revs = {key: table.rev for key, table in self.tables.items()}

    def _bundle(self, found: Findings, barrier: _Barrier) -> None:
        """What the audit found, the last tables first: whatever takes a new flow finds the rest."""
        lacking = {*found.missing, *(entry.cookie for entry in found.changed)}
        missing = sorted(self._named(lacking).values(), key=lambda flow: -flow[24])
        adds = [bytes(flow) for flow in self._takeable(list(missing))]
        # A flow that goes by the name of one of ours may match on something else.
        adds = [*map(_deletion, found.changed), *adds]
        # Open vSwitch has flows of its own with cookie 0 in a table that is not to be named.
        extra = {(entry.cookie, entry.table if entry.raw else 0xFF) for entry in found.extra}
        deletes = [encode.delete_by_cookie(cookie, table) for cookie, table in extra]
        self.flow_mods += len(adds) + len(deletes)
        if adds or deletes:
            barrier.bundle_id = self._next_xid()
            barrier.retry = (adds, deletes)
            self._bundles_out += 1
            self._control.extend(
                encode.bundle(barrier.bundle_id, [*adds, *deletes], barrier.bundle_id)
            )

    def _mend_meters(self, audit: Audit) -> None:
        if not self.bridge.meters:
            return
        for meter in METERS:
            whole = encode.meter_mod(encode.ADD, meter)
            there = audit.meters.get(meter.meter_id)
            if there is None:
                self._control.append(whole)
            elif there != whole[10:12] + whole[16:]:
                self._control.append(encode.meter_mod(encode.MODIFY, meter))

    # Answers

    def bundle_committed(self, bundle_id: int) -> None:
        if any(barrier.bundle_id == bundle_id for barrier in self._barriers.values()):
            self._committed.add(bundle_id)

    def barrier_answered(self, xid: int) -> bool:
        """All sent before that barrier is done; True if that was news."""
        barrier = self._barriers.pop(xid, None)
        if barrier is None:
            return False
        if barrier.catches_up:
            self._under_way -= 1
            if not self._under_way:
                self._unconfirmed_bytes = 0
        if barrier.ears:
            self.ears_open = True
            return True
        if barrier.retry is not None:
            self._bundles_out -= 1
            if barrier.bundle_id not in self._committed:
                self._one_by_one(barrier)
                return False
            self._committed.discard(barrier.bundle_id)
        self._delete_groups(barrier.stale_groups)
        for cookie in barrier.tried:
            if cookie in self.rejected and self.rejected[cookie].trying:
                del self.rejected[cookie]
        for key, rev in barrier.revs.items():
            if key in self.tables:
                self.acked[key] = max(rev, self.acked.get(key, 0))
        if self.state is State.SYNCING and self.acked.keys() >= self.tables.keys():
            self.state = State.LIVE
        return True

    def _one_by_one(self, barrier: _Barrier) -> None:
        """The bundle was refused as a whole: send its flows alone, so that the good ones hold."""
        assert barrier.retry is not None
        adds, deletes = barrier.retry
        self._control += self._takeable(list(adds))
        self._control += deletes
        self._send_barrier(_Barrier(barrier.revs, barrier.stale_groups, tried=barrier.tried))

    def reject(self, cookie: int, reason: str, now_s: float) -> None:
        """The switch refused a flow: an audit offers it again, after a longer pause each time."""
        before = self.rejected.get(cookie)
        if before is None and len(self.rejected) >= REJECTED_MAX and not self._named([cookie]):
            return
        pause_s = AUDIT_EVERY_S if before is None else min(RETRY_MAX_S, before.pause_s * 2)
        self.rejected[cookie] = Rejection(reason, pause_s, now_s + pause_s)

    def confirmed(self, targets: Iterable[tuple[int, int]]) -> bool:
        """Whether the switch has confirmed each table at that revision or later, whole."""
        held = [(key, rev) for key, rev in targets if key in self.tables]
        if any(self.acked.get(key, -1) < rev for key, rev in held):
            return False
        return not self.rejected or not any(
            any(self.tables[key].named(self.rejected, self.dpid)) for key, _rev in held
        )


def _deletion(entry: decode.FlowEntry) -> bytes:
    return encode.delete_entry(entry.table, entry.priority, entry.cookie, entry.match_bytes)


def _split(part: Buffer) -> list[bytes]:
    return encode.split(bytes(part))
