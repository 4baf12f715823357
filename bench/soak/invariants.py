"""What must hold at every quiet point, looked at from outside the controller."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import partial

from bench.soak.facts import Facts
from bench.soak.failed import Failed
from bench.soak.world import LEARN_TIMEOUT_S, World
from controller.pipeline import (
    ASK_METER,
    ASKED_METER,
    CLAIM_METER,
    CONVERSATION_METER,
    DHCP_METER,
    LEARN_METER,
    LEARNED_KINDS,
    METER_SHARDS,
    NEIGHBOUR_METER,
    PROBE_METER,
    SOURCE_KINDS,
    STRAY_METER,
    cookie_kind,
)
from topology.lab import LabError, LabHost

SETTLED_WITHIN_S = 90.0
"""A host that was away comes back by Open vSwitch's back-off, 8 s at most; a busy machine adds."""

RIGHT_WITHIN_S = 20.0
LEFT_FOR_S = 3 * LEARN_TIMEOUT_S
_AGE = re.compile(r"cookie=(0x[0-9a-f]+), duration=([\d.]+)s")
_GROUP = re.compile(r"group_id=(\d+)")
_USES = re.compile(r"group:(\d+)")
_METER = re.compile(r"\bmeter=(\d+)")
_SHARED_METERS = (
    LEARN_METER,
    NEIGHBOUR_METER,
    ASKED_METER,
    CONVERSATION_METER,
    DHCP_METER,
    CLAIM_METER,
)
METERS = {PROBE_METER, ASK_METER, STRAY_METER} | {
    first + shard for first in _SHARED_METERS for shard in range(METER_SHARDS)
}
_COMPLAINT = re.compile(r"Traceback|\bERROR\b|Exception")


def settle(world: World) -> float:
    """Wait until every host is LIVE and its tunnels are known; the seconds that took."""
    began_s = time.monotonic()
    try:
        world.fabric.wait_settled(SETTLED_WITHIN_S)
    except (LabError, ValueError, OSError) as error:
        raise Failed(f"not settled: {error}") from error
    return time.monotonic() - began_s


def all_reach(world: World) -> None:
    """Whoever is to reach whom does."""
    left = [stream for stream in world.streams() if stream.src is not None]
    deadline_s = time.monotonic() + RIGHT_WITHIN_S
    while left:
        pings = [
            (stream, stream.src.ping_start(stream.ip, 1, 0.2, 1.0)) for stream in left if stream.src
        ]
        left = [stream for stream, ping in pings if not ping.wait(10).ok]
        if left and time.monotonic() > deadline_s:
            raise Failed(f"not reached after {RIGHT_WITHIN_S:.0f} s: {', '.join(map(str, left))}")


def installed_is_desired(world: World) -> None:
    """Each switch's own dump holds the flows that the controller says it should, and no others.

    Flows of learned MACs come and go by themselves, so that a comparison may have to be repeated.
    """
    for host in world.lab.hosts:
        _soon(partial(_unlike, world, host), f"flows of {host.name}")
        _soon(partial(loose_ends, host), f"groups of {host.name}")
        diff = world.fabric.rest.get(f"/v1/hosts/{world.dpids[host]}/diff")
        if diff.status != 200 or not diff["in_sync"]:
            raise Failed(f"{host.name} is not in sync: {diff.body}")


def _unlike(world: World, host: LabHost) -> list[str]:
    flows = world.fabric.rest.items(f"/v1/hosts/{world.dpids[host]}/flows")
    return differences({flow["cookie"] for flow in flows}, host)


def differences(cookies: set[str], host: LabHost) -> list[str]:
    """What the host lacks, or has beyond, of the flows with these cookies."""
    wanted = {f"0x{int(cookie, 16):x}" for cookie in cookies}
    ages = [
        (found[1], float(found[2])) for flow in host.dump_flows() if (found := _AGE.search(flow))
    ]
    there = [name for name, _age_s in ages]
    # What was learned before a controller started is left to its timeout, or to the first audits.
    left = {
        name
        for name, age_s in ages
        if cookie_kind(int(name, 16)) in LEARNED_KINDS and age_s < LEFT_FOR_S
    }
    # A learned source that is not there will be heard: that is how it is renewed.
    missing = {
        name for name in wanted - set(there) if cookie_kind(int(name, 16)) not in SOURCE_KINDS
    }
    doubled = {name for name in there if there.count(name) > 1}
    return [
        *(f"missing {name}" for name in missing),
        *(f"extra {name}" for name in set(there) - wanted - left),
        *(f"twice {name}" for name in doubled),
    ]


def loose_ends(host: LabHost) -> list[str]:
    """Groups that no flow uses, flows without their group, meters that are not ours."""
    groups = set(_GROUP.findall(host.ofctl("dump-groups", "br-tun")))
    used = {group for flow in host.dump_flows(stats=False) for group in _USES.findall(flow)}
    meters = {int(meter) for meter in _METER.findall(host.ofctl("dump-meters", "br-tun"))}
    return [
        *(f"group {group} is used by no flow" for group in groups - used),
        *(f"group {group} is not there" for group in used - groups),
        *([] if meters == METERS else [f"meters {sorted(meters ^ METERS)}"]),
    ]


def _soon(differences: Callable[[], list[str]], what: str) -> None:
    """Nothing may differ, within a while."""
    deadline_s = time.monotonic() + RIGHT_WITHIN_S
    while found := differences():
        if time.monotonic() > deadline_s:
            raise Failed(f"{what}: {'; '.join(sorted(found)[:10])}")
        time.sleep(0.3)


class Log:
    """What the controller writes: neither errors nor tracebacks, and no flood of lines."""

    LINES_PER_S = 20.0

    def __init__(self, world: World) -> None:
        self._world = world
        self._at = 0
        self._since_s = time.monotonic()

    def check(self) -> None:
        """Read what is new."""
        data = self._world.fabric.controller.log.read_bytes()
        new, self._at = data[self._at :].decode("utf-8", "replace").splitlines(), len(data)
        now_s = time.monotonic()
        seconds, self._since_s = now_s - self._since_s, now_s
        for line in new:
            if _COMPLAINT.search(line):
                raise Failed(f"the controller complains: {line}")
        if len(new) > 50 + seconds * self.LINES_PER_S:
            raise Failed(f"the controller wrote {len(new)} lines in {seconds:.0f} s: {new[-1]}")


def drifts(world: World) -> int:
    """How many flows the controller found to be other than they should."""
    return sum(world.fabric.rest.get("/v1/status")["drifts"].values())


def check(world: World, facts: Facts, log: Log) -> None:
    """All of it."""
    facts.check()
    installed_is_desired(world)
    log.check()


def named() -> Iterator[str]:
    """What is checked, for the report."""
    yield from ("facts", "flows, groups and meters by dump", "diff", "log", "answers", "reach")
