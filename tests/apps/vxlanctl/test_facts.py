"""Hosts, networks, VMs, foreign VTEPs and virtual IPs, by the real controller."""

from __future__ import annotations

import json

import pytest

from tests.apps.vxlanctl.conftest import HV1


def test_a_host_is_declared_shown_and_forgotten(empty):
    done = empty("host", "declare", HV1, "--name", "hv-1", "--tunnel-port", "vxlan0=flow")
    assert (
        done.out == "host hv-1 is declared; stored, but no host is connected: it is applied"
        " on 0 of 0 hosts\n"
    )
    assert empty("host", "list", "-o", "json").json[0]["name"] == "hv-1"
    assert "DISCONNECTED" in empty("host", "list").out
    assert empty("host", "declare", "hv-1", "--vtep", "192.168.33.12").status == 0
    assert empty("host", "list", "-o", "json").json[0]["name"] == "hv-1", "it stays called so"
    shown = empty("host", "show", "hv-1")
    assert ["dpid", HV1] in [line.split() for line in shown.out.splitlines()]
    assert empty("host", "forget", "hv-1").status == 0
    assert empty("host", "list").err == "no hosts\n"


def test_a_certificate_is_bound_until_it_is_said_otherwise(empty):
    pin = "sha256:" + "5e" * 32
    assert empty("host", "declare", HV1, "--certificate", pin).status == 0
    assert empty("host", "declare", HV1, "--name", "hv-1").status == 0
    assert empty("host", "show", HV1, "-o", "json").json["certificate"] == pin
    wrong = empty("host", "declare", HV1, "--certificate", "5e5e")
    assert wrong.status == 1
    assert "certificate" in wrong.err
    none = empty("host", "declare", HV1, "--certificate", "seen")
    assert none.status == 2
    assert "presents no certificate now" in none.err
    assert empty("host", "declare", HV1, "--certificate", "").status == 0
    assert empty("host", "show", HV1, "-o", "json").json["certificate"] is None
    assert empty("host", "forget", HV1).status == 0


def test_what_is_not_there_is_told_with_what_is_near(there):
    gone = there("host", "show", "hv-3")
    assert gone.status == 1
    assert "did you mean hv-2 or hv-1?" in gone.err
    assert "did you mean blue?" in there("network", "show", "bleu").err
    assert "did you mean web-2 or web-1?" in there("vm", "show", "web").err
    assert "did you mean hv-1" in there("vm", "add", "525400000009", "-H", "hv-11").err
    assert "did you mean hv-2" in there("vm", "move", "web-1", "hv2").err


SPELLED = "52:54:00:00:00:02 52-54-00-00-00-02 5254.0000.0002 525400000002 52:54:0:0:0:2 web-2"


@pytest.mark.parametrize("spelled", SPELLED.split())
def test_a_vm_is_found_by_any_usual_spelling(there, spelled):
    assert there("vm", "show", spelled, "-o", "json").json["name"] == "web-2"


def test_who_is_meant_must_be_clear(there):
    unclear = there("vm", "show", "10.1.1.1")
    assert unclear.status == 1
    assert "could be any of 2 VMs" in unclear.err
    assert "web-1" in unclear.err
    assert "db" in unclear.err
    assert (
        there("vm", "show", "10.1.1.1", "--network", "blue", "-o", "json").json["name"] == "web-1"
    )


def test_a_vm_moves_and_keeps_what_it_has(there):
    moved = there("vm", "move", "web-1", "hv-2")
    assert moved.out.startswith("VM web-1 (52:54:00:00:00:01) is moved from hv-1 to hv-2; ")
    assert there("vm", "show", "web-1", "-o", "json").json["ips"] == ["10.1.1.1"]
    assert "is on hv-2 already" in there("vm", "move", "web-1", "hv-2").out


def test_a_vm_is_changed_where_it_is_told(there):
    assert there("vm", "set", "web-1", "--ip", "10.1.1.7", "--ip", "fd00::7").status == 0
    assert there("vm", "set", "web-1", "--no-respond").status == 0
    now = there("vm", "show", "web-1", "-o", "json").json
    assert (now["ips"], now["respond"], now["host"]) == (["10.1.1.7", "fd00::7"], False, HV1)
    assert there("vm", "set", "web-1", "--ip", "", "--name", "").status == 0
    now = there("vm", "show", "52:54:00:00:00:01", "-n", "100", "-o", "json").json
    assert (now["ips"], now["name"]) == ([], None)
    assert there("vm", "set", "web-2").status == 2


def test_several_vms_are_deleted_or_none(there):
    assert there("vm", "delete", "web-1", "web-9").status == 1
    assert len(there("vm", "list", "-o", "json").json) == 3
    assert there("vm", "delete", "web-1", "web-2").status == 0
    assert [vm["name"] for vm in there("vm", "list", "-o", "json").json] == ["db"]


