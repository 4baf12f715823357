"""What the engine is told, and what it answers. Immutable, and without any I/O of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from controller.certificates import Certificate
from controller.happenings import Happening
from controller.wire.decode import FlowEntry, FlowRemoved, PacketIn, PortStatus, SwitchError
from topology.model import Change, IpKey, MacKey
from topology.types import Location, VtepIp


@dataclass(frozen=True, slots=True)
class Connected:
    """A switch finished its handshake; ``address`` is whence it connects, if that may be a VTEP.

    ``certificate`` is what it proved itself with, None where it did not.
    """

    dpid: int
    epoch: int
    peer: str
    address: VtepIp | None
    ports: dict[int, str]
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Lost:
    dpid: int
    epoch: int


@dataclass(frozen=True, slots=True)
class DumpPart:
    """A part of a multipart reply."""

    xid: int
    kind: int
    body: bytes
    more: bool


@dataclass(frozen=True, slots=True)
class BarrierAnswered:
    xid: int


@dataclass(frozen=True, slots=True)
class BundleCommitted:
    bundle_id: int


@dataclass(frozen=True, slots=True)
class FlowUpdates:
    """What a flow monitor says, not read yet (decode.flow_updates)."""

    body: bytes


@dataclass(frozen=True, slots=True)
class MonitorPaused:
    """A flow monitor says no more for now; or (not paused) it does again."""

    paused: bool


Message: TypeAlias = (
    PacketIn
    | FlowRemoved
    | PortStatus
    | SwitchError
    | DumpPart
    | BarrierAnswered
    | BundleCommitted
    | FlowUpdates
    | MonitorPaused
)


@dataclass(frozen=True, slots=True)
class Received:
    """A message of a switch. Of an older connection (epoch) it is dropped."""

    dpid: int
    epoch: int
    message: Message


@dataclass(frozen=True, slots=True)
class PacketsIn:
    """Packet-ins of one switch that came together, in order."""

    dpid: int
    epoch: int
    packets: Sequence[PacketIn]


@dataclass(frozen=True, slots=True)
class Committed:
    """Changes that are durable now."""

    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Continue:
    """There is a turn for work that was left over."""


Event: TypeAlias = Connected | Lost | Received | PacketsIn | Committed | Tick | Continue


@dataclass(frozen=True, slots=True)
class Drift:
    """Flows of a switch that was in step which somebody else changed.

    ``missing`` and ``changed`` are cookies of flows that it should hold; ``extra`` are flows that
    it should not. ``mended``: what it should hold was sent.
    """

    dpid: int
    missing: tuple[int, ...]
    extra: tuple[FlowEntry, ...]
    changed: tuple[int, ...]
    mended: bool
    seen_by: str  # "monitor", "audit"


@dataclass(slots=True)
class Effects:
    """What the edge has to do.

    Wake these switches' senders; store what was seen of these hosts, and who holds these virtual
    IPs; commit these registered VMs' moves; close these connections; tell who waits for these
    switches' confirmation; log; tell
    listeners, also of drift. ``rest``: leave these switches' connections unread for so many
    seconds. ``again``: work is left over, come back with Continue.
    """

    wake: set[int] = field(default_factory=set)
    remember: set[int] = field(default_factory=set)
    holders: set[IpKey] = field(default_factory=set)
    moves: dict[MacKey, Location] = field(default_factory=dict)
    close: set[int] = field(default_factory=set)
    confirmed: set[int] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    happened: list[Happening] = field(default_factory=list)
    drifted: list[Drift] = field(default_factory=list)
    rest: dict[int, float] = field(default_factory=dict)
    again: bool = False
