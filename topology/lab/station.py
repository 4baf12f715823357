"""A station: an interface with a MAC and addresses in a namespace, and what one does there."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from topology.lab import netns
from topology.lab.command import run
from topology.lab.frame import garp, na
from topology.lab.ping import Ping, PingResult, start
from topology.lab.process import Processes


class Station:
    """ip, ip6 and mac as text, an address that is not there is ""; link: its interface in netns.

    address, address6: with prefix length. vni: the network it is in.
    """

    _pings = itertools.count(1)

    def __init__(
        self,
        name: str,
        address: str,
        mac: str,
        netns_name: str,
        link: str,
        rundir: Path,
        processes: Processes,
    ) -> None:
        self.name = name
        self.address = address
        self.address6 = ""
        self.mac = mac
        self.netns = netns_name
        self.link = link
        self.vni = 0
        self._rundir = rundir
        self._processes = processes

    @property
    def ip(self) -> str:
        return self.address.partition("/")[0]

    @property
    def ip6(self) -> str:
        return self.address6.partition("/")[0]

    @property
    def ips(self) -> list[str]:
        """All its addresses."""
        return [ip for ip in (self.ip, self.ip6) if ip]

    def exec(self, *argv: str, check: bool = True, timeout_s: float = 30.0) -> str:
        """Run a command where the station lives; gives its standard output."""
        return run(*netns.argv_in(self.netns, argv), check=check, timeout_s=timeout_s)

    def ping_start(
        self, ip: str, count: int | None = None, interval_s: float = 0.1, timeout_s: float = 1.0
    ) -> Ping:
        """Ping in the background, until finish() if count is None; timeout_s per packet."""
        log = self._rundir / f"ping-{self.name}-{next(self._pings)}.out"
        return start(self.netns, log, self._processes, ip, count, interval_s, timeout_s, self.link)

    def ping(
        self, ip: str, count: int = 3, interval_s: float = 0.2, timeout_s: float = 1.0
    ) -> PingResult:
        """Ping and wait for the result."""
        whole_s = count * (interval_s + 0.05) + timeout_s + 10
        return self.ping_start(ip, count, interval_s, timeout_s).wait(whole_s)

    def flush_arp(self) -> None:
        """Forget every neighbour, of IPv4 and IPv6."""
        netns.ip(self.netns, f"neigh flush dev {self.link} nud all")

    def send_frames(self, frames: Iterable[bytes]) -> None:
        """Send raw Ethernet frames from the station's interface."""
        netns.send_frames(self.netns, self.link, frames)

    def send_garp(self) -> None:
        """Announce the address by a gratuitous ARP request."""
        self.send_frames([garp(self.mac, self.ip)])

    def send_na(self) -> None:
        """Announce the IPv6 address by an unsolicited neighbour advertisement."""
        self.send_frames([na(self.mac, self.ip6)])

    def set_link(self, up: bool) -> None:
        netns.ip(self.netns, f"link set {self.link} {'up' if up else 'down'}")

    def add_addresses(self, dad: bool = False) -> None:
        """Put the addresses on the interface; without `dad` the IPv6 one is good at once."""
        if self.address:
            netns.ip(self.netns, f"addr add {self.address} dev {self.link}")
        if self.address6:
            quick = "" if dad else " nodad"
            netns.ip(self.netns, f"addr add {self.address6} dev {self.link}{quick}")
