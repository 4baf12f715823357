"""The facts: hosts, networks, VMs, learned MACs and foreign VTEPs, and the indexes over them.

A fact is a frozen value with a key. ``Topology.apply`` takes changes (``Put`` a fact, or ``Remove``
the one with that key) and answers what it replaced. Every index depends only on the facts that are
there now, never on the order in which they came: where two facts claim the same name or address,
both are kept in the index and the smallest key is the one that counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeAlias, TypeVar

from topology.errors import InvalidValue
from topology.types import Dpid, Ip, Mac, Vlan, Vni, VtepIp

MacKey: TypeAlias = tuple[int, int]  # (vni, mac)
IpKey: TypeAlias = tuple[int, int]  # (vni, ip)
Remote: TypeAlias = VtepIp | Literal["flow"]
Policy: TypeAlias = Literal["flood", "drop"]

NAME_MAX_CHARS = 255

K = TypeVar("K")
V = TypeVar("V", Dpid, MacKey)


def check_name(name: str | None, where: str = "name") -> None:
    """Refuse an empty, over-long or unprintable name."""
    if name is None:
        return
    if not name or len(name) > NAME_MAX_CHARS:
        raise InvalidValue(where, f"must have 1 to {NAME_MAX_CHARS} characters")
    if not name.isprintable():
        raise InvalidValue(where, "must be printable")


@dataclass(frozen=True, slots=True)
class Host:
    """A hypervisor, named by the datapath id of its br-tun.

    ``declared_*`` come from REST and win; ``seen_*`` were observed and are kept so that a restarted
    controller knows every VTEP at once: the address its OpenFlow connection came from, and what
    probes through the tunnels told. Remotes map a tunnel port's name to the VTEP at its other end,
    or to "flow".
    """

    dpid: Dpid
    name: str | None = None
    declared_vtep: VtepIp | None = None
    seen_address: VtepIp | None = None
    seen_vtep: VtepIp | None = None
    declared_remotes: tuple[tuple[str, Remote], ...] = ()
    seen_remotes: tuple[tuple[str, Remote], ...] = ()

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def key(self) -> Dpid:
        return self.dpid

    @property
    def vtep(self) -> VtepIp | None:
        """Where its tunnels end: as declared, else as probes saw it, else whence it connects."""
        for address in (self.declared_vtep, self.seen_vtep, self.seen_address):
            if address is not None:
                return address
        return None

    def remote_of(self, port_name: str) -> Remote | None:
        """The other end of a tunnel port, None while unknown."""
        for remotes in (self.declared_remotes, self.seen_remotes):
            for name, remote in remotes:
                if name == port_name:
                    return remote
        return None

    def seen(self, port_name: str, remote: Remote) -> Host:
        """This host with one more observation about a tunnel port."""
        others = tuple(pair for pair in self.seen_remotes if pair[0] != port_name)
        return replace(self, seen_remotes=tuple(sorted((*others, (port_name, remote)))))


@dataclass(frozen=True, slots=True)
class Network:
    """A layer-2 network: a VNI, the local VLAN that carries it on every host, and its policy."""

    vni: Vni
    name: str | None = None
    vlan: Vlan | None = None
    unknown_unicast: Policy = "flood"
    arp_responder: bool = True
    learning: bool = True

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def key(self) -> Vni:
        return self.vni

    @property
    def everywhere(self) -> bool:
        """Network 0, the seeds' network, is on every host; others only where they have members."""
        return self.vni == 0


@dataclass(frozen=True, slots=True)
class Vm:
    """A registered interface of a virtual machine: durable, and never overridden by learning."""

    mac: Mac
    vni: Vni
    host: Dpid
    ips: tuple[Ip, ...] = ()
    name: str | None = None
    respond: bool = True

    def __post_init__(self) -> None:
        check_name(self.name)
        if not self.mac.is_station:
            raise InvalidValue("mac", f"{self.mac} is a group or null address, not a station's")
        if list(self.ips) != sorted(set(self.ips)):
            object.__setattr__(self, "ips", tuple(sorted(set(self.ips))))

    @property
    def key(self) -> MacKey:
        return (self.vni, self.mac)


