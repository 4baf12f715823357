"""The OpenFlow port under attack: others are served, memory and log stay small, nothing ends."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.wire import encode
from tests.apps.process import BIN, ROOT, Running, running
from tests.apps.switches import Bare, Good, features, hello, ports_reply

HELD = {1: "patch-tun", 2: "vxlan0"}
MEMORY_MAX_KB = 20 * 1024
SWITCHES = int(os.environ.get("VXLAN_RECONNECTS", "60"))


def until(true: Callable[[], bool], limit_s: float = 60.0) -> bool:
    """Wait for something; whether it came true."""
    end_s = time.monotonic() + limit_s
    while not true():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.05)
    return True


def memory_kb(controller: Running) -> int:
    status = Path(f"/proc/{controller.child.pid}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0])


def refused(controller: Running, reason: str) -> int:
    """How many connections were counted as refused for this."""
    name = f'vxlan_l2_openflow_refused_total{{reason="{reason}"}} '
    lines = controller("GET", "/metrics").body.splitlines()
    return sum(int(float(line.rpartition(" ")[2])) for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def controller(tmp_path_factory):
    with running(tmp_path_factory.mktemp("front")) as one:
        yield one


@pytest.fixture
def good(controller):
    """A switch that is served all along."""
    with Good(controller.openflow_port, 0xA1) as one:
        assert one.has_asked(2), one.gone
        yield one
        assert one.has_asked(2), one.gone
        assert controller.child.poll() is None


def test_a_storm_of_bad_connections_leaves_few_lines(controller, good):
    before, memory = len(controller.log.splitlines()), memory_kb(controller)
    told = refused(controller, "not_openflow")
    for _ in range(2000):
        with Bare(controller.openflow_port, timeout_s=30) as bare:
            bare.send(b"GET / HTTP/1.1\r\n\r\n")
            assert bare.is_closed()
    assert refused(controller, "not_openflow") == told + 2000
    assert until(lambda: "more connections were refused or closed" in controller.log)
    assert len(controller.log.splitlines()) - before < 60
    assert memory_kb(controller) - memory < MEMORY_MAX_KB


def test_a_second_switch_with_a_dpid_is_refused_while_the_first_answers(controller, good):
    said = len(controller.log)
    with Bare(controller.openflow_port, source="127.0.0.2") as second:
        assert second.shake_hands(0xA1)
        assert second.is_closed()
    assert controller("GET", "/v1/hosts/00000000000000a1").body["connected"]
    log = controller.log[said:]
    line = next(line for line in log.splitlines() if "is in use by" in line)
    assert "127.0.0.2:" in line
    assert "in use by 127.0.0.1:" in line
    assert "datapath-id" in line
    assert "DISCONNECTED" not in log
    assert refused(controller, "duplicate") == 1


def test_a_dead_first_connection_gives_way(controller, good):
    """As after a host's power loss: nobody answers on the first connection any more."""
    with Bare(controller.openflow_port) as dead, Bare(controller.openflow_port) as anew:
        assert dead.shake_hands(0xA2)
        assert dead.until(encode.MULTIPART_REQUEST)  # it was let in, and says no more
        assert anew.shake_hands(0xA2)
        assert anew.is_served()
        assert dead.is_closed()
        assert controller("GET", "/v1/hosts/00000000000000a2").body["connected"]
    lines = [line for line in controller.log.splitlines() if "00000000000000a2" in line]
    lost = next(n for n, line in enumerate(lines) if "DISCONNECTED" in line)
    came = [n for n, line in enumerate(lines) if " connected from" in line]
    assert came[0] < lost < came[1]


