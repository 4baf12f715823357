"""What answers hold: the types of what ``shown`` makes, and the source of the API's description.

mypy checks that what is made is of these types; the test suite, that every answer fits the schema
that is made of them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, NotRequired, TypeAlias

from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from controller.api.patterns import COOKIE, DPID, FINGERPRINT, SHOWN_MAC
from topology.model import LEASE_MAX_S, LEASE_MIN_S, MTU_MAX_BYTES, MTU_MIN_BYTES, Mode, Policy
from topology.types import Vlan, Vni

DpidShown: TypeAlias = Annotated[
    str, Field(pattern=DPID, description="16 hex digits", examples=["00006e12f4fd6949"])
]
FingerprintShown: TypeAlias = Annotated[
    str, Field(pattern=FINGERPRINT, examples=["sha256:" + "5e" * 32])
]
MacShown: TypeAlias = Annotated[str, Field(pattern=SHOWN_MAC, examples=["52:54:00:00:00:01"])]
IpShown: TypeAlias = Annotated[str, Field(examples=["10.1.1.2", "fd00::2"])]
VtepShown: TypeAlias = Annotated[str, Field(examples=["192.168.33.12"])]
VniShown: TypeAlias = Annotated[int, Field(ge=0, le=Vni.MAX, examples=[100])]
Count: TypeAlias = Annotated[int, Field(ge=0)]
Seconds: TypeAlias = Annotated[float, Field(ge=0)]
Place: TypeAlias = Annotated[
    str,
    Field(
        description="the dpid of its host, or the address of the foreign VTEP it is behind",
        examples=["00006e12f4fd6949", "192.168.33.20"],
    ),
]

At: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z$",
        description="RFC 3339, UTC, milliseconds",
        examples=["2026-11-21T10:00:00.123Z"],
    ),
]
Action: TypeAlias = Literal["add", "change", "move", "remove"]
Kind: TypeAlias = Literal["host", "network", "vtep", "vm", "vip"]

HOST_STATES: Final[list[JsonValue]] = [
    "DISCONNECTED",
    "WAITING",
    "AUDITING",
    "SYNCING",
    "LIVE",
    "DEGRADED",
    "HELD",
]


class Applied(TypedDict):
    """On how many of the connected hosts concerned a write is confirmed by barrier."""

    hosts: Count
    of: Count


class NamedHost(TypedDict):
    host: DpidShown
    host_name: str | None


class Written(TypedDict):
    applied: Applied
    waiting_for: NotRequired[
        Annotated[list[NamedHost], Field(description="with 202: hosts that lag, ten at most")]
    ]


class Health(TypedDict):
    status: Literal["alive", "ready"]
    version: str


class TunnelPort(TypedDict):
    port: Annotated[int, Field(ge=1, description="OpenFlow port number")]
    name: str
    remote: Annotated[
        str | None,
        Field(description='the VTEP at its other end; "flow": each flow names it; null: unknown'),
    ]


class Host(TypedDict):
    dpid: DpidShown
    name: str | None
    vtep: VtepShown | None
    connected: bool
    state: Annotated[str, Field(json_schema_extra={"enum": HOST_STATES})]
    reason: Annotated[
        str | None,
        Field(description="what keeps a DEGRADED host from working, or a HELD one waits"),
    ]
    address: Annotated[
        str | None,
        Field(
            description="whence its switch connects; null while not connected",
            examples=["192.168.33.12:40000"],
        ),
    ]
    certificate: Annotated[
        FingerprintShown | None, Field(description="the only one that its switch may present")
    ]
    certificate_seen: Annotated[
        FingerprintShown | None,
        Field(description="what its switch presented; null over plain TCP, or not connected"),
    ]
    tunnel_ports: list[TunnelPort]
    vms: Annotated[Count, Field(description="registered VMs on it")]
    flows: Annotated[Count, Field(description="flows that it should hold")]
    flow_monitor: bool
    shed: Annotated[
        Count,
        Field(
            description="its packet-ins that were too many, and not taken, since the controller"
            " started"
        ),
    ]
    nd_responder: Annotated[
        str | None,
        Field(
            description="who answers neighbour solicitations; null while not connected",
            json_schema_extra={"enum": ["switch", "controller", None]},
        ),
    ]


class WrittenHost(Host, Written):
    pass


class ForgottenHost(Written):
    dpid: DpidShown
    name: str | None
    vtep: VtepShown | None


class Flow(TypedDict):
    """A flow in ovs-ofctl syntax, with the reason it is there."""

    cookie: Annotated[str, Field(pattern=COOKIE)]
    table: Annotated[int, Field(ge=0, le=254)]
    priority: Annotated[int, Field(ge=0, le=65535)]
    match: str
    actions: str
    why: str


class Diff(TypedDict):
    missing: list[Flow]
    extra: list[Flow]
    in_sync: bool


class Network(TypedDict):
    vni: VniShown
    name: str | None
    vlan: Annotated[int, Field(ge=1, le=Vlan.MAX)] | None
    unknown_unicast: Policy
    arp_responder: bool
    learning: bool
    port_security: bool
    subnets: list[Annotated[str, Field(examples=["10.1.1.0/24"])]]
    unknown_arp: Policy
    multicast: Policy
    quiet: bool
    mode: Mode
    hosts: list[DpidShown] | Literal["all"]
    follow_moves: bool
    dhcp: bool
    gateway: IpShown | None
    dns: list[IpShown]
    mtu: Annotated[int, Field(ge=MTU_MIN_BYTES, le=MTU_MAX_BYTES)]
    lease_s: Annotated[int, Field(ge=LEASE_MIN_S, le=LEASE_MAX_S)]


class WrittenNetwork(Network, Written):
    pass


class Vm(TypedDict):
    mac: MacShown
    vni: VniShown
    host: Place
    ips: list[IpShown]
    name: str | None
    respond: Annotated[bool, Field(description="whether its ARP and ND requests are answered")]


class WrittenVm(Vm, Written):
    pass


class WrittenBatch(Written):
    items: Count
    created: Count
    unchanged: Count


PlannedThing = TypedDict(
    "PlannedThing",
    {
        "action": Action,
        "kind": Kind,
        "dpid": NotRequired[DpidShown],
        "vni": NotRequired[VniShown],
        "vtep": NotRequired[VtepShown],
        "mac": NotRequired[MacShown],
        "ip": NotRequired[IpShown],
        "name": str | None,
        "host": NotRequired[Place],
        "changes": NotRequired[Annotated[list[str], Field(description="fields that differ")]],
        "from": NotRequired[Annotated[Place, Field(description="of a move")]],
        "to": NotRequired[Annotated[Place, Field(description="of a move")]],
    },
)
"""What is done to one fact; of dpid, vni, vtep, mac and ip those that name it."""


class Tally(TypedDict):
    added: Count
    changed: Count
    moved: Annotated[Count, Field(description="VMs that go to another host")]
    removed: Count
    unchanged: Count


class WrittenPlan(Tally, Written):
    """What a write of many facts does, or, with ``dry_run``, would do."""

    hosts: Annotated[Count, Field(description="connected hosts concerned")]
    flows: Annotated[
        Count | None, Field(description="flow-mods it would take on all of them; null once done")
    ]
    items: NotRequired[
        Annotated[list[PlannedThing], Field(description="with dry_run: the first 1000")]
    ]


class Vtep(TypedDict):
    vtep: VtepShown
    name: str | None
    vnis: list[VniShown]
    learning: bool
    vms: Count
    learned: Count


class WrittenVtep(Vtep, Written):
    pass


class Vip(TypedDict):
    vni: VniShown
    ip: IpShown
    macs: list[MacShown]
    name: str | None
    holder: Annotated[MacShown | None, Field(description="who announced it last")]


class WrittenVip(Vip, Written):
    pass


class LearnedMac(TypedDict):
    vni: VniShown
    mac: MacShown
    ips: list[IpShown]
    host: NotRequired[DpidShown]
    vtep: NotRequired[Annotated[VtepShown, Field(description="in place of host: it is behind it")]]
    generation: Annotated[Count, Field(description="how often it moved")]
    age_s: Seconds
    expires_in_s: Seconds


class FieldProblem(TypedDict):
    field: Annotated[str, Field(examples=["ips[0]", "[17].mac", "limit"])]
    reason: str


class Problem(TypedDict):
    """An error, after RFC 9457."""

    type: Annotated[str, Field(examples=["urn:vxlan-l2:problem:not-found"])]
    title: str
    status: Annotated[int, Field(ge=400, le=599)]
    detail: Annotated[str, Field(description="what is wrong, and what to do")]
    errors: NotRequired[Annotated[list[FieldProblem], Field(description="with 422")]]
    index: NotRequired[Annotated[Count, Field(description="of the item of a batch")]]
