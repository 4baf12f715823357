"""How fast one empty bridge is filled, beside what a plain socket and ovs-ofctl reach."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import world
from bench.harness import Broken, Medians, Report, Scale
from bench.openflow import Session, bridge
from controller.wire import encode
from topology.lab import Fabric, LabHost
from topology.lab.command import run

TITLE = "Flows into one empty bridge"

VMS = 33_333
SHORT_VMS = 300
FLOWS_PER_VM = 3
_DPID = "00000000000000b1"
_OURS, _RAW, _RAW_BUNDLE = "ours", "raw socket, flow-mods and a barrier", "raw socket, one bundle"
_BUNDLE, _PLAIN = "ovs-ofctl --bundle add-flows", "ovs-ofctl add-flows"
_UNIT = "flows/s"


def measure(scale: Scale, report: Report) -> None:
    vms = SHORT_VMS if scale.short else VMS
    with world.fabric(hosts=1) as one:
        (host,) = one.lab.hosts
        world.declare_ghost(one)
        world.answer(one.rest.put("/v1/networks/0", {"hosts": "all"}))
        _fresh_bridge(host)
        world.declare(one, host)
        world.register(one, world.spread(vms, [0], [world.GHOST]))
        sent, dump = _record(one, host)
        flows = dump.read_text(encoding="ascii").count("\n")
        if flows < vms * FLOWS_PER_VM:
            raise Broken(f"{flows} flows for {vms} VMs")
        report.note(f"{flows:,} flows, {sum(map(len, sent)):,} bytes of flow-mods")
        _compare(one, scale, report, flows, sent, dump)


def _compare(
    one: Fabric, scale: Scale, report: Report, flows: int, sent: Sequence[bytes], dump: Path
) -> None:
    (host,) = one.lab.hosts
    before, adds = _parted(sent)
    plain = before + b"".join(adds)
    bundle = before + b"".join(encode.bundle(7, adds, 7))

    def timed(series: str, fill: Callable[[], float]) -> None:
        _fresh_bridge(host)
        before_s = world.cpu_s(host)
        took_s = fill()
        used_s = world.cpu_s(host) - before_s
        if (held := world.flow_count(host)) != flows:
            raise Broken(f"{series}: {held} of {flows} flows are there")
        report.sample(series, flows / took_s, _UNIT)
        report.sample(f"{series}: ovs-vswitchd", used_s, "CPU s")

    for turn in range(scale.rounds):
        timed(_OURS, lambda: _ours(one, host))
        timed(_RAW, lambda: _raw(one, host, plain))
        timed(_RAW_BUNDLE, lambda: _raw(one, host, bundle))
        timed(_BUNDLE, lambda: _ofctl(host, before, "--bundle", dump))
        if turn == 0:
            timed(_PLAIN, lambda: _ofctl(host, before, "", dump))

    def of_limit(medians: Medians) -> float:
        return medians[_OURS] / max(medians[_RAW], medians[_RAW_BUNDLE])

    report.goal("of the raw socket's better rate", of_limit, at_least=0.7)
    report.goal(f"against {_BUNDLE}", lambda m: m[_OURS] / m[_BUNDLE], at_least=1.0)


def _record(one: Fabric, host: LabHost) -> tuple[list[bytes], Path]:
    """Let the controller fill the bridge: what it sent, and the dump that ovs-ofctl reads back."""
    with world.proxy(one, keep=True) as proxy:
        world.point(host, proxy.target)
        world.wait_live(one, [_DPID])
        dump = one.controller.log.with_name("flows.txt")
        lines = host.dump_flows(stats=False)
        dump.write_text("\n".join(lines) + "\n", encoding="ascii")
        return proxy.sent, dump


def _parted(sent: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """(groups and meters, which a bundle cannot hold; flow-mods)."""
    adds = [message for message in sent if message[1] == encode.FLOW_MOD]
    return b"".join(message for message in sent if message[1] != encode.FLOW_MOD), adds


def _ours(one: Fabric, host: LabHost) -> float:
    world.wait(lambda: world.state(one, _DPID) == "DISCONNECTED", "disconnected")
    world.point(host, one.controller.target)
    return world.wait_live(one, [_DPID]) - world.connected_s(host)


def _raw(one: Fabric, host: LabHost, data: bytes) -> float:
    """A controller that only says hello and sends these bytes, until its barrier is answered."""
    with socket.create_server((one.lab.controller_ip, 0)) as server:
        server.settimeout(30)
        ip, port = server.getsockname()
        world.point(host, f"tcp:{ip}:{port}")
        switch, _address = server.accept()
        with Session(switch) as session:
            session.finish(data)
            return time.monotonic() - world.connected_s(host)


def _ofctl(host: LabHost, before: bytes, how: str, dump: Path) -> float:
    with bridge(host.ovs.rundir) as session:
        session.finish(before)
    argv = ["ovs-ofctl", "-O", "OpenFlow13", *([how] if how else []), "add-flows", "br-tun"]
    began_s = time.monotonic()
    run(*argv, str(dump), env=host.ovs.env, timeout_s=300)
    return time.monotonic() - began_s


def _fresh_bridge(host: LabHost) -> None:
    """br-tun anew, with the same name, dpid and ports, and nothing in it."""
    host.vsctl("--if-exists", "del-br", "br-tun")
    world.settle(host)
    host.vsctl(
        *("add-br", "br-tun", "--", "set", "bridge", "br-tun", "datapath_type=netdev"),
        *("fail_mode=secure", "other_config:disable-in-band=true", "protocols=OpenFlow13"),
        *(f"other_config:datapath-id={_DPID}", "--", "add-port", "br-tun", "patch-tun"),
        *("--", "set", "interface", "patch-tun", "type=patch", "options:peer=patch-int"),
        *("--", "add-port", "br-tun", "vxlan0", "--", "set", "interface", "vxlan0"),
        *("type=vxlan", "options:remote_ip=flow", "options:key=flow"),
    )
