"""What the API asks of the controller: the seam between REST and everything behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from topology.draft import Draft
from topology.model import Topology

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Applied:
    """On how many of the connected hosts concerned a write is confirmed by barrier."""

    hosts: int
    of: int

    @property
    def everywhere(self) -> bool:
        return self.hosts == self.of


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a write waits for: per dpid, the table revisions its switch must have confirmed."""

    targets: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]


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
class Diff:
    """Desired against installed on one bridge."""

    missing: tuple[FlowView, ...]
    extra: tuple[FlowView, ...]

    @property
    def in_sync(self) -> bool:
        return not self.missing and not self.extra


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

    def ready(self) -> bool:
        """Whether the store is loaded and the OpenFlow port listens."""
        ...

    def now_s(self) -> float:
        """The engine's clock, in which learned MACs are stamped."""
        ...

    def learn_timeout_s(self) -> float: ...

    def commit(self, plan: Callable[[Draft], T]) -> tuple[T, Ticket]:
        """Run the plan on a draft, store its changes, apply them; its errors change nothing."""
        ...

    def applied(self, ticket: Ticket) -> Applied: ...

    def wait(self, ticket: Ticket, timeout_s: float) -> Applied:
        """Return when the ticket is confirmed everywhere, or the time is up."""
        ...

    def host_status(self, dpid: int) -> HostStatus: ...

    def flows(self, dpid: int, question: FlowQuestion) -> FlowPage:
        """What that bridge should hold, in table and priority order; gives others their turns."""
        ...

    def diff(self, dpid: int) -> Diff:
        """Ask the switch and compare; Conflict when it is not connected."""
        ...
