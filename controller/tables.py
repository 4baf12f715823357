"""Revisioned flow tables that switches follow with a cursor.

A table holds units (the encoded flows of one fact) by key and logs what each change replaced, so
that catching up is: every key changed since the cursor, once, from what it was to what it is.
One table is shared by all hosts of a network; each bridge has a private one besides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from controller.flow import Flow
from controller.terms import UnitFlows
from controller.wire.encode import cookie_of, delete_of, encode_flow, identity_of

LOG_SLACK = 1024
"""A log may have this many entries more than its table has units; then the oldest go."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The flows of one fact as add messages: ``local`` for its owner's switch, else ``remote``."""

    owner: int | None
    remote: tuple[bytes, ...]
    local: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, flows: UnitFlows) -> Unit:
        return cls(
            flows.owner,
            tuple(encode_flow(flow) for flow in flows.remote),
            tuple(encode_flow(flow) for flow in flows.local),
        )

    @classmethod
    def private(cls, flows: Iterable[Flow]) -> Unit:
        return cls(None, tuple(encode_flow(flow) for flow in flows))

    def side(self, dpid: int) -> tuple[bytes, ...]:
        return self.local if self.owner == dpid else self.remote


NOTHING = Unit(None, ())


@dataclass(frozen=True, slots=True)
class Step:
    """One key's way from a cursor to now. ``renew``: send it again even where it is the same."""

    before: Unit
    after: Unit
    renew: bool


class FlowTable:
    """Units by key, the revision they are at, and the log of what was replaced."""

    __slots__ = ("_log", "_owned", "_shared", "_shared_rev", "groups", "rev", "start", "units")

    def __init__(self) -> None:
        self.units: dict[Hashable, Unit] = {}
        self.groups: dict[int, bytes] = {}
        self.rev = 0
        self.start = 0  # the log holds every change after this revision
        self._log: deque[tuple[Hashable, Unit, bool]] = deque()
        self._owned: dict[int, dict[Hashable, None]] = {}
        self._shared: dict[int, bytes] = {}
        self._shared_rev = -1

    def put(self, key: Hashable, unit: Unit | None, *, renew: bool = False) -> bool:
        """Set or remove a unit; True if anything changed (or is to be renewed)."""
        before = self.units.get(key, NOTHING)
        after = unit or NOTHING
        if before == after and not (renew and unit is not None):
            return False
        if before.owner is not None and before.owner != after.owner:
            owned = self._owned[before.owner]
            del owned[key]
            if not owned:
                del self._owned[before.owner]
        if unit is None or not (unit.remote or unit.local):
            self.units.pop(key, None)
            if after.owner is not None:
                self._owned.get(after.owner, {}).pop(key, None)
        else:
            self.units[key] = after
            if after.owner is not None:
                self._owned.setdefault(after.owner, {})[key] = None
        self._record(key, before, renew)
        return True

    def put_group(self, group_id: int, buckets: bytes | None) -> bool:
        """Set or remove a group's buckets; True if that changed it."""
        if self.groups.get(group_id) == buckets:
            return False
        if buckets is None:
            del self.groups[group_id]
        else:
            self.groups[group_id] = buckets
        self._record(("group", group_id), NOTHING, False)
        return True

    def _record(self, key: Hashable, before: Unit, renew: bool) -> None:
        self._log.append((key, before, renew))
        self.rev += 1
        if len(self._log) > len(self.units) + LOG_SLACK:
            self._log.popleft()
            self.start += 1

    def since(self, cursor: int) -> dict[Hashable, Step] | None:
        """Every key changed after the cursor; None when the log no longer reaches back to it."""
        if cursor < self.start:
            return None
        steps: dict[Hashable, Step] = {}
        first: dict[Hashable, tuple[Unit, bool]] = {}
        for key, before, renew in islice(self._log, cursor - self.start, None):
            there = first.get(key)
            if there is None:
                first[key] = (before, renew)
            elif renew and not there[1]:
                first[key] = (there[0], True)
        for key, (before, renew) in first.items():
            steps[key] = Step(before, self.units.get(key, NOTHING), renew)
        return steps

    def held_at(self, cursor: int, dpid: int) -> list[bytes] | None:
        """What a switch at this cursor holds of the table; None when the log does not tell."""
        steps = self.since(cursor)
        if steps is None:
            return None
        held: list[bytes] = []
        for key, unit in self.units.items():
            if key not in steps:
                held.extend(unit.side(dpid))
        for step in steps.values():
            held.extend(step.before.side(dpid))
        return held

    def shared_flows(self) -> dict[int, bytes]:
        """Cookie -> add message of every unit's remote side."""
        if self._shared_rev != self.rev:
            self._shared = {
                cookie_of(flow): flow for unit in self.units.values() for flow in unit.remote
            }
            self._shared_rev = self.rev
        return self._shared

    def flows_for(self, dpid: int) -> dict[int, bytes]:
        """Cookie -> add message of all that this switch should hold of the table."""
        owned = self._owned.get(dpid)
        if not owned:
            return self.shared_flows()
        flows = dict(self.shared_flows())
        for key in owned:
            for flow in self.units[key].remote:
                flows.pop(cookie_of(flow), None)
        for key in owned:
            for flow in self.units[key].local:
                flows[cookie_of(flow)] = flow
        return flows

    def count_for(self, dpid: int) -> int:
        """How many flows that is."""
        count = len(self.shared_flows())
        for key in self._owned.get(dpid, ()):
            unit = self.units[key]
            count += len(unit.local) - len(unit.remote)
        return count


def difference(steps: Iterable[Step], dpid: int) -> tuple[list[bytes], list[bytes]]:
    """The adds and the exact deletes that bring one switch through these steps."""
    adds: list[bytes] = []
    deletes: list[bytes] = []
    for step in steps:
        before = step.before.side(dpid)
        after = step.after.side(dpid)
        if before == after:
            if step.renew:
                adds.extend(after)
            continue
        new = after if step.renew else [flow for flow in after if flow not in before]
        adds.extend(new)
        gone = [flow for flow in before if flow not in after]
        if gone and new:
            replaced = {identity_of(flow) for flow in new}
            gone = [flow for flow in gone if identity_of(flow) not in replaced]
        deletes.extend(delete_of(flow) for flow in gone)
    return adds, deletes


def everything(table: FlowTable, dpid: int) -> Iterator[bytes]:
    """Every flow of a table that a switch which joins it needs."""
    for unit in table.units.values():
        yield from unit.side(dpid)
