"""/v1/tunnels and /v1/doctor as a client sees them."""

from __future__ import annotations

import re

import pytest

from controller.service import CheckResult, TunnelStatus

UP = TunnelStatus(
    0x11, "hv-1", "192.168.33.12", 0x12, "hv-2", 5, "vxlan0", "up", 0.00123456, 1.5, 10, 1,
    1450, 1450, True,
)  # fmt: skip
FOREIGN = TunnelStatus(0x12, "hv-2", "10.0.0.9", None, "rack-7", None, None, "unknown")
FIELDS = {
    "host", "host_name", "vtep", "peer", "peer_name", "port", "port_name", "state", "rtt_ms",
    "last_seen_s", "sent", "lost", "mtu", "mtu_needed", "mtu_ok",
}  # fmt: skip


@pytest.fixture
def two(fabric, client):
    fabric.tunnel_list = [UP, FOREIGN]
    return client


def test_a_tunnel_as_it_is_shown(two):
    body = two.get("/v1/tunnels").json_body

    assert (body["total"], body["next"]) == (2, None)
    shown, foreign = body["items"]
    assert shown.keys() == foreign.keys() == FIELDS
    assert (shown["host"], shown["peer"]) == ("0000000000000011", "0000000000000012")
    assert (shown["rtt_ms"], shown["last_seen_s"], shown["mtu_ok"]) == (1.235, 1.5, True)
    assert (foreign["peer"], foreign["peer_name"], foreign["mtu"]) == (None, "rack-7", None)


def test_those_of_one_host_or_state(two):
    def shown(query):
        return [one["vtep"] for one in two.get(f"/v1/tunnels?{query}").json_body["items"]]

    assert shown("host=hv-1") == shown("state=up") == ["192.168.33.12"]
    assert shown("host=0000000000000012") == ["10.0.0.9"]
    assert shown("state=down") == []
    assert shown("limit=1") == ["192.168.33.12"]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [("state=broken", 422, "state"), ("host=nobody", 404, None), ("hots=hv-1", 422, "hots")],
)
def test_a_wrong_question_about_tunnels(two, query, status, field):
    answer = two("GET", f"/v1/tunnels?{query}")
    assert answer.status_int == status
    assert field is None or answer.json_body["errors"][0]["field"] == field


def test_the_doctor_is_healthy_with_warnings_and_not_with_errors(fabric, client):
    fine = CheckResult("mtu", "ok", None, "The underlay is wide enough")
    warn = CheckResult("drift", "warning", "hv-1", "8 flows were missing", "somebody", "ovs-vsctl")
    fabric.check_results = [fine, warn]
    body = client.get("/v1/doctor").json_body
    assert body["healthy"] is True
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["now"])
    assert body["checks"][1] == {
        "check": "drift",
        "status": "warning",
        "subject": "hv-1",
        "summary": "8 flows were missing",
        "cause": "somebody",
        "command": "ovs-vsctl",
    }

    fabric.check_results = [fine, CheckResult("store", "error", None, "full", "disk", None)]
    assert client.get("/v1/doctor").json_body["healthy"] is False
    assert client.get("/v1/doctor?check=mtu").json_body["healthy"] is True


def test_a_check_that_is_not_there(client):
    answer = client("GET", "/v1/doctor?check=everything")
    assert answer.status_int == 422
    assert "tunnel-down" in answer.json_body["errors"][0]["reason"]
