"""Somebody changes a bridge's flows by hand: it is told, with the flows, and put right."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from controller.pipeline import Kind, Table, cookie_kind
from topology.lab import Fabric, LabHost
from topology.lab.ovs import wait_until

WITHIN_S = 15
COOKIE = re.compile(r"cookie=(0x[0-9a-f]+)")


class Listener:
    """Reads /v1/events from a real connection, as long as it is open."""

    def __init__(self, url: str, query: str = "", last: str | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.last_id: str | None = None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        headers = {} if last is None else {"Last-Event-ID": last}
        self._reply = opener.open(
            urllib.request.Request(f"{url}/v1/events{query}", headers=headers)
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_until(lambda: self.last_id is not None, "the stream began", timeout_s=WITHIN_S)

    def _read(self) -> None:
        event: dict[str, Any] = {}
        try:
            for line in self._reply:
                name, _colon, value = line.decode().rstrip("\n").partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "event":
                    event["type"] = value
                elif name == "data":
                    self.events.append({**event, **json.loads(value)})
                    event = {}
        except (OSError, ValueError):
            pass  # it was closed, or the controller was killed

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    def wait(self, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event that is such, which may be still to come."""
        wait_until(lambda: any(map(what, self.events)), "the event", timeout_s=WITHIN_S)
        return next(filter(what, self.events))

    def close(self) -> None:
        if self._reply.fp is not None:  # the other end did not close it
            self._reply.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(WITHIN_S)


@contextmanager
def listening(fabric: Fabric, query: str = "", last: str | None = None) -> Iterator[Listener]:
    listener = Listener(fabric.rest.url, query, last)
    try:
        yield listener
    finally:
        listener.close()


@pytest.fixture(scope="module")
def watched(open_fabric) -> Iterator[Fabric]:
    """Three hosts with a registered VM each, in step, and their flow monitors at work."""
    with open_fabric(hosts=3, tunnels="flow") as fabric:
        for vm in fabric.lab.vms:
            fabric.register(vm)
        fabric.lab.ping_all(count=1)
        wait_until(
            lambda: all(host["flow_monitor"] for host in fabric.rest.items("/v1/hosts")),
            "the switches have flow monitors",
            timeout_s=WITHIN_S,
        )
        yield fabric


def flow_to(host: LabHost, mac: str) -> str:
    """The registered flow of table 20 that leads to a MAC, as the switch shows it."""
    flows = host.dump_flows(Table.UNICAST, stats=False)
    (flow,) = [line for line in flows if mac in line and "priority=10," in line]
    return flow


def in_step(fabric: Fabric) -> None:
    wait_until(fabric.in_sync, "in step", timeout_s=WITHIN_S)


def test_a_flow_that_was_deleted_comes_back(watched):
    here, there = watched.lab.vms[:2]
    host = here.host
    flow = flow_to(host, there.mac)
    cookie = COOKIE.search(flow)[1]
    with listening(watched, "?types=drift") as listener:
        host.ofctl("del-flows", "br-tun", f"cookie={cookie}/-1")
        drift = listener.wait(lambda event: event["host"] == host.dpid)
        assert (drift["missing"], drift["extra"], drift["changed"]) == (1, 0, 0)
        assert drift["mended"]
        assert drift["seen_by"] == "monitor"
        (told,) = drift["flows"]
        assert (told["how"], told["table"], told["priority"]) == ("missing", 20, 10)
        assert int(told["cookie"], 16) == int(cookie, 16)
        assert there.mac in told["match"]
        assert there.mac in told["why"]
        wait_until(lambda: flow in host.dump_flows(Table.UNICAST, stats=False), "it is back")
    assert here.ping(there.ip, count=3).ok
    in_step(watched)


def test_a_flow_that_was_added_is_deleted(watched):
    here, there = watched.lab.vms[:2]
    host = here.host
    with listening(watched, "?types=drift") as listener:
        host.ofctl("add-flow", "br-tun", f"table=20,priority=50,dl_dst={there.mac},actions=drop")
        drift = listener.wait(lambda event: event["host"] == host.dpid)
        assert (drift["missing"], drift["extra"], drift["changed"]) == (0, 1, 0)
        assert drift["seen_by"] == "monitor"
        (told,) = drift["flows"]
        assert (told["how"], told["priority"]) == ("extra", 50)
        assert told["why"] == "not one of this controller's flows"
        wait_until(
            lambda: not [f for f in host.dump_flows(Table.UNICAST) if "priority=50" in f], "gone"
        )
    assert here.ping(there.ip, count=3).ok
    in_step(watched)


