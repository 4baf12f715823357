"""A switch as a replica: it follows the flow tables with a cursor each.

States, and what leaves them:

WAITING   its host is not among the facts yet            -> AUDITING when it is
AUDITING  its flows and groups are being dumped, or a    -> SYNCING when the dump is compared
          takeover waits for probes to tell the ports
SYNCING   the difference was sent, a barrier is out      -> LIVE when the barrier is answered
LIVE      changes are sent as they come; from time to time an audit runs beside them

A lost connection ends a replica; the next one starts from WAITING with a higher epoch.
Nothing is sent from here: ``pull`` says what to send next, and the sender asks when it can send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from controller.bridges import METERS, Bridge, probe_flow
from controller.events import DumpPart
from controller.flow import Flow
from controller.neighbours import nd_trial
from controller.pipeline import LEARNED_KINDS, SOURCE_KINDS, cookie_kind
from controller.tables import FlowTable, Unit, difference, everything
from controller.wire import decode, encode
from topology.types import Dpid

PRIVATE = -1
"""The private table's key among cursors; shared tables go by their VNI."""

XID_BASE, XID_SPAN = 0x77000000, 0x01000000
AUDIT_EVERY_S = 20.0
SECOND_AUDIT_S = 2.0
TAKEOVER_HOLD_S = 3.0
RETRY_MAX_S = 320.0
ADDRESSED_ROUNDS = 3
DUMP_TIMEOUT_S = 60.0
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
class Audit:
    """A dump in progress, held against what the switch should hold."""

    since_s: float
    expected: dict[int, bytes]
    revs: dict[int, int]
    xids: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)
    others: list[decode.FlowEntry] = field(default_factory=list)
    groups: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    meters: dict[int, bytes] = field(default_factory=dict)

    def take_flows(self, body: bytes) -> None:
        expected, seen = self.expected, self.seen
        for cookie, start, end in decode.flow_names(body):
            if cookie in expected:
                seen.add(cookie)
            else:
                self.others.extend(decode.flow_entries(body[start:end]))


@dataclass(frozen=True, slots=True)
class Findings:
    """What an audit found: flows to add, entries to delete.

    A learned source is to be deleted unless it is adopted: while it stays, its VM is not heard.
    """

    missing: dict[int, bytes]
    extra: tuple[decode.FlowEntry, ...]
    drifted: bool


@dataclass(slots=True)
class Rejection:
    """A flow that the switch refused: why, and when it is to be offered again."""

    reason: str
    pause_s: float
    retry_s: float
    trying: bool = False


@dataclass(slots=True)
class _Barrier:
    """What an answered barrier proves."""

    cursors: dict[int, int]
    stale_groups: tuple[int, ...] = ()
    retry: tuple[list[bytes], list[bytes]] | None = None
    bundle_id: int | None = None
    ears: bool = False
    tried: list[int] = field(default_factory=list)


