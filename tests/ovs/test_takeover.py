"""A fabric that forwards by hand-made learn() flows is taken over under fire."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from topology.lab import LabError
from topology.lab.ovs import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "contrib" / "takeover.sh"
HELLO, ECHO_REQUEST, ECHO_REPLY = 0, 2, 3


class AnyController:
    """Says hello in OpenFlow 1.3, answers echoes, and otherwise lets its switches be."""

    def __init__(self, ip: str) -> None:
        self._server = socket.create_server((ip, 0), backlog=16)
        self._open: list[socket.socket] = [self._server]
        self.greeted = 0
        self.target = f"tcp:{ip}:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                switch, _address = self._server.accept()
                self._open.append(switch)
                threading.Thread(target=self._serve, args=(switch,), daemon=True).start()

    def _serve(self, switch: socket.socket) -> None:
        switch.sendall(bytes((4, HELLO, 0, 8, 0, 0, 0, 1)))
        received = b""
        with suppress(OSError):
            while data := switch.recv(65536):
                received += data
                while len(received) >= 8:
                    length = int.from_bytes(received[2:4], "big")
                    message, received = received[:length], received[length:]
                    self.greeted += message[1] == HELLO
                    if message[1] == ECHO_REQUEST:
                        switch.sendall(bytes((4, ECHO_REPLY)) + message[2:])


@pytest.fixture
def any_controller() -> Iterator[list[AnyController]]:
    made: list[AnyController] = []
    yield made
    for each in made:
        each.close()


def seeded(fabric):
    """Every pair pings by the seeds' flows."""
    fabric.lab.seed_flows()
    fabric.lab.warm_underlay()
    fabric.lab.ping_all(count=2)
    assert all(result.ok for result in fabric.lab.ping_all(count=1).values())
    assert any("learn(" in flow for flow in fabric.lab.hosts[0].dump_flows())


def lost_while(fabric, take_over) -> dict[tuple[str, str], int]:
    """Packets lost of every pair's 10 ms ping during a takeover and 1 s after it."""
    vms = fabric.lab.vms
    pings = {
        (src.name, dst.name): src.ping_start(dst.ip, interval_s=0.01)
        for src in vms
        for dst in vms
        if src is not dst
    }
    for ping in pings.values():
        ping.wait_received(50)
    take_over()
    fabric.wait_settled()
    time.sleep(1)
    return {pair: ping.finish().lost for pair, ping in pings.items()}


def assert_ours(fabric) -> None:
    """No flow is left of the seeds, and the fabric learns from the controller now."""
    fabric.wait_learned()
    for host in fabric.lab.hosts:
        assert [flow for flow in host.dump_flows() if "cookie=0x76" not in flow] == []
    assert fabric.in_sync()


def test_from_another_controller_nothing_is_lost(shape, make_fabric, any_controller):
    fabric = make_fabric(connect=False, **shape)
    lab = fabric.lab
    any_controller.append(AnyController(lab.controller_ip))
    lab.set_controller(any_controller[0].target)
    wait_until(lambda: any_controller[0].greeted == len(lab.hosts), "connected")
    seeded(fabric)

    lost = lost_while(fabric, lambda: lab.set_controller(fabric.controller.target))

    assert set(lost.values()) == {0}, lost
    assert_ours(fabric)


def test_hosts_change_over_one_after_another(shape, make_fabric, any_controller):
    """An operator's loop takes its time: hosts that are ours already reach those that are not."""
    fabric = make_fabric(connect=False, **shape)
    lab = fabric.lab
    any_controller.append(AnyController(lab.controller_ip))
    lab.set_controller(any_controller[0].target)
    wait_until(lambda: any_controller[0].greeted == len(lab.hosts), "connected")
    seeded(fabric)

    def one_by_one() -> None:
        for host in lab.hosts:
            host.set_controller(fabric.controller.target)
            time.sleep(0.5)

    lost = lost_while(fabric, one_by_one)

    assert set(lost.values()) == {0}, lost
    assert_ours(fabric)


def test_from_no_controller_the_gap_is_short(shape, make_fabric):
    """Open vSwitch itself empties such a bridge at set-controller."""
    fabric = make_fabric(connect=False, **shape)
    seeded(fabric)

    lost = lost_while(fabric, lambda: fabric.lab.set_controller(fabric.controller.target))

    # 1 to 8 where little else runs; the machine may be busy with other tests.
    assert max(lost.values()) <= 30, lost
    assert_ours(fabric)


def run_scripts(fabric, *options: str) -> None:
    for host in fabric.lab.hosts:
        host.exec(str(SCRIPT), *options, "br-tun", fabric.controller.target)


def assert_safe(lab) -> None:
    for host in lab.hosts:
        assert host.vsctl("get-fail-mode", "br-tun").strip() == "secure"
        assert "OpenFlow13" in host.vsctl("get", "bridge", "br-tun", "protocols")
        assert "disable-in-band" in host.vsctl("get", "bridge", "br-tun", "other_config")


