"""What a bridge should hold, searched and paged: of many flows, only a page is put into words."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Generator, Hashable
from itertools import chain, islice
from typing import Final

from controller.engine import Engine
from controller.explain import flow_view, subject_of
from controller.pipeline import WHY, Kind, cookie_kind
from controller.service import FlowPage, FlowQuestion, FlowView
from controller.tables import FlowTable
from controller.wire.encode import cookie_of, split
from topology.errors import InvalidValue
from topology.types import Ip, Mac

_UNITS_AT_ONCE: Final = 256
_FLOWS_MAX: Final = 1 << 24  # of one fact on one bridge
_MATCH_AT: Final = 48  # what comes before has no address in it (OpenFlow 1.3.5, 7.3.4.1)


def find_flows(
    engine: Engine, dpid: int, question: FlowQuestion
) -> Generator[None, None, FlowPage]:
    """A page of what this bridge should hold: by table, highest priority first, then by fact.

    It yields after every few hundred facts, so that its caller can give others a turn. Flows are
    told apart by their bytes; only those of the page are put into words.
    """
    units = _Units(engine, dpid)
    fits = _matcher(question.q)
    found: dict[int, array[int]] = {}  # by rank: which flows, as numbers that no collector walks
    for at in range(len(units)):
        if at % _UNITS_AT_ONCE == 0:
            yield
        subject = units.subject(at) if question.q else None
        for index, add in enumerate(units.flows(at)):
            if question.table in (None, add[24]) and fits(add, subject):
                rank = add[24] << 16 | 0xFFFF - (add[30] << 8 | add[31])
                found.setdefault(rank, array("Q")).append(at * _FLOWS_MAX + index)
    numbers = chain.from_iterable(found[rank] for rank in sorted(found))
    total = sum(map(len, found.values()))
    start = min(question.start, total)
    page = islice(numbers, start, start + question.limit)
    views = [units.view(*divmod(number, _FLOWS_MAX)) for number in page]
    return FlowPage(tuple(view for view in views if view is not None), total)


class _Units:
    """The facts that a bridge holds flows of, numbered as they were when it was made."""

    def __init__(self, engine: Engine, dpid: int) -> None:
        replica = engine.replicas.get(dpid)
        self._topology = engine.topology
        self._dpid = dpid
        self._skips = frozenset[Kind]() if replica is None else replica.bridge.skips
        if replica is None:
            tables = {vni: engine.tables[vni] for vni in engine.topology.networks_on(dpid)}
        else:
            tables = dict(replica.tables)
        self._keys: list[Hashable] = []
        self._tables: list[tuple[int, FlowTable]] = []
        self._starts: list[int] = []  # where each table's keys begin
        for vni, table in tables.items():
            self._starts.append(len(self._keys))
            self._tables.append((vni, table))
            self._keys += table.units

    def __len__(self) -> int:
        return len(self._keys)

    def flows(self, at: int) -> list[bytes]:
        """The flows of one fact as add messages; none when it is gone."""
        _vni, table = self._table(at)
        unit = table.units.get(self._keys[at])
        adds = [] if unit is None else split(unit.side(self._dpid))
        if not self._skips:
            return adds
        return [add for add in adds if cookie_kind(cookie_of(add)) not in self._skips]

    def subject(self, at: int) -> str | None:
        vni, _table = self._table(at)
        return subject_of(self._topology, vni, self._keys[at])

    def view(self, at: int, index: int) -> FlowView | None:
        flows = self.flows(at)
        return flow_view(flows[index], self.subject(at)) if index < len(flows) else None

    def _table(self, at: int) -> tuple[int, FlowTable]:
        return self._tables[bisect_right(self._starts, at) - 1]


def _matcher(q: str | None) -> Callable[[bytes, str | None], bool]:
    """Whether a flow is about this: in words, as an address anywhere in it, or by its cookie."""
    if not q:
        return lambda _add, _subject: True
    text = q.casefold()
    kinds = {kind.value for kind, why in WHY.items() if text in why.casefold()}
    cookie = text if text.startswith("0x") else None
    address = _packed(q)

    def fits(add: bytes, subject: str | None) -> bool:
        if add[9] in kinds or (subject is not None and text in subject.casefold()):
            return True
        if cookie is not None and f"{cookie_of(add):#018x}".startswith(cookie):
            return True
        return address is not None and add.find(address, _MATCH_AT) >= 0

    return fits


def _packed(text: str) -> bytes | None:
    """A MAC or IP as it is in a flow's bytes."""
    for kind in (Mac, Ip):
        try:
            return kind.parse(text).packed
        except InvalidValue:
            continue
    return None
