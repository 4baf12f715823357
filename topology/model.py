"""The facts: hosts, networks, VMs, learned MACs and foreign VTEPs, and the indexes over them.

A fact is a frozen value with a key. ``Topology.apply`` takes changes (``Put`` a fact, or ``Remove``
the one with that key) and answers what it replaced. Every index depends only on the facts that are
there now, never on the order in which they came: where two facts claim the same name or address,
both are kept in the index and the smallest key is the one that counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from topology.errors import InvalidValue
from topology.sorted_keys import GroupedKeys, SortedKeys
from topology.types import Dpid, Fingerprint, Foreign, Ip, Location, Mac, Subnet, Vlan, Vni, VtepIp

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
V = TypeVar("V", Dpid, Vni, MacKey, VtepIp)
A = TypeVar("A")
M = TypeVar("M")
P = TypeVar("P", int, tuple[int, int])

_UNTAGGED: Final = 0  # no VLAN id that a network may use
_PLACELESS: Final = (None, None, ())
_NO_KEYS: Final[SortedKeys[MacKey]] = SortedKeys()


NAME_PATTERN: Final = (
    "[^\x00-\x1f\x7f-\xa0\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e"
    "\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f]+"
)
"""Names have no control, format or surrogate characters, and no space but the usual one."""
_NAME: Final = re.compile(NAME_PATTERN)


def check_name(name: str | None, where: str = "name") -> None:
    """Refuse an empty, over-long or unprintable name."""
    if name is None:
        return
    if not name or len(name) > NAME_MAX_CHARS:
        raise InvalidValue(where, f"must have 1 to {NAME_MAX_CHARS} characters")
    if not name.isprintable() and not _NAME.fullmatch(name):
        raise InvalidValue(where, "must be printable")


@dataclass(frozen=True, slots=True)
class Host:
    """A hypervisor, named by the datapath id of its br-tun.

    ``declared_*`` come from REST and win; ``seen_*`` were observed and are kept so that a restarted
    controller knows every VTEP at once: the address its OpenFlow connection came from, and what
    probes through the tunnels told. Remotes map a tunnel port's name to the VTEP at its other end,
    or to "flow"; keyless are the ports that lost a VNI on the way: they carry network 0 only.
    ``certificate`` is the only one that a switch may present to be this host; None: any that the
    certificates' own names allow.
    """

    dpid: Dpid
    name: str | None = None
    declared_vtep: VtepIp | None = None
    seen_address: VtepIp | None = None
    seen_vtep: VtepIp | None = None
    declared_remotes: tuple[tuple[str, Remote], ...] = ()
    seen_remotes: tuple[tuple[str, Remote], ...] = ()
    seen_keyless: tuple[str, ...] = ()
    certificate: Fingerprint | None = None

    def __post_init__(self) -> None:
        check_name(self.name)

    @property
    def key(self) -> Dpid:
        return self.dpid

    @property
    def vtep(self) -> VtepIp | None:
        """Where its tunnels end: as declared, else as probes saw it, else whence it connects."""
        return self.declared_vtep or self.seen_vtep or self.seen_address

    def undeclared(self) -> Host:
        """This host with nothing but what was seen of it."""
        return replace(self, name=None, declared_vtep=None, declared_remotes=(), certificate=None)

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
    key: MacKey = field(init=False, repr=False, compare=False)  # one tuple for every index

    def __post_init__(self) -> None:
        if self.name is not None:
            check_name(self.name)
        if not self.mac.is_station:
            raise InvalidValue("mac", f"{self.mac} is a group or null address, not a station's")
        if len(self.ips) > 1:
            object.__setattr__(self, "ips", tuple(sorted(set(self.ips))))
        object.__setattr__(self, "key", (self.vni, self.mac))


class LearnedMac(NamedTuple):
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
_Kind: TypeAlias = tuple[dict[Any, Any], Callable[[Any, Any], None]]  # a table, and its indexes


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


class Delta(NamedTuple):
    """What a change did: the fact before and after; None where there was, or is, none."""

    before: Fact | None
    after: Fact | None


class _Claims(Generic[K, V]):
    """An index in which several facts may claim one key; the smallest claimant counts."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        self._by_key: dict[K, V | set[V]] = {}

    def __len__(self) -> int:
        return len(self._by_key)

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

    def move(self, claimant: V, was: K | None, now: K | None) -> None:
        """Let the claimant claim another key; None is no key."""
        if was is not None:
            self.discard(was, claimant)
        if now is not None:
            self.add(now, claimant)

    def first(self, key: K) -> V | None:
        there = self._by_key.get(key)
        return min(there) if isinstance(there, set) else there

    def count(self, key: K) -> int:
        there = self._by_key.get(key)
        return len(there) if isinstance(there, set) else int(there is not None)

    def all(self, key: K) -> list[V]:
        there = self._by_key.get(key)
        if there is None:
            return []
        return sorted(there) if isinstance(there, set) else [there]


