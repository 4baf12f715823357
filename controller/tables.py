"""Revisioned flow tables that switches follow with a cursor.

A table holds units (the encoded flows of one fact) by key and logs what each change replaced, so
that catching up is: every key changed since the cursor, from what it was to what it is. One table
is shared by all hosts of a network; each bridge has a private one besides.

What a switch is to be sent is put together once, as a Segment, for all switches at the same cursor.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeAlias
from weakref import ref

from controller.flow import Flow
from controller.terms import UnitFlows
from controller.wire.encode import cookie_of, cookies_of, delete_of, encode_flow, identity_of, split
from controller.wire.mold import Mold

Buffer: TypeAlias = bytes | memoryview

LOG_SLACK = 1024
"""A log may have this many entries more than its table has units; then the oldest go."""

SEGMENT_UNITS = 1024
"""So many units go into one segment: a millisecond's work, some 300 KB."""

SLICE_UNITS = 512
"""So many units of a switch's own are named before others get a turn: some milliseconds."""

_SNAPSHOT_SEGMENTS = 8  # kept for other switches that join at the same time


class Unit:
    """The flows of one fact as joined add messages: ``local`` for its owner's switch, else
    ``remote``.

    The local side is wanted on one switch alone, so it is poured when it is asked for: ``local``
    is given as bytes, or as values for a mold.
    """

    __slots__ = ("_local", "_mold", "count", "owner", "remote")

    def __init__(
        self, owner: int | None, remote: bytes, local: bytes = b"", mold: Mold | None = None
    ) -> None:
        self.owner = owner
        self.remote = remote
        self.count = 0  # of the remote side's flows, once it is in a table
        self._local = local
        self._mold = mold

    @classmethod
    def of(cls, flows: UnitFlows) -> Unit:
        return cls(flows.owner, _encode(flows.remote), _encode(flows.local))

    @classmethod
    def private(cls, flows: Iterable[Flow]) -> Unit:
        return cls(None, _encode(flows))

    @property
    def local(self) -> bytes:
        return self._local if self._mold is None else self._mold.pour_packed(self._local)

    @property
    def local_cookies(self) -> list[int]:
        if self._mold is None:
            return cookies_of(self._local)
        return self._mold.cookies(self._local)

    @property
    def local_count(self) -> int:
        """How many flows the local side has."""
        return len(split(self._local)) if self._mold is None else len(self._mold)

    @property
    def is_empty(self) -> bool:
        return not self.remote and not (self._local if self._mold is None else len(self._mold))

    def side(self, dpid: int) -> bytes:
        return self.local if self.owner == dpid else self.remote

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unit):
            return NotImplemented
        if self.owner != other.owner or self.remote != other.remote:
            return False
        if self._mold is other._mold:
            return self._local == other._local
        return self.local == other.local

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Unit({self.owner}, {cookies_of(self.remote)}, {cookies_of(self.local)})"


def _encode(flows: Iterable[Flow]) -> bytes:
    return b"".join([encode_flow(flow) for flow in flows])


NOTHING = Unit(None, b"")
NOBODY = -1
"""The dpid of no switch: it owns nothing."""


class Step(NamedTuple):
    """One key's way from a cursor to now. ``renew``: send it again even where it is the same.

    Whoever was sent a part of what came after an earlier cursor was sent units as they were then:
    with several states ``between`` a switch may hold any of them, and is sent all of ``after``.
    """

    before: Unit
    after: Unit
    renew: bool = False
    between: tuple[Unit, ...] = ()

    def mods(self, dpid: int) -> tuple[bytes, bytes]:
        """The adds and the exact deletes that bring one switch through it."""
        before = self.before.side(dpid)
        if self.between:
            before = _united([self.before, *self.between], dpid)
        return _difference(before, self.after.side(dpid), renew=self.renew or bool(self.between))

    @property
    def owners(self) -> list[int]:
        """The switches whose side is not what all others are sent."""
        units = (self.before, self.after, *self.between)
        return list(dict.fromkeys(unit.owner for unit in units if unit.owner is not None))


class Mods(NamedTuple):
    """What one switch is sent of a segment, and how many flow-mods that is."""

    adds: list[Buffer]
    deletes: list[Buffer]
    flow_mods: int


