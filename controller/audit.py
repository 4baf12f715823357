"""What a switch holds against what it should hold: a dump, compared cookie by cookie as it comes.

A bridge may hold half a million flows, so nothing here is done in one go: what is expected is put
together in slices while the switch still works on its answer, and each part of the answer strikes
its cookies off. What is left in the end is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from controller.pipeline import LEARNED_KINDS, SOURCE_KINDS, Kind, cookie_kind
from controller.tables import FlowTable
from controller.wire import decode
from controller.wire.encode import cookies_of

SLICE_PARTS = 8
"""So many parts of a dump are compared before others get a turn: some milliseconds."""

FRESH = 10
"""A bridge that lacks this many times what it has is filled, not mended."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What an audit found: the cookies of flows to add, entries to delete.

    A learned source is to be deleted unless it is adopted: while it stays, its VM is not heard.
    ``fresh``: there is next to nothing on the bridge, and nothing to be replaced. ``changed`` has
    flows as they are that bear the name of one which should be there: no audit can see these.
    ``emptied``: next to none of our flows are there, whatever else is.
    """

    missing: Collection[int]
    extra: tuple[decode.FlowEntry, ...]
    drifted: bool
    fresh: bool
    changed: tuple[decode.FlowEntry, ...] = ()
    emptied: bool = False


class Audit:
    """A dump in progress. ``advance`` does what can be done, a slice at a time.

    ``live``: changes go on being sent while it runs; else they wait for what it finds.
    """

    def __init__(
        self,
        dpid: int,
        tables: Mapping[int, FlowTable],
        skips: frozenset[Kind],
        now_s: float,
        *,
        live: bool,
    ) -> None:
        self.since_s = now_s
        self.xids: set[int] = set()
        self.others: list[decode.FlowEntry] = []
        self.groups: dict[int, tuple[int, bytes]] = {}
        self.meters: dict[int, bytes] = {}
        self._dpid = dpid
        self._live = live
        self._skips = skips
        self._tables = {key: (table, table.rev) for key, table in tables.items()}
        self._expected: set[int] = set()
        self._seen = 0
        self._expecting: Iterator[None] | None = self._expect()
        self._parts: deque[bytes] = deque()
        self._dumped = False

    # As it goes

    def take_flows(self, body: bytes, *, last: bool) -> None:
        """A part of the dump."""
        self._parts.append(body)
        self._dumped = last

    def advance(self) -> bool:
        """Do a slice of the work; True while there is more that can be done now."""
        if self._expecting is not None:
            for _slice in self._expecting:
                return True
            self._expecting = None
        for _ in range(min(SLICE_PARTS, len(self._parts))):
            self._strike_off(self._parts.popleft())
        return bool(self._parts)

    def stop(self) -> None:
        """Let go of what is half done."""
        self._expecting = None
        self._parts.clear()

    @property
    def finished(self) -> bool:
        """Whether the whole dump is compared."""
        return self._dumped and self._expecting is None and not self._parts

    def _expect(self) -> Iterator[None]:
        for table, _rev in self._tables.values():
            yield from table.want(self._dpid, self._expected)
        if self._skips:
            self._expected = {c for c in self._expected if cookie_kind(c) not in self._skips}

    def _strike_off(self, body: bytes) -> None:
        there, remove = len(self._expected), self._expected.remove
        for cookie, start, end in decode.flow_names(body):
            try:
                remove(cookie)
            except KeyError:
                self.others.extend(decode.flow_entries(body[start:end]))
        self._seen += there - len(self._expected)

    # What came of it

    @property
    def is_foreign(self) -> bool:
        """Whether the dump shows a bridge that still runs somebody else's flows."""
        return any(cookie_kind(entry.cookie) is None for entry in self.others)

    def lacks(self, kinds: frozenset[Kind]) -> bool:
        """Whether a flow of these kinds is missing."""
        return any(cookie_kind(cookie) in kinds for cookie in self._expected)

    def lacks_flow(self, cookie: int) -> bool:
        """Whether this flow is missing, or was not expected."""
        return cookie in self._expected

    def findings(
        self, tables: Mapping[int, FlowTable], rejected: Collection[int], *, keep_learned: bool
    ) -> Findings | None:
        """Compare with what should be there now; None when too much has changed to tell.

        keep_learned: who started lately does not know all that was learned before, and leaves it.
        """
        changed = self._changed(tables)
        if changed is None:
            return None
        before, after = changed
        missing = self._expected - before
        unjudged = after | before if self._live else after
        extra = [entry for entry in self.others if self._is_extra(entry, unjudged, keep_learned)]
        if self._live:
            missing -= after  # was sent as it changed
        else:
            missing |= after
            extra += [_stale(cookie) for cookie in before - after]
        missing.difference_update([entry.cookie for entry in self.others])
        emptied = len(missing) > FRESH * self._seen
        if emptied and not self._live and not self.others and not extra:
            return Findings(missing, (), drifted=True, fresh=True, emptied=True)
        missing = {cookie for cookie in missing if cookie_kind(cookie) not in SOURCE_KINDS}
        solid = any(
            cookie_kind(cookie) not in LEARNED_KINDS and cookie not in rejected
            for cookie in missing
        )
        drifted = bool(extra or solid)
        return Findings(missing, tuple(extra), drifted=drifted, fresh=False, emptied=emptied)

    def _changed(self, tables: Mapping[int, FlowTable]) -> tuple[set[int], set[int]] | None:
        """The cookies that the switch was to hold before what changed since, and is to hold now."""
        before: set[int] = set()
        after: set[int] = set()
        for key, (table, rev) in self._tables.items():
            if tables.get(key) is not table:
                before |= table.wanted(self._dpid)
            elif table.rev != rev:
                steps = table.steps(rev)
                if steps is None:
                    return None
                for step in steps:
                    for unit in (step.before, *step.between):
                        before.update(cookies_of(unit.side(self._dpid)))
                    after.update(cookies_of(step.after.side(self._dpid)))
        for key, table in tables.items():
            if key not in self._tables or self._tables[key][0] is not table:
                after |= table.wanted(self._dpid)
        if self._skips:
            after = {cookie for cookie in after if cookie_kind(cookie) not in self._skips}
        return before, after

    def _is_extra(self, entry: decode.FlowEntry, unjudged: set[int], keep_learned: bool) -> bool:
        if entry.cookie in unjudged:
            return False
        soft = cookie_kind(entry.cookie) in LEARNED_KINDS - SOURCE_KINDS
        return not (keep_learned and soft and entry.hard_timeout_s)


def _stale(cookie: int) -> decode.FlowEntry:
    return decode.FlowEntry(cookie, 0, 0, 0, 0, 0, 0, 0, b"")
