"""A user registers, looks up, moves and deletes VMs."""

from __future__ import annotations

from typing import Any

import pytest

HV1, HV2, HV3 = "0000000000000011", "0000000000000012", "0000000000000013"
MAC1, MAC2, MAC3 = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"


def _errors(response: Any) -> dict[str, str]:
    assert response.status_int == 422, response.text
    return {error["field"]: error["reason"] for error in response.json_body["errors"]}


def test_register(client: Any, fabric: Any) -> None:
    fabric.connected = {0x11, 0x12}
    body = {"mac": MAC1, "vni": 0, "host": "hv-1", "ips": ["fd00::1", "10.1.1.1"], "name": "web-1"}
    response = client.post("/v1/vms", body)
    assert response.status_int == 201
    assert response.headers["Location"] == f"/v1/vms/0/{MAC1}"
    shown = body | {"host": HV1, "ips": ["10.1.1.1", "fd00::1"], "respond": True}
    assert response.json_body == shown | {"applied": {"hosts": 2, "of": 2}}
    assert client.get(response.headers["Location"]).json_body == shown
    assert len(fabric.stored()) == 4


def test_defaults(client: Any) -> None:
    shown = client.post("/v1/vms", {"mac": MAC1, "host": "hv-1"}).json_body
    assert (shown["vni"], shown["ips"], shown["name"], shown["respond"]) == (0, [], None, True)


@pytest.mark.parametrize("ref", ["hv-2", "192.168.33.12", HV2, "12", "0x12"])
def test_host_by_name_vtep_or_dpid(client: Any, ref: str) -> None:
    assert client.post("/v1/vms", {"mac": MAC1, "host": ref}).json_body["host"] == HV2


@pytest.mark.parametrize("mac", ["52:54:00:AA:bb:0C", "52-54-00-aa-BB-0c"])
def test_macs_are_shown_in_lower_case(client: Any, mac: str) -> None:
    response = client.post("/v1/vms", {"mac": mac, "host": "hv-1"})
    assert response.json_body["mac"] == "52:54:00:aa:bb:0c"
    assert client.get(f"/v1/vms/0/{mac}").status_int == 200


def test_same_again_is_200(client: Any, fabric: Any, vm: dict[str, Any]) -> None:
    fabric.connected = {0x11}
    body = {**vm, "host": "192.168.33.11", "mac": MAC1.upper()}
    response = client.post("/v1/vms", body)
    assert response.status_int == 200
    assert response.json_body == vm | {"applied": {"hosts": 1, "of": 1}}
    assert client.put(f"/v1/vms/0/{MAC1}", body).status_int == 200


def test_same_mac_with_other_facts_is_409(client: Any, vm: dict[str, Any]) -> None:
    response = client.post("/v1/vms", {**vm, "host": "hv-2"})
    assert response.status_int == 409
    assert MAC1 in response.json_body["detail"]
    assert "web-1" in response.json_body["detail"]
    assert client.get(f"/v1/vms/0/{MAC1}").json_body == vm


@pytest.mark.parametrize("ip", ["10.1.1.1", "fd00::1", "fd00:0:0::0:1"])
def test_ip_of_another_vm_is_409_and_names_it(client: Any, vm: dict[str, Any], ip: str) -> None:
    for response in (
        client.post("/v1/vms", {"mac": MAC2, "host": "hv-2", "ips": [ip]}),
        client.put(f"/v1/vms/0/{MAC2}", {"host": "hv-2", "ips": [ip]}),
    ):
        assert response.status_int == 409
        assert MAC1 in response.json_body["detail"]
    assert client.get("/v1/vms").json_body["total"] == 1


def test_ip_is_free_again_after_a_change_or_a_delete(client: Any, vm: dict[str, Any]) -> None:
    other = {"mac": MAC2, "host": "hv-2", "ips": ["10.1.1.1"]}
    assert client.put(f"/v1/vms/0/{MAC1}", {"host": "hv-1", "ips": []}).status_int == 200
    assert client.post("/v1/vms", other).status_int == 201
    assert client.delete(f"/v1/vms/0/{MAC2}").status_int == 200
    assert client.post("/v1/vms", {**other, "mac": MAC3}).status_int == 201


