"""Bodies of requests: what a user may write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    JsonValue,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import ErrorDetails, core_schema

from controller.api.patterns import V4_SUBNET
from controller.api.problems import FieldError, invalid_fields
from controller.api.values import (
    DpidText,
    FingerprintText,
    HostNameText,
    HostRef,
    HostRefs,
    IpText,
    LeaseNumber,
    MacText,
    MtuNumber,
    NameText,
    PortNameText,
    RemoteText,
    SubnetText,
    V4Text,
    VlanNumber,
    VniNumber,
    VtepText,
)
from topology.draft import Draft
from topology.errors import InvalidValue
from topology.model import Host, Mode, Network, Policy, Remote, Vip, Vm, Vtep
from topology.types import Ip, Location, Mac, Vni, VtepIp

M = TypeVar("M", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_IN_PATH: Final[Any] = Field(
    None,
    description="as the path has it, if it is said at all",
    json_schema_extra={"readOnly": True},
)

_NETWORK_RULES: Final[dict[str, JsonValue]] = {
    "allOf": [
        {
            "not": {
                "required": ["port_security", "follow_moves"],
                "properties": {"port_security": {"const": True}, "follow_moves": {"const": True}},
            }
        },
        {
            "if": {"required": ["dhcp"], "properties": {"dhcp": {"const": True}}},
            "then": {
                "required": ["subnets"],
                "properties": {"subnets": {"contains": {"pattern": V4_SUBNET}}},
            },
        },
    ]
}
"""What topology.model.Network demands of several fields, as far as a schema can say it."""


class TunnelPortBody(_Body):
    """What is at the other end of a tunnel port, where probes cannot tell or are wrong."""

    name: PortNameText
    remote: RemoteText


class HostBody(_Body):
    """A host as declared; what is left out is observed instead.

    Names and VTEPs are of one host each, and a port is named once. Only ``certificate`` stays as it
    is where it is left out: who only gives a host another name must not open it to others.
    """

    dpid: DpidText | None = _IN_PATH
    name: HostNameText | None = None
    vtep: VtepText | None = None
    tunnel_ports: Annotated[
        list[TunnelPortBody], Field(json_schema_extra={"uniqueItems": True})
    ] = []
    certificate: FingerprintText | None = Field(
        None, description="the only one that its switch may present; null: any that names it"
    )

    def declared(self, there: Host) -> Host:
        """That host as it is declared here; what was seen of it stays."""
        bound = "certificate" in self.model_fields_set
        return replace(
            there,
            name=self.name,
            declared_vtep=self.vtep,
            declared_remotes=self.remotes(),
            certificate=self.certificate if bound else there.certificate,
        )

    def remotes(self) -> tuple[tuple[str, Remote], ...]:
        """What is declared of the tunnel ports, by name; a name may be there once."""
        remotes = {port.name: port.remote for port in self.tunnel_ports}
        if len(remotes) < len(self.tunnel_ports):
            raise InvalidValue("tunnel_ports", "a port is named twice")
        return tuple(sorted(remotes.items()))


class NetworkBody(_Body):
    """A network, but for the VNI, which the path has; it may be said again.

    A gateway lies in one of the IPv4 subnets; hosts are known ones.
    """

    model_config = ConfigDict(json_schema_extra=_NETWORK_RULES)

    vni: VniNumber | None = _IN_PATH
    name: NameText | None = None
    vlan: VlanNumber | None = None
    unknown_unicast: Policy = "flood"
    arp_responder: bool = True
    learning: bool = True
    port_security: bool = False
    subnets: list[SubnetText] = []
    unknown_arp: Policy = "flood"
    multicast: Policy = "flood"
    quiet: bool = False
    mode: Mode = "proactive"
    hosts: HostRefs = []
    follow_moves: bool = False
    dhcp: bool = False
    gateway: V4Text | None = None
    dns: list[V4Text] = []
    mtu: MtuNumber = 1450
    lease_s: LeaseNumber = 86400

    def fact(self, vni: Vni) -> Network:
        """The network but for its hosts, which only a draft can tell."""
        return Network(
            vni=vni,
            name=self.name,
            vlan=self.vlan,
            unknown_unicast=self.unknown_unicast,
            arp_responder=self.arp_responder,
            learning=self.learning,
            port_security=self.port_security,
            subnets=tuple(self.subnets),
            unknown_arp=self.unknown_arp,
            multicast=self.multicast,
            quiet=self.quiet,
            mode=self.mode,
            follow_moves=self.follow_moves,
            dhcp=self.dhcp,
            gateway=self.gateway,
            dns=tuple(self.dns),
            mtu_bytes=self.mtu,
            lease_s=self.lease_s,
        )

    def pinned(self, network: Network, draft: Draft) -> Network:
        """The network with its hosts, as they are known to the draft."""
        if self.hosts == "all":
            return replace(network, hosts="all")
        hosts = [draft.find_host(ref, f"hosts[{at}]") for at, ref in enumerate(self.hosts)]
        return replace(network, hosts=tuple(host.dpid for host in hosts))


class VtepBody(_Body):
    """A foreign VTEP, but for its address, which the path has; it may be said again."""

    vtep: VtepText | None = _IN_PATH
    name: HostNameText | None = None
    vnis: list[VniNumber]
    learning: bool = True

    def fact(self, ip: VtepIp, draft: Draft) -> Vtep:
        """The foreign VTEP; its networks must be known to the draft."""
        for index, vni in enumerate(self.vnis):
            draft.need_network(vni, f"vnis[{index}]")
        return Vtep(ip, tuple(self.vnis), self.name, self.learning)


class VipBody(_Body):
    """A virtual IP, but for what the path has; it may be said again."""

    vni: VniNumber | None = _IN_PATH
    ip: IpText | None = _IN_PATH
    macs: Annotated[list[MacText], Field(json_schema_extra={"minItems": 1})]
    name: NameText | None = None

    def fact(self, vni: Vni, ip: Ip) -> Vip:
        return Vip(vni, ip, tuple(self.macs), self.name)


_KEPT: Final = frozenset({"ips", "name", "respond"})


class _VmParts(_Body):
    host: HostRef
    ips: list[IpText] = []
    name: NameText | None = None
    respond: bool = True

    def made(self, vni: Vni, mac: Mac, host: Location) -> Vm:
        return Vm(mac, vni, host, tuple(self.ips), self.name, self.respond)


class VmBody(_VmParts):
    """A VM to be registered: in a network that exists, on a known host or foreign VTEP."""

    mac: MacText
    vni: VniNumber = Vni(0)

    def fact(self, host: Location) -> Vm:
        return self.made(self.vni, self.mac, host)


class ExportHead(BaseModel):
    """The first line of an export. ``facts``, if it is there, is how many lines follow."""

    model_config = ConfigDict(strict=True, frozen=True)

    kind: Literal["vxlan-l2"]
    version: Literal[1]
    exported_at: str | None = None
    facts: Annotated[int, Field(ge=0)] | None = None


class ExportedHost(HostBody):
    """A host as an export has it."""

    kind: Literal["host"]
    dpid: DpidText


class ExportedNetwork(NetworkBody):
    """A network as an export has it."""

    kind: Literal["network"]
    vni: VniNumber


class ExportedVtep(VtepBody):
    """A foreign VTEP as an export has it."""

    kind: Literal["vtep"]
    vtep: VtepText


class ExportedVip(VipBody):
    """A virtual IP as an export has it."""

    kind: Literal["vip"]
    vni: VniNumber
    ip: IpText
    holder: MacText | None = None


class ExportedVm(VmBody):
    """A VM as an export has it."""

    kind: Literal["vm"]


_ExportedFact: TypeAlias = Annotated[
    ExportedHost | ExportedNetwork | ExportedVtep | ExportedVm | ExportedVip,
    Field(discriminator="kind"),
]
Exported: TypeAlias = Annotated[
    list[object],
    GetPydanticSchema(
        lambda _source, handler: core_schema.tuple_schema(
            [handler.generate_schema(ExportHead), handler.generate_schema(_ExportedFact)],
            variadic_item_index=1,
        )
    ),
]
"""An export as an array: its head, then facts."""

VmParts: TypeAlias = tuple[str, Mac, Vni, tuple[Ip, ...], str | None, bool]
"""What a VmBody says: host, MAC, VNI, IPs, name, respond. A plain tuple, because the garbage
collector does not look at it again; a batch has many."""

_VM_BODIES: Final = TypeAdapter(list[VmBody])


def read_vms(items: list[object]) -> list[VmParts]:
    """What these bodies say; or a ValidationError, whose places begin with the item's index."""
    return [
        (body.host, body.mac, body.vni, tuple(body.ips), body.name, body.respond)
        for body in _VM_BODIES.validate_python(items)
    ]