def test_several_newcomers_and_those_who_leave(controller, good):
    """Of those that wait for a dead one's place one gets it; those that have left do not."""
    with contextlib.ExitStack() as stack:
        dead, left = (stack.enter_context(Bare(controller.openflow_port)) for _ in range(2))
        assert dead.shake_hands(0xA3)
        assert dead.until(encode.MULTIPART_REQUEST)
        assert left.shake_hands(0xA3)
        others = [stack.enter_context(Good(controller.openflow_port, 0xA3)) for _ in range(3)]
        left.close()
        assert until(lambda: sum(other.gone is not None for other in others) == 2)
        (served,) = (other for other in others if other.gone is None)
        assert served.has_asked(2), served.gone
        served.stop()
        dead.close()
        assert until(lambda: not controller("GET", "/v1/hosts/00000000000000a3").body["connected"])


def test_the_first_one_hanging_up_lets_the_second_one_in(controller, good):
    with Bare(controller.openflow_port) as first, Bare(controller.openflow_port) as second:
        assert first.shake_hands(0xA4)
        assert first.until(encode.MULTIPART_REQUEST)
        assert second.shake_hands(0xA4)
        first.close()
        assert second.is_served()


def test_who_drips_bytes_gets_no_more_time(tmp_path):
    with running(tmp_path) as controller, Good(controller.openflow_port, 0xA1) as good:
        began_s = time.monotonic()
        with Bare(controller.openflow_port) as before, Bare(controller.openflow_port) as live:
            assert live.shake_hands(0xB1)
            assert live.until(encode.MULTIPART_REQUEST)
            live.socket.setblocking(False)
            before.socket.setblocking(False)
            long = encode.message(encode.ECHO_REQUEST, 1, bytes(60000))
            ended: dict[str, float] = {}
            for byte in long[:400]:
                for name, drip in (("before", before), ("live", live)):
                    if name not in ended and not drips(drip, byte):
                        ended[name] = time.monotonic() - began_s
                if len(ended) == 2:
                    break
                time.sleep(0.15)
        assert ended.keys() == {"before", "live"}
        assert good.has_asked(2), good.gone
        # A busy process gives a handshake more time; then its silence ends it.
        assert refused(controller, "handshake") + refused(controller, "silent") >= 2


def drips(bare: Bare, byte: int) -> bool:
    """Send one byte; False when the other end has closed."""
    try:
        bare.socket.send(bytes((byte,)))
        return bool(bare.socket.recv(65536))
    except BlockingIOError:
        return True
    except OSError:
        return False


def test_running_out_of_files_is_survived(tmp_path):
    """Whoever is there is served all along; newcomers are once there is room again."""
    argv = few_files(tmp_path, 120)
    with running(tmp_path, argv=argv) as controller, Good(controller.openflow_port, 0xA1) as good:
        assert good.has_asked(2), good.gone
        idle = []
        for _ in range(150):
            with contextlib.suppress(OSError):
                idle.append(socket.create_connection(("127.0.0.1", controller.openflow_port), 5))
        assert good.has_asked(3), good.gone
        with Bare(controller.openflow_port) as late:
            assert late.shake_hands(0xA2)
            assert late.is_served()
        for one in idle:
            one.close()
        assert good.has_asked(3), good.gone
        assert controller.child.poll() is None
        assert controller("GET", "/readyz").status == 200
        assert refused(controller, "evicted") > 0


def few_files(directory: Path, most: int) -> tuple[str, str]:
    """How to start the controller where so few files may be open."""
    start = directory / "start"
    start.write_text(f'#!/bin/sh\nulimit -n {most}\nexec {BIN / "ryu-manager"} "$@"\n')
    start.chmod(0o755)
    return str(start), str(ROOT / "apps" / "vxlan_l2.py")


def test_one_address_cannot_keep_others_out(tmp_path):
    options = {"connections_max": 40, "connections_per_address_max": 30}
    with running(tmp_path, options) as controller, contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(Bare(controller.openflow_port, source="127.0.0.9"))
        with Good(controller.openflow_port, 0xA1, source="127.0.0.2") as good:
            assert good.has_asked(2), good.gone
        assert refused(controller, "evicted") >= 30