def test_a_flow_that_was_altered_and_keeps_its_cookie_is_as_it_was(watched):
    """No audit can notice: the cookie is what it compares."""
    here, there = watched.lab.vms[:2]
    host = here.host
    flow = flow_to(host, there.mac)
    with listening(watched, "?types=drift") as listener:
        host.ofctl("mod-flows", "br-tun", f"table=20,dl_dst={there.mac},actions=drop")
        drift = listener.wait(lambda event: event["host"] == host.dpid)
        assert (drift["missing"], drift["extra"], drift["changed"]) == (0, 0, 1)
        (told,) = drift["flows"]
        assert told["how"] == "changed"
        assert int(told["cookie"], 16) == int(COOKIE.search(flow)[1], 16)
        wait_until(lambda: flow in host.dump_flows(Table.UNICAST, stats=False), "as it was")
    assert here.ping(there.ip, count=3).ok
    in_step(watched)


def test_a_flow_put_in_the_place_of_ours_gives_way(watched):
    """Same table, priority and match: the switch tells of the new one only."""
    here, there = watched.lab.vms[:2]
    host = here.host
    flow = flow_to(host, there.mac)
    match = re.search(r"priority=10,\S*", flow)[0]
    with listening(watched, "?types=drift") as listener:
        host.ofctl("add-flow", "br-tun", f"table=20,{match},actions=drop")
        drift = listener.wait(lambda event: event["host"] == host.dpid)
        assert {told["how"] for told in drift["flows"]} == {"missing", "extra"}
        wait_until(lambda: flow in host.dump_flows(Table.UNICAST, stats=False), "as it was")
    assert here.ping(there.ip, count=3).ok
    in_step(watched)


def test_another_flow_that_bears_a_cookie_of_ours_is_deleted(watched):
    here, there = watched.lab.vms[:2]
    host = here.host
    flow = flow_to(host, there.mac)
    cookie = COOKIE.search(flow)[1]
    with listening(watched, "?types=drift") as listener:
        host.ofctl(
            "add-flow",
            "br-tun",
            f"table=20,priority=99,cookie={cookie},dl_dst={there.mac},actions=drop",
        )
        listener.wait(lambda event: event["host"] == host.dpid)

        def alone() -> bool:
            mine = [f for f in host.dump_flows(Table.UNICAST, stats=False) if cookie in f]
            return mine == [flow]

        wait_until(alone, "only ours", timeout_s=WITHIN_S)
    assert here.ping(there.ip, count=3).ok
    in_step(watched)


def test_a_table_that_was_emptied_is_filled_again_under_ping(watched):
    here, there = watched.lab.vms[:2]
    host = here.host
    before = set(host.dump_flows(Table.UNICAST, stats=False))
    with listening(watched, "?types=drift") as listener:
        ping = here.ping_start(there.ip, interval_s=0.05)
        time.sleep(0.5)
        host.ofctl("del-flows", "br-tun", "table=20")
        drift = listener.wait(lambda event: event["host"] == host.dpid)
        assert drift["missing"] == len(before)
        wait_until(
            lambda: set(host.dump_flows(Table.UNICAST, stats=False)) == before, "filled again"
        )
        time.sleep(0.5)
        result = ping.finish()
    assert result.received > 0
    assert here.ping(there.ip, count=3).ok
    in_step(watched)


def test_groups_that_were_deleted_come_back_with_their_flows(watched):
    """Group monitors are not of OpenFlow 1.3; that flows went with a group is told."""
    host = watched.lab.hosts[0]
    groups = host.ofctl("dump-groups", "br-tun")
    with listening(watched, "?types=drift") as listener:
        host.ofctl("del-groups", "br-tun")
        drift = listener.wait(lambda event: event["host"] == host.dpid)
        assert drift["seen_by"] == "monitor"
        wait_until(lambda: host.ofctl("dump-groups", "br-tun") == groups, "groups are back")
    in_step(watched)


