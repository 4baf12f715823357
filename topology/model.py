"""The facts: hosts, networks, VMs, learned MACs and foreign VTEPs, and the indexes over them.

A fact is a frozen value with a key. ``Topology.apply`` takes changes (``Put`` a fact, or ``Remove``
the one with that key) and answers what it replaced. Every index depends only on the facts that are
there now, never on the order in which they came: where two facts claim the same name or address,
both are kept in the index and the smallest key is the one that counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeAlias, TypeVar

from topology.errors import InvalidValue
from topology.types import Dpid, Foreign, Ip, Location, Mac, Subnet, Vlan, Vni, VtepIp

MacKey: TypeAlias = tuple[int, int]  # (vni, mac)
IpKey: TypeAlias = tuple[int, int]  # (vni, ip)
Remote: TypeAlias = VtepIp | Literal["flow"]
Policy: TypeAlias = Literal["flood", "drop"]
Mode: TypeAlias = Literal["proactive", "reactive"]
Everywhere: TypeAlias = Literal["all"]

NAME_MAX_CHARS = 255
MTU_MIN_BYTES, MTU_MAX_BYTES = 68, 65535  # RFC 2132, 5.1
LEASE_MIN_S, LEASE_MAX_S = 60, 0xFFFFFFFF  # RFC 2131, 3.3: all ones is for ever

K = TypeVar("K")
V = TypeVar("V", Dpid, MacKey, VtepIp)
A = TypeVar("A")
M = TypeVar("M")


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
    or to "flow"; keyless are the ports that lost a VNI on the way: they carry network 0 only.
    """

    dpid: Dpid
    name: str | None = None
    declared_vtep: VtepIp | None = None
    seen_address: VtepIp | None = None
    seen_vtep: VtepIp | None = None
    declared_remotes: tuple[tuple[str, Remote], ...] = ()
    seen_remotes: tuple[tuple[str, Remote], ...] = ()
    seen_keyless: tuple[str, ...] = ()

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

    def seen_key(self, port_name: str, *, lost: bool) -> Host:
        """This host with what a probe told about a port: whether a VNI is lost in it."""
        others = {name for name in self.seen_keyless if name != port_name}
        return replace(self, seen_keyless=tuple(sorted(others | ({port_name} if lost else set()))))


@dataclass(frozen=True, slots=True)
class Network:
    """A layer-2 network: a VNI, the local VLAN that carries it on every host, and its policy.

    ``hosts`` carry it even without a VM of it. ``unknown_arp`` is about addresses inside
    ``subnets``, IPv6's neighbour solicitations included. ``quiet`` drops the reports and router
    solicitations that hosts multicast when they start. ``follow_moves``: the announcement of a
    registered VM from another host moves it. ``dhcp`` answers registered VMs from their addresses.
    """

    vni: Vni
    name: str | None = None
    vlan: Vlan | None = None
    unknown_unicast: Policy = "flood"
    arp_responder: bool = True
    learning: bool = True
    port_security: bool = False
    subnets: tuple[Subnet, ...] = ()
    unknown_arp: Policy = "flood"
    multicast: Policy = "flood"
    quiet: bool = False
    mode: Mode = "proactive"
    hosts: tuple[Dpid, ...] | Everywhere = ()
    follow_moves: bool = False
    dhcp: bool = False
    gateway: Ip | None = None
    dns: tuple[Ip, ...] = ()
    mtu_bytes: int = 1450
    lease_s: int = 86400

    def __post_init__(self) -> None:
        check_name(self.name)
        object.__setattr__(self, "subnets", tuple(sorted(set(self.subnets))))
        if self.hosts != "all":
            object.__setattr__(self, "hosts", tuple(sorted(set(self.hosts))))
        if self.port_security and self.follow_moves:
            raise InvalidValue(
                "follow_moves", "port security lets nobody announce a MAC from another host"
            )
        if not MTU_MIN_BYTES <= self.mtu_bytes <= MTU_MAX_BYTES:
            raise InvalidValue("mtu", f"must be {MTU_MIN_BYTES} to {MTU_MAX_BYTES} bytes")
        if not LEASE_MIN_S <= self.lease_s <= LEASE_MAX_S:
            raise InvalidValue("lease_s", f"must be {LEASE_MIN_S} to {LEASE_MAX_S} seconds")
        if self.dhcp and not any(subnet.is_v4 for subnet in self.subnets):
            raise InvalidValue("dhcp", "needs an IPv4 subnet among the network's subnets")
        for ip in () if self.gateway is None else (self.gateway,):
            if not ip.is_v4 or self.subnet_of(ip) is None:
                raise InvalidValue("gateway", f"{ip} is in no IPv4 subnet of the network")
        if not all(ip.is_v4 for ip in self.dns):
            raise InvalidValue("dns", "DHCP tells IPv4 addresses only")

    @property
    def key(self) -> Vni:
        return self.vni

    @property
    def everywhere(self) -> bool:
        """Network 0, the seeds' network, is on every host; others only where they have members."""
        return self.vni == 0 or self.hosts == "all"

    def subnet_of(self, ip: Ip) -> Subnet | None:
        """The smallest subnet of the network that has this address."""
        holding = [subnet for subnet in self.subnets if ip in subnet]
        return max(holding, key=lambda subnet: subnet.bits, default=None)


