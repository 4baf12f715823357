"""Who may be which host: certificates, and datapath ids that nobody declared.

Held is a switch that is unknown where the operator wants to know each: it stays connected and is
left as it is. It has no replica, so that nothing is sent to it, nothing that it says is believed,
and nobody counts it as a VTEP; nor is it a fact, so that nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from controller import certificates
from controller.certificates import Certificate
from controller.events import Connected, Lost, Received
from controller.wire.decode import PortStatus
from topology.model import Topology
from topology.types import Dpid

HELD_MAX: Final = 256
HELD_PORTS_MAX: Final = 4096
_GONE: Final = 1  # OFPPR_DELETE, OpenFlow 1.3.5, 7.4.3


class Identities:
    """The rules, and the switches that are held."""

    def __init__(self, topology: Topology, *, hold: bool, bind: bool) -> None:
        self._topology = topology
        self._hold_unknown, self._must_bind = hold, bind
        self._held: dict[int, Connected] = {}

    @property
    def held(self) -> Mapping[int, Connected]:
        """Those that are held, by dpid, as they connected."""
        return self._held

    def objection(self, dpid: int, certificate: Certificate | None) -> str | None:
        """Why whoever presents this certificate may not connect as this host; None if it may."""
        host = self._topology.hosts.get(dpid)
        bound = None if host is None else host.certificate
        found = certificates.objection(dpid, certificate, bound, must_bind=self._must_bind)
        if found is not None or not self.is_to_be_held(dpid) or dpid in self._held:
            return found
        full = f"nobody declared it, and {HELD_MAX} such switches are held already"
        return full if len(self._held) >= HELD_MAX else None

    def hold(self, event: Connected) -> bool:
        """Hold a switch that nobody declared; False if it is not to be held."""
        if not self.is_to_be_held(event.dpid):
            return False
        self._held[event.dpid] = event
        return True

    def heard(self, event: Received) -> None:
        """Keep the ports of a held switch as they are: a takeover begins with them."""
        held = self._held.get(event.dpid)
        if held is None or held.epoch != event.epoch or not isinstance(event.message, PortStatus):
            return
        port, ports = event.message.port, dict(held.ports)
        if event.message.reason == _GONE:
            ports.pop(port.number, None)
        elif port.number in ports or len(ports) < HELD_PORTS_MAX:
            ports[port.number] = port.name
        self._held[event.dpid] = replace(held, ports=ports)

    def release(self, dpid: int) -> Connected | None:
        """Hold it no longer; as it is connected now, if it was held."""
        return self._held.pop(dpid, None)

    def lost(self, event: Lost) -> None:
        held = self._held.get(event.dpid)
        if held is not None and held.epoch == event.epoch:
            del self._held[event.dpid]

    def is_to_be_held(self, dpid: int) -> bool:
        """Whether this is nobody's host, where each is to be declared first."""
        return self._hold_unknown and dpid not in self._topology.hosts


def why_held(dpid: int) -> str:
    """What a held host waits for, in words."""
    return f"nobody declared it; vxlanctl host declare {Dpid(dpid)} takes it over"
