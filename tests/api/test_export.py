"""Facts as a file: out of one controller, into another, and the same comes out again."""

from __future__ import annotations

import json

import pytest

from tests.api.conftest import HV1, HV2, MAC1, MAC2, MAC3, Client, PretendedFabric

NDJSON = "application/x-ndjson"
HEAD = {"kind": "vxlan-l2", "version": 1}


def lines(response) -> list[dict]:
    assert response.content_type == NDJSON
    return [json.loads(line) for line in response.body.splitlines()]


@pytest.fixture
def raw(client: Client):
    """GET without the checks that only hold for JSON."""
    from webob import Request

    return lambda path: Request.blank(path).get_response(client._api)


def loaded(client: Client, facts: list[dict], query: str = ""):
    body = b"\n".join(json.dumps(fact).encode() for fact in facts)
    return client.post("/v1/import" + query, body, content_type=NDJSON)


@pytest.fixture
def furnished(client: Client) -> Client:
    """Something of everything."""
    ports = [{"name": "vxlan0", "remote": "192.168.33.13"}, {"name": "vxlan1", "remote": "flow"}]
    pin = "sha256:" + "5e" * 32
    body = {"name": "hv-2", "vtep": "192.168.33.12", "tunnel_ports": ports, "certificate": pin}
    assert client.put(f"/v1/hosts/{HV2}", body).status_int == 200
    network = {"name": "blue", "vlan": 10, "subnets": ["10.1.1.0/24"], "dhcp": True}
    assert client.put("/v1/networks/100", {**network, "hosts": ["hv-3"]}).status_int == 201
    assert client.put("/v1/networks/200", {"vlan": 20, "hosts": "all"}).status_int == 201
    vtep = {"vnis": [100], "name": "rack", "learning": False}
    assert client.put("/v1/vteps/192.168.33.99", vtep).status_int == 201
    for mac, host, ip in ((MAC1, "hv-1", "10.1.1.1"), (MAC2, "rack", "10.1.1.2")):
        body = {"mac": mac, "vni": 100, "host": host, "ips": [ip], "name": "vm-" + mac[-1]}
        assert client.post("/v1/vms", body).status_int == 201
    vip = {"macs": [MAC1, MAC2], "name": "lb"}
    assert client.put("/v1/vips/100/10.1.1.100", vip).status_int == 201
    return client


def test_an_export_has_every_fact_after_a_line_that_says_what_it_is(furnished, raw):
    head, *facts = lines(raw("/v1/export"))
    assert head.keys() == {"kind", "version", "exported_at", "facts"}
    assert (head["kind"], head["version"], head["facts"]) == ("vxlan-l2", 1, len(facts))
    kinds = [fact["kind"] for fact in facts]
    assert kinds == ["host"] * 3 + ["network"] * 3 + ["vtep"] + ["vm"] * 2 + ["vip"]


def test_export_into_an_empty_controller_gives_the_same_export(furnished, raw, tmp_path):
    from webob import Request

    from controller.api.app import Api
    from controller.store.sqlite import SqliteStore

    exported = lines(raw("/v1/export"))
    store = SqliteStore(str(tmp_path / "other.db"))
    store.open()
    other = PretendedFabric(store)
    other.start()
    try:
        api = Api(other, "1.2.3")
        for mode in ("replace", "merge"):
            answer = loaded(Client(api), exported, f"?mode={mode}")
            assert answer.status_int == 200, answer.text
        again = lines(Request.blank("/v1/export").get_response(api))
        assert again[1:] == exported[1:]
        assert answer.json_body["unchanged"] == len(exported) - 1  # the second time
    finally:
        other.stop()
        store.close()


def test_the_same_again_changes_nothing(furnished, raw, fabric):
    exported = lines(raw("/v1/export"))
    before = fabric.stored()
    for mode in ("merge", "replace"):
        answer = loaded(furnished, exported, f"?mode={mode}").json_body
        assert (answer["added"], answer["changed"], answer["moved"], answer["removed"]) == (0,) * 4
    assert fabric.stored() == before


def test_replace_takes_away_what_the_file_lacks(furnished, raw, fabric):
    exported = lines(raw("/v1/export"))
    furnished.put("/v1/networks/300", {"vlan": 30})
    furnished.post("/v1/vms", {"mac": MAC3, "vni": 300, "host": "hv-1"})
    furnished.put("/v1/vteps/192.168.33.98", {"vnis": [300]})
    furnished.put("/v1/hosts/0000000000000099", {"name": "late"})
    furnished.put(f"/v1/vms/100/{MAC1}", {"host": "hv-2", "ips": ["10.1.1.9"]})
    planned = loaded(furnished, exported, "?mode=replace&dry_run=true").json_body
    assert (planned["removed"], planned["moved"], planned["added"]) == (4, 1, 0)
    assert lines(raw("/v1/export"))[1:] != exported[1:]
    done = loaded(furnished, exported, "?mode=replace").json_body
    assert (done["removed"], done["moved"]) == (4, 1)
    assert lines(raw("/v1/export"))[1:] == exported[1:]


def test_merge_leaves_the_rest_alone(furnished, raw):
    vm = {"kind": "vm", "mac": MAC3, "vni": 100, "host": "hv-1"}
    answer = loaded(furnished, [HEAD, vm]).json_body
    assert (answer["added"], answer["removed"]) == (1, 0)
    assert len(lines(raw("/v1/export"))) == 12