@dataclass(frozen=True, slots=True)
class Vm:
    """A registered interface of a virtual machine: durable, and never overridden by learning.

    ``host`` is a foreign VTEP for what lies behind one: that is its static entry.
    """

    mac: Mac
    vni: Vni
    host: Location
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
    """A MAC seen in a packet-in: soft, ages out. Times are seconds of the engine's clock.

    ``generation`` counts its moves.
    """

    vni: Vni
    mac: Mac
    host: Location
    seen_s: float
    ips: tuple[tuple[Ip, float], ...] = ()
    generation: int = 0

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
        object.__setattr__(self, "vnis", tuple(sorted(set(self.vnis))))

    @property
    def key(self) -> VtepIp:
        return self.ip

    @property
    def location(self) -> Foreign:
        return Foreign.at(self.ip)


@dataclass(frozen=True, slots=True)
class Vip:
    """An IP that a declared set of VMs shares; ``holder`` is the one that announced it last."""

    vni: Vni
    ip: Ip
    macs: tuple[Mac, ...]
    name: str | None = None
    holder: Mac | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        object.__setattr__(self, "macs", tuple(sorted(set(self.macs))))
        if not self.macs:
            raise InvalidValue("macs", "a virtual IP needs at least one VM")
        if self.holder is not None and self.holder not in self.macs:
            object.__setattr__(self, "holder", None)

    @property
    def key(self) -> IpKey:
        return (self.vni, self.ip)


