"""Wanted changes, checked against the facts and against each other before anything is stored.

A draft reads through to the topology and lays its own changes over it, so that a batch is checked
as a whole (all or nothing) while the topology itself stays untouched until the changes are durable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final, Literal, TypeAlias, TypeVar

from topology.errors import Conflict, InvalidValue, NotFound, VxlanError
from topology.model import (
    Change,
    Fact,
    Host,
    IpKey,
    Key,
    MacKey,
    Network,
    Put,
    Remove,
    Topology,
    Vip,
    Vm,
    Vtep,
    find_foreign,
    find_host,
    find_place,
)
from topology.types import Dpid, Foreign, Ip, Location, Mac, Vni, VtepIp

Outcome: TypeAlias = Literal["created", "changed", "unchanged"]

F = TypeVar("F", Host, Network, Vm, Vtep, Vip)
K = TypeVar("K")
V = TypeVar("V")

_INDEXED: Final = (Host, Network, Vtep)


@dataclass(slots=True)
class Draft:
    """Changes on top of a topology; ``changes`` holds what is to be stored, in order.

    ``wanted`` holds besides these, in order, each Put that holds already: whoever asks for it is
    told on how many hosts it is confirmed, like the one who asked first.

    A fork reads through to its base, and the base knows nothing of it before ``absorb``: so one
    request of several can fail and leave no trace.
    """

    topology: Topology
    base: Draft | None = None
    changes: list[Change] = field(default_factory=list)
    wanted: list[Change] = field(default_factory=list)
    _facts: dict[type[Fact], dict[Key, Fact | None]] = field(default_factory=dict)
    _ip_owners: dict[IpKey, MacKey | None] = field(default_factory=dict)
    _indexes: Topology | None = None
    """The hosts, networks and foreign VTEPs that were laid here, to be found by their names."""

    def fork(self) -> Draft:
        return Draft(self.topology, base=self)

    def absorb(self, fork: Draft) -> None:
        """Take over everything that a fork of this draft holds; the fork is done with."""
        self.changes += fork.changes
        self.wanted += fork.wanted
        for kind, facts in fork._facts.items():
            if kind in _INDEXED:
                for key, fact in facts.items():
                    self._index(Remove(kind, key) if fact is None else Put(fact))
            self._facts[kind] = _joined(self._facts.get(kind, {}), facts)
        self._ip_owners = _joined(self._ip_owners, fork._ip_owners)

    def settle(self) -> None:
        """Keep of the changes what is different in the end, each thing once.

        What was let go of so that another could have it meanwhile leaves no trace.
        """
        self.changes = [
            change for change in _last(self.changes) if self._below(change) != _outcome(change)
        ]
        self.wanted = [
            change
            for change in _last(self.wanted)
            if isinstance(change, Put) or self._below(change) is not None
        ]

    def _below(self, change: Change) -> Fact | None:
        """The fact that a change is about, as it is without this draft."""
        kind, key = _which(change)
        if self.base is not None:
            return self.base._fact(kind, key)  # type: ignore[type-var]
        return self.topology.fact(kind, key)

    # What holds once the draft is applied

    def vm(self, key: MacKey) -> Vm | None:
        return self._fact(Vm, key)

    def host(self, dpid: int) -> Host | None:
        return self._fact(Host, dpid)

    def network(self, vni: int) -> Network | None:
        return self._fact(Network, vni)

    def vtep(self, ip: int) -> Vtep | None:
        return self._fact(Vtep, ip)

    def vip(self, key: IpKey) -> Vip | None:
        return self._fact(Vip, key)

    def host_named(self, name: str) -> Host | None:
        return _first(self._found(lambda index: index.hosts_named(name)))

    def host_at(self, vtep: int) -> Host | None:
        return _first(self._found(lambda index: index.hosts_at(vtep)))

    def vtep_named(self, name: str) -> Vtep | None:
        return _first(self._found(lambda index: index.vteps_named(name)))

    def find_host(self, ref: str, field_name: str = "host") -> Host:
        """The host that a user means by a name, VTEP address or dpid; InvalidValue if none."""
        host = find_host(self, ref)
        if host is None:
            raise InvalidValue(
                field_name,
                f"{ref!r} is no known host's dpid, name or VTEP address;"
                " connect it, or declare it with PUT /v1/hosts/{dpid}",
            )
        return host

    def find_place(self, ref: str, field_name: str = "host") -> Location:
        """The host or foreign VTEP that a user means; InvalidValue if none."""
        place = find_place(self, ref)
        if place is None:
            raise InvalidValue(
                field_name,
                f"{ref!r} is no known host's dpid, name or VTEP address, nor a foreign VTEP's name"
                " or address; connect it, declare it with PUT /v1/hosts/{dpid}, or with"
                " PUT /v1/vteps/{ip}",
            )
        return place

    def need_network(self, vni: int, field_name: str = "vni") -> None:
        """InvalidValue when this network does not exist."""
        if self.network(vni) is None:
            raise InvalidValue(
                field_name, f"network {vni} does not exist; make it with PUT /v1/networks/{vni}"
            )

    # Wanted changes: VMs and virtual IPs

    def create_vm(self, vm: Vm) -> Outcome:
        """Register a VM; Conflict when its MAC or an IP is another's."""
        there = self.vm(vm.key)
        if there is not None and there != vm:
            raise Conflict(
                f"MAC {vm.mac} in network {vm.vni} is registered already: {_describe(there)};"
                " change it with PUT, or delete it first"
            )
        return self._replace_vm(there, vm)

    def set_vm(self, vm: Vm) -> Outcome:
        """Register a VM or replace the one with its MAC: another host is a move."""
        return self._replace_vm(self.vm(vm.key), vm)

    def _replace_vm(self, there: Vm | None, vm: Vm) -> Outcome:
        if there == vm:
            return self._holds(vm)
        self.need_network(vm.vni)
        self._check_place(vm)
        for ip in vm.ips:
            self._check_ip(vm, ip)
        if there is not None:
            self._release_ips(there)
        for ip in vm.ips:
            self._ip_owners[vm.vni, ip] = vm.key
        self._put(vm)
        return "created" if there is None else "changed"

    def remove_vm(self, key: MacKey) -> Vm:
        vm = self.vm(key)
        if vm is None:
            raise NotFound("no such VM is registered")
        self._release_ips(vm)
        self._remove(Vm, key)
        return vm

    def move_vm(self, key: MacKey, place: Location) -> bool:
        """Put a VM that announced itself elsewhere there; False when that is no longer possible."""
        vm = self.vm(key)
        if vm is None:
            return False
        try:
            self.set_vm(replace(vm, host=place))
        except VxlanError:
            return False
        return True

    def set_vip(self, vip: Vip) -> Outcome:
        """Let MACs share an IP; who holds it already goes on to, unless another one is named."""
        there = self.vip(vip.key)
        if there is not None and vip.holder is None:
            vip = replace(vip, holder=there.holder)
        if there == vip:
            return self._holds(vip)
        self.need_network(vip.vni)
        owner = self._owner_of_ip(vip.key)
        if owner is not None:
            raise Conflict(
                f"IP {vip.ip} in network {vip.vni} belongs to a VM: {_describe(owner)};"
                " take it off that VM first"
            )
        self._put(vip)
        return "created" if there is None else "changed"

    def remove_vip(self, key: IpKey) -> Vip:
        vip = self.vip(key)
        if vip is None:
            raise NotFound(f"{Ip(key[1])} is no virtual IP in network {key[0]}")
        self._remove(Vip, key)
        return vip

    def hold_vip(self, key: IpKey, mac: Mac) -> bool:
        """Store a virtual IP as held by this MAC, in effect already or not; False if it may not.

        Who holds it counts at once when it is announced, and is stored behind.
        """
        vip = self.vip(key)
        if vip is None or mac not in vip.macs:
            return False
        self._put(replace(vip, holder=mac))
        return True

    # Wanted changes: networks, hosts, foreign VTEPs

    def set_network(self, network: Network) -> Outcome:
        there = self.network(network.vni)
        if there == network:
            return self._holds(network)
        if network.hosts != "all":
            for index, dpid in enumerate(network.hosts):
                if self.host(dpid) is None:
                    raise InvalidValue(f"hosts[{index}]", f"host {dpid} is not known")
        vlan, name = network.vlan, network.name
        for other in self._found(lambda index: index.networks_on_vlan(vlan)):
            if other.vni != network.vni:
                carried = "untagged" if vlan is None else f"on local VLAN {vlan}"
                raise Conflict(f"network {other.vni} is carried {carried} already")
        for other in self._found(lambda index: index.networks_named(name)) if name else ():
            if other.vni != network.vni:
                raise Conflict(f"network {other.vni} is named {name!r} already")
        self._put(network)
        return "created" if there is None else "changed"

    def remove_network(self, vni: int) -> None:
        if self.network(vni) is None:
            raise NotFound(f"network {vni} does not exist")
        if vni == 0:
            raise Conflict("network 0 exists always; it cannot be deleted")
        vm = self._smallest(Vm, self.topology.vms_in(vni), lambda vm: vm.vni == vni)
        if vm is not None:
            raise Conflict(f"network {vni} still has VMs, such as {_describe(vm)}")
        for vtep in self._found(lambda index: index.vteps_in(vni)):
            raise Conflict(f"network {vni} is still one of the foreign VTEP {vtep.ip}")
        vip = self._smallest(Vip, self.topology.vips_in(vni), lambda vip: vip.vni == vni)
        if vip is not None:
            raise Conflict(f"network {vni} still has the virtual IP {vip.ip}")
        self._remove(Network, Vni(vni))

    def set_host(self, host: Host) -> Outcome:
        there = self.host(host.dpid)
        if there == host:
            return self._holds(host)
        if host.name is not None:
            other = self.host_named(host.name)
            if other is not None and other.dpid != host.dpid:
                raise Conflict(f"host {other.dpid} is named {host.name!r} already")
            foreign = find_foreign(self, host.name)
            if foreign is not None:
                raise Conflict(f"the foreign VTEP {foreign.ip} is named {host.name!r} already")
        vtep = host.declared_vtep
        if vtep is not None:
            for other in self._found(lambda index: index.hosts_at(vtep)):
                if other.dpid != host.dpid:
                    raise Conflict(f"host {other.dpid} has the VTEP {vtep} already")
            if self.vtep(vtep) is not None:
                raise Conflict(
                    f"{vtep} is declared as a foreign VTEP;"
                    f" remove it first, with DELETE /v1/vteps/{vtep}"
                )
        self._put(host)
        return "created" if there is None else "changed"

    def remember_host(self, dpid: int) -> None:
        """Store a known host as it stands, with what was seen of it."""
        host = self.host(dpid)
        if host is not None:
            self._put(host)

    def remove_host(self, dpid: int) -> None:
        if self.host(dpid) is None:
            raise NotFound(f"host {Dpid(dpid)} is not known")
        vm = self._smallest(Vm, self.topology.vms_on(dpid), lambda vm: vm.host == dpid)
        if vm is not None:
            raise Conflict(f"host {Dpid(dpid)} still has VMs, such as {_describe(vm)}")
        for network in self._found(lambda index: index.networks_pinned_to(dpid)):
            raise Conflict(f"network {network.vni} is pinned to host {Dpid(dpid)}")
        self._remove(Host, Dpid(dpid))

    def set_vtep(self, vtep: Vtep) -> Outcome:
        """Declare a foreign VTEP; what it no longer has must not have VMs there."""
        there = self.vtep(vtep.ip)
        if there == vtep:
            return self._holds(vtep)
        for index, vni in enumerate(vtep.vnis):
            self.need_network(vni, f"vnis[{index}]")
        host = self.host_at(vtep.ip)
        if host is not None:
            raise Conflict(f"{vtep.ip} is the VTEP of host {host.dpid}, which connects here")
        if vtep.name is not None:
            place = find_place(self, vtep.name)
            if place is not None and place != vtep.location:
                kind = "foreign VTEP" if isinstance(place, Foreign) else "host"
                raise Conflict(f"{vtep.name!r} means the {kind} {place} already")
        gone = set(() if there is None else there.vnis) - set(vtep.vnis)
        vm = self._vm_behind(vtep, lambda vm: vm.vni in gone) if gone else None
        if vm is not None:
            raise Conflict(f"VNI {vm.vni} still has VMs there, such as {_describe(vm)}")
        self._put(vtep)
        return "created" if there is None else "changed"

    def remove_vtep(self, ip: VtepIp) -> Vtep:
        vtep = self.vtep(ip)
        if vtep is None:
            raise NotFound(f"no foreign VTEP {ip} is declared")
        vm = self._vm_behind(vtep, lambda vm: True)
        if vm is not None:
            raise Conflict(f"the foreign VTEP {ip} still has VMs, such as {_describe(vm)}")
        self._remove(Vtep, ip)
        return vtep

    # How

    def _holds(self, fact: Fact) -> Outcome:
        self.wanted.append(Put(fact))
        return "unchanged"

    def _put(self, fact: Fact) -> None:
        self._lay(type(fact), fact.key, fact, Put(fact))

    def _remove(self, kind: type[Fact], key: Key) -> None:
        self._lay(kind, key, None, Remove(kind, key))

    def _lay(self, kind: type[Fact], key: Key, fact: Fact | None, change: Change) -> None:
        if kind in _INDEXED:
            self._index(change)
        facts = self._facts.get(kind)
        if facts is None:
            facts = self._facts[kind] = {}
        facts[key] = fact
        self.changes.append(change)
        self.wanted.append(change)

    def _index(self, change: Change) -> None:
        if self._indexes is None:
            self._indexes = Topology()
        self._indexes.apply(change)

    def _lineage(self) -> Iterator[Draft]:
        """This draft, then those it was forked from: the nearest word counts."""
        draft: Draft | None = self
        while draft is not None:
            yield draft
            draft = draft.base

    def _fact(self, kind: type[F], key: Key) -> F | None:
        draft: Draft | None = self
        while draft is not None:
            facts = draft._facts.get(kind)
            if facts is not None and key in facts:
                return facts[key]  # type: ignore[return-value]
            draft = draft.base
        return self.topology.fact(kind, key)  # type: ignore[return-value]

    def _found(self, ask: Callable[[Topology], Iterable[F]]) -> list[F]:
        """What indexes tell, of all that hold as drafted, in the order of their keys."""
        indexes = [self.topology, *(draft._indexes for draft in self._lineage() if draft._indexes)]
        found = {
            fact.key: fact
            for index in indexes
            for fact in ask(index)
            if self._fact(type(fact), fact.key) == fact
        }
        return [found[key] for key in sorted(found)]

    def _smallest(
        self, kind: type[F], applied: Iterable[Key], fits: Callable[[F], bool]
    ) -> F | None:
        """The fact to name: the one with the smallest key, whatever came before.

        ``applied`` are the keys, ascending, of those in the topology that fit.
        """
        drafted = sorted(key for draft in self._lineage() for key in draft._facts.get(kind, ()))
        firsts: list[F] = []
        for keys in (applied, drafted):
            facts = (self._fact(kind, key) for key in keys)
            firsts += islice((fact for fact in facts if fact is not None and fits(fact)), 1)
        return min(firsts, key=lambda fact: fact.key, default=None)

    def _check_place(self, vm: Vm) -> None:
        if not isinstance(vm.host, Foreign):
            if self.host(vm.host) is None:
                raise InvalidValue("host", f"host {vm.host} is not known")
            return
        vtep = self.vtep(vm.host.vtep)
        if vtep is None:
            raise InvalidValue("host", f"the foreign VTEP {vm.host} is not declared")
        if vm.vni not in vtep.vnis:
            raise InvalidValue(
                "host",
                f"the foreign VTEP {vtep.ip} has no VNI {vm.vni};"
                f" add it with PUT /v1/vteps/{vtep.ip}",
            )

    def _vm_behind(self, vtep: Vtep, fits: Callable[[Vm], bool]) -> Vm | None:
        place = vtep.location
        applied = self.topology.vms_on(place)
        return self._smallest(Vm, applied, lambda vm: vm.host == place and fits(vm))

    def _check_ip(self, vm: Vm, ip: Ip) -> None:
        key = (vm.vni, ip)
        if self.vip(key) is not None:
            raise Conflict(
                f"IP {ip} in network {vm.vni} is a virtual IP; put the MAC {vm.mac} into it"
                f" with PUT /v1/vips/{vm.vni}/{ip} instead"
            )
        owner = self._owner_of_ip(key)
        if owner is not None and owner.key != vm.key:
            raise Conflict(f"IP {ip} in network {vm.vni} belongs to another VM: {_describe(owner)}")

    def _owner_of_ip(self, key: IpKey) -> Vm | None:
        draft: Draft | None = self
        while draft is not None:
            if key in draft._ip_owners:
                owner = draft._ip_owners[key]
                return None if owner is None else self.vm(owner)
            draft = draft.base
        return self.topology.vm_with_ip(*key)

    def _release_ips(self, vm: Vm) -> None:
        for ip in vm.ips:
            self._ip_owners[vm.vni, ip] = None


def _first(facts: Sequence[V]) -> V | None:
    return facts[0] if facts else None


def _which(change: Change) -> tuple[type[Fact], Key]:
    if isinstance(change, Put):
        return type(change.fact), change.fact.key
    return change.kind, change.key


def _outcome(change: Change) -> Fact | None:
    return change.fact if isinstance(change, Put) else None


def _last(changes: Iterable[Change]) -> list[Change]:
    """Of the changes of each thing the last, where that stands."""
    last: dict[tuple[type[Fact], Key], Change] = {}
    for change in changes:
        which = _which(change)
        last.pop(which, None)
        last[which] = change
    return list(last.values())


def _joined(mine: dict[K, V], theirs: dict[K, V]) -> dict[K, V]:
    if not mine:
        return theirs
    mine.update(theirs)
    return mine


def _describe(vm: Vm) -> str:
    named = f"{vm.name!r} " if vm.name else ""
    at = "at foreign VTEP" if isinstance(vm.host, Foreign) else "on host"
    return f"VM {named}{vm.mac} (network {vm.vni}) {at} {vm.host}"