_LEFT_OUT: Final[dict[frozenset[str], frozenset[str]]] = {}  # one object of each


def read_changes(items: list[object]) -> list[tuple[VmParts, frozenset[str]]]:
    """The same, and what of ips, name and respond each body leaves out."""
    found = []
    for body in _VM_BODIES.validate_python(items):
        left_out = _KEPT - body.model_fields_set
        parts = (body.host, body.mac, body.vni, tuple(body.ips), body.name, body.respond)
        found.append((parts, _LEFT_OUT.setdefault(left_out, left_out)))
    return found


class VmPutBody(_VmParts):
    """A VM at a path that has its VNI and MAC; they may be said again.

    What is left out of a change stays as it is, so that a move cannot lose addresses.
    """

    mac: MacText | None = _IN_PATH
    vni: VniNumber | None = _IN_PATH

    def changed(self, vni: Vni, mac: Mac, host: Location, there: Vm | None) -> Vm:
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


def field_errors(error: ValidationError, where: str = "", first: int = 0) -> list[FieldError]:
    """What is wrong, by field. ``first`` is the index of the first item where items were read."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [FieldError(_field(where, entry["loc"], first), _reason(entry)) for entry in found]


def _field(where: str, loc: Sequence[int | str], first: int) -> str:
    text = where
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]" if text else f"[{first + part}]"
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