class Places(Protocol):
    """Where hosts and foreign VTEPs can be looked up."""

    def host(self, dpid: int) -> Host | None: ...
    def vtep(self, ip: int) -> Vtep | None: ...
    def host_named(self, name: str) -> Host | None: ...
    def host_at(self, vtep: int) -> Host | None: ...
    def vtep_named(self, name: str) -> Vtep | None: ...


def find_host(places: Places, ref: str) -> Host | None:
    """The host with this name, VTEP address or dpid, looked for in that order."""
    host = places.host_named(ref)
    if host is not None:
        return host
    try:
        return places.host_at(VtepIp.parse(ref))
    except InvalidValue:
        pass
    try:
        return places.host(Dpid.parse(ref))
    except InvalidValue:
        return None


def find_foreign(places: Places, ref: str) -> Vtep | None:
    """The foreign VTEP with this name or address."""
    named = places.vtep_named(ref)
    if named is not None:
        return named
    try:
        return places.vtep(VtepIp.parse(ref))
    except InvalidValue:
        return None


def find_place(places: Places, ref: str) -> Location | None:
    """The host that is meant, else the foreign VTEP."""
    host = find_host(places, ref)
    if host is not None:
        return host.dpid
    foreign = find_foreign(places, ref)
    return None if foreign is None else foreign.location