@dataclass(frozen=True, slots=True)
class LearnedMac:
    """A MAC seen in a packet-in: soft, ages out. Times are seconds of the engine's clock."""

    vni: Vni
    mac: Mac
    host: Dpid
    seen_s: float
    ips: tuple[tuple[Ip, float], ...] = ()

    @property
    def key(self) -> MacKey:
        return (self.vni, self.mac)


@dataclass(frozen=True, slots=True)
class Vtep:
    """A foreign VTEP: a tunnel endpoint that no controller of ours manages."""

    ip: VtepIp
    vnis: tuple[Vni, ...]
    name: str | None = None
    learning: bool = True

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def key(self) -> VtepIp:
        return self.ip


Fact: TypeAlias = Host | Network | Vm | LearnedMac | Vtep
Key: TypeAlias = int | MacKey


@dataclass(frozen=True, slots=True)
class Put:
    """This fact holds from now on, in the place of the one with its key."""

    fact: Fact


@dataclass(frozen=True, slots=True)
class Remove:
    """The fact of this kind and key holds no longer."""

    kind: type[Fact]
    key: Key


Change: TypeAlias = Put | Remove


@dataclass(frozen=True, slots=True)
class Delta:
    """What a change did: the fact before and after; None where there was, or is, none."""

    before: Fact | None
    after: Fact | None


