"""What the API asks of the controller: the seam between REST and everything behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from controller.journal import Journal
from controller.ledger import Ledger
from controller.measures import HostMeasures, Measures
from topology.draft import Draft
from topology.model import Change, Topology
from topology.types import Dpid, Fingerprint, Vni

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Applied:
    """On how many of the connected hosts concerned a write is confirmed by barrier."""

    hosts: int
    of: int
    behind: tuple[int, ...] = field(default=(), compare=False)  # dpids of those that have not

    @property
    def everywhere(self) -> bool:
        return self.hosts == self.of


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a write waits for: per dpid, the table revisions its switch must have confirmed."""

    targets: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """On how many connected hosts changes would do anything, and how many flow-mods they take."""

    hosts: int
    flows: int


@dataclass(frozen=True, slots=True)
class TunnelPort:
    port: int
    name: str
    remote: str | None  # a VTEP address, "flow", or None while unknown


@dataclass(frozen=True, slots=True)
class HostStatus:
    """A host as it stands: session state, ports, counts."""

    connected: bool
    state: str
    reason: str | None
    tunnel_ports: tuple[TunnelPort, ...]
    flows: int
    nd_responder: str | None = None  # who answers neighbour solicitations: "switch", "controller"
    flow_monitor: bool = False  # whether its switch tells what others do to its flows
    address: str | None = None  # whence it connects, "192.0.2.1:40000"
    certificate: Fingerprint | None = None  # what its switch presented
    shed: int = 0  # packet-ins that were too many, since the controller started


@dataclass(frozen=True, slots=True)
class Question:
    """What becomes of a packet from ``src`` to ``dst``, each a VM's name, MAC or IP.

    ``kind`` is arp, nd, icmp, tcp or udp; ``frame`` a whole frame that the source sends.
    """

    src: str
    dst: str
    vni: Vni | None = None
    kind: str | None = None
    frame: bytes | None = None
    live: bool = False


@dataclass(frozen=True, slots=True)
class TunnelStatus:
    """One direction between two VTEPs, as its probes found it; ``peer`` None: a foreign VTEP.

    ``mtu_bytes``: the largest IP packet that came through, None while none was tried.
    ``mtu_needed_bytes``: the largest MTU of a network that both ends carry.
    """

    dpid: int
    host_name: str | None
    vtep: str
    peer: int | None
    peer_name: str | None
    port: int | None
    port_name: str | None
    state: str  # "up", "down" or "unknown"
    rtt_s: float | None = None
    last_seen_s: float | None = None  # ago
    sent: int = 0
    lost: int = 0
    mtu_bytes: int | None = None
    mtu_needed_bytes: int | None = None
    mtu_ok: bool | None = None


class TunnelSummary(NamedTuple):
    """How many tunnels of a host to others are in which state, and the longest of their round
    trips.
    """

    up: int = 0
    down: int = 0
    unknown: int = 0
    slowest_s: float | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check of the doctor found, or that it found nothing.

    ``status`` is "ok", "warning" or "error". ``subject`` names whom it is about, ``command`` mends
    it.
    """

    check: str
    status: str
    subject: str | None
    summary: str
    cause: str | None = None
    command: str | None = None


@dataclass(frozen=True, slots=True)
class FlowView:
    """A flow in ovs-ofctl syntax, with the reason it is there."""

    cookie: str  # 0x and 16 hex digits
    table: int
    priority: int
    match: str
    actions: str
    why: str


@dataclass(frozen=True, slots=True)
class TracedHop:
    """One table that a packet passed, or (without a table) its way through the underlay.

    ``event``: next, answer, deliver, tunnel, flood, controller or drop; underlay.
    ``packets``: of a live probe's frames, how many were counted here; None without a probe.
    """

    dpid: Dpid
    host_name: str | None
    table: int | None
    table_name: str | None
    flow: FlowView | None
    why: str
    reason: str | None  # the fact behind the flow
    event: str
    cookie: int | None = None
    packets: int | None = None


@dataclass(frozen=True, slots=True)
class End:
    """Where a copy ended: delivered, answered, flooded, controller or lost."""

    dpid: Dpid | None
    how: str
    detail: str


@dataclass(frozen=True, slots=True)
class TracedStage:
    """One packet of a question, from its sender to its ends."""

    what: str
    outcome: str
    ok: bool
    hops: tuple[TracedHop, ...]
    ends: tuple[End, ...]


@dataclass(frozen=True, slots=True)
class TraceReport:
    """What becomes of a packet. ``cause`` is a word for programs, ``command`` mends it."""

    vni: Vni
    src: str
    dst: str
    delivered: bool
    verdict: str
    cause: str | None
    command: str | None
    stages: tuple[TracedStage, ...]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was looked at. ``status``: ok, warning, error or unknown."""

    what: str
    status: str
    detail: str


