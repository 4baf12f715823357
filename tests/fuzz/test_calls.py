"""Nothing sent to the REST port is answered with an error of ours, or changes what it may not.

VXLAN_FUZZ_CALLS says how many calls, VXLAN_SEED which. A call that was found to do harm is kept in
corpus/calls.hex, and sent each time.
"""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.apps.process import Running, running
from tests.fuzz.calls import HOST, Calls

CALLS = int(os.environ.get("VXLAN_FUZZ_CALLS", "1000"))
SEED = int(os.environ.get("VXLAN_SEED", "6"))
CORPUS = Path(__file__).parent / "corpus" / "calls.hex"
AT_ONCE = 50
HANG_S = 60.0
GROWTH_MAX_KB = 40_000

_STATUS = re.compile(rb"^HTTP/1\.1 ([0-9]{3}) ", re.MULTILINE)


@pytest.fixture
def controller(tmp_path):
    with running(tmp_path) as one:
        host = {"name": "hv-1", "vtep": "192.168.33.11"}
        assert one("PUT", f"/v1/hosts/{HOST}", host).status == 201
        assert one("PUT", "/v1/networks/100", {"name": "blue", "vlan": 10}).status == 201
        vm = {"mac": "52:54:00:00:00:09", "host": "hv-1", "vni": 100, "name": "keep"}
        assert one("POST", "/v1/vms", vm).status == 201
        yield one
        assert "Traceback" not in one.log


def corpus() -> list[Any]:
    lines = CORPUS.read_text(encoding="ascii").splitlines()
    found = [line.partition("#") for line in lines if line and not line.startswith("#")]
    return [pytest.param(bytes.fromhex(call), id=why.strip()) for call, _, why in found]


def exchange(controller: Running, call: bytes) -> bytes:
    """All that is answered until the server hangs up, which it does once we have ended."""
    port = int(controller.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=HANG_S) as client:
        answer = b""
        try:
            client.sendall(call)
            client.shutdown(socket.SHUT_WR)
            while some := client.recv(1 << 16):
                answer += some
        except (BrokenPipeError, ConnectionResetError):
            pass
    return answer


def facts(controller: Running) -> list[Any]:
    lines = controller("GET", "/v1/export").body.splitlines()
    return [json.loads(line) for line in lines[1:]]


def check(call: bytes, answer: bytes, how: str) -> set[int]:
    """The statuses of all that was answered."""
    found = {int(status) for status in _STATUS.findall(answer)}
    told = f"{how}\n{call[:2000]!r}\n-> {answer[:2000]!r}\ncorpus: {call.hex()}"
    assert not {status for status in found if status >= 500}, told
    assert b"Traceback" not in answer, told
    for status in found - {100}:
        assert 200 <= status < 500, told
    head, _, body = answer.partition(b"\r\n\r\n")
    if len(_STATUS.findall(answer)) == 1 and b"problem+json" in head and body:
        assert json.loads(body)["status"] in found, told
    return found


def test_what_nobody_should_send(controller):
    document = controller("GET", "/openapi.json").body
    slow = {"/v1/doctor"}
    paths = {path: list(methods) for path, methods in document["paths"].items() if path not in slow}
    calls = Calls(SEED, paths)
    before, written = facts(controller), False
    half_kb = 0
    seen: dict[int, int] = {}
    for number in range(CALLS):
        call = calls.make(number)
        how = f"VXLAN_SEED={SEED} VXLAN_FUZZ_CALLS={number + 1} pytest tests/fuzz/test_calls.py"
        statuses = check(call, exchange(controller, call), how)
        for status in statuses:
            seen[status] = seen.get(status, 0) + 1
        written |= bool({200, 201, 202} & statuses) and not call.startswith((b"GET", b"HEAD"))
        if number % AT_ONCE == AT_ONCE - 1:
            now = facts(controller)
            assert written or now == before, f"refused calls changed facts: {how}"
            before, written = now, False
        if number == CALLS // 2:
            half_kb = resident_kb(controller)
    assert controller.child.poll() is None
    assert seen.keys() >= {200, 400, 404, 405, 415, 422}, seen
    end_kb = resident_kb(controller)
    assert end_kb - half_kb < GROWTH_MAX_KB
    print(f"{CALLS} calls: {dict(sorted(seen.items()))}; {half_kb} kB, then {end_kb} kB")


@pytest.mark.parametrize("call", corpus())
def test_what_did_harm_once(shared, call):
    before = facts(shared)
    check(call, exchange(shared, call), "corpus")
    assert facts(shared) == before
    assert shared.child.poll() is None


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with running(tmp_path_factory.mktemp("corpus")) as one:
        yield one
        assert "Traceback" not in one.log


def resident_kb(controller: Running) -> int:
    status = Path(f"/proc/{controller.child.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])