def test_more_changes_than_the_monitor_can_tell_are_found_all_the_same(watched):
    host = watched.lab.hosts[1]
    junk = "\n".join(
        f"table=20,priority=77,dl_dst=02:00:00:00:{i >> 8:02x}:{i & 255:02x},actions=drop"
        for i in range(8000)
    )
    host.ofctl("add-flows", "br-tun", "-", stdin=junk)
    wait_until(
        lambda: not [f for f in host.dump_flows(Table.UNICAST) if "priority=77" in f],
        "all of it is gone",
        timeout_s=WITHIN_S,
    )
    in_step(watched)
    # And the monitor is heard again.
    with listening(watched, "?types=drift") as listener:
        host.ofctl("del-flows", "br-tun", "table=20,tun_id=0")
        assert listener.wait(lambda event: event["missing"] > 0)["seen_by"] == "monitor"
    in_step(watched)


def test_what_the_controller_does_is_no_drift(watched):
    """200 VMs are registered, moved, and deleted; learned flows time out meanwhile."""
    here, there = watched.lab.hosts[:2]
    with listening(watched) as listener:
        vms = [
            {"mac": f"52:54:00:00:77:{i:02x}", "host": here.dpid, "ips": [f"10.9.0.{i}"]}
            for i in range(200)
        ]
        assert watched.rest.post("/v1/vms/batch?wait=10", vms).status == 201
        for vm in vms[:50]:
            path = f"/v1/vms/0/{vm['mac']}?wait=10"
            assert watched.rest.put(path, {"host": there.dpid}).status == 200
        for vm in vms:
            assert watched.rest.delete(f"/v1/vms/0/{vm['mac']}").status == 200
        in_step(watched)
        assert len(listener.of("moved")) == 50
        (many,) = listener.of("vms")
        assert (many["added"], many["vni"]) == (200, 0)
        assert len([event for event in listener.of("vm") if event["action"] == "removed"]) == 200
        time.sleep(1.5)
        assert listener.of("drift") == []


def test_drifts_are_counted(watched):
    before = watched.rest.get("/v1/status")["drifts"]
    host = watched.lab.hosts[2]
    with listening(watched, "?types=drift") as listener:
        host.ofctl("del-flows", "br-tun", "table=22")
        missing = listener.wait(lambda event: event["host"] == host.dpid)["missing"]
    after = watched.rest.get("/v1/status")["drifts"]
    assert after == {**before, "missing": before["missing"] + missing}
    in_step(watched)


def test_events_go_on_where_the_listener_left_off(watched):
    with listening(watched, "?types=network") as listener:
        watched.network(700, vlan=70, name="seen")
        listener.wait(lambda event: event.get("name") == "seen")
        last = listener.last_id
    watched.network(700, vlan=70, name="missed")
    with listening(watched, "?types=network", last) as listener:
        assert listener.wait(lambda event: True)["name"] == "missed"
        assert [event["type"] for event in listener.events] == ["network"]
    assert watched.rest.delete("/v1/networks/700").status == 200


def test_the_end_of_a_listener_is_noticed(watched):
    """More come and go, one after another, than may listen at a time."""
    for _ in range(300):
        with listening(watched):
            pass


def test_the_probe_flow_is_among_what_is_watched(watched):
    """A bridge that was emptied as a whole is as it was."""
    host = watched.lab.hosts[0]
    before = {COOKIE.search(flow)[1] for flow in host.dump_flows(stats=False)}
    assert Kind.PROBE_IN in {cookie_kind(int(cookie, 16)) for cookie in before}
    with listening(watched, "?types=drift") as listener:
        host.ofctl("del-flows", "br-tun")
        listener.wait(lambda event: event["host"] == host.dpid)
        wait_until(
            lambda: {COOKIE.search(f)[1] for f in host.dump_flows(stats=False)} >= before,
            "as it was",
            timeout_s=WITHIN_S,
        )
    in_step(watched)


def test_a_listener_is_told_that_the_controller_was_restarted(watched):
    with listening(watched) as listener:
        last = listener.last_id
        watched.controller.kill()
        watched.controller.start()
    watched.wait_settled()
    with listening(watched, last=last) as listener:
        assert listener.wait(lambda event: True)["type"] == "reset"
        watched.network(701, vlan=71, name="after")
        listener.wait(lambda event: event.get("name") == "after")
