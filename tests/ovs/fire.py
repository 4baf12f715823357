"""A fabric under fire: pings each 10 ms, counted one by one, and every change of flows watched."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple

from controller.pipeline import LEARNED_KINDS, cookie_kind
from topology.lab import Fabric, Lab, VmNs
from topology.lab.flow_watch import FlowWatch, Update
from topology.lab.host import LabHost
from topology.lab.ovs import wait_until
from topology.lab.ping import Ping, PingResult

INTERVAL_S = 0.01
ALL_FAULTS = os.environ.get("VXLAN_FAULTS") == "all"
"""Every fault on every kind of fabric, as a release wants it; else each kind of fault once."""


class Stream(NamedTuple):
    """Who pings whom, by which address."""

    src: str
    dst: str
    ip: str


class Fire:
    """``results`` and ``deleted`` are there when it has ceased."""

    def __init__(self, pings: dict[Stream, Ping], watches: dict[LabHost, FlowWatch]) -> None:
        self._pings = pings
        self._watches = watches
        self._before = {host: cookies(host) for host in watches}
        self.results: dict[Stream, PingResult] = {}
        self.deleted: dict[str, list[Update]] = {}
        self.good_deleted: dict[str, list[Update]] = {}

    def cease(self) -> None:
        self.results = {stream: ping.finish() for stream, ping in self._pings.items()}
        for host, watch in self._watches.items():
            deleted = watch.deleted()
            good = self._before[host] & cookies(host)
            self.deleted[host.name] = deleted
            self.good_deleted[host.name] = [gone for gone in deleted if gone.cookie in good]

    @property
    def lost(self) -> dict[Stream, int]:
        """Streams that lost packets, and how many."""
        return {stream: result.lost for stream, result in self.results.items() if result.lost}

    @property
    def longest_outage_s(self) -> float:
        return max(result.longest_outage_s for result in self.results.values())

    @property
    def wrongs(self) -> list[str]:
        """Good flows that were deleted for a moment, on any host; learned ones come and go."""
        return [
            f"{name}: {gone.text}"
            for name, all_ in self.good_deleted.items()
            for gone in all_
            if "hard_timeout=" not in gone.text
        ]


def cookies(host: LabHost) -> set[str]:
    """Of all flows of br-tun."""
    return {word[7:-1] for flow in host.dump_flows() for word in flow.split() if "cookie=" in word}


def solid(names: Iterable[str]) -> set[str]:
    """Those that no timeout ends: a controller leaves what others had learned to theirs."""
    return {name for name in names if cookie_kind(int(name, 16)) not in LEARNED_KINDS}


def dual_stack(lab: Lab, count: int | None = None) -> list[VmNs]:
    """A VM with IPv4 and IPv6 on each host (or ``count`` of them, in turns)."""
    hosts = len(lab.hosts)
    return [
        lab.add_vm(index % hosts, lab.addressing.vm(index), ip6=f"fd00::{index + 2:x}")
        for index in range(hosts if count is None else count)
    ]


def pairs(vms: Iterable[VmNs]) -> Iterator[tuple[VmNs, VmNs, str]]:
    """Everybody and the next one, by IPv4 and by IPv6."""
    ring = list(vms)
    for src, dst in zip(ring, [*ring[1:], ring[0]], strict=True):
        yield from ((src, dst, ip) for ip in dst.ips)


def all_reach(fabric: Fabric) -> None:
    """Return when everybody reaches the next one, by IPv4 and by IPv6."""
    for src, dst, ip in pairs(fabric.lab.vms):
        what = f"{src.name} reaches {dst.name}"
        wait_until(partial(_pings, src, ip), what, 20)


def _pings(src: VmNs, ip: str) -> bool:
    return src.ping(ip, 1, timeout_s=0.5).ok


@contextmanager
def fire(
    fabric: Fabric,
    streams: Iterable[tuple[VmNs, VmNs, str]],
    *,
    watched: Iterable[LabHost] | None = None,
    settle_s: float = 0.5,
) -> Iterator[Fire]:
    """Pings that run while the block does, and settle_s longer."""
    lab = fabric.lab
    with ExitStack() as stack:
        watches = {
            host: stack.enter_context(lab.watch_flows(host))
            for host in (lab.hosts if watched is None else watched)
        }
        pings = {
            Stream(src.name, dst.name, ip): src.ping_start(ip, interval_s=INTERVAL_S)
            for src, dst, ip in streams
        }
        one = Fire(pings, watches)
        for ping in pings.values():
            ping.wait_received(20)
        yield one
        time.sleep(settle_s)
        one.cease()
