"""What changes would do to the switches, counted before they are made.

The facts that the changes touch are laid out anew beside the running ones, with a bridge for every
connected host concerned; the changes are applied there, and the tables compared. Of a network's
other VMs one for each host is taken along, so that the host carries the network as it does now.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from controller.derivation import Derivation
from controller.pipeline import Kind, cookie_kind
from controller.replica import Replica
from controller.service import Forecast
from controller.tables import NOBODY, NOTHING, FlowTable, Step, Unit
from controller.wire.encode import cookie_of, cookies_of, split
from topology.model import Change, Fact, Host, MacKey, Network, Put, Topology, Vip, Vm, Vtep
from topology.types import Vni

_AT_ONCE = 100
"""Facts that are taken before others get a turn: some milliseconds' work."""

_Units: TypeAlias = dict[object, Unit]


@dataclass(slots=True)
class _Scope:
    """What changes are about. ``everybody``: every host may send elsewhere after them."""

    vnis: set[int] = field(default_factory=set)
    vms: set[MacKey] = field(default_factory=set)
    ips: set[tuple[int, int]] = field(default_factory=set)
    hosts: set[int] = field(default_factory=set)
    everybody: bool = False


def forecast(now: Derivation, changes: Sequence[Change]) -> Generator[None, None, Forecast]:
    """Count, yielding after each slice; facts may change in between, which makes it less exact."""
    scope = yield from _scope(now.topology, changes)
    beside = Derivation(now.timing)
    yield from _apply(beside, (Put(fact) for fact in _facts(now.topology, scope)))
    dpids = set(now.replicas) if scope.everybody else scope.hosts & now.replicas.keys()
    for dpid in dpids:
        live = now.replicas.get(dpid)
        if live is not None:
            replica = Replica(live.epoch, live.address, live.bridge, 0.0)
            beside.replicas[dpid] = replica
            beside.refresh_bridge(replica)
            yield
    before = _Before(beside)
    yield
    yield from _apply(beside, changes)
    return (yield from _compare(now, beside, before))


def _apply(derivation: Derivation, changes: Iterable[Change]) -> Iterator[None]:
    for count, change in enumerate(changes, start=1):
        derivation.apply(change)
        if count % _AT_ONCE == 0:
            derivation.spread()
            yield
    derivation.spread()
    yield


# What is concerned


def _scope(topology: Topology, changes: Sequence[Change]) -> Generator[None, None, _Scope]:
    scope, pinned = _Scope(), set[int]()
    for count, change in enumerate(changes, start=1):
        kind = type(change.fact) if isinstance(change, Put) else change.kind
        key = change.fact.key if isinstance(change, Put) else change.key
        after = change.fact if isinstance(change, Put) else None
        for fact in (topology.fact(kind, key), after):
            if fact is not None:
                _take(topology, scope, fact)
        if isinstance(after, Network):
            pinned.add(after.vni)  # maybe on hosts that have no VM of it
        if count % _AT_ONCE == 0:
            yield
    if scope.everybody:  # by another port, maybe: which says something about each network
        scope.vnis.update(topology.networks)
    for count, vni in enumerate(scope.vnis, start=1):
        scope.hosts.update(topology.members(vni))
        if count % _AT_ONCE == 0:
            yield
    if pinned & topology.networks.keys():
        scope.hosts.update(topology.hosts)
    return scope


def _take(topology: Topology, scope: _Scope, fact: Fact) -> None:
    match fact:
        case Vm():
            scope.vnis.add(fact.vni)
            scope.vms.add(fact.key)
            scope.ips.update((fact.vni, ip) for ip in fact.ips)
            scope.hosts.add(fact.host)
        case Vip():
            scope.vnis.add(fact.vni)
            scope.ips.add(fact.key)
            scope.vms.update((fact.vni, mac) for mac in fact.macs)
        case Network():
            scope.vnis.add(fact.vni)
            scope.vms.update(topology.vms_in(fact.vni))
            scope.ips.update(topology.vips_in(fact.vni))
            scope.hosts.update(topology.hosts if fact.hosts == "all" else fact.hosts)
        case Host():
            scope.hosts.add(fact.dpid)
            there = topology.hosts.get(fact.dpid)
            if there is None or there != fact:
                scope.everybody = True
                scope.vms.update(topology.vms_on(fact.dpid))
        case Vtep():
            scope.everybody = True
            scope.vms.update(topology.vms_on(fact.location))


