"""VMs of a fake fabric, and what a ping between two of them was."""

from __future__ import annotations

from dataclasses import dataclass, field

from controller.journey import Journey
from controller.security import link_local
from topology.types import Ip, Mac

BROADCAST = (1 << 48) - 1


@dataclass(frozen=True)
class Station:
    """A VM, wherever its frames come from now."""

    host: int  # dpid
    mac: Mac
    ip: Ip
    vni: int = 0
    vlan: int | None = None

    @property
    def ip6(self) -> Ip:
        """Its IPv6 address."""
        return Ip(0xFD00 << 112 | self.ip.low32)

    @property
    def link_local(self) -> Ip:
        """Its IPv6 link-local address."""
        return link_local(self.mac)


@dataclass(repr=False)
class Ping:
    """One cold ping: who-has, its answer, a frame there and one back."""

    ok: bool = False
    journeys: list[Journey] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self.ok

    def __repr__(self) -> str:
        steps = "\n--\n".join(map(str, self.journeys))
        return f"<Ping ok={self.ok}>\n{steps}"

    @property
    def copies(self) -> int:
        """Frames on the underlay, all together."""
        return sum(len(journey.copies) for journey in self.journeys)

    @property
    def broadcasts(self) -> int:
        """Broadcast frames on the underlay."""
        return sum(
            copy.packet.eth_dst == BROADCAST for journey in self.journeys for copy in journey.copies
        )
