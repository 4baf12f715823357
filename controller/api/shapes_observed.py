"""What answers hold of what happens in the fabric, what it saves, and what is wrong with it."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from pydantic import Field, JsonValue
from typing_extensions import TypedDict

from controller.api.shapes import (
    At,
    Count,
    DpidShown,
    Flow,
    MacShown,
    NamedHost,
    Seconds,
    VniShown,
    VtepShown,
)

PerSecond: TypeAlias = Annotated[float, Field(ge=0)]

GRADES: Final[list[JsonValue]] = ["ok", "warning", "error"]
EVENTS: Final[list[JsonValue]] = [
    *("next", "answer", "deliver", "tunnel", "flood", "controller", "drop", "underlay"),
]
ENDS: Final[list[JsonValue]] = ["delivered", "answered", "flooded", "controller", "lost"]


class Store(TypedDict):
    url: str | None
    bytes: Count
    free_bytes: Count


class HostCounts(TypedDict):
    total: Count
    connected: Count
    live: Count
    degraded: Count
    held: Count


class DriftCounts(TypedDict):
    """Flows that were found missing, extra or changed, and mended, since the start."""

    missing: Count
    extra: Count
    changed: Count


class Status(TypedDict):
    version: str
    started_at: At
    now: At
    uptime_s: Seconds
    store: Annotated[Store | None, Field(description="null: facts are in memory only")]
    openflow: Annotated[str | None, Field(examples=["0.0.0.0:6653"])]
    hosts: HostCounts
    networks: Count
    vms: Count
    learned: Count
    vteps: Count
    vips: Count
    drifts: DriftCounts
    last_event_id: str


# The ledger


class Frames(TypedDict):
    frames: Count
    bytes: Count


class Flooded(Frames):
    copies: Annotated[Count, Field(description="frames x VTEPs of the network there then")]


class Saved(TypedDict):
    """What did not cross the underlay; bytes with the encapsulation."""

    copies: Count
    bytes: Count


class Rates(TypedDict):
    answered: PerSecond
    suppressed: PerSecond
    flooded: PerSecond
    unknown_unicast: PerSecond
    saved_bytes: PerSecond


class Counted(TypedDict):
    answered: Annotated[Frames, Field(description="ARP and ND requests answered in the switch")]
    answered_by_controller: Annotated[
        Frames, Field(description="DHCP, ND without option, new conversations")
    ]
    suppressed: Annotated[Frames, Field(description="dropped by the network's policy")]
    flooded: Flooded
    unknown_unicast: Annotated[Frames, Field(description="part of flooded, or of suppressed")]
    saved: Saved


class CountedWithRates(Counted):
    per_s: Annotated[Rates, Field(description="over the last interval")]


class CountedNetwork(CountedWithRates):
    vni: VniShown
    name: str | None


class CountedTimes(TypedDict):
    since: Annotated[At, Field(description="from when on there are counts")]
    as_of: Annotated[At, Field(description="up to when they are complete")]


class LedgerPage(CountedTimes):
    items: list[CountedNetwork]
    next: Annotated[str | None, Field(description="cursor of the next page, null on the last")]
    total: Count
    sum: Annotated[CountedWithRates, Field(description="over all networks there are and were")]


class CountedHost(Counted, NamedHost):
    pass


class Talker(NamedHost):
    mac: MacShown
    name: str | None
    frames: Count
    bytes: Count
    per_s: PerSecond


class LedgerInterval(TypedDict):
    """Frames, and bytes saved, of an interval that ended then."""

    at: At
    answered: Count
    suppressed: Count
    flooded: Count
    unknown_unicast: Count
    saved_bytes: Count


class LedgerOfNetwork(CountedNetwork, CountedTimes):
    hosts: list[CountedHost]
    talkers: Annotated[list[Talker], Field(description="who sends most, 20 at most")]
    history: Annotated[list[LedgerInterval], Field(description="of the last hour")]


# Tunnels


class Tunnel(NamedHost):
    """One direction between two VTEPs, as probes found it."""

    vtep: Annotated[VtepShown, Field(description="the far end's address")]
    peer: Annotated[DpidShown | None, Field(description="null: a foreign VTEP")]
    peer_name: str | None
    port: Annotated[int | None, Field(description="null: no port leads there")]
    port_name: str | None
    state: Annotated[str, Field(json_schema_extra={"enum": ["up", "down", "unknown"]})]
    rtt_ms: Annotated[
        float | None, Field(ge=0, description="there and back, null unless both directions are up")
    ]
    last_seen_s: Annotated[float | None, Field(ge=0, description="seconds ago")]
    sent: Annotated[Count, Field(description="probes")]
    lost: Annotated[Count, Field(description="of them")]
    mtu: Annotated[
        int | None,
        Field(
            ge=0, description="bytes of the largest IP packet that came through; null: none tried"
        ),
    ]
    mtu_needed: Annotated[
        int | None, Field(ge=0, description="largest MTU of a network that both ends carry")
    ]
    mtu_ok: bool | None


# The doctor


class Check(TypedDict):
    check: Annotated[str, Field(examples=["mtu"])]
    status: Annotated[str, Field(json_schema_extra={"enum": GRADES})]
    subject: Annotated[str | None, Field(examples=["compute-3", "network blue"])]
    summary: str
    cause: str | None
    command: Annotated[str | None, Field(description="the exact command that mends it")]


class Doctor(TypedDict):
    healthy: Annotated[bool, Field(description="no check says error")]
    now: Annotated[At, Field(description="by the controller's clock")]
    checks: list[Check]


# Trace and why


class Question(TypedDict):
    vni: VniShown
    src: str
    dst: str
    kind: str | None
    live: bool


class Hop(NamedHost):
    """A table that the packet passed, or, without one, its way through the underlay."""

    table: int | None
    table_name: str | None
    flow: Flow | None
    why: str
    reason: Annotated[str | None, Field(description="the fact behind the flow")]
    event: Annotated[str, Field(json_schema_extra={"enum": EVENTS})]
    packets: Annotated[
        int | None,
        Field(description="of a live probe's frames, how many were counted here; null: no probe"),
    ]


class End(TypedDict):
    """Where a copy ended."""

    host: DpidShown | None
    how: Annotated[str, Field(json_schema_extra={"enum": ENDS})]
    detail: str


class Stage(TypedDict):
    """One packet of the question, from its sender to its ends."""

    what: Annotated[str, Field(examples=["ARP request"])]
    outcome: Annotated[str, Field(examples=["answered in the switch", "delivered", "lost"])]
    ok: bool
    hops: list[Hop]
    ends: list[End]


class Trace(TypedDict):
    question: Question
    delivered: bool
    verdict: str
    cause: Annotated[str | None, Field(examples=["flow-missing"])]
    cure: Annotated[str | None, Field(description="a command")]
    stages: list[Stage]


class Evidence(TypedDict):
    """One thing that was looked at; unknown: it could not be."""

    what: str
    status: Annotated[str, Field(json_schema_extra={"enum": [*GRADES, "unknown"]})]
    detail: str


class Why(TypedDict):
    vni: VniShown
    src: str
    dst: str
    reachable: bool
    sentence: str
    cause: Annotated[str | None, Field(examples=["tunnel-down", "mtu", "flow-missing"])]
    command: str | None
    evidence: list[Evidence]
