"""An operator declares, corrects, inspects and forgets hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from topology.model import Put
from topology.types import Dpid, VtepIp

HV1, HV2, HV3 = "0000000000000011", "0000000000000012", "0000000000000013"
MAC1 = "52:54:00:00:00:01"
NEW = "00006e12f4fd6949"


def _errors(response: Any) -> dict[str, str]:
    assert response.status_int == 422, response.text
    return {error["field"]: error["reason"] for error in response.json_body["errors"]}


def test_list(client: Any, fabric: Any, vm: dict[str, Any]) -> None:
    fabric.connected = {0x11}
    page = client.get("/v1/hosts").json_body
    assert page["total"] == 3
    assert page["next"] is None
    assert [host["dpid"] for host in page["items"]] == [HV1, HV2, HV3]
    assert page["items"][0] == {
        "dpid": HV1,
        "name": "hv-1",
        "vtep": "192.168.33.11",
        "connected": True,
        "state": "LIVE",
        "reason": None,
        "address": None,
        "certificate": None,
        "certificate_seen": None,
        "tunnel_ports": [
            {"port": 5, "name": "vxlan0", "remote": "192.168.33.13"},
            {"port": 6, "name": "vxlan1", "remote": None},
        ],
        "vms": 1,
        "flows": 31,
        "nd_responder": None,
        "flow_monitor": False,
        "shed": 0,
    }
    assert page["items"][1]["connected"] is False


@pytest.mark.parametrize("ref", [HV2, "hv-2", "192.168.33.12", "%68v-2"])
def test_one_by_dpid_or_name(client: Any, ref: str) -> None:
    assert client.get(f"/v1/hosts/{ref}").json_body["dpid"] == HV2


@pytest.mark.parametrize("ref", ["nobody", NEW, "%00", "%F0%9F%A6%84", "192.168.33.99", "%FF"])
def test_unknown_is_404(client: Any, ref: str) -> None:
    for path in ("", "/flows", "/diff"):
        assert client.get(f"/v1/hosts/{ref}{path}").status_int == 404
    assert client.delete(f"/v1/hosts/{ref}").status_int == 404


def test_declare_before_it_connects(client: Any, fabric: Any) -> None:
    response = client.put(f"/v1/hosts/{NEW.upper()}", {"name": "hv-9", "vtep": "192.168.33.19"})
    assert response.status_int == 201
    assert response.headers["Location"] == f"/v1/hosts/{NEW}"
    assert response.json_body["dpid"] == NEW
    assert response.json_body["applied"] == {"hosts": 0, "of": 0}
    assert client.post("/v1/vms", {"mac": MAC1, "host": "hv-9"}).status_int == 201
    assert len(fabric.stored()) == 5


def test_empty_declaration(client: Any) -> None:
    shown = client.put(f"/v1/hosts/{NEW}", {}).json_body
    assert (shown["name"], shown["vtep"], shown["tunnel_ports"]) == (None, None, [])


def test_put_replaces_what_was_declared_and_keeps_what_was_seen(client: Any, fabric: Any) -> None:
    seen = {"seen_vtep": VtepIp.parse("10.0.0.1"), "seen_remotes": (("vxlan7", "flow"),)}
    fabric.topology.apply(Put(replace(fabric.topology.hosts[0x11], **seen)))
    ports = [
        {"name": "vxlan1", "remote": "flow"},
        {"name": "vxlan0", "remote": "192.168.33.13"},
    ]
    assert client.put(f"/v1/hosts/{HV1}", {"tunnel_ports": ports}).status_int == 200
    host = fabric.topology.hosts[0x11]
    assert host.declared_remotes == (
        ("vxlan0", VtepIp.parse("192.168.33.13")),
        ("vxlan1", "flow"),
    )
    assert (host.name, host.declared_vtep) == (None, None)
    assert (host.seen_vtep, host.seen_remotes) == (seen["seen_vtep"], seen["seen_remotes"])
    assert host in fabric.stored()
    assert client.get(f"/v1/hosts/{HV1}").json_body["vtep"] == "10.0.0.1"
    assert client.put("/v1/hosts/10.0.0.1", {"name": "hv-1"}).json_body["dpid"] == HV1
    assert client.put("/v1/hosts/hv-1", {"name": "first"}).json_body["name"] == "first"


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("name", {"name": ""}),
        ("name", {"name": 5}),
        ("name", {"name": HV1}),
        ("name", {"name": "192.168.33.11"}),
        ("vtep", {"vtep": "fd00::1"}),
        ("vtep", {"vtep": "224.0.0.1"}),
        ("vtep", {"vtep": "host.example"}),
        ("vtep", {"vtep": 3232235777}),
        ("connected", {"connected": True}),
        ("dpid", {"dpid": HV2}),
        ("dpid", {"dpid": "x"}),
        ("certificate", {"certificate": 7}),
        ("certificate", {"certificate": "5e" * 32}),
        ("certificate", {"certificate": "sha256:" + "5e" * 31}),
        ("certificate", {"certificate": "sha1:" + "5e" * 20}),
        ("tunnel_ports", {"tunnel_ports": None}),
        ("tunnel_ports", {"tunnel_ports": [{"name": "a", "remote": "flow"}] * 2}),
        ("tunnel_ports[0]", {"tunnel_ports": ["vxlan0"]}),
        ("tunnel_ports[0].remote", {"tunnel_ports": [{"name": "vxlan0"}]}),
        ("tunnel_ports[0].remote", {"tunnel_ports": [{"name": "vxlan0", "remote": "Flow"}]}),
        ("tunnel_ports[0].name", {"tunnel_ports": [{"name": "x" * 16, "remote": "flow"}]}),
        ("tunnel_ports[0].port", {"tunnel_ports": [{"name": "x", "remote": "flow", "port": 5}]}),
    ],
)
def test_invalid(client: Any, fabric: Any, field: str, body: object) -> None:
    before = fabric.stored()
    assert field in _errors(client.put(f"/v1/hosts/{HV1}", body))
    assert fabric.stored() == before


@pytest.mark.parametrize("ref", ["nobody", "cafe", "0x11", "1" * 17, "g" * 16, "%00"])
def test_only_a_full_dpid_declares(client: Any, fabric: Any, ref: str) -> None:
    if ref == "0x11":
        assert client.put(f"/v1/hosts/{ref}", {}).json_body["dpid"] == HV1
    else:
        assert "dpid" in _errors(client.put(f"/v1/hosts/{ref}", {}))
    assert set(fabric.topology.hosts) == {0x11, 0x12, 0x13}


def test_names_and_vteps_are_one_hosts_only(client: Any) -> None:
    response = client.put(f"/v1/hosts/{NEW}", {"name": "hv-1"})
    assert response.status_int == 409
    assert HV1 in response.json_body["detail"]
    response = client.put(f"/v1/hosts/{NEW}", {"vtep": "192.168.33.12"})
    assert response.status_int == 409
    assert HV2 in response.json_body["detail"]
    assert client.get(f"/v1/hosts/{NEW}").status_int == 404


def test_forget(client: Any, fabric: Any, vm: dict[str, Any]) -> None:
    response = client.delete("/v1/hosts/hv-1")
    assert response.status_int == 409
    assert MAC1 in response.json_body["detail"]
    fabric.connected = {0x12}
    response = client.delete("/v1/hosts/hv-2")
    assert response.status_int == 409
    assert "still connected" in response.json_body["detail"]
    response = client.delete("/v1/hosts/hv-3")
    assert response.status_int == 200
    assert response.json_body == {
        "dpid": HV3,
        "name": "hv-3",
        "vtep": "192.168.33.13",
        "applied": {"hosts": 1, "of": 1},
    }
    assert client.get("/v1/hosts").json_body["total"] == 2
    assert Dpid(0x13) not in [fact.key for fact in fabric.stored()]


def test_flows(client: Any, fabric: Any) -> None:
    (flow,) = fabric.flow_views
    page = client.get("/v1/hosts/hv-1/flows").json_body
    assert page["items"] == [
        {
            "cookie": flow.cookie,
            "table": 20,
            "priority": 10,
            "match": flow.match,
            "actions": "output:5",
            "why": "VM web-1",
        }
    ]
    fabric.flow_views = [replace(flow, priority=number) for number in range(5)]
    seen, path = [], "/v1/hosts/hv-1/flows?limit=2"
    cursor = ""
    while True:
        page = client.get(path + cursor).json_body
        assert page["total"] == 5
        seen += [item["priority"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == list(range(5))


def test_diff(client: Any, fabric: Any) -> None:
    assert client.get("/v1/hosts/hv-1/diff").status_int == 409
    fabric.connected = {0x11}
    found = client.get("/v1/hosts/hv-1/diff").json_body
    assert found["in_sync"] is False
    assert found["extra"] == []
    assert found["missing"][0]["cookie"] == "0x5601000000000001"


def test_a_certificate_stays_until_it_is_said_anew(client: Any, fabric: Any) -> None:
    pin = "sha256:" + "5E" * 32
    shown = client.put(f"/v1/hosts/{HV1}", {"name": "hv-1", "certificate": pin}).json_body
    assert shown["certificate"] == pin.lower()
    shown = client.put(f"/v1/hosts/{HV1}", {"name": "first"}).json_body
    assert (shown["name"], shown["certificate"]) == ("first", pin.lower())
    assert fabric.topology.hosts[0x11] in fabric.stored()
    shown = client.put(f"/v1/hosts/{HV1}", {"name": "first", "certificate": None}).json_body
    assert shown["certificate"] is None


def test_held_switches_are_listed_among_the_hosts(client: Any, fabric: Any) -> None:
    fabric.held_dpids = {0x5, 0x12, 0x99}  # 0x12 is declared by now, and being taken over
    page = client.get("/v1/hosts").json_body
    assert page["total"] == 5
    assert [int(host["dpid"], 16) for host in page["items"]] == [0x5, 0x11, 0x12, 0x13, 0x99]
    held = page["items"][0]
    assert (held["state"], held["connected"], held["vtep"]) == ("HELD", True, None)
    assert held["reason"] == "nobody declared it"
    assert held["address"] == "10.0.0.9:4"
    assert held["certificate_seen"] == "sha256:" + "07".rjust(64, "0")
    seen, cursor = [], ""
    while cursor is not None:
        page = client.get(f"/v1/hosts?limit=2{cursor and '&cursor='}{cursor}").json_body
        seen += [int(host["dpid"], 16) for host in page["items"]]
        cursor = page["next"]
    assert seen == [0x5, 0x11, 0x12, 0x13, 0x99]
    assert client.get("/v1/hosts/0000000000000099").json_body["state"] == "HELD"
    for method, more in (("GET", "/flows"), ("GET", "/diff"), ("DELETE", "")):
        refused = client(method, f"/v1/hosts/0000000000000099{more}")
        assert refused.status_int == 404
        assert "is held: nobody declared it" in refused.json_body["detail"]
    answer = client.post("/v1/vms", {"mac": MAC1, "host": "0000000000000099"})
    assert "declare it with PUT" in _errors(answer)["host"]
    fabric.held_dpids = {0x5, 0x99}
    assert 'vxlan_l2_hosts{state="HELD"} 2.0' in client.get("/metrics").text


def test_dpid_0_is_a_host_like_any_other(client: Any) -> None:
    response = client.put("/v1/hosts/0000000000000000", {"name": "zero"})
    assert response.status_int == 201
    assert client.get("/v1/hosts/zero").json_body["dpid"] == "0000000000000000"
