"""trace, why, doctor, status, ledger, tunnels, events, top: drawn as the API's words say."""

from __future__ import annotations

import json

import pytest

from tests.apps.vxlanctl.conftest import HV1

HOP = {"host": HV1, "host_name": "hv-1", "table": 20, "table_name": "UNICAST", "event": "output"}
FLOW = {"cookie": "0x1", "table": 20, "priority": 10, "match": "dl_dst=x", "actions": "output:5"}
TRACE = {
    "question": {"vni": 100, "src": "web-1", "dst": "web-2", "kind": "arp", "live": False},
    "delivered": True,
    "verdict": "web-2 answers",
    "cure": None,
    "stages": [
        {
            "what": "ARP request",
            "outcome": "answered in the switch",
            "hops": [
                {**HOP, "event": None, "flow": FLOW, "why": "its way", "reason": None},
                {**HOP, "flow": FLOW, "why": "VM web-2", "reason": "registered 2026-11-20"},
            ],
            "ends": [{"host": HV1, "how": "delivered", "detail": "port patch-tun"}],
        }
    ],
}
COUNTS = {
    "answered": {"frames": 90, "bytes": 5400},
    "answered_by_controller": {"frames": 1, "bytes": 60},
    "suppressed": {"frames": 5, "bytes": 300},
    "flooded": {"frames": 4, "bytes": 240, "copies": 8},
    "unknown_unicast": {"frames": 0, "bytes": 0},
    "saved": {"copies": 190, "bytes": 20900},
    "per_s": {
        "answered": 1.5,
        "suppressed": 0,
        "flooded": 0.2,
        "unknown_unicast": 0,
        "saved_bytes": 99,
    },
}
LEDGER = {
    "items": [{"vni": 0, "name": None, **COUNTS}, {"vni": 100, "name": "blue", **COUNTS}],
    "sum": COUNTS,
    "since": "2026-11-21T10:00:00.000Z",
    "as_of": "2026-11-21T10:01:00.000Z",
    "next": None,
    "total": 2,
}


def test_a_trace_is_drawn_hop_by_hop(ctl, told):
    told.answers["/v1/trace"] = TRACE
    done = ctl("trace", "web-1", "5254.0000.0002")
    assert done.status == 0
    assert "dst=52%3A54%3A00%3A00%3A00%3A02" in told.asked[-1]
    assert "ARP request: answered in the switch" in done.out
    assert "20 UNICAST       output   VM web-2" in done.out
    assert "registered 2026-11-20" in done.out
    assert "its way" not in done.out
    assert done.out.splitlines()[-1] == "web-2 answers"
    assert "its way" in ctl("trace", "web-1", "web-2", "--full").out
    assert "priority 10, dl_dst=x -> output:5" in ctl("trace", "web-1", "web-2", "--full").out
    brief = ctl("trace", "web-1", "web-2", "--brief").out
    assert brief.splitlines() == ["web-2 answers", "  => hv-1: delivered: port patch-tun"]
    assert ctl("trace", "web-1", "web-2", "-o", "json").json == TRACE


def test_a_packet_that_is_lost_ends_in_one_with_its_cure(ctl, told):
    told.answers["/v1/trace"] = {
        **TRACE,
        "delivered": False,
        "verdict": "lost on hv-1",
        "cure": "x y",
    }
    done = ctl("trace", "a", "b", "--kind", "tcp", "--live", "--frame", "ff:ff 00")
    assert done.status == 1
    assert done.out.endswith("lost on hv-1\n\ncure: x y\n")
    assert "kind=tcp&live=true&frame=ffff00" in told.asked[-1]
    assert ctl("trace", "a", "b", "--brief", "--full").status == 2


def test_why_is_one_sentence_with_evidence(ctl, told):
    why = {
        "reachable": False,
        "sentence": "web-2 is not reached: hv-2 is not connected",
        "cause": "host-disconnected",
        "command": "ovs-vsctl set-controller br-tun tcp:192.0.2.1:6653",
        "evidence": [{"what": "host hv-2", "status": "error", "detail": "away since 10:00"}],
    }
    told.answers["/v1/why"] = why
    done = ctl("why", "web-1", "web-2")
    assert done.status == 1
    assert done.out.splitlines() == [
        why["sentence"],
        "  x host hv-2: away since 10:00",
        "",
        "cure: " + why["command"],
    ]
    told.answers["/v1/why"] = {"reachable": True, "sentence": "it does"}
    assert ctl("why", "web-1", "web-2").out == "it does\n"


def test_doctor_ends_in_one_where_something_is_wrong(ctl, told, monkeypatch):
    check = {
        "check": "fail-mode",
        "status": "error",
        "subject": "hv-1",
        "summary": "it is standalone",
    }
    told.answers["/v1/doctor"] = {
        "healthy": False,
        "checks": [{**check, "cause": "c", "command": "x"}],
    }
    told.answers["/v1/status"] = {"version": "0", "now": "2020-01-01T00:00:00.000Z"}
    done = ctl("doctor")
    assert done.status == 1
    assert "XX fail-mode: hv-1: it is standalone\n     because c\n     run: x\n" in done.out
    assert "clocks" not in done.out
    assert "XX clock: this machine's clock" in done.out
    assert "!! version: vxlanctl is 0.1.0, the controller 0" in done.out
    checks = ctl("doctor", "-o", "json").json["checks"]
    assert {"fail-mode", "clock", "version", "ryu-manager"} == {each["check"] for each in checks}
    assert ctl("doctor", "--check", "version").status == 0
    assert ctl("doctor", "--url", "http://127.0.0.1:9").status == 1


