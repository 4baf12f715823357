"""Wanted changes are checked against the facts and each other; what fails leaves no trace."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology.draft import Draft
from topology.errors import Conflict, InvalidValue, NotFound
from topology.model import Host, Network, Put, Topology, Vm
from topology.types import Dpid, Ip, Mac, Vlan, Vni, VtepIp

ONE, TWO = Dpid(1), Dpid(2)
A = Vm(Mac(0x525400000001), Vni(0), ONE, (Ip.parse("10.1.1.2"),), "a")
B = Vm(Mac(0x525400000002), Vni(0), TWO, (Ip.parse("10.1.1.3"),), "b")


@pytest.fixture
def draft() -> Draft:
    """Two hosts, the second with VTEP 192.168.33.13; VM a on the first."""
    topology = Topology()
    for fact in (
        Host(ONE, "h1"),
        Host(TWO, "h2", VtepIp(Ip.parse("192.168.33.13"))),
        A,
    ):
        topology.apply(Put(fact))
    return Draft(topology)


def test_a_vm_is_created_once_and_again_unchanged(draft):
    assert draft.create_vm(B) == "created"
    assert draft.create_vm(B) == "unchanged"
    assert draft.create_vm(A) == "unchanged"
    assert draft.changes == [Put(B)]
    assert draft.wanted == [Put(B), Put(B), Put(A)]


def test_a_mac_belongs_to_one_vm(draft):
    with pytest.raises(Conflict, match="'a' 52:54:00:00:00:01"):
        draft.create_vm(replace(A, host=TWO))


def test_an_ip_belongs_to_one_vm(draft):
    with pytest.raises(Conflict, match="'a' 52:54:00:00:00:01"):
        draft.create_vm(replace(B, ips=A.ips))


def test_the_same_ip_in_another_network_is_another_address(draft):
    draft.set_network(Network(Vni(7), vlan=Vlan(7)))

    assert draft.create_vm(replace(B, vni=Vni(7), ips=A.ips)) == "created"


def test_an_ip_can_be_handed_over_in_one_draft(draft):
    draft.set_vm(replace(A, ips=()))

    assert draft.set_vm(replace(B, ips=A.ips)) == "created"


def test_an_ip_of_a_vm_that_goes_is_free(draft):
    draft.remove_vm(A.key)

    assert draft.create_vm(replace(B, ips=A.ips)) == "created"


def test_another_host_is_a_move(draft):
    assert draft.set_vm(replace(A, host=TWO)) == "changed"
    assert draft.vm(A.key).host == TWO


def test_a_vm_needs_its_host_and_network(draft):
    with pytest.raises(InvalidValue, match="host"):
        draft.set_vm(replace(B, host=Dpid(9)))
    with pytest.raises(InvalidValue, match="network 7 does not exist"):
        draft.set_vm(replace(B, vni=Vni(7)))


def test_hosts_are_found_by_name_address_and_dpid(draft):
    for ref in ("h2", "192.168.33.13", "0000000000000002", "2"):
        assert draft.find_host(ref).dpid == TWO
    draft.set_host(Host(Dpid(3), "h3"))
    assert draft.find_host("h3").dpid == 3
    with pytest.raises(InvalidValue, match="no known host"):
        draft.find_host("h4")


def test_names_and_vteps_of_hosts_are_unique(draft):
    with pytest.raises(Conflict, match="named 'h1'"):
        draft.set_host(Host(Dpid(3), "h1"))
    with pytest.raises(Conflict, match=r"192\.168\.33\.13"):
        draft.set_host(Host(Dpid(3), None, VtepIp(Ip.parse("192.168.33.13"))))


def test_a_host_with_vms_cannot_be_forgotten(draft):
    with pytest.raises(Conflict, match="still has VMs"):
        draft.remove_host(ONE)
    draft.create_vm(B)
    with pytest.raises(Conflict, match="still has VMs"):
        draft.remove_host(TWO)
    draft.remove_vm(A.key)
    draft.remove_host(ONE)
    with pytest.raises(NotFound):
        draft.remove_host(ONE)


def test_networks_do_not_share_a_vlan_or_a_name(draft):
    draft.set_network(Network(Vni(7), "blue", Vlan(7)))
    with pytest.raises(Conflict, match="network 7"):
        draft.set_network(Network(Vni(8), None, Vlan(7)))
    with pytest.raises(Conflict, match="'blue'"):
        draft.set_network(Network(Vni(8), "blue", Vlan(8)))
    with pytest.raises(Conflict, match="untagged"):
        draft.set_network(Network(Vni(8)))


def test_a_network_with_vms_cannot_be_deleted_and_network_0_never(draft):
    draft.set_network(Network(Vni(7), vlan=Vlan(7)))
    draft.create_vm(replace(B, vni=Vni(7)))
    with pytest.raises(Conflict, match="still has VMs"):
        draft.remove_network(7)
    with pytest.raises(Conflict, match="network 0"):
        draft.remove_network(0)
    draft.remove_vm((7, B.mac))
    draft.remove_network(7)
    with pytest.raises(NotFound):
        draft.remove_network(7)


def test_a_fork_that_fails_leaves_no_trace(draft):
    fork = draft.fork()
    fork.create_vm(B)
    fork.set_host(Host(Dpid(3), "h3"))
    with pytest.raises(Conflict):
        fork.create_vm(replace(A, host=TWO))

    assert draft.changes == []
    assert draft.vm(B.key) is None
    assert draft.host(3) is None
    assert draft.create_vm(replace(B, mac=Mac(0x525400000009))) == "created"


def test_a_fork_that_is_absorbed_counts_for_the_next(draft):
    fork = draft.fork()
    fork.create_vm(B)
    draft.absorb(fork)
    with pytest.raises(Conflict):
        draft.fork().create_vm(replace(B, mac=Mac(0x525400000009)))

    assert draft.changes == [Put(B)]


vms = st.builds(
    Vm,
    mac=st.sampled_from([A.mac, B.mac]),
    vni=st.just(Vni(0)),
    host=st.sampled_from([ONE, TWO]),
    ips=st.lists(st.sampled_from([*A.ips, *B.ips]), max_size=2).map(tuple),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from(["create", "set", "remove"]), vms), max_size=12))
def test_a_draft_sees_what_applying_it_gives(wishes):
    """In one draft, or each applied before the next: the same answers and the same facts."""
    base = Topology()
    for dpid in (ONE, TWO):
        base.apply(Put(Host(dpid)))
    draft, stepwise = Draft(base), Topology()
    for dpid in (ONE, TWO):
        stepwise.apply(Put(Host(dpid)))
    for verb, vm in wishes:
        single = Draft(stepwise)
        assert wish(draft.fork(), draft, verb, vm) == wish(single.fork(), single, verb, vm)
        for change in single.changes:
            stepwise.apply(change)
    for change in draft.changes:
        base.apply(change)

    assert base.vms == stepwise.vms
    owners = [ip for vm in base.vms.values() for ip in vm.ips]
    assert len(owners) == len(set(owners))


def wish(fork, draft, verb, vm):
    try:
        if verb == "remove":
            fork.remove_vm(vm.key)
            outcome = "removed"
        else:
            outcome = fork.create_vm(vm) if verb == "create" else fork.set_vm(vm)
    except (Conflict, NotFound) as error:
        return str(error)
    draft.absorb(fork)
    return outcome