def test_what_is_exchanged_is_no_conflict(furnished):
    """Two VMs that exchange their addresses, and a host's name that goes to another."""
    facts = [
        HEAD,
        {"kind": "vm", "mac": MAC1, "vni": 100, "host": "hv-1", "ips": ["10.1.1.2"]},
        {"kind": "vm", "mac": MAC2, "vni": 100, "host": "hv-1", "ips": ["10.1.1.1"]},
    ]
    answer = loaded(furnished, facts).json_body
    assert (answer["changed"], answer["moved"]) == (1, 1)
    assert furnished.get("/v1/vms?ip=10.1.1.1").json_body["items"][0]["mac"] == MAC2


def test_a_vm_may_leave_a_foreign_vtep_that_loses_its_network(furnished, raw):
    exported = lines(raw("/v1/export"))
    for fact in exported:
        if fact["kind"] == "vtep":
            fact["vnis"] = [200]
        if fact["kind"] == "vm" and fact["mac"] == MAC2:
            fact["host"] = HV1
    assert loaded(furnished, exported, "?mode=replace").json_body["moved"] == 1
    assert lines(raw("/v1/export"))[1:] == exported[1:]


def test_a_connected_host_stays_whatever_the_file_says(furnished, raw, fabric):
    fabric.connected.add(int(HV2, 16))
    exported = [fact for fact in lines(raw("/v1/export")) if fact.get("dpid") != HV2]
    exported[0]["facts"] -= 1
    assert loaded(furnished, exported, "?mode=replace").status_int == 200
    shown = furnished.get(f"/v1/hosts/{HV2}").json_body
    assert (shown["name"], shown["connected"]) == (None, True)


@pytest.mark.parametrize(
    ("facts", "field", "reason"),
    [
        ([], "[0].kind", "first line"),
        ([{"kind": "vm", "mac": MAC1, "host": "hv-1"}], "[0].kind", "first line"),
        ([{**HEAD, "version": 2}], "[0].version", "2 is not 1"),
        ([{**HEAD, "version": True}], "[0].version", "True is not 1"),
        ([{**HEAD, "version": None}], "[0].version", "None is not 1"),
        ([{**HEAD, "facts": 3}], "[0].facts", "a part is lost"),
        ([{**HEAD, "facts": "3"}], "[0].facts", "integer"),
        ([{**HEAD, "facts": -1}], "[0].facts", "greater than or equal"),
        ([HEAD, {"mac": MAC1}], "[1].kind", "required"),
        ([HEAD, 7], "[1].kind", "required"),
        ([HEAD, {"kind": "vmm"}], "[1].kind", "none of"),
        ([HEAD, {"kind": "vm", "mac": MAC1}], "[1].host", "required"),
        ([HEAD, {"kind": "vm", "mac": MAC1, "host": "hv-9"}], "[1].host", "no known host"),
        ([HEAD, {"kind": "network", "vni": 5, "vlam": 1}], "[1].vlam", "unknown field"),
        ([HEAD, {"kind": "network"}], "[1].vni", "required"),
        ([HEAD, {"kind": "host", "name": "x"}], "[1].dpid", "required"),
        ([HEAD, {"kind": "vtep", "vtep": "192.0.2.1", "vnis": [7]}], "[1].vnis[0]", "not exist"),
        ([HEAD, {"kind": "vip", "vni": 0, "ip": "10.0.0.1", "macs": []}], "[1].macs", "at least"),
        ([HEAD, *[{"kind": "network", "vni": 5, "vlan": 5}] * 2], "[2]", "same thing as [1]"),
    ],
)
def test_what_cannot_be_taken_is_named_and_changes_nothing(client, fabric, facts, field, reason):
    before = fabric.stored()
    response = loaded(client, facts)
    assert response.status_int == 422, response.text
    assert [error["field"] for error in response.json_body["errors"]] == [field]
    assert reason in response.json_body["errors"][0]["reason"]
    assert fabric.stored() == before


def test_a_conflict_names_the_line_and_changes_nothing(furnished, fabric):
    before = fabric.stored()
    facts = [
        HEAD,
        {"kind": "host", "dpid": "aa", "name": "new"},
        {"kind": "network", "vni": 7, "vlan": 10},
    ]
    response = loaded(furnished, facts)
    assert response.status_int == 409
    assert response.json_body["detail"].startswith("[2]: network 100 is carried on local VLAN 10")
    assert fabric.stored() == before


def test_unknown_modes_are_refused(client):
    assert loaded(client, [HEAD], "?mode=overwrite").json_body["errors"][0]["field"] == "mode"
    assert loaded(client, [HEAD], "?dry_run=yes").json_body["errors"][0]["field"] == "dry_run"


def test_no_value_at_all_makes_it_stumble(client):
    odd = [None, [], {}, "x", 1, {"kind": None}, {"kind": []}, {"kind": "vm", "ips": {}, "mac": 1}]
    for item in odd:
        for facts in ([item], [HEAD, item], [HEAD, {"kind": "host", "dpid": item}]):
            assert loaded(client, facts).status_int == 422