def test_doctor_notices_ryus_own_script(ctl, told, monkeypatch, tmp_path):
    script = tmp_path / "ryu-manager"
    script.write_text("#!/usr/bin/python3\nfrom ryu.cmd.manager import main\nmain()\n")
    script.chmod(0o755)
    told.answers["/v1/doctor"] = {"healthy": True, "checks": []}
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert f"{script}, the first on PATH, is Ryu's own script" in ctl("doctor").out
    script.write_text("from apps.ryu_manager import main\n")
    assert "Ryu's own" not in ctl("doctor").out


def test_an_older_controller_is_told(ctl, told):
    for argv in (["trace", "a", "b"], ["why", "a", "b"], ["status"], ["ledger"], ["events"]):
        done = ctl(*argv)
        assert done.status == 1
        assert f"this controller is older: it has no /v1/{argv[0]}" in done.err


def test_status_ledger_and_tunnels(ctl, told):
    store = {"url": "sqlite:///x", "bytes": 4096, "free_bytes": None}
    told.answers["/v1/status"] = {
        "version": "1",
        "uptime_s": 3700,
        "store": store,
        "hosts": {"total": 2},
    }
    assert ctl("status").out.splitlines() == [
        "version     1",
        "uptime      1 h 1 min",
        "store       sqlite:///x",
        "store size  4.1 kB, - free",
        "hosts       2 total",
    ]
    told.answers["/v1/ledger"] = LEDGER
    lines = [line.split() for line in ctl("ledger", "--fresh").out.splitlines()]
    assert "fresh=true" in told.asked[-1]
    assert [line[0] for line in lines] == ["NETWORK", "0", "blue", "all"]
    assert lines[2][1:] == ["90", "1", "5", "4", "8", "0", "20.9", "kB"]
    talker = {
        "mac": "m",
        "name": "web-1",
        "host": HV1,
        "host_name": None,
        "frames": 7,
        "per_s": 0.5,
    }
    told.answers["/v1/ledger/100"] = {**LEDGER["items"][1], "hosts": [], "talkers": [talker]}
    assert ctl("ledger", "100").out.splitlines()[-1].split() == ["web-1", "m", HV1, "7", "0.5"]
    tunnel = {"host": HV1, "vtep": "192.0.2.2", "state": "up", "rtt_ms": 0.42, "last_seen_s": 3}
    tunnel |= {"sent": 9, "lost": 1, "mtu": 1400, "mtu_needed": 1450, "mtu_ok": False}
    told.answers["/v1/tunnels"] = {"items": [tunnel], "next": None, "total": 1}
    assert "0.4 ms  3 s ago  1 of 9  1400, needs 1450" in ctl("tunnels").out


def sse(*events: tuple[str, str, dict]) -> bytes:
    lines = [f"id: {id}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for id, kind, data in events]
    return ("retry: 100\n: alive\n\n" + "".join(lines)).encode()


def test_events_go_on_where_they_were(ctl, told):
    at = {"at": "2026-11-21T10:00:00.123Z"}
    first = sse(("b-1", "host", {**at, "host": HV1, "host_name": "hv-1", "state": "LIVE"}))
    second = sse(
        (
            "b-2",
            "drift",
            {**at, "host": HV1, "missing": 1, "extra": 0, "mended": True, "seen_by": "monitor"},
        ),
        ("b-3", "newer", {**at, "what": "x\x1b"}),
    )
    answers = [first, second]
    told.answers["/v1/events"] = lambda: answers.pop(0)
    done = ctl("events", "--types", "host,drift", "--count", "3")
    assert [headers.get("Last-Event-ID") for headers in told.headers] == [None, "b-1"]
    assert "types=host%2Cdrift" in told.asked[0]
    lines = done.out.splitlines()
    assert lines[0] == "2026-11-21 10:00:00.123  host         hv-1 is LIVE"
    assert "1 flows missing, 0 extra; mended (seen by monitor)" in lines[1]
    assert lines[2].endswith("what x?")
    assert "trying again" in done.err
    assert "connected again" in done.err


def test_events_as_lines_of_json(ctl, told):
    told.answers["/v1/events"] = sse(
        ("b-9", "vm", {"name": "web-1"}), ("b-10", "vm", {"name": "web-2"})
    )
    done = ctl("events", "-o", "json", "--count", "2", "--after", "b-8")
    assert told.headers[0]["Last-Event-ID"] == "b-8"
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == ["b-9", "b-10"]


def test_top_looks_once(ctl, told):
    told.answers["/v1/ledger"] = LEDGER
    done = ctl("top", "--once")
    assert [line.split()[0] for line in done.out.splitlines()] == ["NETWORK", "0", "blue", "all"]
    assert len(ctl("top", "--once", "-o", "json").json["items"]) == 2


@pytest.mark.parametrize("answer", [{}, {"stages": None}, {"stages": [{}]}, {"evidence": [{}]}])
def test_answers_that_lack_fields_are_drawn_as_far_as_they_go(ctl, told, answer):
    for path in ("trace", "why"):
        told.answers[f"/v1/{path}"] = answer
        assert ctl(path, "a", "b").status == 1
        assert ctl(path, "a", "b", *(["--full"] if path == "trace" else [])).status == 1
    told.answers["/v1/status"] = answer
    assert ctl("status").status == 0
    lenient = {"items": [{}], "next": None, "total": 1}
    for path in ("ledger", "tunnels"):
        told.answers[f"/v1/{path}"] = lenient
        assert ctl(path).status == 0