@dataclass(slots=True)
class Topology:
    """Every fact that holds now, with its indexes. Only the engine calls apply()."""

    hosts: dict[int, Host] = field(default_factory=dict)
    networks: dict[int, Network] = field(default_factory=dict)
    vms: dict[MacKey, Vm] = field(default_factory=dict)
    learned: dict[MacKey, LearnedMac] = field(default_factory=dict)
    vteps: dict[int, Vtep] = field(default_factory=dict)
    vips: dict[IpKey, Vip] = field(default_factory=dict)
    _host_keys: SortedKeys[int] = field(default_factory=SortedKeys)
    _network_keys: SortedKeys[int] = field(default_factory=SortedKeys)
    _vtep_keys: SortedKeys[int] = field(default_factory=SortedKeys)
    _host_names: _Claims[str, Dpid] = field(default_factory=_Claims)
    _host_vteps: _Claims[int, Dpid] = field(default_factory=_Claims)
    _network_names: _Claims[str, Vni] = field(default_factory=_Claims)
    _network_vlans: _Claims[int, Vni] = field(default_factory=_Claims)
    _networks_of: dict[int | str, dict[Vni, None]] = field(default_factory=dict)
    _vtep_names: _Claims[str, VtepIp] = field(default_factory=_Claims)
    _vteps_in: dict[int, dict[VtepIp, None]] = field(default_factory=dict)
    _vm_names: _Claims[str, MacKey] = field(default_factory=_Claims)
    _vm_ips: dict[int, _Claims[int, MacKey]] = field(default_factory=dict)
    _vms_on: dict[int, SortedKeys[MacKey]] = field(default_factory=dict)
    _vms_in: dict[int, SortedKeys[MacKey]] = field(default_factory=dict)
    _members: dict[int, dict[int, int]] = field(default_factory=dict)
    _learned_ips: dict[int, _Claims[int, MacKey]] = field(default_factory=dict)
    _learned_on: dict[int, dict[MacKey, None]] = field(default_factory=dict)
    _learned_in: dict[int, SortedKeys[MacKey]] = field(default_factory=dict)
    _learned_at: dict[int, dict[int, dict[MacKey, None]]] = field(default_factory=dict)
    _vips_in: dict[int, SortedKeys[IpKey]] = field(default_factory=dict)
    _vips_of: dict[MacKey, dict[IpKey, None]] = field(default_factory=dict)
    _kinds: dict[type[Fact], _Kind] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._kinds = {
            Host: (self.hosts, self._index_host),
            Network: (self.networks, self._index_network),
            Vm: (self.vms, self._index_vm),
            LearnedMac: (self.learned, self._index_learned),
            Vtep: (self.vteps, self._index_vtep),
            Vip: (self.vips, self._index_vip),
        }
        self.apply(Put(Network(Vni(0))))

    # Questions

    def fact(self, kind: type[Fact], key: Key) -> Fact | None:
        return self._kinds[kind][0].get(key)

    def host(self, dpid: int) -> Host | None:
        return self.hosts.get(dpid)

    def vtep(self, ip: int) -> Vtep | None:
        return self.vteps.get(ip)

    def host_named(self, name: str) -> Host | None:
        dpid = self._host_names.first(name)
        return None if dpid is None else self.hosts[dpid]

    def host_at(self, vtep: int) -> Host | None:
        dpid = self._host_vteps.first(vtep)
        return None if dpid is None else self.hosts[dpid]

    def vtep_named(self, name: str) -> Vtep | None:
        ip = self._vtep_names.first(name)
        return None if ip is None else self.vteps[ip]

    def find_host(self, ref: str) -> Host | None:
        return find_host(self, ref)

    def foreign_named(self, ref: str) -> Vtep | None:
        return find_foreign(self, ref)

    def find_place(self, ref: str) -> Location | None:
        return find_place(self, ref)

    def hosts_named(self, name: str) -> list[Host]:
        return [self.hosts[dpid] for dpid in self._host_names.all(name)]

    def hosts_at(self, vtep: int) -> list[Host]:
        return [self.hosts[dpid] for dpid in self._host_vteps.all(vtep)]

    def vteps_named(self, name: str) -> list[Vtep]:
        return [self.vteps[ip] for ip in self._vtep_names.all(name)]

    def networks_named(self, name: str) -> list[Network]:
        return [self.networks[vni] for vni in self._network_names.all(name)]

    def networks_on_vlan(self, vlan: Vlan | None) -> list[Network]:
        """The networks on this local VLAN, None: untagged."""
        return [self.networks[vni] for vni in self._network_vlans.all(vlan or _UNTAGGED)]

    def networks_pinned_to(self, dpid: int) -> list[Network]:
        """The networks that name this host as one of theirs."""
        return [self.networks[vni] for vni in sorted(self._networks_of.get(dpid, {}))]

    def vms_named(self, name: str) -> list[MacKey]:
        return self._vm_names.all(name)

    def vm_with_ip(self, vni: int, ip: int) -> Vm | None:
        owners = self._vm_ips.get(vni)
        key = None if owners is None else owners.first(ip)
        return None if key is None else self.vms[key]

    def learned_with_ip(self, vni: int, ip: int) -> LearnedMac | None:
        """The learned MAC that spoke last for this IP."""
        speakers = self._learned_ips.get(vni)
        seen = [] if speakers is None else [self.learned[key] for key in speakers.all(ip)]
        if not seen:
            return None
        return max(seen, key=lambda entry: (dict(entry.ips)[Ip(ip)], entry.mac))

    def speakers_of(self, vni: int, ip: int) -> int:
        """How many learned MACs spoke for this IP."""
        speakers = self._learned_ips.get(vni)
        return 0 if speakers is None else speakers.count(ip)

    def stalest_speaker_of(self, vni: int, ip: Ip) -> LearnedMac:
        """Of the learned MACs that spoke for this IP, the one that did so longest ago."""
        speakers = [self.learned[key] for key in self._learned_ips[vni].all(ip)]
        return min(speakers, key=lambda entry: (dict(entry.ips)[ip], entry.mac))

    def keys_of_hosts(self) -> SortedKeys[int]:
        return self._host_keys

    def keys_of_networks(self) -> SortedKeys[int]:
        return self._network_keys

    def keys_of_vteps(self) -> SortedKeys[int]:
        return self._vtep_keys

    def keys_of_vms(self) -> GroupedKeys:
        return GroupedKeys(self._vms_in)

    def keys_of_learned(self) -> GroupedKeys:
        return GroupedKeys(self._learned_in)

    def keys_of_vips(self) -> GroupedKeys:
        return GroupedKeys(self._vips_in)

    def vms_on(self, place: int) -> SortedKeys[MacKey]:
        return self._vms_on.get(place, _NO_KEYS)

    def learned_on(self, place: int) -> Collection[MacKey]:
        """The MACs learned at this place, the one longest not renewed first."""
        return self._learned_on.get(place, ())

    def vms_in(self, vni: int) -> SortedKeys[MacKey]:
        return self._vms_in.get(vni, _NO_KEYS)

    def learned_in(self, vni: int) -> SortedKeys[MacKey]:
        return self._learned_in.get(vni, _NO_KEYS)

    def vips_in(self, vni: int) -> SortedKeys[IpKey]:
        return self._vips_in.get(vni, _NO_KEYS)

    def learned_of_network_on(self, vni: int, place: int) -> Collection[MacKey]:
        """The network's MACs learned at this place, the one longest not renewed first."""
        return self._learned_at.get(place, {}).get(vni, ())

    def most_learned_on(self, place: int) -> int:
        """The network with the most MACs learned at this place, where there is any."""
        networks = self._learned_at[place]
        return max(networks, key=lambda vni: (len(networks[vni]), vni))

    def is_member(self, dpid: int, vni: int) -> bool:
        """Whether the host carries the network: has a VM of it, or is one of its hosts anyway."""
        network = self.networks.get(vni)
        if network is None:
            return False
        return network.everywhere or dpid in self._members.get(vni, {}) or dpid in network.hosts

    def vms_of_network_on(self, vni: int, place: int) -> int:
        """How many VMs of the network the host has."""
        counts = self._members.get(vni)
        return 0 if counts is None else counts.get(place, 0)

    def carries_anyway(self, dpid: int, vni: int) -> bool:
        """Whether the host carries the network even without a VM of it."""
        network = self.networks.get(vni)
        return network is not None and (network.everywhere or dpid in network.hosts)

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

    def vteps_in(self, vni: int) -> list[Vtep]:
        """The foreign VTEPs that were declared with this network, by their addresses."""
        return [self.vteps[ip] for ip in self.foreign_in(vni)]

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

    def networks_on(self, dpid: int) -> Iterator[int]:
        """The VNIs of the networks that the host carries, sorted."""
        pinned, everywhere = self._networks_of.get(dpid, {}), self._networks_of.get("all", {})
        populated = {key[0] for key in self._firsts_on(dpid)} & self.networks.keys()
        return iter(sorted({*pinned, *everywhere, *populated}))

    def _firsts_on(self, dpid: int) -> Iterator[MacKey]:
        """Of each network that has VMs on the host, the first one."""
        keys = self.vms_on(dpid)
        found = keys.after(None, 1)
        while found:
            yield found[0]
            found = keys.after((found[0][0], Mac.MAX), 1)

    # Changes

    def apply(self, change: Change) -> Delta:
        """Take one change; facts that already hold, or are already gone, change nothing."""
        after: Fact | None
        if isinstance(change, Put):
            after = change.fact
            kind: type[Fact] = type(after)
            key: Key = after.key
        else:
            kind, key = change.kind, change.key
            after = Network(Vni(0)) if kind is Network and key == 0 else None
        table, index = self._kinds[kind]
        before = table.get(key)
        if before == after:
            return Delta(before, after)
        if after is None:
            del table[key]
        else:
            table[key] = after
        index(before, after)
        return Delta(before, after)

    # Indexes: each of these takes what is no longer so out, and what is so now in

    def _index_host(self, before: Host | None, after: Host | None) -> None:
        _list(self._host_keys, before, after)
        for host, claim in ((before, _Claims.discard), (after, _Claims.add)):
            if host is None:
                continue
            if host.name is not None:
                claim(self._host_names, host.name, host.dpid)
            if host.vtep is not None:
                claim(self._host_vteps, host.vtep, host.dpid)

    def _index_network(self, before: Network | None, after: Network | None) -> None:
        _list(self._network_keys, before, after)
        for network, claim, group in (
            (before, _Claims.discard, _leave),
            (after, _Claims.add, _join),
        ):
            if network is None:
                continue
            claim(self._network_vlans, network.vlan or _UNTAGGED, network.vni)
            if network.name is not None:
                claim(self._network_names, network.name, network.vni)
            if network.everywhere:
                group(self._networks_of, "all", network.vni)
            for dpid in () if network.hosts == "all" else network.hosts:
                group(self._networks_of, dpid, network.vni)

    def _index_vtep(self, before: Vtep | None, after: Vtep | None) -> None:
        _list(self._vtep_keys, before, after)
        for vtep, claim, group in (
            (before, _Claims.discard, _leave),
            (after, _Claims.add, _join),
        ):
            if vtep is None:
                continue
            if vtep.name is not None:
                claim(self._vtep_names, vtep.name, vtep.ip)
            for vni in vtep.vnis:
                group(self._vteps_in, vni, vtep.ip)

    def _index_vip(self, before: Vip | None, after: Vip | None) -> None:
        for vip, group in ((before, _leave), (after, _join)):
            if vip is None:
                continue
            for mac in vip.macs:
                group(self._vips_of, (vip.vni, mac), vip.key)
        _list_in_network(self._vips_in, before, after)

    def _index_vm(self, before: Vm | None, after: Vm | None) -> None:
        was, was_name, was_ips = _PLACELESS if before is None else _vm_parts(before)
        now, now_name, now_ips = _PLACELESS if after is None else _vm_parts(after)
        key = _list_in_network(self._vms_in, before, after)
        if was != now:
            self._move_vm(key, was, now)
        if was_name != now_name:
            self._vm_names.move(key, was_name, now_name)
        if was_ips != now_ips:
            _claim_ips(self._vm_ips, key, was_ips, now_ips)

    def _move_vm(self, key: MacKey, was: Location | None, now: Location | None) -> None:
        if was is not None:
            _remove_key(self._vms_on, was, key)
        if now is not None:
            _add_key(self._vms_on, now, key)
        counts = self._members.get(key[0])
        if counts is None:
            counts = self._members[key[0]] = {}
        if now is not None and not isinstance(now, Foreign):
            counts[now] = counts.get(now, 0) + 1
        if was is not None and not isinstance(was, Foreign):
            counts[was] -= 1
            if not counts[was]:
                del counts[was]

    def _index_learned(self, before: LearnedMac | None, after: LearnedMac | None) -> None:
        # Each renewal puts it behind those that were not renewed since.
        key = _list_in_network(self._learned_in, before, after)
        if before is not None:
            _leave(self._learned_on, before.host, key)
            there = self._learned_at[before.host]
            _leave(there, key[0], key)
            if not there:
                del self._learned_at[before.host]
        if after is not None:
            _join(self._learned_on, after.host, key)
            _join(self._learned_at.setdefault(after.host, {}), key[0], key)
            if before is None and not after.ips:
                return
        was_ips, now_ips = (
            () if entry is None else [ip for ip, _seen_s in entry.ips] for entry in (before, after)
        )
        _claim_ips(self._learned_ips, key, was_ips, now_ips)


