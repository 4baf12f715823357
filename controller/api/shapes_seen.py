"""What answers hold of what happens in the fabric, what it saves, and what is wrong with it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

from controller.api.shapes import (
    Count,
    DpidShown,
    MacShown,
    Seconds,
    VniShown,
    VtepShown,
    Written,
)

At: TypeAlias = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z$",
        description="RFC 3339, UTC, milliseconds",
        examples=["2026-11-21T10:00:00.123Z"],
    ),
]
PerSecond: TypeAlias = Annotated[float, Field(ge=0)]
Grade: TypeAlias = Literal["ok", "warning", "error"]


class Store(TypedDict):
    url: str
    bytes: Count | None
    free_bytes: Count | None


class Hosts(TypedDict):
    total: Count
    connected: Count
    live: Count
    degraded: Count


class Status(TypedDict):
    version: str
    started_at: At
    now: At
    uptime_s: Seconds
    store: Store
    openflow: Annotated[str, Field(examples=["0.0.0.0:6653"])]
    hosts: Hosts
    networks: Count
    vms: Count
    learned: Count
    vteps: Count
    vips: Count
    drifts: Annotated[Count, Field(description="flows missing, extra or changed that were mended")]
    last_event_id: str | None


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
    answered_by_controller: Frames
    suppressed: Annotated[Frames, Field(description="dropped by the network's policy")]
    flooded: Flooded
    unknown_unicast: Annotated[Frames, Field(description="part of flooded, or of suppressed")]
    saved: Saved
    per_s: Rates


class LedgerOfNetwork(Counted):
    vni: VniShown
    name: str | None


class Ledger(TypedDict):
    items: list[LedgerOfNetwork]
    next: str | None
    total: Count
    sum: Counted
    since: At
    as_of: At


class CountedHost(Counted):
    host: DpidShown
    host_name: str | None


class Talker(TypedDict):
    mac: MacShown
    name: str | None
    host: str | None
    host_name: str | None
    frames: Count
    bytes: Count
    per_s: PerSecond


class LedgerInterval(Rates):
    at: At


class LedgerShown(LedgerOfNetwork):
    since: NotRequired[At]
    as_of: NotRequired[At]
    hosts: list[CountedHost]
    talkers: list[Talker]
    history: list[LedgerInterval]


class Tunnel(TypedDict):
    host: DpidShown
    host_name: str | None
    vtep: Annotated[VtepShown, Field(description="the peer's address")]
    peer: Annotated[DpidShown | None, Field(description="null: a foreign VTEP")]
    peer_name: str | None
    port: int | None
    port_name: str | None
    state: Literal["up", "down", "unknown"]
    rtt_ms: Annotated[float, Field(ge=0)] | None
    last_seen_s: Annotated[Seconds | None, Field(description="seconds ago")]
    sent: Count
    lost: Count
    mtu: Annotated[
        Count | None, Field(description="largest IP packet that came through; null: not probed")
    ]
    mtu_needed: Count | None
    mtu_ok: bool | None


class Check(TypedDict):
    check: Annotated[str, Field(examples=["fail-mode"])]
    status: Grade
    subject: str | None
    summary: str
    cause: str | None
    command: Annotated[str | None, Field(description="the exact command that mends it")]


class Doctor(TypedDict):
    healthy: Annotated[bool, Field(description="no check says error")]
    checks: list[Check]


class Question(TypedDict):
    vni: VniShown
    src: str
    dst: str
    kind: str
    live: bool


class HopFlow(TypedDict):
    cookie: str
    table: int
    priority: int
    match: str
    actions: str


class Hop(TypedDict):
    host: str
    host_name: str | None
    table: int | None
    table_name: str | None
    flow: HopFlow | None
    why: str | None
    reason: Annotated[str | None, Field(description="the fact behind it")]
    event: str


class End(TypedDict):
    host: str | None
    how: str
    detail: str


class Stage(TypedDict):
    what: Annotated[str, Field(examples=["ARP request"])]
    outcome: str
    hops: list[Hop]
    ends: list[End]


class Trace(TypedDict):
    question: Question
    delivered: bool
    verdict: str
    cure: str | None
    stages: list[Stage]


class Evidence(TypedDict):
    what: str
    status: Grade
    detail: str


class Why(TypedDict):
    reachable: bool
    sentence: str
    cause: Annotated[str | None, Field(examples=["tunnel-down", "mtu", "flow-missing"])]
    command: str | None
    evidence: list[Evidence]


class Planned(TypedDict):
    """What a whole batch does, or would do."""

    added: Count
    changed: Count
    moved: Count
    removed: Count
    unchanged: Count
    hosts: Annotated[Count, Field(description="hosts concerned")]
    flows: Annotated[Count, Field(description="flow changes")]
    items: list[dict[str, Any]]


class WrittenPlan(Planned, Written):
    pass
