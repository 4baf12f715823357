"""The soak soaks, and what it is there to notice it does notice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys

import pytest

from bench.soak import invariants
from bench.soak.facts import Facts
from bench.soak.failed import Failed
from bench.soak.gauges import GROWTH_MAX_KIB, WARM_UP, Gauges
from bench.soak.world import world
from topology.lab.ovs import wait_until

ROUNDS = os.environ.get("VXLAN_SOAK_ROUNDS", "2")
SEED = os.environ.get("VXLAN_SEED", "4")


def soak(*arguments: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-u", "-m", "bench.soak", "--seed", SEED, *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_some_rounds_of_it(ovs_machine):
    child = soak("--minutes", "30", "--rounds", ROUNDS, "--hosts", "3")
    said, _ = child.communicate(timeout=280)
    assert child.returncode == 0, said
    assert "every invariant held" in said
    assert f"{ROUNDS} rounds" in said


def test_it_cleans_up_when_it_is_interrupted(ovs_machine):
    child = soak("--hosts", "2", "--faults", "nothing")
    assert child.stdout is not None
    for line in child.stdout:
        if "no fault" in line:
            break
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 1
    assert f"again: make soak MINUTES=10 SEED={SEED}" in said
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    assert f"l{child.pid}x" not in left.stdout


def test_what_is_wrong_is_noticed(ovs_machine, tmp_path):
    """Behind the controller's back, and with it stopped, so that it mends nothing."""
    with world(2, "flow", tmp_path) as on:
        facts, log = Facts(on, random.Random(1)), invariants.Log(on)
        facts.begin()
        invariants.all_reach(on)
        invariants.check(on, facts, log)
        host = on.lab.hosts[0]
        rest, controller = on.fabric.rest, on.fabric.controller

        body = {"mac": "52:55:00:00:00:99", "host": host.dpid}
        assert rest.post("/v1/vms?wait=5", body).status == 201
        with pytest.raises(Failed, match="nobody registered"):
            facts.check()
        assert rest.delete("/v1/vms/0/52:55:00:00:00:99?wait=5").status in (200, 204)
        facts.check()

        wanted = {flow["cookie"] for flow in rest.items(f"/v1/hosts/{host.dpid}/flows")}
        controller.pause()
        host.ofctl("del-flows", "br-tun", "table=21")
        host.ofctl("add-flow", "br-tun", "cookie=0xbad,table=20,priority=99,actions=drop")
        host.ofctl("add-group", "br-tun", "group_id=9,type=all,bucket=drop")
        found = invariants.differences(wanted, host)
        controller.resume()
        assert any(one.startswith("missing") for one in found)
        assert "extra 0xbad" in found
        assert "group 9 is used by no flow" in invariants.loose_ends(host)
        wait_until(lambda: not invariants.loose_ends(host), "mended", 30)

        with controller.log.open("a") as file:
            file.write("2026-01-01 00:00:00 ERROR it stumbled\n")
        with pytest.raises(Failed, match="complains"):
            log.check()


def test_memory_that_grows_is_noticed():
    gauges = Gauges()
    for at in range(WARM_UP + 40):
        gauges.samples.append((at, 7, 80_000 + at * GROWTH_MAX_KIB // 20, 16))
    with pytest.raises(Failed, match="memory grew"):
        gauges.check()


def test_files_that_stay_open_are_noticed():
    gauges = Gauges()
    for at in range(WARM_UP + 40):
        gauges.samples.append((at, 7, 80_000, 16 + at // 4))
    with pytest.raises(Failed, match="open files"):
        gauges.check()
