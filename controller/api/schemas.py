"""Bodies of requests and answers: what a user may write, and facts as a user reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from controller.api.problems import FieldError, invalid_fields
from controller.service import FlowView, HostStatus
from topology.errors import InvalidValue
from topology.model import Host, LearnedMac, Network, Remote, Vm, check_name
from topology.types import Dpid, Ip, Mac, Vlan, Vni, VtepIp

M = TypeVar("M", bound=BaseModel)
V = TypeVar("V")

_FULL_DPID: Final = re.compile(r"[0-9a-fA-F]{16}")
_PORT_NAME_MAX_CHARS: Final = 15  # OpenFlow 1.3, OFP_MAX_PORT_NAME_LEN with its end


# Values


def _from_text(parse: Callable[[str], V]) -> PlainValidator:
    def validate(value: object) -> V:
        if not isinstance(value, str):
            raise PydanticCustomError("string_type", "must be a string")
        return _checked(parse, value)

    return PlainValidator(validate)


def _from_integer(make: Callable[[int], V]) -> PlainValidator:
    def validate(value: object) -> V:
        if type(value) is not int:
            raise PydanticCustomError("int_type", "must be an integer")
        return _checked(make, value)

    return PlainValidator(validate)


def _checked(make: Callable[[Any], V], value: object) -> V:
    try:
        return make(value)
    except InvalidValue as error:
        raise PydanticCustomError("value", "{reason}", {"reason": error.reason}) from error


def _name(text: str) -> str:
    check_name(text)
    return text


def _host_name(text: str) -> str:
    """A host is found by name first: a name that reads like another host's address hides it."""
    check_name(text)
    if _FULL_DPID.fullmatch(text):
        raise InvalidValue("name", "reads like a datapath id")
    try:
        VtepIp.parse(text)
    except InvalidValue:
        return text
    raise InvalidValue("name", "reads like a VTEP address")


def _port_name(text: str) -> str:
    if not 0 < len(text) <= _PORT_NAME_MAX_CHARS or not text.isprintable():
        raise InvalidValue("name", f"must have 1 to {_PORT_NAME_MAX_CHARS} printable characters")
    return text


def _remote(text: str) -> Remote:
    return "flow" if text == "flow" else VtepIp.parse(text)


def _schema(**members: object) -> WithJsonSchema:
    return WithJsonSchema(members)


NameText: TypeAlias = Annotated[
    str, _from_text(_name), _schema(type="string", minLength=1, maxLength=255)
]
HostNameText: TypeAlias = Annotated[
    str, _from_text(_host_name), _schema(type="string", minLength=1, maxLength=255)
]
PortNameText: TypeAlias = Annotated[
    str, _from_text(_port_name), _schema(type="string", minLength=1, maxLength=15)
]
HostRef: TypeAlias = Annotated[str, _from_text(str), _schema(type="string")]
MacText: TypeAlias = Annotated[
    Mac, _from_text(Mac.parse), _schema(type="string", examples=["52:54:00:00:00:01"])
]
IpText: TypeAlias = Annotated[
    Ip, _from_text(Ip.parse), _schema(type="string", examples=["10.1.1.2", "fd00::2"])
]
VtepText: TypeAlias = Annotated[
    VtepIp, _from_text(VtepIp.parse), _schema(type="string", format="ipv4")
]
RemoteText: TypeAlias = Annotated[
    VtepIp | Literal["flow"],
    _from_text(_remote),
    _schema(type="string", examples=["192.168.33.13", "flow"]),
]
VniNumber: TypeAlias = Annotated[
    Vni, _from_integer(Vni), _schema(type="integer", minimum=0, maximum=Vni.MAX)
]
VlanNumber: TypeAlias = Annotated[
    Vlan, _from_integer(Vlan), _schema(type="integer", minimum=1, maximum=Vlan.MAX)
]


# Bodies of requests


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TunnelPortBody(_Body):
    """What is at the other end of a tunnel port, where probes cannot tell or are wrong."""

    name: PortNameText
    remote: RemoteText


class HostBody(_Body):
    """A host as declared; what is left out is observed instead."""

    dpid: Annotated[Dpid, _from_text(Dpid.parse), _schema(type="string")] | None = None
    name: HostNameText | None = None
    vtep: VtepText | None = None
    tunnel_ports: list[TunnelPortBody] = []

    def remotes(self) -> tuple[tuple[str, Remote], ...]:
        """What is declared of the tunnel ports, by name; a name may be there once."""
        remotes = {port.name: port.remote for port in self.tunnel_ports}
        if len(remotes) < len(self.tunnel_ports):
            raise InvalidValue("tunnel_ports", "a port is named twice")
        return tuple(sorted(remotes.items()))


