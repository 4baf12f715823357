"""GET /v1/ledger: counts by network, and who may see what of them."""

from __future__ import annotations

import pytest

from controller.ledger import INTERVAL_S, tally
from controller.pipeline import Kind
from tests.api.conftest import HV1, MAC1
from topology.types import Mac

NONE = {"frames": 0, "bytes": 0}


@pytest.fixture
def counted(fabric, client):
    """Network 100 answered 4 who-has and flooded 2 frames to 2 VTEPs on hv-1, in one interval."""
    assert client.put("/v1/networks/100", {"name": "blue", "vlan": 10}).status_int == 201
    ledger = fabric.counts
    ledger.turn(900.0, fabric.topology.networks)
    ledger.count(100, 0x11, tally(Kind.ARP_RESPONDER, 4, 240, 2, floods=False))
    ledger.count(100, 0x11, tally(Kind.UNICAST_FLOOD, 2, 200, 2, floods=True))
    ledger.talked(100, 0x11, Mac.parse(MAC1), 6, 440)
    ledger.turn(900.0 + INTERVAL_S, fabric.topology.networks)
    return ledger


BLUE = {
    "vni": 100,
    "name": "blue",
    "answered": {"frames": 4, "bytes": 240},
    "answered_by_controller": NONE,
    "suppressed": NONE,
    "flooded": {"frames": 2, "bytes": 200, "copies": 4},
    "unknown_unicast": {"frames": 2, "bytes": 200},
    "saved": {"copies": 8, "bytes": 2 * (240 + 4 * 50)},
    "per_s": {
        "answered": 0.4,
        "suppressed": 0.0,
        "flooded": 0.2,
        "unknown_unicast": 0.2,
        "saved_bytes": 88.0,
    },
}


def test_every_network_and_their_sum(client, counted):
    body = client.get("/v1/ledger").json_body

    assert (body["total"], body["next"]) == (2, None)
    quiet, blue = body["items"]
    assert blue == BLUE
    assert (quiet["vni"], quiet["flooded"]) == (0, {**NONE, "copies": 0})
    assert body["sum"] == {key: BLUE[key] for key in BLUE if key not in ("vni", "name")}
    assert (body["since"], body["as_of"]) == (
        "2026-11-21T10:15:00.000Z",
        "2026-11-21T10:16:39.500Z",
    )


def test_pages(client, counted):
    first = client.get("/v1/ledger?limit=1").json_body
    second = client.get(f"/v1/ledger?limit=1&cursor={first['next']}").json_body

    assert [page["items"][0]["vni"] for page in (first, second)] == [0, 100]
    assert first["sum"] == second["sum"]


def test_one_network(client, counted, vm):
    body = client.get("/v1/ledger/100").json_body

    assert {key: body[key] for key in BLUE} == BLUE
    own = {key: BLUE[key] for key in BLUE if key not in ("vni", "name", "per_s")}
    assert body["hosts"] == [{"host": HV1, "host_name": "hv-1", **own}]
    assert body["talkers"] == [
        {
            "mac": MAC1,
            "name": None,
            "host": HV1,
            "host_name": "hv-1",
            "frames": 6,
            "bytes": 440,
            "per_s": 0.6,
        }
    ]
    assert body["history"] == [
        {
            "at": "2026-11-21T10:15:10.000Z",
            "answered": 4,
            "suppressed": 0,
            "flooded": 2,
            "unknown_unicast": 2,
            "saved_bytes": 880,
        }
    ]


def test_a_network_that_counted_nothing(client):
    body = client.get("/v1/ledger/0").json_body

    assert (body["answered"], body["hosts"], body["talkers"], body["history"]) == (NONE, [], [], [])


def test_fresh_asks_the_switches_first(client, fabric):
    client.get("/v1/ledger")
    client.get("/v1/ledger?fresh=false")
    client.get("/v1/ledger?fresh=true")
    client.get("/v1/ledger/0?fresh=true")

    assert fabric.counted == [None, 0]


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/v1/ledger?fresh=yes", 422, "fresh"),
        ("/v1/ledger?vni=1", 422, "vni"),
        ("/v1/ledger/blue", 422, "vni"),
        ("/v1/ledger/16777216", 422, "vni"),
        ("/v1/ledger/5", 404, None),
        ("/v1/ledger?cursor=x", 422, "cursor"),
    ],
)
def test_what_is_refused(client, fabric, path, status, field):
    response = client.get(path)

    assert response.status_int == status
    if field is not None:
        assert [error["field"] for error in response.json_body["errors"]] == [field]
    assert fabric.counted == []
