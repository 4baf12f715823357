"""What an event of /v1/events holds, by its type."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypeAlias

from pydantic import Field, Json
from typing_extensions import TypedDict

from controller.api.shapes import (
    HOST_STATES,
    At,
    Count,
    DpidShown,
    Flow,
    IpShown,
    MacShown,
    NamedHost,
    Place,
    VniShown,
    VtepShown,
)

Change: TypeAlias = Literal["added", "changed", "removed"]


class _Event(TypedDict):
    at: At


class HostEvent(_Event, NamedHost):
    """``host``: its state or its name is another, or it was FORGOTTEN."""

    vtep: VtepShown | None
    state: Annotated[str, Field(json_schema_extra={"enum": [*HOST_STATES, "FORGOTTEN"]})]
    reason: str | None
    connected: bool


class VmEvent(_Event):
    """``vm``: one VM was registered, changed, or is no longer registered."""

    vni: VniShown
    mac: MacShown
    name: str | None
    host: Place
    action: Change


class VmsEvent(_Event):
    """``vms``: one write changed more than 100 VMs; ``vni`` null: in several networks."""

    vni: VniShown | None
    added: Count
    changed: Count
    moved: Count
    removed: Count


class NetworkEvent(_Event):
    """``network``."""

    vni: VniShown
    name: str | None
    action: Change


class VtepEvent(_Event):
    """``vtep``: a foreign one."""

    ip: VtepShown
    name: str | None
    action: Change


class VipEvent(_Event):
    """``vip``: it was declared, deleted, or another VM holds it."""

    vni: VniShown
    ip: IpShown
    name: str | None
    holder: MacShown | None
    action: Change


class LearnedEvent(_Event):
    """``learned``: a MAC was learned from traffic, or forgotten."""

    vni: VniShown
    mac: MacShown
    ips: list[IpShown]
    host: NotRequired[DpidShown]
    vtep: NotRequired[Annotated[VtepShown, Field(description="in place of host: it is behind it")]]
    action: Literal["learned", "forgotten"]


class LearnedManyEvent(_Event):
    """``learned_many``: those beyond 50 learned, moved or forgotten within a second."""

    count: Count


MovedEvent = TypedDict(
    "MovedEvent",
    {
        "at": At,
        "vni": VniShown,
        "mac": MacShown,
        "name": str | None,
        "from": Place,
        "to": Place,
        "registered": bool,
        "by": Literal["api", "announcement", "frame"],
    },
)
MovedEvent.__doc__ = "``moved``: a VM or a learned MAC is on another host."


class DriftedFlow(Flow):
    how: Literal["missing", "extra", "changed"]


class DriftEvent(_Event, NamedHost):
    """``drift``: somebody else changed a bridge's flows; counts, and the first ten of them."""

    missing: Count
    extra: Count
    changed: Count
    flows: list[DriftedFlow]
    mended: bool
    seen_by: Literal["monitor", "audit"]


class SuppressedEvent(_Event):
    """``suppressed``: frames, and bytes saved, of an interval of the ledger."""

    vni: VniShown
    name: str | None
    answered: Count
    suppressed: Count
    flooded: Count
    saved_bytes: Count


class TunnelEvent(_Event, NamedHost):
    """``tunnel``: its probes say that it is up or down."""

    vtep: Annotated[VtepShown, Field(description="the far end's address")]
    peer: DpidShown
    state: Annotated[str, Field(json_schema_extra={"enum": ["up", "down", "unknown"]})]
    rtt_ms: Annotated[float | None, Field(ge=0)]


class ResetEvent(_Event):
    """``reset``: events were missed; reload what you show."""

    reason: str


Told: TypeAlias = (
    HostEvent
    | VmEvent
    | VmsEvent
    | NetworkEvent
    | VtepEvent
    | VipEvent
    | LearnedEvent
    | LearnedManyEvent
    | MovedEvent
    | DriftEvent
    | SuppressedEvent
    | TunnelEvent
    | ResetEvent
)


class Event(TypedDict):
    """A server-sent event: its fields, as HTML Living Standard, 9.2, has them."""

    id: Annotated[str, Field(description="for Last-Event-ID", examples=["5f0c2a91-42"])]
    event: Annotated[str, Field(description="its type", examples=["vm"])]
    data: Json[Told]