def test_the_takeover_script_loses_nothing_of_a_secure_bridge(shape, make_fabric):
    fabric = make_fabric(connect=False, **shape)
    for host in fabric.lab.hosts:
        host.vsctl("remove", "bridge", "br-tun", "other_config", "disable-in-band")
    seeded(fabric)

    lost = lost_while(fabric, lambda: run_scripts(fabric))

    assert set(lost.values()) == {0}, lost
    assert_safe(fabric.lab)
    assert_ours(fabric)


def test_the_takeover_script_puts_the_old_flows_back_at_once(shape, make_fabric):
    """A bridge as the seeds make it: Open vSwitch flushes it as soon as it is made secure."""
    fabric = make_fabric(connect=False, **shape)
    for host in fabric.lab.hosts:
        host.vsctl("del-fail-mode", "br-tun", "--", "clear", "bridge", "br-tun", "protocols")
        host.vsctl("remove", "bridge", "br-tun", "other_config", "disable-in-band")
    seeded(fabric)

    lost = lost_while(fabric, lambda: run_scripts(fabric))

    # A host's own gap is one to three packets of 10 ms; a pair meets two hosts' gaps.
    assert max(lost.values()) <= 25, lost
    assert_safe(fabric.lab)
    fabric.wait_learned()
    wait_until(fabric.in_sync, "nothing is left of the old flows", timeout_s=30)
    assert_ours(fabric)


def test_a_service_controller_is_told_what_a_primary_one_is(make_fabric):
    """Open vSwitch tells it nothing unasked, and starts again without a primary controller."""
    fabric = make_fabric(connect=False, hosts=3, vtep_ofports=5)
    lab = fabric.lab
    run_scripts(fabric)
    fabric.wait_settled()
    assert all(result.ok for result in lab.ping_all().values())
    fabric.wait_learned()

    changed, restarted, _third = lab.hosts
    changed.vsctl("del-port", "br-tun", "vxlan0")
    wait_until(lambda: len(fabric.host(changed)["tunnel_ports"]) == 1, "told of the port")
    restarted.restart_vswitchd()
    fabric.wait_settled()
    wait_until(lambda: lab.vms[1].ping(lab.vms[2].ip, count=1).ok, "pinging again")
    fabric.controller.kill()
    fabric.controller.start()
    fabric.wait_settled()
    assert lab.vms[2].ping(lab.vms[0].ip).ok
    assert fabric.in_sync()


def test_the_takeover_script_may_be_run_again(make_fabric, any_controller):
    fabric = make_fabric(connect=False, hosts=2)
    host, _other = fabric.lab.hosts
    any_controller.append(AnyController(fabric.lab.controller_ip))
    seeded(fabric)

    def run_script(*args: str) -> str:
        return host.exec(str(SCRIPT), *args)

    run_script("br-tun", any_controller[0].target)
    run_script("--primary", "br-tun", any_controller[0].target)
    wait_until(lambda: any_controller[0].greeted == 1, "connected")
    flows = set(host.dump_flows(stats=False))
    assert any("learn(" in flow for flow in flows)
    assert "already" in run_script("br-tun", any_controller[0].target)
    assert set(host.dump_flows(stats=False)) == flows

    run_script("br-tun", fabric.controller.target)
    wait_until(lambda: not any("learn(" in flow for flow in host.dump_flows()), "taken over")
    run_script("br-tun", fabric.controller.target)
    assert "usage" in run_script("--help")
    with pytest.raises(LabError, match="exit status 1"):
        run_script("br-none", fabric.controller.target)
    with pytest.raises(LabError, match="exit status 2"):
        run_script("br-tun")


def test_groups_are_put_back_before_the_flows_that_use_them(make_fabric, any_controller):
    """The controller here does nothing: what is on the bridge is what the script put back."""
    fabric = make_fabric(connect=False, hosts=1)
    (host,) = fabric.lab.hosts
    any_controller.append(AnyController(fabric.lab.controller_ip))
    host.ofctl("add-group", "br-tun", "group_id=7,type=all,bucket=output:1,bucket=output:2")
    host.ofctl("add-group", "br-tun", "group_id=8,type=select,bucket=weight:2,group:7")
    host.ofctl("add-flow", "br-tun", "table=0,priority=9,dl_vlan=5,actions=group:8")
    before = host.ofctl("dump-groups", "br-tun").splitlines()[1:]

    said = host.exec(str(SCRIPT), "--primary", "br-tun", any_controller[0].target)

    assert "2 groups were put back" in said
    assert sorted(host.ofctl("dump-groups", "br-tun").splitlines()[1:]) == sorted(before)
    assert any("actions=group:8" in flow for flow in host.dump_flows())


@pytest.mark.parametrize("target", ["192.0.2.1:6653", "tcp:somewhere:6653", "tcp:fd00::1:6653"])
def test_a_target_is_looked_at_first(target):
    done = subprocess.run([SCRIPT, "br-tun", target], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "tcp:192.0.2.1:6653" in done.stderr


def test_no_database_is_not_no_bridge(tmp_path):
    env = {**os.environ, "OVS_RUNDIR": str(tmp_path)}
    argv = [SCRIPT, "br-tun", "tcp:[2001:db8::1]:6653"]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "database does not answer" in done.stderr
    assert "no bridge" not in done.stderr
