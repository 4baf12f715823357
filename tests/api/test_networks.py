"""An operator sets the policy of network 0 and makes others."""

from __future__ import annotations

from typing import Any

import pytest

MAC1 = "52:54:00:00:00:01"
DEFAULT = {
    "vni": 0,
    "name": None,
    "vlan": None,
    "unknown_unicast": "flood",
    "arp_responder": True,
    "learning": True,
    "port_security": False,
    "subnets": [],
    "unknown_arp": "flood",
    "multicast": "flood",
    "quiet": False,
    "mode": "proactive",
    "hosts": [],
    "follow_moves": False,
    "dhcp": False,
    "gateway": None,
    "dns": [],
    "mtu": 1450,
    "lease_s": 86400,
}
HV1, HV2 = "0000000000000011", "0000000000000012"


def _errors(response: Any) -> dict[str, str]:
    assert response.status_int == 422, response.text
    return {error["field"]: error["reason"] for error in response.json_body["errors"]}


def test_network_0_is_there_from_the_start(client: Any, fabric: Any) -> None:
    assert client.get("/v1/networks/0").json_body == DEFAULT
    assert client.get("/v1/networks").json_body == {"items": [DEFAULT], "next": None, "total": 1}
    assert client.put("/v1/networks/0", {}).status_int == 200
    assert len(fabric.stored()) == 3  # the hosts
    response = client.delete("/v1/networks/0")
    assert response.status_int == 409


def test_policy(client: Any, fabric: Any) -> None:
    fabric.connected = {0x11}
    body = {"name": "seeds", "unknown_unicast": "drop", "learning": False}
    response = client.put("/v1/networks/0", {**body, "vni": 0})
    assert response.status_int == 200
    assert response.json_body == DEFAULT | body | {"applied": {"hosts": 1, "of": 1}}
    assert client.get("/v1/networks/0").json_body == DEFAULT | body
    assert len(fabric.stored()) == 4
    assert client.put("/v1/networks/0", {}).json_body["unknown_unicast"] == "flood"


def test_another(client: Any, fabric: Any) -> None:
    response = client.put("/v1/networks/100", {"name": "blue", "vlan": 10})
    assert response.status_int == 201
    assert response.headers["Location"] == "/v1/networks/100"
    assert client.put("/v1/networks/100", {"name": "blue", "vlan": 10}).status_int == 200
    for body in ({"vlan": 10}, {"vlan": None}, {"vlan": 11, "name": "blue"}):
        response = client.put("/v1/networks/200", body)
        assert response.status_int == 409
        assert "network " in response.json_body["detail"]
    client.post("/v1/vms", {"mac": MAC1, "vni": 100, "host": "hv-1"})
    response = client.delete("/v1/networks/100")
    assert response.status_int == 409
    assert MAC1 in response.json_body["detail"]
    client.delete(f"/v1/vms/100/{MAC1}")
    response = client.delete("/v1/networks/100")
    assert response.status_int == 200
    assert response.json_body["name"] == "blue"
    assert client.get("/v1/networks/100").status_int == 404
    assert client.delete("/v1/networks/100").status_int == 404
    assert len(fabric.stored()) == 3


def test_a_tenant(client: Any, fabric: Any) -> None:
    body = {
        "name": "blue",
        "vlan": 10,
        "unknown_unicast": "drop",
        "arp_responder": False,
        "learning": False,
        "port_security": True,
        "subnets": ["fd00::/64", "10.1.1.0/24", "10.1.1.0/24"],
        "unknown_arp": "drop",
        "multicast": "drop",
        "quiet": True,
        "mode": "reactive",
        "hosts": ["192.168.33.12", "hv-1", HV1],
        "dhcp": True,
        "gateway": "10.1.1.254",
        "dns": ["10.1.1.53", "9.9.9.9"],
        "mtu": 8950,
        "lease_s": 3600,
    }
    shown = DEFAULT | body | {
        "vni": 100,
        "subnets": ["10.1.1.0/24", "fd00::/64"],
        "hosts": [HV1, HV2],
    }  # fmt: skip
    response = client.put("/v1/networks/100", body)
    assert response.status_int == 201
    assert response.json_body == shown | {"applied": {"hosts": 0, "of": 0}}
    assert client.get("/v1/networks/100").json_body == shown
    again = {name: value for name, value in shown.items() if name != "vni"}
    assert client.put("/v1/networks/100", again).json_body == response.json_body
    assert fabric.stored()[3] == fabric.topology.networks[100]
    left_out = client.put("/v1/networks/100", {"vlan": 10, "follow_moves": True, "hosts": "all"})
    changed = {"vni": 100, "vlan": 10, "follow_moves": True, "hosts": "all"}
    assert left_out.json_body == DEFAULT | changed | {"applied": {"hosts": 0, "of": 0}}