def _facts(topology: Topology, scope: _Scope) -> Iterator[Fact]:
    """The facts as they are, as far as the changes can touch what follows from them."""
    yield from list(topology.hosts.values())
    for vni in sorted(scope.vnis):
        if vni in topology.networks:
            yield topology.networks[Vni(vni)]
    yield from list(topology.vteps.values())
    wanted = set(scope.vms)
    for vni in scope.vnis:
        for key in list(topology.vips_in(vni)):
            vip = topology.vips.get((key[0], key[1]))
            if vip is not None:
                wanted.update((vni, mac) for mac in vip.macs)
                yield vip
        for dpid in list(topology.members(vni)):
            yield from _witness(topology, wanted, vni, dpid)
    for key in wanted:
        vm = topology.vms.get(key)
        if vm is not None:
            yield vm
        learned = topology.learned.get(key)
        if learned is not None:
            yield learned
    for vni, ip in scope.ips:
        heard = topology.learned_with_ip(vni, ip)
        if heard is not None and heard.key not in wanted:
            yield heard


def _witness(topology: Topology, taken: set[MacKey], vni: int, dpid: int) -> Iterator[Vm]:
    """A VM for which a host carries a network, whatever becomes of those that are taken."""
    keys, after = topology.vms_on(dpid), (vni, -1)
    while found := keys.after(after, 1):
        key = found[0]
        if key[0] != vni:
            return
        if key not in taken:
            yield topology.vms[key]
            return
        after = key


# What differs


class _Before:
    """Tables as they are before the changes."""

    def __init__(self, derivation: Derivation) -> None:
        self.units = {key: dict(table.units) for key, table in derivation.tables.items()}
        self.private = {
            dpid: (dict(replica.private.units), dict(replica.private.groups))
            for dpid, replica in derivation.replicas.items()
        }
        self.held = {
            dpid: {key: _held(table, replica) for key, table in _shared(replica)}
            for dpid, replica in derivation.replicas.items()
        }


def _shared(replica: Replica) -> list[tuple[int, FlowTable]]:
    return [(key, table) for key, table in replica.tables.items() if table is not replica.private]


def _held(table: FlowTable, replica: Replica) -> int:
    """How many flows of a table a switch holds."""
    skips = replica.bridge.skips
    if not skips:
        return table.count_for(replica.dpid)
    return sum(cookie_kind(cookie_of(flow)) not in skips for flow in table.flows_for(replica.dpid))


def _compare(
    now: Derivation, beside: Derivation, before: _Before
) -> Generator[None, None, Forecast]:
    changed: dict[tuple[int, frozenset[Kind]], _Changed] = {}
    for skips in {replica.bridge.skips for replica in beside.replicas.values()}:
        for key, table in beside.tables.items():
            was = before.units.get(key, {})
            changed[key, skips] = yield from _changed(was, dict(table.units), skips)
            yield
    left_out: dict[tuple[int, frozenset[Kind]], int] = {}
    hosts = flows = 0
    for dpid, replica in beside.replicas.items():
        skips, held, after = replica.bridge.skips, before.held[dpid], dict(_shared(replica))
        units, groups = before.private[dpid]
        own = yield from _changed(units, dict(replica.private.units), skips)
        count = own.for_host(dpid)
        for key in held.keys() | after.keys():
            if key in after and key in held:
                count += changed[key, skips].for_host(dpid)
            else:
                count += _held(after[key], replica) if key in after else held[key]
                if (key, skips) not in left_out:
                    left_out[key, skips] = _left_out(now, before, key, skips)
                    yield
                count += left_out[key, skips]
        flows += count
        hosts += count > 0 or groups != replica.private.groups
        yield
    return Forecast(hosts, flows)


def _left_out(now: Derivation, before: _Before, key: int, skips: frozenset[Kind]) -> int:
    """How many flows a network's table has that were not taken along."""
    table = now.tables.get(key)
    if key < 0 or table is None:
        return 0
    taken = {
        cookie for unit in before.units.get(key, {}).values() for cookie in cookies_of(unit.remote)
    }
    if not skips:
        return len(table.names) - len(taken)
    return sum(c not in taken and cookie_kind(c) not in skips for c in list(table.names))


@dataclass(slots=True)
class _Changed:
    """Flow-mods that the switches who own nothing of it need, and what owners need more."""

    all: int = 0
    more: dict[int, int] = field(default_factory=dict)

    def for_host(self, dpid: int) -> int:
        return self.all + self.more.get(dpid, 0)


def _changed(
    before: _Units, after: _Units, skips: frozenset[Kind]
) -> Generator[None, None, _Changed]:
    found = _Changed()
    for count, key in enumerate([*before, *(key for key in after if key not in before)], start=1):
        was, now = before.get(key, NOTHING), after.get(key, NOTHING)
        if was is not now:
            step = Step(was, now)
            anybody = _mods(step, NOBODY, skips)
            found.all += anybody
            for owner in step.owners:
                more = _mods(step, owner, skips) - anybody
                found.more[owner] = found.more.get(owner, 0) + more
        if count % _AT_ONCE == 0:
            yield
    return found


def _mods(step: Step, dpid: int, skips: frozenset[Kind]) -> int:
    mods = [mod for part in step.mods(dpid) for mod in split(part)]
    if not skips:
        return len(mods)
    return sum(cookie_kind(cookie_of(mod)) not in skips for mod in mods)
