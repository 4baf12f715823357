"""A real DHCP client gets its registered address, MTU and all, from its own host."""

from __future__ import annotations

import pytest

from topology.lab import LabError

VNI, VLAN = 400, 40
POLICY = {
    "vlan": VLAN,
    "subnets": ["10.1.1.0/24"],
    "dhcp": True,
    "gateway": "10.1.1.1",
    "dns": ["10.1.1.53", "9.9.9.9"],
    "mtu": 1400,
    "lease_s": 7200,
}


@pytest.fixture(scope="module", params=["plain", "secured"])
def leased(request, open_fabric):
    with open_fabric(hosts=2, vms="none", tunnels="flow") as fabric:
        secured = request.param == "secured"
        assert fabric.network(VNI, **POLICY, port_security=secured).status == 201
        for index in range(2):
            vm = fabric.lab.add_vm(index, None, vlan=VLAN, vni=VNI)
            ips = [f"10.1.1.{index + 20}", "fd00::20"][: 2 - index]
            assert fabric.register(vm, ips=ips, name=f"web-{index}").status == 201
        yield fabric


def test_the_lease_is_what_was_registered(leased):
    one, *_others = leased.lab.vms
    with leased.lab.capture() as wire:
        lease = one.dhcp()
    assert (lease.ip, lease.prefix_bits, lease.router) == ("10.1.1.20", 24, "10.1.1.1")
    assert (lease.mtu_bytes, lease.lease_s) == (1400, 7200)
    assert lease.dns == ("10.1.1.53", "9.9.9.9")
    assert lease.options["hostname"] == "web-0"
    assert [seen for seen in wire.tunnelled() if seen.udp_dst in (67, 68)] == []


def test_the_vms_ping_with_the_addresses_they_got(leased):
    one, two, *_others = leased.lab.vms
    for vm in (one, two):
        vm.dhcp()
    assert one.ping("10.1.1.21").ok


def test_who_wants_another_address_gets_its_own(leased):
    one, *_others = leased.lab.vms
    assert one.dhcp(more=["-r", "10.1.1.99"]).ip == "10.1.1.20"


def test_who_is_not_registered_is_not_answered_and_not_kept_from_other_servers(leased):
    stranger = leased.lab.add_vm(0, None, vlan=VLAN, vni=VNI)
    with leased.lab.capture() as wire, pytest.raises(LabError):
        stranger.dhcp(timeout_s=4)
    asked = [seen for seen in wire.tunnelled() if seen.udp_dst == 67]
    secured = leased.rest.get(f"/v1/networks/{VNI}")["port_security"]
    assert bool(asked) is not secured


def test_without_it_the_network_is_as_before(leased):
    one, *_others = leased.lab.vms
    body = {**POLICY, "dhcp": False}
    assert leased.network(VNI, **body).status == 200
    try:
        with pytest.raises(LabError):
            one.dhcp(timeout_s=4)
    finally:
        leased.network(VNI, **POLICY)
    assert leased.in_sync()
