"""Wanted changes, checked against the facts and against each other before anything is stored.

A draft reads through to the topology and lays its own changes over it, so that a batch is checked
as a whole (all or nothing) while the topology itself stays untouched until the changes are durable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from topology.errors import Conflict, InvalidValue, NotFound
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
    Vm,
)
from topology.types import Dpid, Vni

Outcome: TypeAlias = Literal["created", "changed", "unchanged"]

F = TypeVar("F", Host, Network, Vm)


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
    _facts: dict[tuple[type[Fact], Key], Fact | None] = field(default_factory=dict)
    _ip_owners: dict[IpKey, MacKey | None] = field(default_factory=dict)
    _hosts: Topology | None = None

    def fork(self) -> Draft:
        return Draft(self.topology, base=self)

    def absorb(self, fork: Draft) -> None:
        """Take over everything that a fork of this draft holds."""
        self.changes += fork.changes
        self.wanted += fork.wanted
        self._facts |= fork._facts
        self._ip_owners |= fork._ip_owners
        if fork._hosts is not None:
            self._hosts = fork._hosts

    # What holds once the draft is applied

    def vm(self, key: MacKey) -> Vm | None:
        return self._fact(Vm, key, self.topology.vms.get(key))

    def host(self, dpid: int) -> Host | None:
        return self._fact(Host, dpid, self.topology.hosts.get(dpid))

    def network(self, vni: int) -> Network | None:
        return self._fact(Network, vni, self.topology.networks.get(vni))

    def find_host(self, ref: str, field_name: str = "host") -> Host:
        """The host that a user means by a name, VTEP address or dpid; InvalidValue if none."""
        host = self._host_index().find_host(ref)
        if host is None:
            raise InvalidValue(
                field_name,
                f"{ref!r} is no known host's dpid, name or VTEP address;"
                " connect it, or declare it with PUT /v1/hosts/{dpid}",
            )
        return host

    # Wanted changes

    def create_vm(self, vm: Vm) -> Outcome:
        """Register a VM; Conflict when its MAC or an IP is another's."""
        there = self.vm(vm.key)
        if there == vm:
            return self._holds(vm)
        if there is not None:
            raise Conflict(
                f"MAC {vm.mac} in network {vm.vni} is registered already: {_describe(there)};"
                " change it with PUT, or delete it first"
            )
        return self.set_vm(vm)

    def set_vm(self, vm: Vm) -> Outcome:
        """Register a VM or replace the one with its MAC: another host is a move."""
        there = self.vm(vm.key)
        if there == vm:
            return self._holds(vm)
        if self.network(vm.vni) is None:
            raise InvalidValue(
                "vni", f"network {vm.vni} does not exist; make it with PUT /v1/networks/{vm.vni}"
            )
        if self.host(vm.host) is None:
            raise InvalidValue("host", f"host {vm.host} is not known")
        for ip in vm.ips:
            owner = self._owner_of_ip((vm.vni, ip))
            if owner is not None and owner.key != vm.key:
                raise Conflict(
                    f"IP {ip} in network {vm.vni} belongs to another VM: {_describe(owner)}"
                )
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

    def set_network(self, network: Network) -> Outcome:
        there = self.network(network.vni)
        if there == network:
            return self._holds(network)
        for other in self._networks():
            if other.vni == network.vni:
                continue
            if other.vlan == network.vlan:
                carried = "untagged" if network.vlan is None else f"on local VLAN {network.vlan}"
                raise Conflict(f"network {other.vni} is carried {carried} already")
            if network.name is not None and other.name == network.name:
                raise Conflict(f"network {other.vni} is named {network.name!r} already")
        self._put(network)
        return "created" if there is None else "changed"

    def remove_network(self, vni: int) -> None:
        if self.network(vni) is None:
            raise NotFound(f"network {vni} does not exist")
        if vni == 0:
            raise Conflict("network 0 exists always; it cannot be deleted")
        for key in self._vm_keys_in(vni):
            vm = self.vm(key)
            if vm is not None:
                raise Conflict(f"network {vni} still has VMs, such as {_describe(vm)}")
        self._remove(Network, Vni(vni))

    def set_host(self, host: Host) -> Outcome:
        there = self.host(host.dpid)
        if there == host:
            return self._holds(host)
        if host.name is not None:
            other = self._host_index().host_named(host.name)
            if other is not None and other.dpid != host.dpid:
                raise Conflict(f"host {other.dpid} is named {host.name!r} already")
        if host.declared_vtep is not None:
            for other in self._host_index().hosts.values():
                if other.dpid != host.dpid and other.declared_vtep == host.declared_vtep:
                    raise Conflict(f"host {other.dpid} has the VTEP {host.declared_vtep} already")
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
        drafted = [vm.key for vm in self._drafted(Vm) if vm.host == dpid]
        for key in (*self.topology.vms_on(dpid), *drafted):
            vm = self.vm(key)
            if vm is not None and vm.host == dpid:
                raise Conflict(f"host {Dpid(dpid)} still has VMs, such as {_describe(vm)}")
        self._remove(Host, Dpid(dpid))

    # How

    def _holds(self, fact: Fact) -> Outcome:
        self.wanted.append(Put(fact))
        return "unchanged"

    def _put(self, fact: Fact) -> None:
        self._lay(type(fact), fact.key, fact, Put(fact))

    def _remove(self, kind: type[Fact], key: Key) -> None:
        self._lay(kind, key, None, Remove(kind, key))

    def _lay(self, kind: type[Fact], key: Key, fact: Fact | None, change: Change) -> None:
        if kind is Host:
            hosts = self._host_index().hosts.values()
            self._hosts = Topology()
            for laid in (*map(Put, hosts), change):
                self._hosts.apply(laid)
        self._facts[kind, key] = fact
        self.changes.append(change)
        self.wanted.append(change)

    def _lineage(self) -> Iterator[Draft]:
        """This draft, then those it was forked from: the nearest word counts."""
        draft: Draft | None = self
        while draft is not None:
            yield draft
            draft = draft.base

    def _fact(self, kind: type[F], key: Key, applied: F | None) -> F | None:
        for draft in self._lineage():
            if (kind, key) in draft._facts:
                return draft._facts[kind, key]  # type: ignore[return-value]
        return applied

    def _drafted(self, kind: type[F]) -> Iterator[F]:
        """Facts laid over the topology, among them some that another draft took back since."""
        for draft in self._lineage():
            for fact in draft._facts.values():
                if isinstance(fact, kind):
                    yield fact

    def _host_index(self) -> Topology:
        """A topology whose hosts, and their names and addresses, are as drafted."""
        for draft in self._lineage():
            if draft._hosts is not None:
                return draft._hosts
        return self.topology

    def _owner_of_ip(self, key: IpKey) -> Vm | None:
        for draft in self._lineage():
            if key in draft._ip_owners:
                owner = draft._ip_owners[key]
                return None if owner is None else self.vm(owner)
        return self.topology.vm_with_ip(*key)

    def _release_ips(self, vm: Vm) -> None:
        for ip in vm.ips:
            self._ip_owners[vm.vni, ip] = None

    def _networks(self) -> list[Network]:
        vnis = set(self.topology.networks) | {
            int(network.vni) for network in self._drafted(Network)
        }
        found = (self.network(vni) for vni in sorted(vnis))
        return [network for network in found if network is not None]

    def _vm_keys_in(self, vni: int) -> list[MacKey]:
        drafted = (vm.key for vm in self._drafted(Vm) if vm.vni == vni)
        return [*self.topology.vms_in(vni), *drafted]


def _describe(vm: Vm) -> str:
    named = f"{vm.name!r} " if vm.name else ""
    return f"VM {named}{vm.mac} (network {vm.vni}) on host {vm.host}"
