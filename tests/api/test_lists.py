"""Pages of long lists, and what was learned."""

from __future__ import annotations

from typing import Any

import pytest

from topology.model import LearnedMac, Put
from topology.types import Foreign, Mac, Vni, VtepIp


def _walk(client: Any, path: str) -> list[list[Any]]:
    pages, cursor = [], ""
    while True:
        page = client.get(path + cursor).json_body
        pages.append(page["items"])
        if page["next"] is None:
            return pages
        cursor = f"&cursor={page['next']}"


@pytest.fixture
def macs(client: Any) -> list[str]:
    """25 VMs, registered in no order; their MACs in order."""
    macs = [f"52:54:00:00:00:{number:02x}" for number in range(1, 26)]
    shuffled = macs[::3] + macs[1::3] + macs[2::3]
    body = [{"mac": mac, "host": "hv-1"} for mac in shuffled]
    assert client.post("/v1/vms/batch", body).status_int == 201
    return macs


def test_pages_are_in_order_and_complete(client: Any, macs: list[str]) -> None:
    pages = _walk(client, "/v1/vms?limit=10")
    assert [len(page) for page in pages] == [10, 10, 5]
    assert [vm["mac"] for page in pages for vm in page] == macs
    assert len(_walk(client, "/v1/vms?limit=25")) == 1
    assert client.get("/v1/vms?limit=1").json_body["total"] == 25


def test_cursor_stays_good_while_vms_come_and_go(client: Any, macs: list[str]) -> None:
    first = client.get("/v1/vms?limit=10").json_body
    client.delete(f"/v1/vms/0/{macs[9]}")
    client.delete(f"/v1/vms/0/{macs[10]}")
    client.post("/v1/vms", {"mac": "52:54:00:00:01:00", "host": "hv-1"})
    second = client.get(f"/v1/vms?cursor={first['next']}").json_body
    assert [vm["mac"] for vm in second["items"]] == [*macs[11:], "52:54:00:00:01:00"]
    assert second["total"] == 24


@pytest.mark.parametrize(
    "path", ["/v1/vms", "/v1/hosts", "/v1/networks", "/v1/learned", "/v1/vteps", "/v1/vips"]
)
@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=x", "limit=", "limit=10001", "limit=1.0", "limit=%D9%A3",
     "limit=" + "9" * 5000, "cursor=", "cursor=x", "cursor=WzFd!", "cursor=%C3%A9",
     "cursor=e30", "cursor=WyJhIl0", "cursor=Wy0xXQ", "cursor=WzEsMiwzXQ", "cursor=" + "W" * 10**4,
     "cursor=W1tbW1tb", "page=2"],
)  # fmt: skip
def test_invalid_page_is_422(client: Any, path: str, query: str) -> None:
    response = client.get(f"{path}?{query}")
    assert response.status_int == 422
    assert response.json_body["errors"][0]["field"] == query.partition("=")[0]


def test_learned(client: Any, fabric: Any) -> None:
    fabric.learn(0, 0x525400000002, ("10.1.1.2", "fd00::2"), seen_s=940.25)
    fabric.learn(0, 0x525400000001, (), seen_s=100.0)
    fabric.learn(7, 0x525400000001, (), seen_s=1000.5)
    page = client.get("/v1/learned").json_body
    assert page["total"] == 3
    assert page["items"][1] == {
        "vni": 0,
        "mac": "52:54:00:00:00:02",
        "ips": page["items"][1]["ips"],
        "host": "0000000000000011",
        "generation": 0,
        "age_s": 59.75,
        "expires_in_s": 240.25,
    }
    assert set(page["items"][1]["ips"]) == {"10.1.1.2", "fd00::2"}
    assert page["items"][0]["expires_in_s"] == 0
    assert page["items"][2]["age_s"] == 0
    assert [item["vni"] for item in client.get("/v1/learned?vni=7").json_body["items"]] == [7]
    assert client.get("/v1/learned?vni=8").json_body["items"] == []
    assert client.get("/v1/learned?vni=x").status_int == 422
    assert [len(items) for items in _walk(client, "/v1/learned?limit=2")] == [2, 1]


def test_learned_behind_a_foreign_vtep(client: Any, fabric: Any) -> None:
    rack = VtepIp.parse("192.168.33.20")
    entry = LearnedMac(Vni(0), Mac(0x525400000001), Foreign.at(rack), 990.0, (), 3)
    fabric.topology.apply(Put(entry))
    assert client.get("/v1/learned").json_body["items"] == [
        {
            "vni": 0,
            "mac": "52:54:00:00:00:01",
            "ips": [],
            "vtep": "192.168.33.20",
            "generation": 3,
            "age_s": 10.0,
            "expires_in_s": 290.0,
        }
    ]
    client.put("/v1/vteps/192.168.33.20", {"vnis": [0]})
    assert client.get("/v1/vteps/192.168.33.20").json_body["learned"] == 1