def test_move(client: Any, vm: dict[str, Any], fabric: Any) -> None:
    response = client.put(f"/v1/vms/0/{MAC1}", {**vm, "host": "hv-3"})
    assert response.status_int == 200
    moved = vm | {"host": HV3}
    assert response.json_body == moved | {"applied": {"hosts": 0, "of": 0}}
    assert client.get(f"/v1/vms/0/{MAC1}").json_body == moved
    assert [str(fact.host) for fact in fabric.stored()[3:]] == [HV3]


def test_put_registers(client: Any) -> None:
    response = client.put(f"/v1/vms/0/{MAC1}", {"host": "hv-1"})
    assert response.status_int == 201
    assert response.headers["Location"] == f"/v1/vms/0/{MAC1}"


def test_a_move_keeps_what_it_does_not_name(client: Any, vm: dict[str, Any]) -> None:
    shown = client.put(f"/v1/vms/0/{MAC1}", {"host": "hv-1"}).json_body
    assert (shown["ips"], shown["name"]) == (vm["ips"], vm["name"])
    shown = client.put(f"/v1/vms/0/{MAC1}", {"host": "hv-1", "ips": [], "name": None}).json_body
    assert (shown["ips"], shown["name"]) == ([], None)


def test_put_must_agree_with_its_path(client: Any) -> None:
    path = f"/v1/vms/0/{MAC1}"
    assert "mac" in _errors(client.put(path, {"mac": MAC2, "host": "hv-1"}))
    assert "vni" in _errors(client.put(path, {"vni": 1, "host": "hv-1"}))
    assert client.put(path, {"mac": MAC1.upper(), "vni": 0, "host": "hv-1"}).status_int == 201


def test_delete(client: Any, vm: dict[str, Any], fabric: Any) -> None:
    fabric.connected = {0x11}
    response = client.delete(f"/v1/vms/0/{MAC1}")
    assert response.status_int == 200
    assert response.json_body == vm | {"applied": {"hosts": 1, "of": 1}}
    assert client.get(f"/v1/vms/0/{MAC1}").status_int == 404
    assert client.delete(f"/v1/vms/0/{MAC1}").status_int == 404
    assert len(fabric.stored()) == 3


def test_same_mac_and_ip_in_another_network(client: Any, vm: dict[str, Any]) -> None:
    assert "vni" in _errors(client.post("/v1/vms", {**vm, "vni": 100}))
    assert client.put("/v1/networks/100", {"vlan": 10}).status_int == 201
    assert client.post("/v1/vms", {**vm, "vni": 100}).status_int == 201
    assert client.get("/v1/vms").json_body["total"] == 2


