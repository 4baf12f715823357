"""An operator lets VMs share an IP, and sees which of them holds it."""

from __future__ import annotations

from typing import Any

import pytest

from topology.types import Ip, Mac

MAC1, MAC2, MAC3 = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"
PATH = "/v1/vips/0/10.1.1.100"


def _errors(response: Any) -> dict[str, str]:
    assert response.status_int == 422, response.text
    return {error["field"]: error["reason"] for error in response.json_body["errors"]}


def _hold(fabric: Any, mac: str) -> bool:
    """As the engine does when that VM announces the address."""
    key = (0, Ip.parse("10.1.1.100"))
    held: bool
    held, _ticket = fabric.commit(lambda draft: draft.hold_vip(key, Mac.parse(mac)))
    return held


def test_declare(client: Any, fabric: Any) -> None:
    fabric.connected = {0x11}
    response = client.put(PATH, {"macs": [MAC2, MAC1.upper(), MAC2], "name": "gateway"})
    assert response.status_int == 201
    assert response.headers["Location"] == PATH
    shown = {
        "vni": 0,
        "ip": "10.1.1.100",
        "macs": [MAC1, MAC2],
        "name": "gateway",
        "holder": None,
    }
    assert response.json_body == shown | {"applied": {"hosts": 1, "of": 1}}
    assert client.get(PATH).json_body == shown
    same = {"macs": [MAC1, MAC2], "name": "gateway", "vni": 0, "ip": "10.1.1.100"}
    assert client.put(PATH, same).status_int == 200
    assert len(fabric.stored()) == 4


@pytest.mark.parametrize("ip", ["fd00::64", "FD00:0::64"])
def test_ipv6(client: Any, ip: str) -> None:
    response = client.put(f"/v1/vips/0/{ip}", {"macs": [MAC1]})
    assert response.headers["Location"] == "/v1/vips/0/fd00::64"
    assert client.get("/v1/vips/0/fd00::64").json_body["ip"] == "fd00::64"


def test_put_keeps_the_holder_while_it_may_hold(client: Any, fabric: Any) -> None:
    client.put(PATH, {"macs": [MAC1, MAC2], "name": "gateway"})
    assert _hold(fabric, MAC2)
    assert not _hold(fabric, MAC3)
    assert client.get(PATH).json_body["holder"] == MAC2
    shown = client.put(PATH, {"macs": [MAC2, MAC3]}).json_body
    assert (shown["holder"], shown["name"]) == (MAC2, None)
    assert [fact.holder for fact in fabric.stored()[3:]] == [Mac.parse(MAC2)]
    assert client.put(PATH, {"macs": [MAC3]}).json_body["holder"] is None
    assert fabric.stored()[3:] == list(fabric.topology.vips.values())


def test_list(client: Any) -> None:
    client.put("/v1/networks/100", {"vlan": 10})
    wanted = [(0, "fd00::9"), (0, "10.1.1.9"), (0, "10.1.1.10"), (100, "10.1.1.9")]
    for vni, ip in reversed(wanted):
        assert client.put(f"/v1/vips/{vni}/{ip}", {"macs": [MAC1]}).status_int == 201
    in_order = sorted(wanted, key=lambda place: (place[0], Ip.parse(place[1])))
    seen, cursor = [], ""
    while True:
        page = client.get(f"/v1/vips?limit=3{cursor}").json_body
        seen += [(item["vni"], item["ip"]) for item in page["items"]]
        assert page["total"] == 4
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == in_order
    assert [item["vni"] for item in client.get("/v1/vips?vni=100").json_body["items"]] == [100]
    assert client.get("/v1/vips?vni=7").json_body["total"] == 0
    assert "vni" in _errors(client.get("/v1/vips?vni=x"))


def test_forget(client: Any, fabric: Any) -> None:
    client.put(PATH, {"macs": [MAC1]})
    assert client.delete(PATH).json_body["macs"] == [MAC1]
    assert client.get(PATH).status_int == client.delete(PATH).status_int == 404
    assert len(fabric.stored()) == 3


def test_an_ip_is_a_vms_or_shared(client: Any, vm: dict[str, Any]) -> None:
    response = client.put("/v1/vips/0/10.1.1.1", {"macs": [MAC1, MAC2]})
    assert response.status_int == 409
    assert MAC1 in response.json_body["detail"]
    client.put(PATH, {"macs": [MAC1, MAC2]})
    for response in (
        client.post("/v1/vms", {"mac": MAC2, "host": "hv-2", "ips": ["10.1.1.100"]}),
        client.put(f"/v1/vms/0/{MAC1}", {"host": "hv-1", "ips": ["10.1.1.100"]}),
        client.post("/v1/vms/batch", [{"mac": MAC2, "host": "hv-2", "ips": ["10.1.1.100"]}]),
    ):
        assert response.status_int == 409
        assert f"PUT {PATH}" in response.json_body["detail"]
    client.delete(PATH)
    assert (
        client.put(f"/v1/vms/0/{MAC1}", {"host": "hv-1", "ips": ["10.1.1.100"]}).status_int == 200
    )


@pytest.mark.parametrize(
    ("field", "path", "body"),
    [
        ("macs", PATH, {}),
        ("macs", PATH, {"macs": []}),
        ("macs", PATH, {"macs": MAC1}),
        ("macs[1]", PATH, {"macs": [MAC1, "01:00:5e:00:00:01"]}),
        ("macs[0]", PATH, {"macs": [1]}),
        ("name", PATH, {"macs": [MAC1], "name": ""}),
        ("holder", PATH, {"macs": [MAC1], "holder": MAC1}),
        ("vni", PATH, {"macs": [MAC1], "vni": 1}),
        ("ip", PATH, {"macs": [MAC1], "ip": "10.1.1.101"}),
        ("vni", "/v1/vips/77/10.1.1.100", {"macs": [MAC1]}),
        ("vni", "/v1/vips/x/10.1.1.100", {"macs": [MAC1]}),
        ("ip", "/v1/vips/0/ff02::1", {"macs": [MAC1]}),
        ("ip", "/v1/vips/0/gateway", {"macs": [MAC1]}),
    ],
)
def test_invalid(client: Any, fabric: Any, field: str, path: str, body: object) -> None:
    assert [*_errors(client.put(path, body))] == [field]
    assert len(fabric.stored()) == 3