class Replica:
    """One connection of one switch: what it has been sent, what it confirmed, what comes next."""

    def __init__(self, epoch: int, address: str, bridge: Bridge, now_s: float) -> None:
        self.epoch = epoch
        self.address = address
        self.bridge = bridge
        self.ports: dict[int, str] = {}
        self.state = State.WAITING
        self.private = FlowTable()
        self.tables: dict[int, FlowTable] = {PRIVATE: self.private}
        self.acked: dict[int, int] = {}
        self.rejected: dict[int, Rejection] = {}
        self.drifts = 0
        self.connected_s = now_s
        self.hold_until_s = now_s + TAKEOVER_HOLD_S
        self.trust_until_s = now_s + TRUST_S
        self.holding = False
        self.next_audit_s = now_s
        self.next_probe_s = now_s
        self.probe_turn = 0
        self.ears_open = False
        self.diff_waiters: list[Callable[[Findings], None]] = []
        self._cursors: dict[int, int] = {}
        self._groups: dict[int, bytes] = {}
        self._audit: Audit | None = None
        self._control: list[bytes] = []
        self._barriers: dict[int, _Barrier] = {}
        self._committed: set[int] = set()
        self._addressed: dict[int, tuple[set[int], set[float]]] = {}  # port -> VTEPs, rounds
        self._left: list[bytes] = []  # deletes of what tables held that are followed no longer
        self._conversations: dict[int, Conversation] = {}  # cookie -> key in the private table
        self._xid = 0

    @property
    def dpid(self) -> Dpid:
        return Dpid(self.bridge.dpid)

    # What to send

    def pull(self) -> list[bytes]:
        """All that is to be sent now, in order; empty when there is nothing."""
        out, self._control = self._control, []
        if self.state is State.LIVE and self._audit is None:
            out.extend(self._catch_up())
        return out

    def greet(self) -> None:
        """Meters and the probe flow: harmless under whatever pipeline runs there still."""
        self._control.append(encode.set_async())
        if self.bridge.meters:
            self._control.extend(encode.meter_mod(encode.ADD, meter) for meter in METERS)
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
        """Queue a message of no consequence to the tables, such as a packet-out."""
        self._control.append(message)

    def follow(self, vni: int, table: FlowTable) -> None:
        """Follow a network's table from its beginning."""
        if vni not in self.tables:
            self.tables[vni] = table
            if self.state is State.LIVE:
                self._cursors[vni] = -1

    def converse(self, key: Conversation, flows: Iterable[Flow]) -> None:
        """Hold what a conversation of a reactive network needs; sent again if it is there."""
        unit = Unit.private(flows)
        if unit.remote:
            self.private.put(key, unit, renew=True)
            for add in unit.remote:
                self._conversations[encode.cookie_of(add)] = key

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
            for add in unit.remote:
                self._conversations.pop(encode.cookie_of(add), None)
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
        cursor = self._cursors.pop(vni, -1)
        held = None if cursor < 0 else table.held_at(cursor, self.dpid)
        if held is None:
            self.next_audit_s = 0.0
        else:
            self._left += [encode.delete_of(flow) for flow in held]

    def _catch_up(self) -> list[bytes]:
        adds: list[bytes] = []
        deletes: list[bytes] = []
        moved = False
        for key, table in self.tables.items():
            cursor = self._cursors.get(key, -1)
            if cursor == table.rev:
                continue
            if cursor < 0:
                adds.extend(everything(table, self.dpid))
            else:
                steps = table.since(cursor)
                if steps is None:
                    self.next_audit_s = 0.0
                    continue
                more_adds, more_deletes = difference(steps.values(), self.dpid)
                adds.extend(more_adds)
                deletes.extend(more_deletes)
            self._cursors[key] = table.rev
            moved = True
        if not moved and not self._left:
            return []
        left, self._left = self._left, []
        deletes += left
        if deletes and adds:
            # What a network that was left and joined again puts back is the same flow.
            there = {encode.cookie_of(flow) for flow in adds}
            deletes = [gone for gone in deletes if encode.cookie_of(gone) not in there]
        mods, stale = self._group_changes()
        out = [*mods, *self._takeable(adds), *deletes]
        self._send_barrier(_Barrier(dict(self._cursors), stale), out)
        return out

    def _takeable(self, adds: list[bytes]) -> list[bytes]:
        """Those that the switch has not refused, one by one or as a kind."""
        skips, rejected = self.bridge.skips, self.rejected
        if not skips and not rejected:
            return adds
        return [
            flow
            for flow in adds
            if ((cookie := encode.cookie_of(flow)) not in rejected or rejected[cookie].trying)
            and cookie_kind(cookie) not in skips
        ]

    def _group_changes(self) -> tuple[list[bytes], tuple[int, ...]]:
        """Group-mods to send before any flow, and the ids to delete once all flows are settled."""
        there = self._groups
        mods = []
        for group_id, buckets in self.private.groups.items():
            if there.get(group_id) != buckets:
                command = encode.GROUP_MODIFY if group_id in there else encode.GROUP_ADD
                mods.append(encode.group_mod(command, group_id, buckets))
                there[group_id] = buckets
        return mods, tuple(sorted(there.keys() - self.private.groups.keys()))

    def _delete_groups(self, group_ids: Iterable[int]) -> None:
        for group_id in group_ids:
            if group_id not in self.private.groups and group_id in self._groups:
                del self._groups[group_id]
                self._control.append(encode.group_mod(encode.GROUP_DELETE, group_id))

    def _next_xid(self) -> int:
        self._xid = (self._xid + 1) % XID_SPAN
        return XID_BASE + self._xid

    def _send_barrier(self, barrier: _Barrier, out: list[bytes] | None = None) -> None:
        xid = self._next_xid()
        self._barriers[xid] = barrier
        (self._control if out is None else out).append(encode.barrier(xid))

    # Audits

    def desired(self) -> dict[int, bytes]:
        """Cookie -> add message of everything this switch should hold."""
        flows: dict[int, bytes] = {}
        for table in self.tables.values():
            flows.update(table.flows_for(self.dpid))
        skips = self.bridge.skips
        if skips:
            return {c: flow for c, flow in flows.items() if cookie_kind(c) not in skips}
        return flows

    def desired_count(self) -> int:
        if self.bridge.skips:
            return len(self.desired())
        return sum(table.count_for(self.dpid) for table in self.tables.values())

    @property
    def auditing(self) -> bool:
        return self._audit is not None

    def start_audit(self, now_s: float) -> None:
        """Ask for meters, groups and flows; changes wait until the answer is compared."""
        if self._audit is not None:
            return
        if self.state is State.LIVE:
            self._control.extend(self._catch_up())
            self.next_audit_s = now_s + AUDIT_EVERY_S
        else:
            # Whoever pointed the bridge here may have put its old flows back after this dump.
            self.next_audit_s = now_s + SECOND_AUDIT_S
            self.state = State.AUDITING
        self._audit = Audit(now_s, self.desired(), self._revs())
        for cookie, rejection in list(self.rejected.items()):
            if cookie not in self._audit.expected:
                del self.rejected[cookie]
            elif now_s >= rejection.retry_s:
                rejection.trying = True
        for kind in (encode.MP_METER_CONFIG, encode.MP_GROUP_DESC, encode.MP_FLOW):
            if kind != encode.MP_METER_CONFIG or self.bridge.meters:
                xid = self._next_xid()
                self._audit.xids.add(xid)
                self._control.append(encode.multipart_request(kind, xid))

    def _revs(self) -> dict[int, int]:
        return {key: table.rev for key, table in self.tables.items()}

    def take_dump(self, part: DumpPart) -> bool:
        """Take a part of a dump; True when the audit has all it asked for."""
        audit, kind, body = self._audit, part.kind, part.body
        if audit is None or part.xid not in audit.xids:
            return False
        if kind == encode.MP_GROUP_DESC:
            for group_id, group_type, buckets in decode.group_entries(body):
                audit.groups[group_id] = (group_type, buckets)
        elif kind == encode.MP_METER_CONFIG:
            audit.meters.update(decode.meter_entries(body))
        elif kind == encode.MP_FLOW:
            audit.take_flows(body)
            return not part.more
        return False

    def findings(self, *, keep_learned: bool) -> Findings:
        """Compare the finished dump with what should be there now.

        keep_learned: who started lately does not know all that was learned before, and leaves it.
        """
        audit = self._audit
        assert audit is not None
        moved = self._revs() != audit.revs
        desired = self.desired() if moved else audit.expected
        present = audit.seen | {entry.cookie for entry in audit.others}
        missing = {
            cookie: flow
            for cookie, flow in desired.items()
            if cookie not in present and cookie_kind(cookie) not in SOURCE_KINDS
        }
        extra: list[decode.FlowEntry] = []
        for entry in audit.others:
            soft = cookie_kind(entry.cookie) in LEARNED_KINDS - SOURCE_KINDS
            left_to_time_out = keep_learned and soft and entry.hard_timeout_s
            if entry.cookie not in desired and not left_to_time_out:
                extra.append(entry)
        if moved:
            for cookie in audit.seen - desired.keys():
                extra.append(_stale(cookie))
        solid = any(
            cookie_kind(cookie) not in LEARNED_KINDS and cookie not in self.rejected
            for cookie in missing
        )
        drifted = not moved and bool(extra or solid)
        return Findings(missing, tuple(extra), drifted)

    def is_foreign(self) -> bool:
        """Whether the dump shows a bridge that still runs somebody else's flows."""
        audit = self._audit
        return audit is not None and any(
            cookie_kind(entry.cookie) is None for entry in audit.others
        )

    def drop_audit(self) -> None:
        self._audit = None

    def is_stuck(self, now_s: float) -> bool:
        """Whether the switch never finished a dump that it was asked for."""
        return self._audit is not None and now_s - self._audit.since_s > DUMP_TIMEOUT_S

    def reconcile(self, found: Findings) -> None:
        """Send what the audit found: groups, then one bundle of adds and exact deletes."""
        audit, self._audit = self._audit, None
        assert audit is not None
        self._mend_meters(audit)
        self._groups = {
            group_id: buckets if kind == encode.GROUP_TYPE_ALL else b"another type"
            for group_id, (kind, buckets) in audit.groups.items()
        }
        mods, stale = self._group_changes()
        self._control.extend(mods)
        self._cursors = self._revs()
        self._left.clear()
        adds = sorted(self._takeable(list(found.missing.values())), key=lambda flow: -flow[24])
        tried = [cookie for cookie, rejection in self.rejected.items() if rejection.trying]
        deletes = [
            encode.delete_by_cookie(cookie) for cookie in {entry.cookie for entry in found.extra}
        ]
        if self.state is State.LIVE and found.drifted:
            self.drifts += 1
        barrier = _Barrier(dict(self._cursors), stale, tried=tried)
        if adds or deletes:
            barrier.bundle_id = self._next_xid()
            barrier.retry = (adds, deletes)
            self._control.extend(
                encode.bundle(barrier.bundle_id, [*adds, *deletes], barrier.bundle_id)
            )
        if self.state is not State.LIVE:
            self.state = State.SYNCING
        self._send_barrier(barrier)

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
        self._committed.add(bundle_id)

    def barrier_answered(self, xid: int) -> bool:
        """All sent before that barrier is done; True if that was news."""
        barrier = self._barriers.pop(xid, None)
        if barrier is None:
            return False
        if barrier.ears:
            self.ears_open = True
            return True
        if barrier.retry is not None and barrier.bundle_id not in self._committed:
            self._one_by_one(barrier)
            return False
        if barrier.bundle_id is not None:
            self._committed.discard(barrier.bundle_id)
        self._delete_groups(barrier.stale_groups)
        for cookie in barrier.tried:
            if cookie in self.rejected and self.rejected[cookie].trying:
                del self.rejected[cookie]
        for key, rev in barrier.cursors.items():
            if key in self.tables:
                self.acked[key] = max(rev, self.acked.get(key, 0))
        if self.state is State.SYNCING:
            self.state = State.LIVE
        return True

    def _one_by_one(self, barrier: _Barrier) -> None:
        """The bundle was refused as a whole: send its flows alone, so that the good ones hold."""
        assert barrier.retry is not None
        adds, deletes = barrier.retry
        self._control.extend(self._takeable(adds))
        self._control.extend(deletes)
        self._send_barrier(_Barrier(barrier.cursors, barrier.stale_groups, tried=barrier.tried))

    def reject(self, cookie: int, reason: str, now_s: float) -> None:
        """The switch refused a flow: an audit offers it again, after a longer pause each time."""
        before = self.rejected.get(cookie)
        pause_s = AUDIT_EVERY_S if before is None else min(RETRY_MAX_S, before.pause_s * 2)
        self.rejected[cookie] = Rejection(reason, pause_s, now_s + pause_s)

    def confirmed(self, targets: Iterable[tuple[int, int]]) -> bool:
        """Whether the switch has confirmed each table at that revision or later, whole."""
        held = [(key, rev) for key, rev in targets if key in self.tables]
        if any(self.acked.get(key, -1) < rev for key, rev in held):
            return False
        return not self.rejected or not any(
            self.rejected.keys() & self.tables[key].flows_for(self.dpid).keys() for key, _ in held
        )


def _stale(cookie: int) -> decode.FlowEntry:
    return decode.FlowEntry(cookie, 0, 0, 0, 0, 0, 0, 0, b"")
