"""An operator declares the racks that no controller manages, and what lies behind them."""

from __future__ import annotations

from typing import Any

import pytest

HV1 = "0000000000000011"
MAC1, MAC2 = "52:54:00:00:00:01", "52:54:00:00:00:02"
PATH = "/v1/vteps/192.168.33.20"


def _errors(response: Any) -> dict[str, str]:
    assert response.status_int == 422, response.text
    return {error["field"]: error["reason"] for error in response.json_body["errors"]}


@pytest.fixture
def rack(client: Any) -> dict[str, Any]:
    """Network 100, and a foreign VTEP with networks 0 and 100, as the API shows it."""
    assert client.put("/v1/networks/100", {"vlan": 10}).status_int == 201
    response = client.put(PATH, {"name": "rack", "vnis": [100, 0]})
    assert response.status_int == 201
    shown: dict[str, Any] = response.json_body
    del shown["applied"]
    return shown


def test_declare(client: Any, fabric: Any) -> None:
    fabric.connected = {0x11, 0x12}
    assert client.get("/v1/vteps").json_body == {"items": [], "next": None, "total": 0}
    response = client.put(PATH, {"vnis": [0, 0]})
    assert response.status_int == 201
    assert response.headers["Location"] == PATH
    shown = {
        "vtep": "192.168.33.20",
        "name": None,
        "vnis": [0],
        "learning": True,
        "vms": 0,
        "learned": 0,
    }
    assert response.json_body == shown | {"applied": {"hosts": 2, "of": 2}}
    assert client.get(PATH).json_body == shown
    assert client.put(PATH, {"vnis": [0], "vtep": "192.168.33.20"}).status_int == 200
    assert len(fabric.stored()) == 4


def test_put_replaces(client: Any, rack: dict[str, Any]) -> None:
    assert client.put(PATH, {"vnis": [], "learning": False}).json_body == rack | {
        "name": None,
        "vnis": [],
        "learning": False,
        "applied": {"hosts": 0, "of": 0},
    }


def test_pages(client: Any) -> None:
    ips = [f"192.168.33.{number}" for number in (20, 21, 99, 100)]
    for ip in reversed(ips):
        client.put(f"/v1/vteps/{ip}", {"vnis": []})
    first = client.get("/v1/vteps?limit=3").json_body
    second = client.get(f"/v1/vteps?limit=3&cursor={first['next']}").json_body
    assert [item["vtep"] for item in (*first["items"], *second["items"])] == ips
    assert (first["total"], second["next"]) == (4, None)


def test_forget(client: Any, fabric: Any, rack: dict[str, Any]) -> None:
    response = client.delete(PATH)
    assert response.status_int == 200
    assert response.json_body == rack | {"applied": {"hosts": 0, "of": 0}}
    assert client.get(PATH).status_int == client.delete(PATH).status_int == 404
    assert len(fabric.stored()) == 4


@pytest.mark.parametrize("ref", ["rack", "192.168.33.20"])
def test_static_entry(client: Any, rack: dict[str, Any], ref: str) -> None:
    body = {"mac": MAC1, "vni": 100, "host": ref, "ips": ["10.1.1.1"]}
    assert client.post("/v1/vms", body).json_body["host"] == "192.168.33.20"
    assert client.post("/v1/vms", body).status_int == 200
    client.post("/v1/vms/batch", [{"mac": MAC2, "host": ref}, {"mac": MAC1, "host": "hv-1"}])
    found = client.get(f"/v1/vms?host={ref}").json_body["items"]
    assert [(item["vni"], item["mac"]) for item in found] == [(0, MAC2), (100, MAC1)]
    assert client.get(PATH).json_body == rack | {"vms": 2}
    moved = client.put(f"/v1/vms/100/{MAC1}", {"host": "hv-1"})
    assert moved.json_body["host"] == HV1
    moved = client.put(f"/v1/vms/100/{MAC1}", {"host": ref})
    assert (moved.json_body["host"], moved.json_body["ips"]) == ("192.168.33.20", ["10.1.1.1"])


def test_what_vms_need_stays(client: Any, rack: dict[str, Any]) -> None:
    client.post("/v1/vms", {"mac": MAC1, "vni": 100, "host": "rack"})
    for response in (client.put(PATH, {"vnis": [0]}), client.delete(PATH)):
        assert response.status_int == 409
        assert MAC1 in response.json_body["detail"]
    assert client.get(PATH).json_body == rack | {"vms": 1}
    assert client.put(PATH, {"vnis": [100]}).status_int == 200


def test_a_vm_needs_the_vteps_vni(client: Any, rack: dict[str, Any]) -> None:
    client.put(PATH, {"name": "rack", "vnis": [100]})
    body = {"mac": MAC1, "host": "rack"}
    assert "VNI 0" in _errors(client.post("/v1/vms", body))["host"]
    assert "VNI 0" in _errors(client.put(f"/v1/vms/0/{MAC1}", {"host": "rack"}))["host"]
    assert "[0].host" in _errors(client.post("/v1/vms/batch", [body]))
    told = _errors(client.post("/v1/vms", {"mac": MAC1, "host": "192.168.33.21"}))["host"]
    assert "/v1/vteps/" in told
    assert "/v1/hosts/" in told


def test_addresses_and_names_are_one_places_only(client: Any, rack: dict[str, Any]) -> None:
    for path, body, named in (
        ("/v1/vteps/192.168.33.11", {"vnis": []}, HV1),
        ("/v1/vteps/192.168.33.21", {"vnis": [], "name": "rack"}, "192.168.33.20"),
        ("/v1/vteps/192.168.33.21", {"vnis": [], "name": "hv-1"}, HV1),
        ("/v1/hosts/hv-1", {"vtep": "192.168.33.20"}, "192.168.33.20"),
        ("/v1/hosts/hv-1", {"name": "rack"}, "192.168.33.20"),
    ):
        response = client.put(path, body)
        assert response.status_int == 409
        assert named in response.json_body["detail"]
    assert client.get("/v1/vteps").json_body["total"] == 1


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("vnis", {}),
        ("vnis", {"vnis": None}),
        ("vnis", {"vnis": 100}),
        ("vnis[0]", {"vnis": ["100"]}),
        ("vnis[1]", {"vnis": [0, 2**24]}),
        ("vnis[1]", {"vnis": [100, 99, 0]}),
        ("name", {"vnis": [], "name": ""}),
        ("name", {"vnis": [], "name": "192.168.33.99"}),
        ("name", {"vnis": [], "name": HV1}),
        ("learning", {"vnis": [], "learning": 1}),
        ("vtep", {"vnis": [], "vtep": "192.168.33.21"}),
        ("vms", {"vnis": [], "vms": 0}),
    ],
)
def test_invalid(client: Any, fabric: Any, rack: dict[str, Any], field: str, body: object) -> None:
    assert [*_errors(client.put(PATH, body))] == [field]
    assert client.get(PATH).json_body == rack
    assert len(fabric.stored()) == 5


@pytest.mark.parametrize(
    "ip", ["rack", "fd00::1", "224.0.0.1", "0.0.0.0", "10.1.1", "%00", "192.168.33.20%20"]
)
def test_path_that_is_no_vtep(client: Any, ip: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = {"vnis": []} if method == "PUT" else None
        assert [*_errors(client(method, f"/v1/vteps/{ip}", body))] == ["ip"]
