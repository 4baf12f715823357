"""What the checks look at: facts, states, counters, and what was noticed; nothing is asked here."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from controller.service import TunnelStatus
from controller.sessions import Sessions
from controller.sightings import Sighting
from topology.model import Topology
from topology.types import Dpid, Foreign, Location, VtepIp


@dataclass(frozen=True, slots=True)
class HostEvidence:
    """One host. What a connected switch shows is empty while it is away."""

    dpid: Dpid
    name: str | None
    vtep: VtepIp | None
    address_only: bool  # the VTEP is known from the OpenFlow connection alone
    heard_at: VtepIp | None  # where probes found its tunnels' end
    vms: int
    tenants: bool  # it carries networks besides 0
    connected: bool
    address: str | None = None  # whence it connects
    has_patch: bool = True
    tunnel_ports: tuple[str, ...] = ()
    unproven: tuple[str, ...] = ()
    keyless: tuple[str, ...] = ()
    rejected: int = 0
    rejection: str = ""
    meters: bool = True
    nd: bool = True
    drift: tuple[float, int, int] | None = None  # when last, flows missing, extra
    contested: bool = False
    emptied: bool = False
    shed: tuple[float, int, str] | None = None  # when last, how many so far, from whom
    ports_s: int | None = None
    in_band: bool | None = None

    @property
    def called(self) -> str:
        return self.name or self.dpid_text

    @property
    def dpid_text(self) -> str:
        return str(self.dpid)

    def declare(self, vtep: str) -> str:
        """The command that declares its VTEP; what else is declared stays."""
        name = "" if self.name is None else f" --name {quoted(self.name)}"
        return f"vxlanctl host declare {self.dpid_text}{name} --vtep {vtep}"


@dataclass(frozen=True, slots=True)
class StoreEvidence:
    """The store; ``trouble``: why it takes no writes; ``stalled_s``: for how long one has hung."""

    described: str
    free_bytes: int | None = None
    trouble: str | None = None
    stalled_s: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """The fabric as it is now. ``target``: what a host's set-controller names."""

    topology: Topology
    hosts: list[HostEvidence]
    tunnels: list[TunnelStatus]
    sessions: Sessions
    sightings: list[Sighting]
    flapping: list[tuple[int, int, bool]]  # (VNI, MAC, or IP where it is a virtual one)
    store: StoreEvidence
    patch_name: str
    tunnel_globs: tuple[str, ...]
    learn_limits: tuple[int, int]  # of a host, of a network
    target: str
    now_s: float
    held: tuple[tuple[Dpid, str], ...] = ()  # switches that are HELD, and whence they connect

    @property
    def connected(self) -> list[HostEvidence]:
        return [host for host in self.hosts if host.connected]

    @property
    def controller_ip(self) -> str:
        return self.target.split(":")[1]

    def called(self, place: Location) -> str:
        """A host's name, or its dpid; a foreign VTEP's name, or its address."""
        if isinstance(place, Foreign):
            vtep = self.topology.vteps.get(place.vtep)
            return str(place) if vtep is None or vtep.name is None else vtep.name
        host = self.topology.hosts.get(place)
        return str(place) if host is None or host.name is None else host.name

    def network(self, vni: int) -> str:
        """A network as one speaks of it."""
        network = self.topology.networks.get(vni)
        name = None if network is None else network.name
        return f"network {vni if name is None else name}"


def quoted(text: str) -> str:
    """As a shell wants it."""
    return shlex.quote(text)
