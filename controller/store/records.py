"""Facts as bytes: what a store holds, and what leaves the process.

A record is MessagePack: ``[version, {field: value}]``. Addresses are binary in network order (a MAC
6 bytes, an IPv4 address 4, an IPv6 address 16), a dpid, VNI or VLAN is an unsigned integer, a name
is text in UTF-8. A subnet is an address and a length, a VM's host a dpid or a foreign VTEP's
address. A record's key is binary, and sorts like the fact's own key.

A field that is added, dropped or read differently makes a new version, whose reader is added beside
the old ones. A reader takes exactly the fields of its version, so that nothing is lost unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgpack

from topology.errors import StoreRefused, VxlanError
from topology.model import (
    Everywhere,
    Fact,
    Host,
    Key,
    LearnedMac,
    Network,
    Remote,
    Vip,
    Vm,
    Vtep,
)
from topology.types import (
    Dpid,
    Fingerprint,
    Foreign,
    Ip,
    Location,
    Mac,
    Subnet,
    Vlan,
    VtepIp,
    shared_dpid,
    shared_vni,
)

Fields: TypeAlias = dict[str, object]

C = TypeVar("C")

_PACKER: Final = msgpack.Packer()


class Record(NamedTuple):
    """One fact as it is stored."""

    kind: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class _Kind:
    """How facts of one kind are written, and how each version of their records is read."""

    name: str
    key: Callable[[Key], bytes]
    write: Callable[[Fact], Fields]
    version: int
    readers: Mapping[int, Callable[[Fields], Fact]]


class _UnknownVersion(Exception):
    """A record of a version that this release cannot read."""


def is_durable(kind: type[Fact]) -> bool:
    """Whether facts of this kind are stored: learned MACs are soft and never are."""
    return kind is not LearnedMac


def key_of(kind: type[Fact], key: Key) -> tuple[str, bytes]:
    """The kind and the key under which a fact is stored."""
    how = _KINDS[kind]
    return how.name, how.key(key)


def encode(fact: Fact) -> Record:
    """Write a fact as a record of the newest version."""
    how = _KINDS[type(fact)]
    value = _PACKER.pack((how.version, how.write(fact)))
    return Record(how.name, how.key(fact.key), value)


def decode(record: Record) -> Fact:
    """Read a record of any known version; StoreRefused when it is not one, or not under its key."""
    kind, key, value = record
    how = _BY_NAME.get(kind)
    if how is None:
        raise StoreRefused(f"a record of the unknown kind {kind!r}: a newer release's?")
    try:
        return _read(how, key, value)
    except KeyError as error:
        reason = f"is damaged: no field {error}"
    except _UnknownVersion as error:
        reason = f"has version {error}; this release reads up to {how.version}"
    except (VxlanError, ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        reason = f"is damaged: {error}"
    raise StoreRefused(f"the {kind} record {key.hex()} {reason}")


def _read(how: _Kind, record_key: bytes, value: bytes) -> Fact:
    version, fields = msgpack.unpackb(value)
    reader = how.readers.get(version) if type(version) is int else None
    if reader is None:
        raise _UnknownVersion(repr(version))
    if not isinstance(fields, dict):
        raise TypeError("its fields are no map")
    fact = reader(fields)
    if fields:
        raise TypeError(f"unknown fields {sorted(map(str, fields))}")
    key = how.key(fact.key)
    if key != record_key:
        raise ValueError(f"it describes {key.hex()}")
    return fact


# Fields, each taken out as it is read, so that those left over are the unknown ones


def _taker(*kinds: type) -> Callable[[Fields, str], Any]:
    def take(fields: Fields, name: str) -> object:
        value = fields.pop(name)
        if type(value) not in kinds:
            raise TypeError(f"{name} is a {type(value).__name__}")
        return value

    return take


_int: Final[Callable[[Fields, str], int]] = _taker(int)
_bool: Final[Callable[[Fields, str], bool]] = _taker(bool)
_text: Final[Callable[[Fields, str], str | None]] = _taker(str, type(None))
_bytes: Final[Callable[[Fields, str], bytes]] = _taker(bytes)
_list: Final[Callable[[Fields, str], list[object]]] = _taker(list)
_number: Final[Callable[[Fields, str], int | None]] = _taker(int, type(None))
_address: Final[Callable[[Fields, str], bytes | None]] = _taker(bytes, type(None))
_digest: Final[Callable[[Fields, str], bytes | None]] = _taker(bytes, type(None))
_dpid_or_address: Final[Callable[[Fields, str], int | bytes]] = _taker(int, bytes)


def _ip(value: object) -> Ip:
    if type(value) is bytes:
        return Ip.unpack(value)
    raise TypeError("an address is not bytes")


def _vtep_ip(value: object) -> VtepIp:
    ip = VtepIp(_ip(value))
    if not ip.is_v4:
        raise ValueError("a VTEP address is not IPv4")
    return ip


def _remotes(fields: Fields, name: str) -> tuple[tuple[str, Remote], ...]:
    def one(value: object) -> tuple[str, Remote]:
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
            raise TypeError(f"{name} holds no pairs of port and remote")
        return value[0], "flow" if value[1] == "flow" else _vtep_ip(value[1])

    return tuple(one(value) for value in _list(fields, name))


def _remotes_out(remotes: tuple[tuple[str, Remote], ...]) -> list[list[str | bytes]]:
    return [[port, "flow" if remote == "flow" else remote.packed] for port, remote in remotes]


def _optional_vtep(fields: Fields, name: str) -> VtepIp | None:
    value = _address(fields, name)
    return None if value is None else _vtep_ip(value)


def _packed(ip: Ip | None) -> bytes | None:
    return None if ip is None else ip.packed


def _one_of(fields: Fields, name: str, *choices: C) -> C:
    value = fields.pop(name)
    for choice in choices:
        if value == choice:
            return choice
    raise ValueError(f"{name} is {value!r}")


def _mac(value: object) -> Mac:
    if type(value) is bytes:
        return Mac.unpack(value)
    raise TypeError("an Ethernet address is not bytes")


def _subnet(value: object) -> Subnet:
    if not isinstance(value, list) or len(value) != 2 or type(value[1]) is not int:
        raise TypeError("a subnet is no pair of address and length")
    return Subnet(_ip(value[0]), value[1])


def _pinned(value: object) -> tuple[Dpid, ...] | Everywhere:
    if value == "all":
        return "all"
    if not isinstance(value, list) or not all(type(dpid) is int for dpid in value):
        raise TypeError("hosts are no datapath ids")
    return tuple(map(shared_dpid, value))


def _place(value: int | bytes) -> Location:
    if isinstance(value, int):
        return shared_dpid(value)
    return Foreign.at(_vtep_ip(value))


def _place_out(place: Location) -> int | bytes:
    return place.vtep.packed if isinstance(place, Foreign) else int(place)


# Kinds


def _write_host(fact: Fact) -> Fields:
    assert isinstance(fact, Host)
    return {
        "dpid": int(fact.dpid),
        "name": fact.name,
        "declared_vtep": _packed(fact.declared_vtep),
        "seen_address": _packed(fact.seen_address),
        "seen_vtep": _packed(fact.seen_vtep),
        "declared_remotes": _remotes_out(fact.declared_remotes),
        "seen_remotes": _remotes_out(fact.seen_remotes),
        "seen_keyless": list(fact.seen_keyless),
        "certificate": None if fact.certificate is None else fact.certificate.packed,
    }


def _read_host(fields: Fields) -> Host:
    certificate = _digest(fields, "certificate")
    bound = None if certificate is None else Fingerprint.unpack(certificate)
    return replace(_read_host_2(fields), certificate=bound)


def _read_host_2(fields: Fields) -> Host:
    keyless = _list(fields, "seen_keyless")
    if not all(isinstance(port, str) for port in keyless):
        raise TypeError("seen_keyless holds no names of ports")
    return replace(_read_host_1(fields), seen_keyless=tuple(map(str, keyless)))


def _read_host_1(fields: Fields) -> Host:
    return Host(
        dpid=shared_dpid(_int(fields, "dpid")),
        name=_text(fields, "name"),
        declared_vtep=_optional_vtep(fields, "declared_vtep"),
        seen_address=_optional_vtep(fields, "seen_address"),
        seen_vtep=_optional_vtep(fields, "seen_vtep"),
        declared_remotes=_remotes(fields, "declared_remotes"),
        seen_remotes=_remotes(fields, "seen_remotes"),
    )


def _write_network(fact: Fact) -> Fields:
    assert isinstance(fact, Network)
    return {
        "vni": int(fact.vni),
        "name": fact.name,
        "vlan": None if fact.vlan is None else int(fact.vlan),
        "unknown_unicast": fact.unknown_unicast,
        "arp_responder": fact.arp_responder,
        "learning": fact.learning,
        "port_security": fact.port_security,
        "subnets": [[subnet.ip.packed, subnet.bits] for subnet in fact.subnets],
        "unknown_arp": fact.unknown_arp,
        "multicast": fact.multicast,
        "quiet": fact.quiet,
        "mode": fact.mode,
        "hosts": "all" if fact.hosts == "all" else [int(dpid) for dpid in fact.hosts],
        "follow_moves": fact.follow_moves,
        "dhcp": fact.dhcp,
        "gateway": _packed(fact.gateway),
        "dns": [ip.packed for ip in fact.dns],
        "mtu_bytes": fact.mtu_bytes,
        "lease_s": fact.lease_s,
    }


def _read_network(fields: Fields) -> Network:
    gateway = fields.pop("gateway")
    return replace(
        _read_network_1(fields),
        port_security=_bool(fields, "port_security"),
        subnets=tuple(map(_subnet, _list(fields, "subnets"))),
        unknown_arp=_one_of(fields, "unknown_arp", "flood", "drop"),
        multicast=_one_of(fields, "multicast", "flood", "drop"),
        quiet=_bool(fields, "quiet"),
        mode=_one_of(fields, "mode", "proactive", "reactive"),
        hosts=_pinned(fields.pop("hosts")),
        follow_moves=_bool(fields, "follow_moves"),
        dhcp=_bool(fields, "dhcp"),
        gateway=None if gateway is None else _ip(gateway),
        dns=tuple(map(_ip, _list(fields, "dns"))),
        mtu_bytes=_int(fields, "mtu_bytes"),
        lease_s=_int(fields, "lease_s"),
    )


def _read_network_1(fields: Fields) -> Network:
    vlan = _number(fields, "vlan")
    return Network(
        vni=shared_vni(_int(fields, "vni")),
        name=_text(fields, "name"),
        vlan=None if vlan is None else Vlan(vlan),
        unknown_unicast=_one_of(fields, "unknown_unicast", "flood", "drop"),
        arp_responder=_bool(fields, "arp_responder"),
        learning=_bool(fields, "learning"),
    )


def _write_vm(fact: Fact) -> Fields:
    assert isinstance(fact, Vm)
    return {
        "mac": fact.mac.packed,
        "vni": fact.vni,
        "host": _place_out(fact.host),
        "ips": [ip.packed for ip in fact.ips],
        "name": fact.name,
        "respond": fact.respond,
    }


def _read_vm(fields: Fields) -> Vm:
    # There may be 100,000 of these: their fields are taken out and checked all at once.
    values = _VM_VALUES(fields)
    if tuple(map(type, values)) not in _VM_TYPES:
        return _vm_at(_place(_dpid_or_address(fields, "host")), fields)
    if len(fields) == len(values):
        fields.clear()
    mac, vni, host, ips, name, respond = values
    return Vm(_mac(mac), shared_vni(vni), _place(host), tuple(map(_ip, ips)), name, respond)


def _read_vm_1(fields: Fields) -> Vm:
    return _vm_at(shared_dpid(_int(fields, "host")), fields)


def _vm_at(place: Location, fields: Fields) -> Vm:
    return Vm(
        _mac(_bytes(fields, "mac")),
        shared_vni(_int(fields, "vni")),
        place,
        tuple(map(_ip, _list(fields, "ips"))),
        _text(fields, "name"),
        _bool(fields, "respond"),
    )


_VM_VALUES: Final = itemgetter("mac", "vni", "host", "ips", "name", "respond")
_VM_TYPES: Final = frozenset(
    (bytes, int, host, list, name, bool) for host in (int, bytes) for name in (str, type(None))
)


def _write_vtep(fact: Fact) -> Fields:
    assert isinstance(fact, Vtep)
    return {
        "ip": fact.ip.packed,
        "vnis": [int(vni) for vni in fact.vnis],
        "name": fact.name,
        "learning": fact.learning,
    }


def _read_vtep(fields: Fields) -> Vtep:
    return Vtep(
        ip=_vtep_ip(_bytes(fields, "ip")),
        vnis=tuple(shared_vni(vni) for vni in _list(fields, "vnis")),
        name=_text(fields, "name"),
        learning=_bool(fields, "learning"),
    )


def _write_vip(fact: Fact) -> Fields:
    assert isinstance(fact, Vip)
    return {
        "vni": int(fact.vni),
        "ip": fact.ip.packed,
        "macs": [mac.packed for mac in fact.macs],
        "name": fact.name,
        "holder": None if fact.holder is None else fact.holder.packed,
    }


def _read_vip(fields: Fields) -> Vip:
    holder = fields.pop("holder")
    return Vip(
        vni=shared_vni(_int(fields, "vni")),
        ip=_ip(fields.pop("ip")),
        macs=tuple(map(_mac, _list(fields, "macs"))),
        name=_text(fields, "name"),
        holder=None if holder is None else _mac(holder),
    )


def _number_key(size_bytes: int) -> Callable[[Key], bytes]:
    return lambda key: key.to_bytes(size_bytes, "big")  # type: ignore[union-attr]


def _key_in_network(size_bytes: int) -> Callable[[Key], bytes]:
    def in_network(key: Key) -> bytes:
        vni, number = key  # type: ignore[misc]
        return vni.to_bytes(3, "big") + number.to_bytes(size_bytes, "big")

    return in_network


_KINDS: Final[Mapping[type[Fact], _Kind]] = {
    Host: _Kind(
        "host",
        _number_key(8),
        _write_host,
        3,
        {1: _read_host_1, 2: _read_host_2, 3: _read_host},
    ),
    Network: _Kind(
        "network", _number_key(3), _write_network, 2, {1: _read_network_1, 2: _read_network}
    ),
    Vm: _Kind("vm", _key_in_network(6), _write_vm, 2, {1: _read_vm_1, 2: _read_vm}),
    Vtep: _Kind("vtep", _number_key(16), _write_vtep, 1, {1: _read_vtep}),
    Vip: _Kind("vip", _key_in_network(16), _write_vip, 1, {1: _read_vip}),
}
_BY_NAME: Final[Mapping[str, _Kind]] = {kind.name: kind for kind in _KINDS.values()}
