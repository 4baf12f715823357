"""What REST refuses changes nothing: not the facts, not a flow on any switch."""

from __future__ import annotations

import pytest

MAC = "52:54:00:00:0d:01"
GOOD = {"mac": MAC, "host": "h1", "ips": ["10.1.1.50"]}


TAKEN = {"mac": "52:54:00:00:0d:aa", "host": "h1", "ips": ["10.1.1.2"]}


@pytest.fixture(scope="module")
def named(make_shared_fabric):
    """Two hosts named h1 and h2, one registered VM, and nobody who speaks."""
    fabric = make_shared_fabric(hosts=2, vms="none")
    for host in fabric.lab.hosts:
        assert fabric.rest.put(f"/v1/hosts/{host.dpid}", {"name": host.name}).status == 200
    assert fabric.rest.post("/v1/vms?wait=5", TAKEN).status == 201
    return fabric


def everything(fabric):
    facts = [fabric.rest.items(path) for path in ("/v1/hosts", "/v1/vms", "/v1/networks")]
    return facts, [set(fabric.ages(host)) for host in fabric.lab.hosts]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"{", 400, None),
        (b"\xff\xfe", 400, None),
        ([], 422, None),
        ({}, 422, "mac"),
        (GOOD | {"mac": "52:54:00"}, 422, "mac"),
        (GOOD | {"mac": "01:00:5e:00:00:01"}, 422, "mac"),
        (GOOD | {"mac": "ff:ff:ff:ff:ff:ff"}, 422, "mac"),
        (GOOD | {"mac": 5}, 422, "mac"),
        (GOOD | {"vni": 1 << 24}, 422, "vni"),
        (GOOD | {"vni": -1}, 422, "vni"),
        (GOOD | {"vni": "0"}, 422, "vni"),
        (GOOD | {"vni": True}, 422, "vni"),
        (GOOD | {"ips": "10.1.1.50"}, 422, "ips"),
        (GOOD | {"ips": ["10.1.1.256"]}, 422, "ips[0]"),
        (GOOD | {"ips": ["10.1.1.50", "0.0.0.0"]}, 422, "ips[1]"),
        (GOOD | {"host": "nowhere"}, 422, "host"),
        (GOOD | {"colour": "blue"}, 422, "colour"),
    ],
)
def test_a_bad_body(named, body, status, field):
    before = everything(named)

    answer = named.rest.post("/v1/vms?wait=5", body)

    assert answer.status == status, answer.body
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert answer["status"] == status
    assert {"type", "title", "detail"} <= set(answer.body)
    if field is not None:
        assert field in [error["field"] for error in answer["errors"]]
    assert everything(named) == before


def test_conflicts_name_the_other_fact(named):
    before = everything(named)

    same_mac = TAKEN | {"host": "h2"}
    same_ip = GOOD | {"ips": ["10.1.1.50", "10.1.1.2"]}
    for body, named_fact in ((same_mac, TAKEN["mac"]), (same_ip, "10.1.1.2")):
        answer = named.rest.post("/v1/vms", body)
        assert answer.status == 409
        assert named_fact in answer["detail"]
    assert everything(named) == before


def test_a_batch_is_all_or_nothing(named):
    before = everything(named)
    batch = [
        {"mac": "52:54:00:00:0d:02", "host": "h1", "ips": ["10.1.1.52"]},
        {"mac": "52:54:00:00:0d:03", "host": "h2", "ips": ["10.1.1.2"]},
    ]

    answer = named.rest.post("/v1/vms/batch?wait=5", batch)
    assert answer.status == 409
    assert everything(named) == before

    answer = named.rest.post("/v1/vms/batch?wait=5", [batch[0], batch[1] | {"mac": "x"}])
    assert answer.status == 422
    assert "[1].mac" in [error["field"] for error in answer["errors"]]
    assert everything(named) == before


def test_a_wrong_content_type_and_a_wrong_path(named):
    before = everything(named)

    assert named.rest.call("POST", "/v1/vms", b"mac=1", "text/plain").status == 415
    assert named.rest.get("/v1/vms/0/52:54:00:00:0d:99").status == 404
    assert named.rest.get("/v1/nothing").status == 404
    assert named.rest.delete("/v1/vms/0/52:54:00:00:0d:99").status == 404
    assert named.rest.delete(f"/v1/hosts/{named.lab.hosts[0].dpid}").status == 409
    assert everything(named) == before