def test_lists_are_filtered_and_say_what_they_leave_out(there):
    assert len(there("vm", "list", "--network", "blue", "-o", "json").json) == 2
    assert len(there("vm", "list", "--host", "hv-1", "-o", "json").json) == 2
    assert len(there("vm", "list", "--name", "db", "--ip", "10.1.1.1", "-o", "json").json) == 1
    short = there("vm", "list", "--limit", "1")
    assert len(short.out.splitlines()) == 2
    assert short.err == "1 of 3 VMs; --all shows them all\n"
    assert len(there("vm", "list", "--all").out.splitlines()) == 4
    assert there("vm", "list", "--network", "7").err == "no VMs\n"


def test_a_network_keeps_what_is_not_named(there):
    assert (
        there("network", "set", "blue", "--unknown-arp", "drop", "--subnet", "10.1.1.0/24").status
        == 0
    )
    assert (
        there("network", "set", "blue", "--dhcp", "--gateway", "10.1.1.1", "--host", "hv-1").status
        == 0
    )
    now = there("network", "show", "blue", "-o", "json").json
    assert (now["vlan"], now["unknown_arp"], now["dhcp"]) == (10, "drop", True)
    assert (now["hosts"], now["gateway"]) == ([HV1], "10.1.1.1")
    assert there("network", "set", "blue", "--host", "", "--vlan", "12", "--no-dhcp").status == 0
    now = there("network", "show", "blue", "-o", "json").json
    assert (now["hosts"], now["vlan"], now["dhcp"]) == ([], 12, False)
    line = next(line for line in there("network", "list").out.splitlines() if "blue" in line)
    assert "unknown-arp drop" in line


def test_conflicts_name_what_holds_it(there):
    taken = there("vm", "add", "525400000009", "-H", "hv-1", "-n", "blue", "--ip", "10.1.1.1")
    assert taken.status == 1
    assert taken.err.startswith("vxlanctl: Conflict (409): IP 10.1.1.1 in network 100 belongs to")
    assert "web-1" in taken.err
    assert "still has VMs" in there("network", "delete", "blue").err


def test_every_wrong_field_is_told(there):
    wrong = there("network", "set", "300", "--vlan", "5000", "--subnet", "10.1.1.1/24")
    assert wrong.status == 1
    lines = wrong.err.splitlines()
    assert lines[0] == "vxlanctl: Invalid value (422):"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["vlan", "subnets[0]"]


def test_foreign_vteps_and_virtual_ips(there):
    assert there("vtep", "set", "192.168.33.99").status == 2
    assert there("vtep", "set", "192.168.33.99", "-n", "blue", "--name", "rack").status == 0
    assert there("vtep", "set", "192.168.33.99", "--no-learning").status == 0
    rack = there("vtep", "list", "-o", "json").json[0]
    assert (rack["name"], rack["vnis"], rack["learning"]) == ("rack", [100], False)
    assert there("vip", "set", "10.1.1.100", "-n", "blue").status == 2
    assert (
        there(
            "vip", "set", "10.1.1.100", "-n", "blue", "--vm", "web-1", "--vm", "5254.0000.0002"
        ).status
        == 0
    )
    vip = there("vip", "list", "-n", "blue", "-o", "json").json[0]
    assert vip["macs"] == ["52:54:00:00:00:01", "52:54:00:00:00:02"]
    assert there("vip", "delete", "10.1.1.100", "-n", "blue").status == 0
    assert there("vtep", "delete", "192.168.33.99").status == 0


def test_writes_answer_in_json(there):
    done = there("vm", "move", "web-1", "hv-2", "-o", "json").json
    assert done["applied"] == {"hosts": 0, "of": 0}
    both = there("vm", "delete", "web-1", "web-2", "-o", "json").json
    assert [vm["name"] for vm in both] == ["web-1", "web-2"]


def test_flows_of_a_host_that_is_away(there):
    assert (
        len(there("host", "flows", "hv-1", "-o", "json").json)
        > len(there("host", "flows", "hv-1", "--match", "web-1", "-o", "json").json)
        > 0
    )
    assert there("host", "diff", "hv-1").status == 1
    assert "not connected" in there("host", "diff", "hv-1").err


def test_errors_in_json(there):
    wrong = there("vm", "show", "web-9", "-o", "json")
    assert (wrong.status, wrong.out) == (1, "")
    assert "web-9" in json.loads(wrong.err)["detail"]
    wrong = there("-o", "json", "network", "set", "7", "--mtu", "1")
    assert json.loads(wrong.err)["errors"][0]["field"] == "mtu"
    wrong = there("vm", "add", "-o", "json")
    assert wrong.status == 2
    assert "MAC" in json.loads(wrong.err)["detail"]
