"""Wanted changes are checked against the facts and each other; what fails leaves no trace."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology.draft import Draft
from topology.errors import Conflict, InvalidValue, NotFound
from topology.model import Host, Network, Put, Topology, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Mac, Vlan, Vni, VtepIp

ONE, TWO = Dpid(1), Dpid(2)
A = Vm(Mac(0x525400000001), Vni(0), ONE, (Ip.parse("10.1.1.2"),), "a")
B = Vm(Mac(0x525400000002), Vni(0), TWO, (Ip.parse("10.1.1.3"),), "b")
BLUE = Network(Vni(7), "blue", Vlan(7))
RACK = Vtep(VtepIp.parse("192.168.33.20"), (Vni(0), Vni(7)), "rack")
SHARED = Vip(Vni(0), Ip.parse("10.1.1.100"), (A.mac, B.mac))


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


@pytest.fixture
def overlay(draft: Draft) -> Draft:
    """As ``draft``, and network 7, foreign VTEP rack with networks 0 and 7, a virtual IP in 0."""
    for fact in (BLUE, RACK, SHARED):
        draft.topology.apply(Put(fact))
    return draft


def test_a_foreign_vtep_is_declared_found_and_forgotten(draft):
    draft.set_network(BLUE)

    assert draft.set_vtep(RACK) == "created"
    assert draft.set_vtep(RACK) == "unchanged"
    assert draft.set_vtep(replace(RACK, learning=False)) == "changed"
    assert draft.fork().find_place("rack") == draft.find_place("192.168.33.20") == RACK.location
    assert draft.find_place("h2") == TWO
    draft.remove_vtep(RACK.ip)
    with pytest.raises(InvalidValue, match=r"PUT /v1/hosts/.*PUT /v1/vteps/"):
        draft.fork().find_place("rack")
    with pytest.raises(NotFound, match=r"192\.168\.33\.20"):
        draft.remove_vtep(RACK.ip)


def test_a_foreign_vtep_has_networks_that_exist(draft):
    with pytest.raises(InvalidValue, match=r"vnis\[1\]: network 7 does not exist"):
        draft.set_vtep(RACK)


def test_a_foreign_vtep_and_a_host_share_no_address_and_no_name(overlay):
    seen = replace(overlay.host(ONE), seen_address=VtepIp.parse("192.168.33.12"))
    overlay.topology.apply(Put(seen))
    for address, dpid in (("192.168.33.12", ONE), ("192.168.33.13", TWO)):
        with pytest.raises(Conflict, match=f"host {dpid}"):
            overlay.set_vtep(Vtep(VtepIp.parse(address), ()))
    other = Vtep(VtepIp.parse("192.168.33.21"), ())
    for name in ("h1", "rack"):
        with pytest.raises(Conflict, match=f"'{name}'"):
            overlay.set_vtep(replace(other, name=name))
    with pytest.raises(Conflict, match=r"192\.168\.33\.20 is named 'rack'"):
        overlay.set_host(Host(Dpid(3), "rack"))
    with pytest.raises(Conflict, match=r"DELETE /v1/vteps/192\.168\.33\.20"):
        overlay.set_host(Host(Dpid(3), None, RACK.ip))
    overlay.remove_vtep(RACK.ip)
    assert overlay.set_host(Host(Dpid(3), "rack", RACK.ip)) == "created"


def test_a_vm_behind_a_foreign_vtep_needs_the_vtep_and_its_vni(overlay):
    assert overlay.create_vm(replace(B, host=RACK.location)) == "created"
    overlay.set_network(Network(Vni(8), None, Vlan(8)))
    with pytest.raises(InvalidValue, match=r"host: .*192\.168\.33\.20 has no VNI 8"):
        overlay.create_vm(replace(B, vni=Vni(8), host=RACK.location))
    elsewhere = Foreign.at(VtepIp.parse("192.168.33.21"))
    with pytest.raises(InvalidValue, match=r"host: .*192\.168\.33\.21 is not declared"):
        overlay.set_vm(replace(B, host=elsewhere))


def test_a_foreign_vtep_keeps_the_networks_of_its_vms(overlay):
    overlay.create_vm(replace(B, vni=Vni(7), host=RACK.location))

    assert overlay.set_vtep(replace(RACK, vnis=(Vni(7),))) == "changed"
    with pytest.raises(Conflict, match="'b' 52:54:00:00:00:02"):
        overlay.set_vtep(replace(RACK, vnis=(Vni(0),)))
    with pytest.raises(Conflict, match="'b' 52:54:00:00:00:02"):
        overlay.remove_vtep(RACK.ip)
    overlay.set_vm(replace(B, vni=Vni(7)))
    assert overlay.set_vtep(replace(RACK, vnis=())) == "changed"
    overlay.remove_vtep(RACK.ip)


def test_a_virtual_ip_is_no_vms_and_the_other_way_round(overlay):
    with pytest.raises(Conflict, match=r"PUT /v1/vips/0/10\.1\.1\.100"):
        overlay.create_vm(replace(B, ips=(SHARED.ip,)))
    with pytest.raises(Conflict, match="'a' 52:54:00:00:00:01"):
        overlay.set_vip(replace(SHARED, ip=A.ips[0]))
    assert overlay.set_vip(Vip(Vni(7), A.ips[0], (A.mac,))) == "created"
    with pytest.raises(InvalidValue, match="vni: network 8 does not exist"):
        overlay.set_vip(replace(SHARED, vni=Vni(8)))
    overlay.remove_vip(SHARED.key)
    assert overlay.create_vm(replace(B, ips=(SHARED.ip,))) == "created"
    with pytest.raises(NotFound, match=r"10\.1\.1\.100"):
        overlay.remove_vip(SHARED.key)


def test_an_ip_becomes_virtual_in_one_draft(draft):
    draft.set_vm(replace(A, ips=()))
    draft.set_vip(replace(SHARED, ip=A.ips[0]))

    assert draft.vip((0, A.ips[0])).macs == (A.mac, B.mac)


def test_who_holds_a_virtual_ip_goes_on_to_when_an_operator_changes_it(overlay):
    assert overlay.hold_vip(SHARED.key, B.mac)
    assert overlay.set_vip(replace(SHARED, name="gw")) == "changed"
    assert overlay.vip(SHARED.key) == replace(SHARED, name="gw", holder=B.mac)
    assert overlay.set_vip(replace(SHARED, name="gw")) == "unchanged"
    overlay.set_vip(replace(SHARED, macs=(A.mac,)))
    assert overlay.vip(SHARED.key).holder is None


def test_only_a_declared_mac_holds_a_virtual_ip(overlay):
    assert not overlay.hold_vip(SHARED.key, Mac(0x525400000003))
    assert not overlay.hold_vip((0, Ip.parse("10.1.1.101")), A.mac)
    assert overlay.changes == []
    assert overlay.hold_vip(SHARED.key, A.mac)
    assert overlay.changes == [Put(replace(SHARED, holder=A.mac))]
    # Stored even where it holds: it counts at once, and is stored behind.
    assert overlay.hold_vip(SHARED.key, A.mac)
    assert len(overlay.changes) == 2


def test_an_announced_move_is_taken_if_it_is_still_possible(overlay):
    assert overlay.move_vm(A.key, TWO)
    assert overlay.move_vm(A.key, TWO)
    assert overlay.changes == [Put(replace(A, host=TWO))]
    assert overlay.move_vm(A.key, RACK.location)
    assert overlay.vm(A.key) == replace(A, host=RACK.location)
    for key, place in (
        (A.key, Dpid(9)),
        (A.key, Foreign.at(VtepIp.parse("192.168.33.21"))),
        (B.key, ONE),
    ):
        assert not overlay.move_vm(key, place)
    assert overlay.vm(A.key).host == RACK.location
    overlay.set_network(Network(Vni(8), None, Vlan(8)))
    overlay.create_vm(replace(B, vni=Vni(8)))
    assert not overlay.move_vm((8, B.mac), RACK.location)


def test_a_network_goes_after_all_that_names_it(overlay):
    overlay.set_vip(Vip(Vni(7), SHARED.ip, (A.mac,)))
    with pytest.raises(Conflict, match=r"foreign VTEP 192\.168\.33\.20"):
        overlay.remove_network(7)
    overlay.set_vtep(replace(RACK, vnis=(Vni(0),)))
    with pytest.raises(Conflict, match=r"virtual IP 10\.1\.1\.100"):
        overlay.remove_network(7)
    overlay.remove_vip((7, SHARED.ip))
    overlay.remove_network(7)


def test_a_network_is_pinned_to_known_hosts_and_keeps_them(overlay):
    with pytest.raises(InvalidValue, match=r"hosts\[1\]: host 0000000000000009"):
        overlay.set_network(replace(BLUE, hosts=(TWO, Dpid(9))))
    overlay.set_network(replace(BLUE, hosts=(TWO,)))
    with pytest.raises(Conflict, match="network 7"):
        overlay.fork().remove_host(TWO)
    overlay.set_network(replace(BLUE, hosts="all"))
    overlay.remove_host(TWO)


VNIS = (Vni(0), Vni(7))
IPS = (*A.ips, *B.ips)
RACKS = (RACK.ip, VtepIp.parse("192.168.33.21"))
macs, vnis, ips = map(st.sampled_from, ([A.mac, B.mac], VNIS, IPS))
dpids, racks = st.sampled_from([ONE, TWO]), st.sampled_from(RACKS)
places = dpids | racks.map(Foreign.at)
some_vnis = st.lists(vnis, max_size=2).map(tuple)
some_macs = st.lists(macs, min_size=1, max_size=2).map(tuple)
addresses = st.sampled_from([None, *RACKS])
names = st.sampled_from([None, "n1", "n2"])
vms = st.builds(Vm, macs, vnis, places, st.lists(ips, max_size=2).map(tuple))
networks = st.builds(
    lambda vni, hosts: Network(vni, None, Vlan(vni) if vni else None, hosts=hosts),
    vnis,
    st.just("all") | st.lists(dpids, max_size=2).map(tuple),
)
mac_keys, ip_keys = st.tuples(vnis, macs), st.tuples(vnis, ips)
wishes = st.one_of(
    *(st.tuples(st.just(verb), vms) for verb in ("create_vm", "set_vm")),
    st.tuples(st.just("remove_vm"), mac_keys),
    st.tuples(st.just("move_vm"), mac_keys, places),
    st.tuples(st.just("set_host"), st.builds(Host, dpids, names, addresses)),
    st.tuples(st.just("remove_host"), dpids),
    st.tuples(st.just("set_network"), networks),
    st.tuples(st.just("remove_network"), st.just(Vni(7))),
    st.tuples(st.just("set_vtep"), st.builds(Vtep, racks, some_vnis, names)),
    st.tuples(st.just("remove_vtep"), racks),
    st.tuples(st.just("set_vip"), st.builds(Vip, vnis, ips, some_macs)),
    st.tuples(st.just("remove_vip"), ip_keys),
    st.tuples(st.just("hold_vip"), ip_keys, macs),
)


def start():
    """Two hosts, network 7, and a foreign VTEP with it."""
    topology = Topology()
    for fact in (Host(ONE), Host(TWO), BLUE, Vtep(RACK.ip, VNIS)):
        topology.apply(Put(fact))
    return topology


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.lists(wishes, max_size=20))
def test_a_draft_sees_what_applying_it_gives(history):
    """In one draft, or each applied before the next: the same answers and the same facts."""
    together, stepwise = start(), start()
    draft = Draft(together)
    for verb, *wanted in history:
        single = Draft(stepwise)
        assert wish(draft, verb, wanted) == wish(single, verb, wanted)
        for change in single.changes:
            stepwise.apply(change)
        assert_whole(stepwise)
    for change in draft.changes:
        together.apply(change)

    for kind in ("hosts", "networks", "vms", "vteps", "vips"):
        assert getattr(together, kind) == getattr(stepwise, kind)


def wish(draft, verb, wanted):
    """What is answered, and absorbed if it is granted; a fork that failed leaves no trace."""
    fork = draft.fork()
    try:
        outcome = getattr(fork, verb)(*wanted)
    except (Conflict, NotFound, InvalidValue) as error:
        return str(error)
    draft.absorb(fork)
    return outcome


def assert_whole(topology):
    """No fact names another one that is not there, and no address is two facts'."""
    for vm in topology.vms.values():
        assert vm.vni in topology.networks
        if isinstance(vm.host, Foreign):
            assert vm.vni in topology.vteps[vm.host.vtep].vnis
        else:
            assert vm.host in topology.hosts
    owned = [(vm.vni, ip) for vm in topology.vms.values() for ip in vm.ips] + list(topology.vips)
    assert len(owned) == len(set(owned))
    for fact in (*topology.vteps.values(), *topology.vips.values()):
        assert set(fact.vnis if isinstance(fact, Vtep) else (fact.vni,)) <= topology.networks.keys()
    for network in topology.networks.values():
        assert network.hosts == "all" or set(network.hosts) <= topology.hosts.keys()
    tunnel_ends = [host.vtep for host in topology.hosts.values() if host.vtep is not None]
    assert len({*tunnel_ends, *topology.vteps}) == len(tunnel_ends) + len(topology.vteps)
    named = [*topology.hosts.values(), *topology.vteps.values()]
    names = [fact.name for fact in named if fact.name is not None]
    assert len(names) == len(set(names))