def test_no_more_than_so_many(tmp_path):
    options = {"connections_max": 12, "connections_per_address_max": 8}
    with running(tmp_path, options) as controller, contextlib.ExitStack() as stack:

        def live(dpid: int, source: str) -> bool:
            bare = stack.enter_context(Bare(controller.openflow_port, source))
            with contextlib.suppress(ConnectionError):
                return bare.shake_hands(dpid) and bare.is_served()
            return False

        assert [live(0xC0 + n, "127.0.0.2") for n in range(10)] == [True] * 8 + [False] * 2
        assert [live(0xD0 + n, "127.0.0.3") for n in range(6)] == [True] * 4 + [False] * 2
        assert refused(controller, "address_full") == 2
        assert refused(controller, "full") == 2


def test_many_switches_reconnect_at_once_and_all_get_in(controller, good):
    """As after a restart of the controller, and all from one address."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    with contextlib.ExitStack() as stack:
        bares = [
            stack.enter_context(Bare(controller.openflow_port, timeout_s=60))
            for _ in range(SWITCHES)
        ]
        for bare in bares:
            bare.send(hello())
        for number, bare in enumerate(bares):
            assert bare.until(encode.FEATURES_REQUEST) is not None
            bare.send(features(0xE000 + number))
        for bare in bares:
            assert bare.until(encode.MULTIPART_REQUEST) is not None
            bare.send(ports_reply(HELD.items()))
        assert all(bare.until(encode.SET_ASYNC) is not None for bare in bares)


def test_a_switch_that_does_not_read_is_cut_and_delays_nobody(tmp_path):
    """It is to get the flows of 5,000 VMs, takes none of them, and 50 writes come meanwhile."""
    with running(tmp_path) as controller:
        vms = [
            {"mac": f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}", "host": "00000000000000a1"}
            for n in range(5000)
        ]
        controller("PUT", "/v1/hosts/00000000000000a1", {"vtep": "192.0.2.1"})
        controller("PUT", "/v1/hosts/00000000000000b1", {"vtep": "192.0.2.2"})
        assert controller("POST", "/v1/vms/batch", vms).status in (200, 201)
        with Good(controller.openflow_port, 0xA1) as good, Bare(controller.openflow_port) as stuck:
            assert good.has_asked(2), good.gone
            assert stuck.shake_hands(0xB1)
            answers_dumps(stuck)
            memory = memory_kb(controller)
            for n in range(50):
                mac = f"52:54:00:01:{n >> 8:02x}:{n & 255:02x}"
                body = {"mac": mac, "host": "00000000000000a1"}
                assert controller("POST", "/v1/vms", body).status == 201
                stuck.send(encode.message(encode.ECHO_REQUEST, 1))  # it lives
            # And it asks for echoes that it does not read, without an end.
            with contextlib.suppress(OSError):
                stuck.socket.settimeout(20)
                while True:
                    stuck.send(encode.message(encode.ECHO_REQUEST, 1, bytes(60000)))
            assert until(lambda: refused(controller, "stuck") == 1), controller.log
            assert good.has_asked(3), good.gone
            assert memory_kb(controller) - memory < MEMORY_MAX_KB + 2 * 4096
        assert "it does not read" in controller.log
        assert controller.child.poll() is None


def answers_dumps(bare: Bare) -> None:
    """Answer what comes first, so that flows are on their way; then read no more."""
    from struct import pack

    asked = 0
    while asked < 3:
        message = bare.next()
        assert message is not None
        if message[1] == encode.MULTIPART_REQUEST:
            head = pack("!HH4x", message[8] << 8 | message[9], 0)
            bare.send(message[:1] + b"\x13\0\x10" + message[4:8] + head)
            asked += 1
        elif message[1] == encode.BARRIER_REQUEST:
            bare.send(b"\4\x15\0\x08" + message[4:8])
