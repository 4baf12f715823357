"""Faults, each with what it may cost: streams that it does not expose must lose nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from bench.soak.world import Stream, World
from topology.lab import LabHost, VmNs
from topology.lab.wire import Impairment

During: TypeAlias = Callable[[], None]


@dataclass(frozen=True)
class Fault:
    """``run(during)`` brings it about, calls during(), and takes it back.

    exposed: whether a stream may lose packets by it. drifts: whether flows change behind the
    controller's back, which it is to notice. ends_process: of the controller.
    """

    text: str
    run: Callable[[During], None]
    exposed: Callable[[Stream], bool]
    drifts: bool = False


Maker: TypeAlias = Callable[[World, random.Random], Fault]


def _nobody(_stream: Stream) -> bool:
    return False


def nothing(_world: World, _random: random.Random) -> Fault:
    """No fault at all: what the machine itself costs shows here."""

    def run(during: During) -> None:
        during()
        time.sleep(1.0)

    return Fault("no fault", run, _nobody)


def controller_killed(world: World, random: random.Random) -> Fault:
    """kill -9, and started again."""
    down_s = random.uniform(0.0, 2.0)

    def run(during: During) -> None:
        world.fabric.controller.kill()
        during()
        time.sleep(down_s)
        world.fabric.controller.start(60)

    return Fault(f"controller killed, down for {down_s:.1f} s", run, _nobody)


def controller_killed_at_work(world: World, random: random.Random) -> Fault:
    """kill -9 amid writes, and twice again while it takes its switches over."""
    pauses_s = [random.uniform(0.0, 0.6) for _ in range(2)]

    def run(during: During) -> None:
        during()
        for pause_s in pauses_s:
            world.fabric.controller.kill()
            world.fabric.controller.start(60)
            time.sleep(pause_s)
        world.fabric.controller.kill()
        world.fabric.controller.start(60)

    return Fault("controller killed three times in a row", run, _nobody)


def controller_stopped(world: World, random: random.Random) -> Fault:
    """SIGSTOP for longer than a switch waits for an echo, or shorter."""
    for_s = random.choice((1.0, 4.0, 17.0))

    def run(during: During) -> None:
        world.fabric.controller.pause()
        try:
            time.sleep(for_s)
        finally:
            world.fabric.controller.resume()
        during()

    return Fault(f"controller stopped for {for_s:.0f} s", run, _nobody)


def sessions_cut(world: World, _random: random.Random) -> Fault:
    """Every switch drops its OpenFlow session and connects again."""

    def run(during: During) -> None:
        for host in world.lab.hosts:
            host.appctl("bridge/reconnect", "br-tun")
        during()

    return Fault("all OpenFlow sessions cut", run, _nobody)


def switch_killed(world: World, random: random.Random) -> Fault:
    """kill -9 of ovs-vswitchd: its flows are gone."""
    host, down_s = random.choice(world.lab.hosts), random.uniform(0.0, 1.0)

    def run(during: During) -> None:
        host.stop_vswitchd()
        during()
        time.sleep(down_s)
        host.start_vswitchd()

    return Fault(f"ovs-vswitchd of {host.name} killed", run, lambda s: s.touches(host), drifts=True)


def switch_stopped(world: World, random: random.Random) -> Fault:
    """SIGSTOP of ovs-vswitchd: it neither reads nor forwards."""
    host, for_s = random.choice(world.lab.hosts), random.uniform(0.5, 3.0)

    def run(during: During) -> None:
        host.pause()
        try:
            during()
            time.sleep(for_s)
        finally:
            host.resume()

    text = f"ovs-vswitchd of {host.name} stopped for {for_s:.1f} s"
    return Fault(text, run, lambda s: s.touches(host))


def database_killed(world: World, random: random.Random) -> Fault:
    """kill -9 of ovsdb-server: when it is back, Open vSwitch looks at everything anew."""
    host = random.choice(world.lab.hosts)

    def run(during: During) -> None:
        host.ovs.stop_ovsdb()
        during()
        time.sleep(1.0)
        host.ovs.start_ovsdb()

    return Fault(f"ovsdb-server of {host.name} killed", run, lambda s: s.touches(host))


def cable_pulled(world: World, random: random.Random) -> Fault:
    """A host's underlay, OpenFlow among it, is away for a while."""
    host, for_s = random.choice(world.lab.hosts), random.uniform(0.5, 6.0)

    def run(during: During) -> None:
        host.set_uplink(False)
        try:
            during()
            time.sleep(for_s)
        finally:
            host.set_uplink(True)

    text = f"cable of {host.name} pulled for {for_s:.1f} s"
    return Fault(text, run, lambda s: s.touches(host))


