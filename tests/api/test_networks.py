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
}


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
        ("mtu", 1450),
    ],
)
def test_invalid(client: Any, fabric: Any, field: str, value: object) -> None:
    assert field in _errors(client.put("/v1/networks/100", {"vlan": 10} | {field: value}))
    assert set(fabric.topology.networks) == {0}


@pytest.mark.parametrize("vni", ["16777216", "-1", "01", "1e3", "x", "%00", "1" * 5000, "%D9%A3"])
def test_path_that_is_no_vni(client: Any, vni: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = {} if method == "PUT" else None
        assert "vni" in _errors(client(method, f"/v1/networks/{vni}", body))