def test_filters(client: Any, vm: dict[str, Any]) -> None:
    client.put("/v1/networks/100", {"vlan": 10})
    client.post("/v1/vms", {**vm, "vni": 100, "host": "hv-2", "name": "blue"})
    client.post("/v1/vms", {"mac": MAC2, "host": "hv-2", "ips": ["10.1.1.2"], "name": "web-2"})

    def found(query: str) -> list[tuple[int, str]]:
        page = client.get(f"/v1/vms?{query}").json_body
        assert page["next"] is None
        assert page["total"] == len(page["items"])
        return [(item["vni"], item["mac"]) for item in page["items"]]

    assert found("") == [(0, MAC1), (0, MAC2), (100, MAC1)]
    assert found("vni=0") == [(0, MAC1), (0, MAC2)]
    assert found("vni=5") == []
    assert found("host=hv-2") == [(0, MAC2), (100, MAC1)]
    assert found(f"host={HV2}&vni=100") == [(100, MAC1)]
    assert found("ip=10.1.1.1") == [(0, MAC1), (100, MAC1)]
    assert found("ip=fd00:0::1&vni=100") == [(100, MAC1)]
    assert found("ip=10.1.1.1&host=192.168.33.11") == [(0, MAC1)]
    assert found("ip=10.9.9.9") == []
    assert found("name=web-2") == [(0, MAC2)]
    assert found("name=web-2&host=hv-1") == []
    assert "host" in _errors(client.get("/v1/vms?host=nobody"))
    assert "ip" in _errors(client.get("/v1/vms?ip=10.1.1"))
    assert "vni" in _errors(client.get("/v1/vms?vni=-1"))
    assert "hots" in _errors(client.get("/v1/vms?hots=hv-1"))
    assert "vni" in _errors(client.get("/v1/vms?vni=1&vni=2"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mac", "01:00:5e:00:00:01"),
        ("mac", "ff:ff:ff:ff:ff:ff"),
        ("mac", "00:00:00:00:00:00"),
        ("mac", "52:54:00:00:00"),
        ("mac", "52:54:00:00:00:01:02"),
        ("mac", "52:54:00:00:00-01"),
        ("mac", "525400000001"),
        ("mac", "zz:54:00:00:00:01"),
        ("mac", "52:54:00:00:00:01\n"),
        ("mac", ""),
        ("mac", 1),
        ("mac", None),
        ("mac", [MAC1]),
        ("vni", -1),
        ("vni", 2**24),
        ("vni", 10**4000),
        ("vni", True),
        ("vni", 0.0),
        ("vni", "0"),
        ("vni", None),
        ("vni", 77),
        ("host", "nobody"),
        ("host", ""),
        ("host", 17),
        ("host", None),
        ("host", "192.168.33.99"),
        ("host", "a\0b"),
        ("host", "\ud800"),
        ("ips", "10.1.1.1"),
        ("ips", None),
        ("ips", {}),
        ("ips[0]", ["224.0.0.1"]),
        ("ips[0]", ["255.255.255.255"]),
        ("ips[0]", ["0.0.0.0"]),
        ("ips[0]", ["::"]),
        ("ips[0]", ["ff02::1"]),
        ("ips[0]", ["10.1.1.1/24"]),
        ("ips[0]", ["010.1.1.1"]),
        ("ips[1]", ["10.1.1.1", 5]),
        ("ips[1]", ["10.1.1.1", None]),
        ("ips[0]", ["10.1.1.1\0"]),
        ("name", ""),
        ("name", "x" * 256),
        ("name", "a\tb"),
        ("name", "\ud800"),
        ("name", 5),
        ("name", ["web-1"]),
        ("respond", 1),
        ("respond", "true"),
        ("respond", None),
        ("color", "blue"),
        ("\ud800", 1),
        ("Mac", MAC1),
    ],
)
def test_invalid_field_is_422_and_changes_nothing(
    client: Any, fabric: Any, field: str, value: object
) -> None:
    body = {"mac": MAC1, "host": "hv-1"} | {field.partition("[")[0]: value}
    named = "body" if field == "\ud800" else field
    assert named in _errors(client.post("/v1/vms", body))
    assert fabric.topology.vms == {}
    assert len(fabric.stored()) == 3


def test_every_fault_of_a_body_is_named(client: Any) -> None:
    found = _errors(client.post("/v1/vms", {"vni": "0", "ips": ["x", "10.1.1.1", "y"], "size": 1}))
    assert found.keys() == {"mac", "host", "vni", "ips[0]", "ips[2]", "size"}
    assert found["mac"] == "is required"
    assert found["size"] == "unknown field"


@pytest.mark.parametrize(
    "path",
    ["/v1/vms/0/zz", "/v1/vms/x/" + MAC1, f"/v1/vms/{2**24}/{MAC1}", f"/v1/vms/-1/{MAC1}",
     f"/v1/vms/00/{MAC1}", f"/v1/vms/%D9%A3/{MAC1}", "/v1/vms/0/01:00:5e:00:00:01"],
)  # fmt: skip
def test_path_that_names_no_vm_is_422(client: Any, path: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = {"host": "hv-1"} if method == "PUT" else None
        assert _errors(client(method, path, body)).keys() <= {"vni", "mac"}