class NetworkBody(_Body):
    """A network, but for the VNI, which the path has; it may be said again."""

    vni: VniNumber | None = None
    name: NameText | None = None
    vlan: VlanNumber | None = None
    unknown_unicast: Literal["flood", "drop"] = "flood"
    arp_responder: bool = True
    learning: bool = True

    def fact(self, vni: Vni) -> Network:
        return Network(
            vni=vni,
            name=self.name,
            vlan=self.vlan,
            unknown_unicast=self.unknown_unicast,
            arp_responder=self.arp_responder,
            learning=self.learning,
        )


_KEPT: Final = frozenset({"ips", "name", "respond"})


class _VmParts(_Body):
    host: HostRef
    ips: list[IpText] = []
    name: NameText | None = None
    respond: bool = True

    def made(self, vni: Vni, mac: Mac, host: Dpid) -> Vm:
        return Vm(mac, vni, host, tuple(self.ips), self.name, self.respond)


class VmBody(_VmParts):
    """A VM to be registered."""

    mac: MacText
    vni: VniNumber = Vni(0)

    def fact(self, host: Dpid) -> Vm:
        return self.made(self.vni, self.mac, host)


class VmPutBody(_VmParts):
    """A VM at a path that has its VNI and MAC; they may be said again.

    What is left out of a change stays as it is, so that a move cannot lose addresses.
    """

    mac: MacText | None = None
    vni: VniNumber | None = None

    def changed(self, vni: Vni, mac: Mac, host: Dpid, there: Vm | None) -> Vm:
        wanted = self.made(vni, mac, host)
        if there is None:
            return wanted
        named = {name: getattr(wanted, name) for name in self.model_fields_set & _KEPT}
        return replace(there, host=host, **named)


def read(model: type[M], value: object, where: str = "") -> M:
    """A body of this model, or a 422 that lists what is wrong; ``where`` precedes each field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_fields(field_errors(error, where)) from error


def field_errors(error: ValidationError, where: str = "") -> list[FieldError]:
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [FieldError(_field(where, entry["loc"]), _reason(entry)) for entry in found]


def _field(where: str, loc: Sequence[int | str]) -> str:
    text = where
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text or "body"


def _reason(entry: ErrorDetails) -> str:
    match entry["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "unknown field"
        case "model_type" | "model_attributes_type":
            return "must be an object"
    return entry["msg"].replace("Input should be", "must be")


# Facts as a user reads them


def show_vm(vm: Vm) -> dict[str, object]:
    return {
        "mac": str(vm.mac),
        "vni": int(vm.vni),
        "host": str(vm.host),
        "ips": [str(ip) for ip in vm.ips],
        "name": vm.name,
        "respond": vm.respond,
    }


def show_network(network: Network) -> dict[str, object]:
    return {
        "vni": int(network.vni),
        "name": network.name,
        "vlan": None if network.vlan is None else int(network.vlan),
        "unknown_unicast": network.unknown_unicast,
        "arp_responder": network.arp_responder,
        "learning": network.learning,
    }


def show_host(host: Host, status: HostStatus, vms: int) -> dict[str, object]:
    return {
        "dpid": str(host.dpid),
        "name": host.name,
        "vtep": None if host.vtep is None else str(host.vtep),
        "connected": status.connected,
        "state": status.state,
        "reason": status.reason,
        "tunnel_ports": [
            {"port": port.port, "name": port.name, "remote": port.remote}
            for port in status.tunnel_ports
        ],
        "vms": vms,
        "flows": status.flows,
    }


def show_learned(entry: LearnedMac, now_s: float, timeout_s: float) -> dict[str, object]:
    age_s = max(0.0, now_s - entry.seen_s)
    return {
        "vni": int(entry.vni),
        "mac": str(entry.mac),
        "ips": [str(ip) for ip, _seen_s in sorted(entry.ips)],
        "host": str(entry.host),
        "age_s": round(age_s, 3),
        "expires_in_s": round(max(0.0, timeout_s - age_s), 3),
    }


def show_flow(flow: FlowView) -> dict[str, object]:
    return {
        "cookie": flow.cookie,
        "table": flow.table,
        "priority": flow.priority,
        "match": flow.match,
        "actions": flow.actions,
        "why": flow.why,
    }