@dataclass(frozen=True, slots=True)
class WhyReport:
    """Why one does (not) reach another: a sentence, and what it rests on."""

    vni: Vni
    src: str
    dst: str
    reachable: bool
    sentence: str
    cause: str | None
    command: str | None
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """Desired against installed on one bridge."""

    missing: tuple[FlowView, ...]
    extra: tuple[FlowView, ...]

    @property
    def in_sync(self) -> bool:
        return not self.missing and not self.extra


class DriftCounts(NamedTuple):
    """Flows found missing, extra or changed on bridges that were in step, since the start."""

    missing: int = 0
    extra: int = 0
    changed: int = 0


@dataclass(frozen=True, slots=True)
class About:
    """What a process says of itself. ``openflow`` is HOST:PORT."""

    version: str = "unknown"
    openflow: str | None = None
    store_url: str | None = None


class StoreUsage(NamedTuple):
    """What the facts take on their disk, and what is left there, in bytes."""

    size_bytes: int
    free_bytes: int


class HostCounts(NamedTuple):
    """How many hosts are known, connected, LIVE, DEGRADED; and HELD, which are none of these."""

    total: int
    connected: int
    live: int
    degraded: int
    held: int = 0


@dataclass(frozen=True, slots=True)
class Status:
    """The controller as a whole. ``started_s`` and ``now_s`` are seconds since 1970."""

    about: About
    started_s: float
    now_s: float
    uptime_s: float
    store: StoreUsage | None
    hosts: HostCounts


@dataclass(frozen=True, slots=True)
class FlowQuestion:
    """Which flows of a bridge are asked for.

    table: of that number only. q: that are about this, part of a VM's name, of an address, of the
    reason, or a whole MAC or IP anywhere in the flow, or how the cookie begins. start: so many of
    those are left out.
    """

    limit: int
    start: int = 0
    table: int | None = None
    q: str | None = None


@dataclass(frozen=True, slots=True)
class FlowPage:
    """Some flows, and how many fit in all."""

    flows: tuple[FlowView, ...]
    total: int


class Service(Protocol):
    """The running controller, as the API sees it. Methods may switch greenlets, never block."""

    @property
    def topology(self) -> Topology: ...

    @property
    def journal(self) -> Journal:
        """The events of /v1/events."""
        ...

    def status(self) -> Status: ...

    def drifts(self) -> DriftCounts: ...

    def ready(self) -> bool:
        """Whether the store is loaded and the OpenFlow port listens."""
        ...

    def ended(self) -> list[str]:
        """Which loops have ended that must not; only a new process helps then."""
        ...

    def now_s(self) -> float:
        """The engine's clock, in which learned MACs are stamped."""
        ...

    def learn_timeout_s(self) -> float: ...

    def commit(self, plan: Callable[[Draft], T]) -> tuple[T, Ticket]:
        """Run the plan on a draft, store its changes, apply them; its errors change nothing."""
        ...

    def forecast(self, changes: Sequence[Change]) -> Forecast:
        """What these changes would do, were they made now."""
        ...

    def applied(self, ticket: Ticket) -> Applied: ...

    def wait(self, ticket: Ticket, timeout_s: float) -> Applied:
        """Return when the ticket is confirmed everywhere, or the time is up."""
        ...

    def host_status(self, dpid: int) -> HostStatus: ...

    def held(self) -> list[int]:
        """The switches that are HELD, by dpid: connected, and no hosts until they are declared."""
        ...

    def doctor(self, check: str | None = None) -> list[CheckResult]:
        """Look at everything, or at what one check is about; takes a second or some."""
        ...

    def tunnels(self, dpid: int | None = None) -> list[TunnelStatus]:
        """The tunnels of every connected host, or of one, by sender and far end."""
        ...

    def tunnel_summary(self, dpid: int) -> TunnelSummary:
        """How a host's tunnels to other hosts are, at little cost; none while it is away."""
        ...

    def flows(self, dpid: int, question: FlowQuestion) -> FlowPage:
        """What that bridge should hold, in table and priority order; gives others their turns."""
        ...

    def trace(self, question: Question) -> TraceReport:
        """What becomes of a packet; asks switches only when the question is ``live``."""
        ...

    def why(self, question: Question) -> WhyReport:
        """Why one does or does not reach another; asks switches and the VMs themselves."""
        ...

    def diff(self, dpid: int) -> Diff:
        """Ask the switch and compare; Conflict when it is not connected."""
        ...

    # The ledger

    def ledger(self) -> Ledger:
        """What became of broadcast, unknown unicast and multicast; to be read only."""
        ...

    def count_now(self, vni: int | None) -> None:
        """Have switches tell their counters, of one network or all; return when they have.

        Those that have not within ten seconds are left out.
        """
        ...

    def counted_s(self, vni: int | None) -> float:
        """Up to when the ledger is complete, in the engine's clock."""
        ...

    def unix_s(self, at_s: float) -> float:
        """A time of the engine's clock in seconds since 1970."""
        ...

    # What is measured

    def measures(self) -> Measures:
        """The controller's counts of itself; requests to the API are noted there too."""
        ...

    def host_measures(self, dpid: int) -> HostMeasures | None:
        """A host's counts, at no cost; None while it is not connected."""
        ...
