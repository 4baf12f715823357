"""VMs found by a part of what is known of them, in any order, page by page."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.api.conftest import MAC1, MAC2

VMS = [
    ("52:54:00:00:00:01", 0, "hv-1", ["10.1.1.1", "fd00::1"], "web-1"),
    ("52:54:00:00:00:02", 0, "hv-2", ["10.1.1.2"], "Web-2"),
    ("52:54:00:00:00:03", 0, "hv-1", ["10.1.10.3"], "db"),
    ("52:54:00:00:db:04", 100, "hv-3", ["10.2.1.1"], None),
    ("52:54:00:00:00:05", 100, "hv-1", [], "<script>'\"&"),
    ("52:54:00:00:00:06", 100, "hv-2", ["192.168.10.1"], "10.1.1.9"),
]


@pytest.fixture
def vms(client: Any) -> None:
    client.put("/v1/networks/100", {"vlan": 10})
    fields = ("mac", "vni", "host", "ips", "name")
    body = [dict(zip(fields, vm, strict=True)) for vm in VMS]
    assert client.post("/v1/vms/batch", body).status_int == 201


def found(client: Any, query: str) -> list[int]:
    """The last octet of each VM found, in order."""
    page = client.get(f"/v1/vms?{query}").json_body
    assert page["total"] == len(page["items"])
    assert page["next"] is None
    return [int(vm["mac"][-2:]) for vm in page["items"]]


@pytest.mark.parametrize(
    ("q", "numbers"),
    [
        ("web", [1, 2]),
        ("WEB-2", [2]),
        (" db ", [3]),  # not the MAC that has these digits by chance
        (":db:", [4]),
        ("00-00-00", [1, 2, 3, 5, 6]),
        ("52540000DB04", [4]),
        ("10.1.1", [1, 2, 3, 6]),
        ("10.1.1.", [1, 2, 6]),
        ("10.1.10.3", [3]),
        ("168.10", []),
        ("fd00:", [1]),
        ("<script>'\"&", [5]),
        ("nobody", []),
        ("%", []),
    ],
)
def test_found_by_name_mac_or_ip(client: Any, vms: None, q: str, numbers: list[int]) -> None:
    assert found(client, f"q={quote(q)}") == numbers


def test_filters_and_search_go_together(client: Any, vms: None) -> None:
    assert found(client, "q=10.1.&host=hv-1") == [1, 3]
    assert found(client, "q=10.1.&vni=100") == [6]
    assert found(client, "host=hv-2&sort=-mac") == [6, 2]


@pytest.mark.parametrize(
    ("sort", "numbers"),
    [
        ("vni", [1, 2, 3, 5, 6, 4]),
        ("-vni", [4, 6, 5, 3, 2, 1]),
        ("mac", [1, 2, 3, 5, 6, 4]),
        ("name", [6, 5, 3, 1, 2, 4]),
        ("-name", [4, 2, 1, 3, 5, 6]),
        ("ip", [5, 1, 2, 3, 4, 6]),
        ("host", [1, 3, 5, 2, 6, 4]),
    ],
)
def test_sorted(client: Any, vms: None, sort: str, numbers: list[int]) -> None:
    assert found(client, f"sort={sort}") == numbers
    seen, cursor = [], ""
    while True:
        page = client.get(f"/v1/vms?sort={sort}&limit=1{cursor}").json_body
        assert page["total"] == 6
        seen += [int(vm["mac"][-2:]) for vm in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == numbers


def test_many_are_found_page_by_page_while_others_go(client: Any) -> None:
    body = [
        {"mac": f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}", "host": "hv-1", "name": f"vm-{n:04}"}
        for n in range(1, 1501)
    ]
    assert client.post("/v1/vms/batch", body).status_int == 201
    first = client.get("/v1/vms?q=vm-&sort=-name&limit=700").json_body
    assert (first["total"], first["items"][0]["name"]) == (1500, "vm-1500")
    for vm in (first["items"][-1], {"vni": 0, "mac": "52:54:00:00:00:01"}):
        client.delete(f"/v1/vms/{vm['vni']}/{vm['mac']}")
    second = client.get(f"/v1/vms?q=vm-&sort=-name&limit=700&cursor={first['next']}").json_body
    assert (second["total"], second["items"][0]["name"]) == (1498, "vm-0800")
    last = client.get(f"/v1/vms?q=vm-&sort=-name&limit=700&cursor={second['next']}").json_body
    assert ([vm["name"] for vm in last["items"]][-1], last["next"]) == ("vm-0002", None)


def test_a_page_after_the_longest_of_names(client: Any) -> None:
    for mac in (MAC1, MAC2):
        body = {"mac": mac, "host": "hv-1", "name": "\N{PENGUIN}" * 255}
        assert client.post("/v1/vms", body).status_int == 201
    first = client.get("/v1/vms?sort=name&limit=1").json_body
    second = client.get(f"/v1/vms?sort=name&limit=1&cursor={first['next']}").json_body
    assert [page["items"][0]["mac"] for page in (first, second)] == [MAC1, MAC2]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("q=", "q"),
        ("q=%20", "q"),
        ("q=" + "x" * 256, "q"),
        ("sort=", "sort"),
        ("sort=size", "sort"),
        ("sort=--name", "sort"),
        ("sort=name&cursor=WzEsMSwxXQ", "cursor"),  # [1,1,1]
        ("q=a&cursor=WyJhIiwxLDFd", "cursor"),  # ["a",1,1]
        ("q=a&cursor=WzEsMV0", "cursor"),  # [1,1]
        ("q=a&cursor=WzEsdHJ1ZSwxXQ", "cursor"),  # [1,true,1]
        ("q=a&limit=0", "limit"),
    ],
)
def test_what_cannot_be_meant(client: Any, vms: None, query: str, field: str) -> None:
    response = client.get(f"/v1/vms?{query}")
    assert response.status_int == 422
    assert response.json_body["errors"][0]["field"] == field


def test_flows_are_asked_for_by_words_and_table(client: Any, fabric: Any) -> None:
    fabric.flow_questions.clear()
    assert client.get("/v1/hosts/hv-1/flows?q=%20web-1&table=20&limit=5").status_int == 200
    (question,) = fabric.flow_questions
    assert (question.q, question.table, question.limit, question.start) == ("web-1", 20, 5, 0)
    for query in ("table=255", "table=x", "table=", "table=020", "q="):
        assert client.get(f"/v1/hosts/hv-1/flows?{query}").status_int == 422