Fact: TypeAlias = Host | Network | Vm | LearnedMac | Vtep | Vip
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
    vips: dict[IpKey, Vip] = field(default_factory=dict)
    _host_names: _Claims[str, Dpid] = field(default_factory=_Claims)
    _host_vteps: _Claims[int, Dpid] = field(default_factory=_Claims)
    _vtep_names: _Claims[str, VtepIp] = field(default_factory=_Claims)
    _vm_ips: _Claims[IpKey, MacKey] = field(default_factory=_Claims)
    _learned_ips: _Claims[IpKey, MacKey] = field(default_factory=_Claims)
    _vms_on: dict[int, dict[MacKey, None]] = field(default_factory=dict)
    _learned_on: dict[int, dict[MacKey, None]] = field(default_factory=dict)
    _vms_in: dict[int, dict[MacKey, None]] = field(default_factory=dict)
    _learned_in: dict[int, dict[MacKey, None]] = field(default_factory=dict)
    _learned_at: dict[int, dict[int, dict[MacKey, None]]] = field(default_factory=dict)
    _members: dict[int, dict[int, int]] = field(default_factory=dict)
    _vips_of: dict[MacKey, dict[IpKey, None]] = field(default_factory=dict)
    _vteps_in: dict[int, dict[VtepIp, None]] = field(default_factory=dict)

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

    def learned_on(self, place: int) -> Collection[MacKey]:
        return self._learned_on.get(place, {})

    def vms_in(self, vni: int) -> Iterable[MacKey]:
        return self._vms_in.get(vni, {})

    def learned_in(self, vni: int) -> Collection[MacKey]:
        return self._learned_in.get(vni, {})

    def stalest_learned_of_network(self, vni: int) -> MacKey:
        """Of the place that has most of the network's learned MACs the one longest not renewed."""
        places = self._learned_at[vni]
        most = max(places, key=lambda place: (len(places[place]), place))
        return next(iter(places[most]))

    def is_member(self, dpid: int, vni: int) -> bool:
        """Whether the host carries the network: has a VM of it, or is one of its hosts anyway."""
        network = self.networks.get(vni)
        if network is None:
            return False
        return network.everywhere or dpid in self._members.get(vni, {}) or dpid in network.hosts

    def members(self, vni: int) -> list[int]:
        """The dpids of the hosts that carry the network, sorted."""
        network = self.networks.get(vni)
        if network is None:
            return []
        if network.everywhere:
            return sorted(self.hosts)
        return sorted({*self._members.get(vni, {}), *self.hosts.keys() & set(network.hosts)})

    def foreign_in(self, vni: int) -> list[VtepIp]:
        """The foreign VTEPs that were declared with this network, sorted."""
        return sorted(self._vteps_in.get(vni, {}))

    def vips_of(self, vni: int, mac: int) -> list[Vip]:
        """The virtual IPs that this MAC may hold."""
        return [self.vips[key] for key in sorted(self._vips_of.get((vni, mac), {}))]

    def place_of(self, vni: int, mac: int) -> Location | None:
        """Where a MAC is, as registered or else as learned."""
        fact = self.vms.get((vni, mac)) or self.learned.get((vni, mac))
        return None if fact is None else fact.host

    def vtep_of(self, place: Location) -> VtepIp | None:
        """Where frames for this place go to, None while that is not known."""
        if isinstance(place, Foreign):
            return place.vtep if place.vtep in self.vteps else None
        host = self.hosts.get(place)
        return None if host is None else host.vtep

    def is_endpoint(self, vtep: int) -> bool:
        """Whether a host's or a declared foreign VTEP has this address."""
        return vtep in self.vteps or self.host_at(vtep) is not None

    def foreign_named(self, ref: str) -> Vtep | None:
        """The foreign VTEP with this name or address."""
        named = self._vtep_names.first(ref)
        if named is not None:
            return self.vteps[named]
        try:
            return self.vteps.get(VtepIp.parse(ref))
        except InvalidValue:
            return None

    def find_place(self, ref: str) -> Location | None:
        """The host that is meant, else the foreign VTEP."""
        host = self.find_host(ref)
        if host is not None:
            return host.dpid
        foreign = self.foreign_named(ref)
        return None if foreign is None else foreign.location

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
            Vip: self.vips,
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
                if not isinstance(fact.host, Foreign):
                    _count(self._members.setdefault(fact.vni, {}), fact.host, add=add)
            case LearnedMac():
                _member(self._learned_on, fact.host, fact.key, add=add)
                _member(self._learned_in, fact.vni, fact.key, add=add)
                places = self._learned_at.setdefault(fact.vni, {})
                _member(places, fact.host, fact.key, add=add)
                for ip, _seen_s in fact.ips:
                    _claim(self._learned_ips, (int(fact.vni), int(ip)), fact.key, add=add)
            case Vtep():
                if fact.name is not None:
                    _claim(self._vtep_names, fact.name, fact.ip, add=add)
                for vni in fact.vnis:
                    _member(self._vteps_in, vni, fact.ip, add=add)
            case Vip():
                for mac in fact.macs:
                    _member(self._vips_of, (int(fact.vni), int(mac)), fact.key, add=add)


def _claim(index: _Claims[K, V], key: K, claimant: V, *, add: bool) -> None:
    if add:
        index.add(key, claimant)
    else:
        index.discard(key, claimant)


def _member(index: dict[A, dict[M, None]], at: A, key: M, *, add: bool) -> None:
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
