"""Batches that change what is there, and plans of batches."""

from __future__ import annotations

import pytest

from tests.api.conftest import HV1, HV2, MAC1, MAC2, MAC3

BATCH = "/v1/vms/batch"


@pytest.fixture
def there(client, vm):
    body = {"mac": MAC2, "host": "hv-2", "ips": ["10.1.1.2"], "name": "web-2"}
    assert client.post("/v1/vms", body).status_int == 201
    return client


def test_update_adds_changes_and_moves(there):
    wanted = [
        {"mac": MAC1, "host": "hv-2"},
        {"mac": MAC2, "host": "hv-2", "ips": ["10.1.1.9"]},
        {"mac": MAC3, "host": "hv-3"},
    ]
    answer = there.post(BATCH + "?on_existing=update", wanted).json_body
    counts = {name: answer[name] for name in ("added", "changed", "moved", "removed", "unchanged")}
    assert counts == {"added": 1, "changed": 1, "moved": 1, "removed": 0, "unchanged": 0}
    moved = there.get(f"/v1/vms/0/{MAC1}").json_body
    assert (moved["host"], moved["name"], moved["ips"]) == (HV2, "web-1", ["10.1.1.1", "fd00::1"])
    again = there.post(BATCH + "?on_existing=update", wanted).json_body
    assert again["unchanged"] == 3


def test_a_dry_run_tells_everything_and_changes_nothing(there, fabric):
    fabric.connected |= {int(HV1, 16), int(HV2, 16)}
    before = fabric.stored()
    wanted = [{"mac": MAC1, "host": "hv-2", "name": "web-9"}, {"mac": MAC3, "host": "hv-3"}]
    answer = there.post(BATCH + "?on_existing=update&prune=0&dry_run=true", wanted).json_body
    assert answer["items"] == [
        {
            "action": "remove",
            "kind": "vm",
            "vni": 0,
            "mac": MAC2,
            "name": "web-2",
            "host": HV2,
        },
        {
            "action": "move",
            "kind": "vm",
            "vni": 0,
            "mac": MAC1,
            "name": "web-9",
            "host": HV2,
            "changes": ["host", "name"],
            "from": HV1,
            "to": HV2,
        },
        {
            "action": "add",
            "kind": "vm",
            "vni": 0,
            "mac": MAC3,
            "name": None,
            "host": "0000000000000013",
        },
    ]
    assert (answer["hosts"], answer["flows"]) == (2, 3 * 2)
    assert answer["applied"] == {"hosts": 0, "of": 0}
    assert fabric.stored() == before


def test_prune_removes_only_of_its_network(there, fabric):
    there.put("/v1/networks/100", {"vlan": 10})
    there.post("/v1/vms", {"mac": MAC1, "vni": 100, "host": "hv-1"})
    answer = there.post(BATCH + "?prune=100", []).json_body
    assert (answer["removed"], answer["unchanged"]) == (1, 0)
    assert there.get("/v1/vms").json_body["total"] == 2


def test_two_vms_may_exchange_their_addresses(there):
    wanted = [
        {"mac": MAC1, "host": "hv-1", "ips": ["10.1.1.2"]},
        {"mac": MAC2, "host": "hv-2", "ips": ["10.1.1.1"]},
    ]
    assert there.post(BATCH + "?on_existing=update", wanted).json_body["changed"] == 2
    assert there.get("/v1/vms?ip=10.1.1.1").json_body["items"][0]["mac"] == MAC2


def test_an_address_may_go_from_who_is_pruned(there):
    wanted = [{"mac": MAC3, "host": "hv-1", "ips": ["10.1.1.1", "10.1.1.2"]}]
    answer = there.post(BATCH + "?on_existing=update&prune=0", wanted).json_body
    assert (answer["added"], answer["removed"]) == (1, 2)


def test_refuse_is_what_it_is_without_asking(there, fabric):
    before = fabric.stored()
    wanted = [{"mac": MAC3, "host": "hv-1"}, {"mac": MAC1, "host": "hv-3"}]
    for query in ("", "?on_existing=refuse", "?dry_run=true"):
        response = there.post(BATCH + query, wanted)
        assert (response.status_int, response.json_body["index"]) == (409, 1)
    assert fabric.stored() == before


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("on_existing=replace", "on_existing"),
        ("dry_run=1", "dry_run"),
        ("prune=blue", "prune"),
        ("prune=7", "prune"),
        ("dry-run=true", "dry-run"),
    ],
)
def test_wrong_words_are_refused(there, query, field):
    response = there.post(f"{BATCH}?{query}", [])
    assert response.status_int == 422
    assert response.json_body["errors"][0]["field"] == field


def test_one_vm_twice_is_refused(there):
    wanted = [{"mac": MAC1, "host": "hv-1"}, {"mac": MAC1, "host": "hv-2"}]
    response = there.post(BATCH + "?on_existing=update", wanted)
    assert (response.status_int, response.json_body["index"]) == (422, 1)


def test_vms_are_found_by_mac_in_every_network(there):
    there.put("/v1/networks/100", {"vlan": 10})
    there.post("/v1/vms", {"mac": MAC1, "vni": 100, "host": "hv-1"})
    found = there.get(f"/v1/vms?mac={MAC1}").json_body["items"]
    assert [vm["vni"] for vm in found] == [0, 100]
    assert there.get(f"/v1/vms?mac={MAC1}&vni=100").json_body["total"] == 1
    assert there.get("/v1/vms?mac=x").status_int == 422


def test_who_lags_is_named(there, fabric):
    fabric.connected |= {int(HV1, 16), int(HV2, 16)}
    fabric.lagging.add(int(HV2, 16))
    response = there.put(f"/v1/vms/0/{MAC1}?wait=0", {"host": "hv-3"})
    assert response.status_int == 202
    assert response.json_body["waiting_for"] == [{"host": HV2, "host_name": "hv-2"}]
