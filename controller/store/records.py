"""Facts as bytes: what a store holds, and what leaves the process.

A record is MessagePack: ``[version, {field: value}]``. Addresses are binary in network order (a MAC
6 bytes, an IPv4 address 4, an IPv6 address 16), a dpid, VNI or VLAN is an unsigned integer, a name
is text in UTF-8. A record's key is binary, and sorts like the fact's own key.

A field that is added, dropped or read differently makes a new version, whose reader is added beside
the old ones. A reader takes exactly the fields of its version, so that nothing is lost unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgpack

from topology.errors import StoreRefused, VxlanError
from topology.model import Fact, Host, Key, LearnedMac, Network, Policy, Remote, Vm, Vtep
from topology.types import Dpid, Ip, Mac, Vlan, Vni, VtepIp

Fields: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True)
class Record:
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
    readers: Mapping[int, Callable[[Fields], Fact]]

    @property
    def version(self) -> int:
        return max(self.readers)


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
    value = msgpack.packb([how.version, how.write(fact)])
    return Record(how.name, how.key(fact.key), value)


def decode(record: Record) -> Fact:
    """Read a record of any known version; StoreRefused when it is not one, or not under its key."""
    how = _BY_NAME.get(record.kind)
    if how is None:
        raise StoreRefused(f"a record of the unknown kind {record.kind!r}: a newer release's?")
    where = f"the {record.kind} record {record.key.hex()}"
    try:
        version, fields = msgpack.unpackb(record.value)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise StoreRefused(f"{where} is damaged: {error}") from error
    reader = how.readers.get(version) if type(version) is int else None
    if reader is None:
        raise StoreRefused(
            f"{where} has version {version!r}; this release reads up to {how.version}"
        )
    try:
        if not isinstance(fields, dict):
            raise TypeError("its fields are no map")
        fact = reader(fields)
        if fields:
            raise TypeError(f"unknown fields {sorted(map(str, fields))}")
    except KeyError as error:
        raise StoreRefused(f"{where} is damaged: no field {error}") from error
    except (VxlanError, ValueError, TypeError, OverflowError) as error:
        raise StoreRefused(f"{where} is damaged: {error}") from error
    if how.key(fact.key) != record.key:
        raise StoreRefused(f"{where} is damaged: it describes {how.key(fact.key).hex()}")
    return fact


# Fields, each taken out as it is read, so that those left over are the unknown ones


def _take(fields: Fields, name: str, *kinds: type) -> object:
    value = fields.pop(name)
    if type(value) not in kinds:
        raise TypeError(f"{name} is a {type(value).__name__}")
    return value


def _int(fields: Fields, name: str) -> int:
    return _take(fields, name, int)  # type: ignore[return-value]


def _bool(fields: Fields, name: str) -> bool:
    return _take(fields, name, bool)  # type: ignore[return-value]


def _text(fields: Fields, name: str) -> str | None:
    return _take(fields, name, str, type(None))  # type: ignore[return-value]


def _list(fields: Fields, name: str) -> list[object]:
    return _take(fields, name, list)  # type: ignore[return-value]


def _ip(value: object) -> Ip:
    if not isinstance(value, bytes) or len(value) not in (4, 16):
        raise TypeError("an address is not 4 or 16 bytes")
    number = int.from_bytes(value, "big")
    return Ip.v4(number) if len(value) == 4 else Ip(number)


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
    value = _take(fields, name, bytes, type(None))
    return None if value is None else _vtep_ip(value)


def _packed(ip: VtepIp | None) -> bytes | None:
    return None if ip is None else ip.packed


def _policy(fields: Fields, name: str) -> Policy:
    value = fields.pop(name)
    if value == "flood":
        return "flood"
    if value == "drop":
        return "drop"
    raise ValueError(f"{name} is {value!r}")


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
    }


def _read_host(fields: Fields) -> Host:
    return Host(
        dpid=Dpid(_int(fields, "dpid")),
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
    }


def _read_network(fields: Fields) -> Network:
    vlan = _take(fields, "vlan", int, type(None))
    return Network(
        vni=Vni(_int(fields, "vni")),
        name=_text(fields, "name"),
        vlan=None if vlan is None else Vlan(vlan),  # type: ignore[arg-type]
        unknown_unicast=_policy(fields, "unknown_unicast"),
        arp_responder=_bool(fields, "arp_responder"),
        learning=_bool(fields, "learning"),
    )


def _write_vm(fact: Fact) -> Fields:
    assert isinstance(fact, Vm)
    return {
        "mac": int(fact.mac).to_bytes(6, "big"),
        "vni": int(fact.vni),
        "host": int(fact.host),
        "ips": [ip.packed for ip in fact.ips],
        "name": fact.name,
        "respond": fact.respond,
    }


def _read_vm(fields: Fields) -> Vm:
    mac = _take(fields, "mac", bytes)
    return Vm(
        mac=Mac(int.from_bytes(mac, "big")),  # type: ignore[arg-type]
        vni=Vni(_int(fields, "vni")),
        host=Dpid(_int(fields, "host")),
        ips=tuple(_ip(ip) for ip in _list(fields, "ips")),
        name=_text(fields, "name"),
        respond=_bool(fields, "respond"),
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
        ip=_vtep_ip(_take(fields, "ip", bytes)),
        vnis=tuple(Vni(vni) for vni in _list(fields, "vnis")),  # type: ignore[arg-type]
        name=_text(fields, "name"),
        learning=_bool(fields, "learning"),
    )


def _number_key(size_bytes: int) -> Callable[[Key], bytes]:
    return lambda key: int(key).to_bytes(size_bytes, "big")  # type: ignore[arg-type]


def _vm_key(key: Key) -> bytes:
    vni, mac = key  # type: ignore[misc]
    return int(vni).to_bytes(3, "big") + int(mac).to_bytes(6, "big")


_KINDS: Final[Mapping[type[Fact], _Kind]] = {
    Host: _Kind("host", _number_key(8), _write_host, {1: _read_host}),
    Network: _Kind("network", _number_key(3), _write_network, {1: _read_network}),
    Vm: _Kind("vm", _vm_key, _write_vm, {1: _read_vm}),
    Vtep: _Kind("vtep", _number_key(16), _write_vtep, {1: _read_vtep}),
}
_BY_NAME: Final[Mapping[str, _Kind]] = {kind.name: kind for kind in _KINDS.values()}