class Segment:
    """The flow-mods of some steps, joined for the switches that own none of their units.

    The others get views of the same bytes with their own sides in between.
    """

    __slots__ = ("_add_ends", "_count", "_delete_ends", "_own", "adds", "deletes", "rev")

    def __init__(self, rev: int, steps: Iterable[Step]) -> None:
        self.rev = rev
        adds: list[bytes] = []
        deletes: list[bytes] = []
        self._add_ends: list[int] = []
        self._delete_ends: list[int] = []
        self._own: dict[int, list[tuple[int, Step, int]]] = {}
        self._count = added = deleted = 0
        for index, step in enumerate(steps):
            before, after, _renew, between = step
            simple = before is NOTHING and not between
            if simple:
                plus, minus, count = after.remote, b"", after.count
            else:
                plus, minus = step.mods(NOBODY)
                count = _how_many(plus) + _how_many(minus)
            self._count += count
            if plus:
                adds.append(plus)
                added += len(plus)
            if minus:
                deletes.append(minus)
                deleted += len(minus)
            self._add_ends.append(added)
            self._delete_ends.append(deleted)
            owners = [] if after.owner is None else [after.owner]
            for owner in owners if simple else step.owners:
                self._own.setdefault(owner, []).append((index, step, count))
        self.adds = b"".join(adds)
        self.deletes = b"".join(deletes)

    def for_host(self, dpid: int) -> Mods:
        """The adds and the deletes for one switch."""
        own = self._own.get(dpid)
        if own is None:
            adds: list[Buffer] = [self.adds] if self.adds else []
            return Mods(adds, [self.deletes] if self.deletes else [], self._count)
        sides = [(index, *step.mods(dpid)) for index, step, _others in own]
        count = self._count
        for (_index, step, others), (_at, plus, minus) in zip(own, sides, strict=True):
            is_first = step.before is NOTHING and not step.between
            count -= others
            count += step.after.local_count if is_first else _how_many(plus) + _how_many(minus)
        return Mods(
            _spliced(self.adds, self._add_ends, [(at, plus) for at, plus, _minus in sides]),
            _spliced(self.deletes, self._delete_ends, [(at, minus) for at, _plus, minus in sides]),
            count,
        )


def _how_many(mods: bytes) -> int:
    return len(cookies_of(mods)) if mods else 0


def _spliced(shared: bytes, ends: list[int], own: Iterable[tuple[int, bytes]]) -> list[Buffer]:
    """The shared bytes with the parts at these indexes replaced."""
    view, parts, at = memoryview(shared), list[Buffer](), 0
    for index, part in own:
        start = ends[index - 1] if index else 0
        if start > at:
            parts.append(view[at:start])
        if part:
            parts.append(part)
        at = ends[index]
    if at < len(shared):
        parts.append(view[at:])
    return parts


class Snapshot:
    """A whole table at a revision, in segments that are made when the first switch needs them.

    A unit that changed since is sent as it is now; the log then says it again, which does no harm.
    """

    __slots__ = ("__weakref__", "_keys", "_made", "_units", "rev")

    def __init__(self, rev: int, units: dict[Hashable, Unit]) -> None:
        self.rev = rev
        self._units = units
        self._keys = list(units)
        self._made: OrderedDict[int, Segment] = OrderedDict()

    def __len__(self) -> int:
        return (len(self._keys) + SEGMENT_UNITS - 1) // SEGMENT_UNITS

    def segment(self, index: int) -> Segment:
        made = self._made.get(index)
        if made is None:
            keys = self._keys[index * SEGMENT_UNITS : (index + 1) * SEGMENT_UNITS]
            there = (self._units.get(key, NOTHING) for key in keys)
            made = Segment(self.rev, [Step(NOTHING, unit) for unit in there])
            self._made[index] = made
            if len(self._made) > _SNAPSHOT_SEGMENTS:
                self._made.popitem(last=False)
        return made


@dataclass(slots=True)
class _Owned:
    """The units that one switch owns; ``more``: how many flows more it holds than others."""

    keys: dict[Hashable, None]
    more: int = 0