def cable_bad(world: World, random: random.Random) -> Fault:
    """A host's frames get lost, late, doubled and out of order, its OpenFlow among them."""
    host = random.choice(world.lab.hosts)
    how = Impairment(
        loss=random.choice((0.02, 0.2)),
        delay_ms=random.choice((0.0, 50.0, 150.0)),
        duplicate=0.02,
        reorder=0.1,
        seed=random.randrange(1 << 30),
    )

    def run(during: During) -> None:
        with world.lab.impaired(host, how):
            during()
            time.sleep(4.0)

    text = f"cable of {host.name}: {how.loss:.0%} lost, {how.delay_ms:.0f} ms late"
    return Fault(text, run, lambda s: s.touches(host))


def tunnel_port_made_anew(world: World, random: random.Random) -> Fault:
    """A tunnel port goes, and comes back with another number."""
    host = random.choice(world.lab.hosts)
    name = random.choice([name for name in host.ports if name.startswith("vxlan")])

    def run(during: During) -> None:
        remote = host.vsctl("get", "interface", name, "options:remote_ip").strip().strip('"')
        key = ["options:key=flow"] if remote == "flow" else []
        host.vsctl("del-port", "br-tun", name)
        during()
        host.vsctl(
            *("add-port", "br-tun", name, "--", "set", "interface", name, "type=vxlan"),
            *(f"options:remote_ip={remote}", *key, f"ofport_request={random.randint(20, 60)}"),
        )

    return Fault(f"port {name} of {host.name} made anew", run, lambda s: s.touches(host))


def patch_port_made_anew(world: World, random: random.Random) -> Fault:
    """br-tun's port towards br-int goes, and comes back with another number."""
    host, number = random.choice(world.lab.hosts), random.randint(70, 90)

    def run(during: During) -> None:
        host.vsctl("del-port", "br-tun", "patch-tun")
        during()
        host.vsctl(
            *("add-port", "br-tun", "patch-tun", "--", "set", "interface", "patch-tun"),
            *("type=patch", "options:peer=patch-int", f"ofport_request={number}"),
        )

    return Fault(f"patch port of {host.name} made anew", run, lambda s: s.touches(host))


def vm_unplugged(world: World, random: random.Random) -> Fault:
    """A VM's port on br-int goes and comes back."""
    vm = random.choice(world.vms)

    def run(during: During) -> None:
        vm.host.vsctl("del-port", "br-int", vm.port)
        during()
        vm.plug()

    return Fault(f"VM {vm.name} unplugged", run, _touches(vm))


def flows_tampered(world: World, random: random.Random) -> Fault:
    """Somebody deletes a host's flows of one table, and adds one of his own."""
    host, table = random.choice(world.lab.hosts), random.choice((1, 2, 20, 21, 30))

    def run(during: During) -> None:
        host.ofctl("del-flows", "br-tun", f"table={table}")
        host.ofctl("add-flow", "br-tun", "table=20,priority=77,dl_type=0x88cc,actions=drop")
        during()

    text = f"flows of table {table} of {host.name} deleted"
    return Fault(text, run, lambda s: s.touches(host), drifts=True)


def _touches(vm: VmNs) -> Callable[[Stream], bool]:
    return lambda stream: vm in (stream.src, stream.dst)


def moved(vm: VmNs, to: LabHost, tell: Callable[[VmNs], None]) -> Fault:
    """A VM moves to another host, which is told by REST."""

    def run(during: During) -> None:
        vm.move_to(to)
        tell(vm)
        during()

    return Fault(f"VM {vm.name} moved to {to.name}", run, _touches(vm))


MAKERS: dict[str, Maker] = {
    maker.__name__: maker
    for maker in (
        nothing,
        sessions_cut,
        controller_stopped,
        controller_killed,
        controller_killed_at_work,
        switch_killed,
        switch_stopped,
        database_killed,
        cable_pulled,
        cable_bad,
        tunnel_port_made_anew,
        patch_port_made_anew,
        vm_unplugged,
        flows_tampered,
    )
}

KILLS = ("controller_killed", "controller_killed_at_work")
"""Faults after which memory begins anew: none of these in the second half of a soak."""