def test_hosts_that_a_network_names_stay(client: Any) -> None:
    assert client.put("/v1/networks/100", {"vlan": 10, "hosts": ["hv-3"]}).status_int == 201
    response = client.delete("/v1/hosts/hv-3")
    assert response.status_int == 409
    assert "network 100" in response.json_body["detail"]
    client.put("/v1/networks/100", {"vlan": 10})
    assert client.delete("/v1/hosts/hv-3").status_int == 200


def test_a_network_that_is_named_elsewhere_stays(client: Any) -> None:
    client.put("/v1/networks/100", {"vlan": 10})
    for path, body in (
        ("/v1/vteps/192.168.33.20", {"vnis": [100]}),
        ("/v1/vips/100/10.1.1.9", {"macs": [MAC1]}),
    ):
        assert client.put(path, body).status_int == 201
        response = client.delete("/v1/networks/100")
        assert response.status_int == 409
        assert path.rpartition("/")[2] in response.json_body["detail"]
        client.delete(path)
    assert client.delete("/v1/networks/100").status_int == 200


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("follow_moves", {"port_security": True, "follow_moves": True}),
        ("dhcp", {"dhcp": True, "subnets": ["fd00::/64"]}),
        ("gateway", {"gateway": "10.1.2.1", "subnets": ["10.1.1.0/24"]}),
        ("gateway", {"gateway": "fd00::1", "subnets": ["fd00::/64"]}),
        ("dns", {"dns": ["fd00::1"]}),
        ("dns[1]", {"dns": ["9.9.9.9", "dns.example"]}),
        ("subnets[1]", {"subnets": ["10.1.1.0/24", "10.1.1.1/24"]}),
        ("hosts[1]", {"hosts": ["hv-1", "nobody"]}),
        ("hosts[1]", {"hosts": ["hv-2", 17]}),
        ("hosts[0]", {"hosts": ["all"]}),
    ],
)
def test_policy_that_cannot_be(client: Any, fabric: Any, field: str, body: object) -> None:
    assert [*_errors(client.put("/v1/networks/0", body))] == [field]
    assert client.get("/v1/networks/0").json_body == DEFAULT
    assert len(fabric.stored()) == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("vlan", 0),
        ("vlan", 4095),
        ("vlan", True),
        ("vlan", "10"),
        ("vlan", 10.0),
        ("name", ""),
        ("unknown_unicast", "punt"),
        ("unknown_unicast", None),
        ("arp_responder", "yes"),
        ("learning", 0),
        ("vni", 7),
        ("vni", "100"),
        ("mtu_bytes", 1450),
        ("port_security", "on"),
        ("subnets", "10.1.1.0/24"),
        ("subnets", None),
        ("subnets[0]", ["10.1.1.0"]),
        ("subnets[0]", ["10.1.1.0/33"]),
        ("subnets[0]", [24]),
        ("unknown_arp", "punt"),
        ("multicast", True),
        ("quiet", None),
        ("mode", "lazy"),
        ("hosts", "some"),
        ("hosts", HV1),
        ("hosts", None),
        ("hosts", {}),
        ("follow_moves", 1),
        ("dhcp", {}),
        ("gateway", 5),
        ("dns", "9.9.9.9"),
        ("mtu", 67),
        ("mtu", 65536),
        ("mtu", 1450.0),
        ("mtu", True),
        ("lease_s", 59),
        ("lease_s", 10**4000),
        ("lease_s", "3600"),
    ],
)
def test_invalid(client: Any, fabric: Any, field: str, value: object) -> None:
    assert field in _errors(
        client.put("/v1/networks/100", {"vlan": 10} | {field.partition("[")[0]: value})
    )
    assert set(fabric.topology.networks) == {0}


@pytest.mark.parametrize("vni", ["16777216", "-1", "01", "1e3", "x", "%00", "1" * 5000, "%D9%A3"])
def test_path_that_is_no_vni(client: Any, vni: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = {} if method == "PUT" else None
        assert "vni" in _errors(client(method, f"/v1/networks/{vni}", body))