class _Claims(Generic[K, V]):
    """An index in which several facts may claim one key; the smallest claimant counts."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[K, V | set[V]] = {}

    def add(self, key: K, claimant: V) -> None:
        there = self._by_key.get(key)
        if there is None:
            self._by_key[key] = claimant
        elif isinstance(there, set):
            there.add(claimant)
        elif there != claimant:
            self._by_key[key] = {there, claimant}

    def discard(self, key: K, claimant: V) -> None:
        there = self._by_key.get(key)
        if isinstance(there, set):
            there.discard(claimant)
            if len(there) == 1:
                self._by_key[key] = there.pop()
        elif there == claimant:
            del self._by_key[key]

    def first(self, key: K) -> V | None:
        there = self._by_key.get(key)
        return min(there) if isinstance(there, set) else there

    def all(self, key: K) -> list[V]:
        there = self._by_key.get(key)
        if there is None:
            return []
        return sorted(there) if isinstance(there, set) else [there]


@dataclass(slots=True)
class Topology:
    """Every fact that holds now, with its indexes. Only the engine calls apply()."""

    hosts: dict[int, Host] = field(default_factory=dict)
    networks: dict[int, Network] = field(default_factory=dict)
    vms: dict[MacKey, Vm] = field(default_factory=dict)
    learned: dict[MacKey, LearnedMac] = field(default_factory=dict)
    vteps: dict[int, Vtep] = field(default_factory=dict)
    _host_names: _Claims[str, Dpid] = field(default_factory=_Claims)
    _host_vteps: _Claims[int, Dpid] = field(default_factory=_Claims)
    _vm_ips: _Claims[IpKey, MacKey] = field(default_factory=_Claims)
    _learned_ips: _Claims[IpKey, MacKey] = field(default_factory=_Claims)
    _vms_on: dict[int, dict[MacKey, None]] = field(default_factory=dict)
    _learned_on: dict[int, dict[MacKey, None]] = field(default_factory=dict)
    _vms_in: dict[int, dict[MacKey, None]] = field(default_factory=dict)
    _learned_in: dict[int, dict[MacKey, None]] = field(default_factory=dict)
    _members: dict[int, dict[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.networks.setdefault(0, Network(Vni(0)))

    # Questions

    def host_named(self, name: str) -> Host | None:
        dpid = self._host_names.first(name)
        return None if dpid is None else self.hosts[dpid]

    def host_at(self, vtep: int) -> Host | None:
        dpid = self._host_vteps.first(vtep)
        return None if dpid is None else self.hosts[dpid]

    def find_host(self, ref: str) -> Host | None:
        """The host with this name, VTEP address or dpid, looked for in that order."""
        host = self.host_named(ref)
        if host is not None:
            return host
        try:
            return self.host_at(VtepIp.parse(ref))
        except InvalidValue:
            pass
        try:
            return self.hosts.get(Dpid.parse(ref))
        except InvalidValue:
            return None

    def vm_with_ip(self, vni: int, ip: int) -> Vm | None:
        key = self._vm_ips.first((vni, ip))
        return None if key is None else self.vms[key]

    def learned_with_ip(self, vni: int, ip: int) -> LearnedMac | None:
        """The learned MAC that spoke last for this IP."""
        seen = [self.learned[key] for key in self._learned_ips.all((vni, ip))]
        if not seen:
            return None
        return max(seen, key=lambda entry: (dict(entry.ips)[Ip(ip)], entry.mac))

    def vms_on(self, dpid: int) -> Iterable[MacKey]:
        return self._vms_on.get(dpid, {})

    def learned_on(self, dpid: int) -> Iterable[MacKey]:
        return self._learned_on.get(dpid, {})

    def vms_in(self, vni: int) -> Iterable[MacKey]:
        return self._vms_in.get(vni, {})

    def learned_in(self, vni: int) -> Iterable[MacKey]:
        return self._learned_in.get(vni, {})

    def is_member(self, dpid: int, vni: int) -> bool:
        """Whether the host carries the network: it is everywhere, or has a VM of it."""
        network = self.networks.get(vni)
        if network is None:
            return False
        return network.everywhere or dpid in self._members.get(vni, {})

    def members(self, vni: int) -> list[int]:
        """The dpids of the hosts that carry the network, sorted."""
        network = self.networks.get(vni)
        if network is None:
            return []
        return sorted(self.hosts if network.everywhere else self._members.get(vni, {}))

    def networks_on(self, dpid: int) -> Iterator[int]:
        return (vni for vni in sorted(self.networks) if self.is_member(dpid, vni))

    # Changes

    def apply(self, change: Change) -> Delta:
        """Take one change; facts that already hold, or are already gone, change nothing."""
        if isinstance(change, Put):
            return self._swap(type(change.fact), change.fact.key, change.fact)
        if change.kind is Network and change.key == 0:
            return self._swap(Network, 0, Network(Vni(0)))
        return self._swap(change.kind, change.key, None)

    def _swap(self, kind: type[Fact], key: Key, after: Fact | None) -> Delta:
        table = self._table(kind)
        before = table.get(key)
        if before == after:
            return Delta(before, after)
        if before is not None:
            self._index(before, add=False)
            del table[key]
        if after is not None:
            table[key] = after
            self._index(after, add=True)
        return Delta(before, after)

    def _table(self, kind: type[Fact]) -> dict[Key, Fact]:
        tables: dict[type[Fact], object] = {
            Host: self.hosts,
            Network: self.networks,
            Vm: self.vms,
            LearnedMac: self.learned,
            Vtep: self.vteps,
        }
        return tables[kind]  # type: ignore[return-value]

    def _index(self, fact: Fact, *, add: bool) -> None:
        match fact:
            case Host(dpid=dpid, name=name):
                if name is not None:
                    _claim(self._host_names, name, dpid, add=add)
                if fact.vtep is not None:
                    _claim(self._host_vteps, int(fact.vtep), dpid, add=add)
            case Vm():
                _member(self._vms_on, fact.host, fact.key, add=add)
                _member(self._vms_in, fact.vni, fact.key, add=add)
                for ip in fact.ips:
                    _claim(self._vm_ips, (int(fact.vni), int(ip)), fact.key, add=add)
                _count(self._members.setdefault(fact.vni, {}), fact.host, add=add)
            case LearnedMac():
                _member(self._learned_on, fact.host, fact.key, add=add)
                _member(self._learned_in, fact.vni, fact.key, add=add)
                for ip, _seen_s in fact.ips:
                    _claim(self._learned_ips, (int(fact.vni), int(ip)), fact.key, add=add)


def _claim(index: _Claims[K, V], key: K, claimant: V, *, add: bool) -> None:
    if add:
        index.add(key, claimant)
    else:
        index.discard(key, claimant)


def _member(index: dict[int, dict[MacKey, None]], at: int, key: MacKey, *, add: bool) -> None:
    if add:
        index.setdefault(at, {})[key] = None
        return
    there = index[at]
    del there[key]
    if not there:
        del index[at]


def _count(counts: dict[int, int], at: int, *, add: bool) -> None:
    left = counts.get(at, 0) + (1 if add else -1)
    if left:
        counts[at] = left
    else:
        del counts[at]
