"""Values in bodies: read from JSON's text and numbers, and checked as the facts' own types are."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Final, Literal, TypeAlias, TypeVar

from pydantic import GetPydanticSchema, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError, core_schema

from controller.api.patterns import DPID, FINGERPRINT, IP, IPV4, MAC, PRINTABLE, REMOTE, SUBNET
from topology.errors import InvalidValue
from topology.model import (
    LEASE_MAX_S,
    LEASE_MIN_S,
    MTU_MAX_BYTES,
    MTU_MIN_BYTES,
    Everywhere,
    Remote,
    check_name,
)
from topology.types import Dpid, Fingerprint, Ip, Mac, Subnet, Vlan, Vni, VtepIp, shared_vni

K = TypeVar("K", str, int)
V = TypeVar("V")

_FULL_DPID: Final = re.compile(r"[0-9a-fA-F]{16}")
_PORT_NAME_MAX_CHARS: Final = 15  # OpenFlow 1.3, OFP_MAX_PORT_NAME_LEN with its end


def _reader(kind: type[K], make: Callable[[K], V], error_type: str, wrong: str) -> PlainValidator:
    """Read a value of this JSON type; what ``make`` says against it is the error's text."""

    def validate(value: object) -> V:
        if type(value) is not kind:
            raise PydanticCustomError(error_type, wrong)
        try:
            return make(value)
        except InvalidValue as error:
            raise PydanticCustomError("value", "{reason}", {"reason": error.reason}) from error

    return PlainValidator(validate)


def _from_text(parse: Callable[[str], V]) -> PlainValidator:
    return _reader(str, parse, "string_type", "must be a string")


def _from_integer(make: Callable[[int], V]) -> PlainValidator:
    return _reader(int, make, "int_type", "must be an integer")


def _name(text: str) -> str:
    check_name(text)
    return text


def _host_name(text: str) -> str:
    """A place is found by name first: a name that reads like another's address hides it."""
    check_name(text)
    if _FULL_DPID.fullmatch(text):
        raise InvalidValue("name", "reads like a datapath id")
    try:
        VtepIp.parse(text)
    except InvalidValue:
        return text
    raise InvalidValue("name", "reads like a VTEP address")


def _port_name(text: str) -> str:
    if len(text) > _PORT_NAME_MAX_CHARS:
        raise InvalidValue("name", f"must have 1 to {_PORT_NAME_MAX_CHARS} printable characters")
    return _name(text)


def _remote(text: str) -> Remote:
    return "flow" if text == "flow" else VtepIp.parse(text)


def _list_or_all(
    value: object, validate_list: Callable[[object], list[str]]
) -> list[str] | Everywhere:
    if value == "all":
        return "all"
    if not isinstance(value, list):
        raise PydanticCustomError("hosts_type", 'must be a list of hosts, or "all"')
    return validate_list(value)


def _schema(**members: object) -> WithJsonSchema:
    return WithJsonSchema(members)


NameText: TypeAlias = Annotated[
    str,
    _from_text(_name),
    _schema(type="string", minLength=1, maxLength=255, pattern=PRINTABLE, examples=["web-1"]),
]
HostNameText: TypeAlias = Annotated[
    str,
    _from_text(_host_name),
    _schema(type="string", minLength=1, maxLength=255, pattern=PRINTABLE, examples=["compute-1"]),
]
PortNameText: TypeAlias = Annotated[
    str,
    _from_text(_port_name),
    _schema(type="string", minLength=1, maxLength=15, pattern=PRINTABLE, examples=["vxlan0"]),
]
HostRef: TypeAlias = Annotated[
    str,
    _from_text(str),
    _schema(
        type="string",
        description="dpid, name or VTEP address",
        examples=["compute-1", "00006e12f4fd6949", "192.168.33.12"],
    ),
]
DpidText: TypeAlias = Annotated[
    Dpid,
    _from_text(Dpid.parse),
    _schema(type="string", pattern=DPID, examples=["00006e12f4fd6949"]),
]
FingerprintText: TypeAlias = Annotated[
    Fingerprint,
    _from_text(Fingerprint.parse),
    _schema(type="string", pattern=FINGERPRINT, examples=["sha256:" + "5e" * 32]),
]
MacText: TypeAlias = Annotated[
    Mac,
    _from_text(Mac.parse),
    _schema(type="string", pattern=MAC, examples=["52:54:00:00:00:01"]),
]
IpText: TypeAlias = Annotated[
    Ip, _from_text(Ip.parse), _schema(type="string", pattern=IP, examples=["10.1.1.2", "fd00::2"])
]
V4Text: TypeAlias = Annotated[
    Ip, _from_text(Ip.parse), _schema(type="string", pattern=IPV4, examples=["10.1.1.1"])
]
"""Read as any address is; that it is IPv4 is a rule of the network."""
VtepText: TypeAlias = Annotated[
    VtepIp,
    _from_text(VtepIp.parse),
    _schema(type="string", pattern=IPV4, examples=["192.168.33.12"]),
]
RemoteText: TypeAlias = Annotated[
    VtepIp | Literal["flow"],
    _from_text(_remote),
    _schema(
        type="string",
        pattern=REMOTE,
        description="the VTEP at the other end; flow: each flow names it",
        examples=["192.168.33.13", "flow"],
    ),
]
VniNumber: TypeAlias = Annotated[
    Vni,
    _from_integer(shared_vni),
    _schema(type="integer", minimum=0, maximum=Vni.MAX, examples=[0]),
]
VlanNumber: TypeAlias = Annotated[
    Vlan, _from_integer(Vlan), _schema(type="integer", minimum=1, maximum=Vlan.MAX)
]
SubnetText: TypeAlias = Annotated[
    Subnet,
    _from_text(Subnet.parse),
    _schema(type="string", pattern=SUBNET, examples=["10.1.1.0/24", "fd00::/64"]),
]
MtuNumber: TypeAlias = Annotated[
    int, _schema(type="integer", minimum=MTU_MIN_BYTES, maximum=MTU_MAX_BYTES)
]
LeaseNumber: TypeAlias = Annotated[
    int, _schema(type="integer", minimum=LEASE_MIN_S, maximum=LEASE_MAX_S)
]
HostRefs: TypeAlias = Annotated[
    list[str] | Everywhere,
    GetPydanticSchema(
        lambda _source, handler: core_schema.no_info_wrap_validator_function(
            _list_or_all, handler(list[HostRef])
        )
    ),
    _schema(anyOf=[{"type": "array", "items": {"type": "string"}}, {"const": "all"}]),
]