def _vm_parts(vm: Vm) -> tuple[Location | None, str | None, tuple[Ip, ...]]:
    return vm.host, vm.name, vm.ips


def _join(index: dict[A, dict[M, None]], at: A, key: M) -> None:
    index.setdefault(at, {})[key] = None


def _leave(index: dict[A, dict[M, None]], at: A, key: M) -> None:
    there = index[at]
    del there[key]
    if not there:
        del index[at]


def _add_key(index: dict[int, SortedKeys[P]], at: int, key: P) -> None:
    keys = index.get(at)
    if keys is None:
        keys = index[at] = SortedKeys()
    keys.add(key)


def _remove_key(index: dict[int, SortedKeys[P]], at: int, key: P) -> None:
    keys = index[at]
    keys.remove(key)
    if not keys:
        del index[at]


def _list(
    keys: SortedKeys[int],
    before: Host | Network | Vtep | None,
    after: Host | Network | Vtep | None,
) -> None:
    """Have the list of a table what is in it."""
    if before is None and after is not None:
        keys.add(after.key)
    elif before is not None and after is None:
        keys.remove(before.key)


def _list_in_network(
    index: dict[int, SortedKeys[MacKey]],
    before: Vm | LearnedMac | Vip | None,
    after: Vm | LearnedMac | Vip | None,
) -> MacKey:
    """Have the list of its network what is in it; the key of the fact."""
    if before is None:
        assert after is not None
        key = after.key
        _add_key(index, key[0], key)
        return key
    key = before.key
    if after is None:
        _remove_key(index, key[0], key)
    return key


def _claim_ips(
    index: dict[int, _Claims[int, MacKey]],
    key: MacKey,
    was: Collection[Ip],
    now: Collection[Ip],
) -> None:
    """Let a MAC claim other addresses of its network."""
    claims = index.get(key[0])
    if claims is None:
        claims = index[key[0]] = _Claims()
    for ip in was:
        if ip not in now:
            claims.discard(ip, key)
    for ip in now:
        if ip not in was:
            claims.add(ip, key)
    if not claims:
        del index[key[0]]