class FlowTable:
    """Units by key, the revision they are at, and the log of what was replaced.

    ``cursors`` has the switches that follow, by dpid, and what each was sent: -1 for nothing yet.
    ``names`` says whose flow a cookie is, of the remote sides.
    """

    __slots__ = (
        "_log",
        "_owned",
        "_segments",
        "_snapshot",
        "_trim_at",
        "changed_groups",
        "cursors",
        "groups",
        "names",
        "rev",
        "start",
        "units",
    )

    def __init__(self, rev: int = 0) -> None:
        self.units: dict[Hashable, Unit] = {}
        self.names: dict[int, Hashable] = {}
        self.groups: dict[int, bytes] = {}
        self.changed_groups: dict[int, None] = {}
        self.cursors: dict[int, int] = {}
        self.rev = rev
        self.start = rev  # the log holds every change after this revision
        self._log: list[tuple[Hashable, Unit, bool]] = []
        self._trim_at = LOG_SLACK
        self._owned: dict[int, _Owned] = {}
        self._segments: dict[int, Segment] = {}
        self._snapshot: ref[Snapshot] | None = None

    # Changes

    def put(self, key: Hashable, unit: Unit | None, *, renew: bool = False) -> bool:
        """Set or remove a unit; True if anything changed (or is to be renewed)."""
        before = self.units.get(key)
        if unit is not None and unit.is_empty:
            unit = None
        if before is None:
            if unit is None:
                return False
        elif unit is not None and before == unit:
            if renew:
                self._record(key, before, renew)
            return renew
        else:
            self._forget(key, before)
        if unit is None:
            del self.units[key]
        else:
            self.units[key] = unit
            self._note(key, unit)
        self._record(key, before or NOTHING, renew)
        return True

    def _note(self, key: Hashable, unit: Unit) -> None:
        cookies = cookies_of(unit.remote)
        unit.count = len(cookies)
        names = self.names
        for cookie in cookies:
            names[cookie] = key
        if unit.owner is not None:
            owned = self._owned.get(unit.owner)
            if owned is None:
                owned = self._owned[unit.owner] = _Owned({})
            owned.keys[key] = None
            owned.more += unit.local_count - len(cookies)

    def _forget(self, key: Hashable, unit: Unit) -> None:
        cookies = cookies_of(unit.remote)
        for cookie in cookies:
            self.names.pop(cookie, None)
        if unit.owner is not None:
            owned = self._owned[unit.owner]
            del owned.keys[key]
            owned.more -= unit.local_count - len(cookies)
            if not owned.keys:
                del self._owned[unit.owner]

    def put_group(self, group_id: int, buckets: bytes | None) -> bool:
        """Set or remove a group's buckets; True if that changed it."""
        if self.groups.get(group_id) == buckets:
            return False
        if buckets is None:
            del self.groups[group_id]
        else:
            self.groups[group_id] = buckets
        self.changed_groups[group_id] = None
        self._record(("group", group_id), NOTHING, False)
        return True

    def _record(self, key: Hashable, before: Unit, renew: bool) -> None:
        self._log.append((key, before, renew))
        self.rev += 1
        if self._segments:
            self._segments.clear()
        if len(self._log) >= self._trim_at:
            self._trim()

    def _trim(self) -> None:
        """Forget what every follower was sent, and what is more than sending all of it anew."""
        sent = min((cursor for cursor in self.cursors.values() if cursor >= 0), default=self.rev)
        keep = min(self.rev - sent, len(self.units) + LOG_SLACK)
        del self._log[: len(self._log) - keep]
        self.start = self.rev - len(self._log)
        self._trim_at = 2 * len(self._log) + LOG_SLACK

    # What followers need

    def segment(self, cursor: int) -> Segment | None:
        """What comes after a cursor, up to its ``rev``; None when the log does not reach back."""
        if cursor < self.start:
            return None
        made = self._segments.get(cursor)
        if made is None:
            upto = min(self.rev, cursor + SEGMENT_UNITS)
            made = self._segments[cursor] = Segment(upto, self._steps(cursor, upto).values())
        return made

    def snapshot(self) -> Snapshot:
        """The whole table; those who ask while it does not change share one."""
        there = None if self._snapshot is None else self._snapshot()
        if there is None or there.rev != self.rev:
            there = Snapshot(self.rev, self.units)
            self._snapshot = ref(there)
        return there

    def _steps(self, cursor: int, upto: int) -> dict[Hashable, Step]:
        """Every key changed after the cursor, once."""
        states: dict[Hashable, list[Unit]] = {}
        renewed: set[Hashable] = set()
        for key, before, renew in self._log[cursor - self.start : upto - self.start]:
            states.setdefault(key, []).append(before)
            if renew:
                renewed.add(key)
        units = self.units
        return {
            key: Step(before, units.get(key, NOTHING), key in renewed, tuple(between))
            for key, (before, *between) in states.items()
        }

    def steps(self, cursor: int) -> Collection[Step] | None:
        """How every key changed since the cursor; None when the log does not tell."""
        return None if cursor < self.start else self._steps(cursor, self.rev).values()

    def held_at(self, cursor: int, dpid: int) -> list[bytes] | None:
        """What a switch at this cursor may hold of the table; None when the log does not tell."""
        if cursor < self.start:
            return None
        sides = [unit.side(dpid) for unit in self.units.values()]
        for step in self._steps(cursor, self.rev).values():
            sides += [unit.side(dpid) for unit in (step.before, *step.between)]
        return list(dict.fromkeys(flow for side in sides for flow in split(side)))

    # What a follower should hold

    def owned(self, dpid: int) -> list[Hashable]:
        """The keys of the units that a switch owns."""
        owned = self._owned.get(dpid)
        return [] if owned is None else list(owned.keys)

    def local_flows(self, dpid: int) -> dict[int, bytes]:
        """Cookie -> add message of the local sides that a switch owns."""
        flows = b"".join([self.units[key].local for key in self.owned(dpid)])
        return dict(zip(cookies_of(flows), split(flows), strict=True))

    def wanted(self, dpid: int) -> set[int]:
        """The cookies of all that a switch should hold."""
        wanted: set[int] = set()
        for _slice in self.want(dpid, wanted):
            pass
        return wanted

    def want(self, dpid: int, wanted: set[int]) -> Iterator[None]:
        """Put these cookies into a set, yielding after each slice; units may change in between."""
        wanted.update(self.names)
        owned = iter(self.owned(dpid))
        while keys := list(islice(owned, SLICE_UNITS)):
            elsewhere: list[int] = []
            here: list[int] = []
            for key in keys:
                unit = self.units.get(key)
                if unit is not None and unit.owner == dpid:
                    elsewhere += cookies_of(unit.remote)
                    here += unit.local_cookies
            wanted.difference_update(elsewhere)
            wanted.update(here)
            if len(keys) == SLICE_UNITS:
                yield

    def named(self, cookies: Iterable[int], dpid: int) -> Iterator[tuple[int, bytes]]:
        """Those of the cookies that a switch should hold here, with their add messages."""
        local: dict[int, bytes] | None = None
        for cookie in cookies:
            key = self.names.get(cookie)
            unit = None if key is None else self.units[key]
            if unit is not None and unit.owner != dpid:
                yield cookie, next(add for add in split(unit.remote) if cookie_of(add) == cookie)
                continue
            if local is None:
                local = self.local_flows(dpid)
            if cookie in local:
                yield cookie, local[cookie]

    def flows_for(self, dpid: int) -> Iterator[bytes]:
        """Each add message that a switch should hold."""
        for unit in self.units.values():
            yield from split(unit.side(dpid))

    def count_for(self, dpid: int) -> int:
        """How many flows that is."""
        owned = self._owned.get(dpid)
        return len(self.names) + (0 if owned is None else owned.more)


def _united(units: Iterable[Unit], dpid: int) -> bytes:
    """All flows of a switch's sides of these units, each once."""
    return b"".join(dict.fromkeys(flow for unit in units for flow in split(unit.side(dpid))))


def _difference(before: bytes, after: bytes, *, renew: bool) -> tuple[bytes, bytes]:
    """The adds and the exact deletes that lead from one side to another."""
    if before == after:
        return (after if renew else b""), b""
    if not before:
        return after, b""
    old, wanted = split(before), split(after)
    new = wanted if renew else [flow for flow in wanted if flow not in old]
    gone = [flow for flow in old if flow not in wanted]
    if gone and new:
        replaced = {identity_of(flow) for flow in new}
        gone = [flow for flow in gone if identity_of(flow) not in replaced]
    return b"".join(new), b"".join([delete_of(flow) for flow in gone])
