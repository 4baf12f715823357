"""Indexes tell the same as a search through all facts, whatever came before."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topology.errors import InvalidValue
from topology.model import Host, LearnedMac, Network, Put, Remove, Topology, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Mac, Subnet, Vlan, Vni, VtepIp

DPIDS = [Dpid(number) for number in (1, 2, 3)]
VNIS = [Vni(0), Vni(7), Vni(8)]
MACS = [Mac(0x525400000000 | number) for number in (1, 2, 3)]
IPS = [Ip.parse(text) for text in ("10.1.1.2", "10.1.1.3", "fd00::2")]
VTEPS = [VtepIp(Ip.parse(f"192.168.33.{number}")) for number in (12, 13)]
NAMES = [None, "web-1", "web-2"]
PLACES = [*DPIDS, *map(Foreign.at, VTEPS)]
CURSORS = [None, (0, MACS[1]), (7, 0), (7, MACS[1]), (7, IPS[0])]

facts = st.one_of(
    st.builds(
        Host,
        dpid=st.sampled_from(DPIDS),
        name=st.sampled_from(NAMES),
        declared_vtep=st.sampled_from([None, *VTEPS]),
        seen_address=st.sampled_from([None, *VTEPS]),
    ),
    st.builds(
        Network,
        vni=st.sampled_from(VNIS),
        name=st.sampled_from(NAMES),
        vlan=st.sampled_from([None, Vlan(9)]),
        hosts=st.just("all") | st.lists(st.sampled_from(DPIDS), max_size=2).map(tuple),
    ),
    st.builds(
        Vm,
        mac=st.sampled_from(MACS),
        vni=st.sampled_from(VNIS),
        host=st.sampled_from(PLACES),
        ips=st.lists(st.sampled_from(IPS), max_size=3).map(tuple),
        name=st.sampled_from(NAMES),
    ),
    st.builds(
        LearnedMac,
        vni=st.sampled_from(VNIS),
        mac=st.sampled_from(MACS),
        host=st.sampled_from(PLACES),
        seen_s=st.just(1.0),
        ips=st.dictionaries(st.sampled_from(IPS), st.sampled_from([1.0, 2.0]), max_size=2).map(
            lambda ips: tuple(sorted(ips.items()))
        ),
    ),
    st.builds(
        Vtep,
        ip=st.sampled_from(VTEPS),
        vnis=st.lists(st.sampled_from(VNIS), max_size=2).map(tuple),
        name=st.sampled_from(NAMES),
    ),
    st.builds(
        Vip,
        vni=st.sampled_from(VNIS),
        ip=st.sampled_from(IPS),
        macs=st.lists(st.sampled_from(MACS), min_size=1, max_size=2).map(tuple),
    ),
)
changes = st.one_of(facts.map(Put), facts.map(lambda fact: Remove(type(fact), fact.key)))
histories = st.lists(changes, max_size=40)
bounded = settings(max_examples=200, deadline=None, derandomize=True)


def topology_of(history):
    topology = Topology()
    for change in history:
        topology.apply(change)
    return topology


def answers(topology):
    """All that can be asked, for everything that can be asked about."""
    return {
        "names": [topology.host_named(name) for name in NAMES[1:]],
        "vteps": [topology.host_at(vtep) for vtep in VTEPS],
        "found": [topology.find_host(str(ref)) for ref in (*NAMES[1:], *VTEPS, *DPIDS)],
        "vm ips": [topology.vm_with_ip(vni, ip) for vni in VNIS for ip in IPS],
        "learned ips": [topology.learned_with_ip(vni, ip) for vni in VNIS for ip in IPS],
        "on": [(list(topology.vms_on(p)), set(topology.learned_on(p))) for p in PLACES],
        "in": [
            tuple(map(list, (topology.vms_in(v), topology.learned_in(v), topology.vips_in(v))))
            for v in VNIS
        ],
        "after": [
            tuple(
                keys.after(cursor, 3)
                for keys in (
                    topology.keys_of_vms(),
                    topology.keys_of_learned(),
                    topology.keys_of_vips(),
                )
            )
            for cursor in CURSORS
        ],
        "keys": [
            (len(keys), keys.after(None, 9), keys.after(7, 2))
            for keys in (
                topology.keys_of_hosts(),
                topology.keys_of_networks(),
                topology.keys_of_vteps(),
            )
        ],
        "vm names": [topology.vms_named(name) for name in NAMES[1:]],
        "hosts named": [topology.hosts_named(name) for name in NAMES[1:]],
        "hosts at": [topology.hosts_at(vtep) for vtep in VTEPS],
        "vteps named": [topology.vteps_named(name) for name in NAMES[1:]],
        "networks named": [topology.networks_named(name) for name in NAMES[1:]],
        "networks on": [topology.networks_on_vlan(vlan) for vlan in (None, Vlan(9))],
        "pinned": [topology.networks_pinned_to(dpid) for dpid in DPIDS],
        "members": [topology.members(vni) for vni in VNIS],
        "networks": [list(topology.networks_on(dpid)) for dpid in DPIDS],
        "foreign": [topology.foreign_in(vni) for vni in VNIS],
        "foreign found": [topology.foreign_named(str(ref)) for ref in (*NAMES[1:], *VTEPS)],
        "places": [topology.find_place(str(ref)) for ref in (*NAMES[1:], *VTEPS, *DPIDS)],
        "leads to": [topology.vtep_of(place) for place in PLACES],
        "endpoints": [topology.is_endpoint(vtep) for vtep in VTEPS],
        "vips": [topology.vips_of(vni, mac) for vni in VNIS for mac in MACS],
    }


def searched(topology):
    """The same by looking at every fact."""
    hosts = [topology.hosts[dpid] for dpid in sorted(topology.hosts)]
    vms = [topology.vms[key] for key in sorted(topology.vms)]
    learned = [topology.learned[key] for key in sorted(topology.learned)]
    vteps = [topology.vteps[ip] for ip in sorted(topology.vteps)]
    vips = [topology.vips[key] for key in sorted(topology.vips)]
    networks = [topology.networks[vni] for vni in sorted(topology.networks)]

    def first(found):
        return next(iter(found), None)

    def named(name):
        return first(host for host in hosts if host.name == name)

    def at(vtep):
        return first(host for host in hosts if host.vtep == vtep)

    def speaks(vni, ip):
        seen = [one for one in learned if one.vni == vni and ip in dict(one.ips)]
        return max(seen, key=lambda one: (dict(one.ips)[ip], one.mac), default=None)

    def foreign(ref):
        return first(v for v in vteps if v.name == ref) or first(v for v in vteps if v.ip == ref)

    def place(host, ref):
        found = host or foreign(ref)
        return None if found is None else found.location if found in vteps else found.dpid

    def carries(dpid, vni):
        network = topology.networks.get(vni)
        if network is None:
            return False
        everywhere = vni == 0 or network.hosts == "all"
        has_vm = any(vm.vni == vni and vm.host == dpid for vm in vms)
        return everywhere or dpid in network.hosts or has_vm

    def members(vni):
        with_vms = {vm.host for vm in vms if vm.vni == vni and vm.host in DPIDS}
        known = {dpid for dpid in {*topology.hosts, *with_vms} if carries(dpid, vni)}
        if vni in topology.networks and topology.networks[vni].everywhere:
            known &= topology.hosts.keys()
        return sorted(known)

    def leads_to(place):
        if isinstance(place, Foreign):
            return first(vtep.ip for vtep in vteps if vtep.location == place)
        return first(host.vtep for host in hosts if host.dpid == place)

    return {
        "names": [named(name) for name in NAMES[1:]],
        "vteps": [at(vtep) for vtep in VTEPS],
        "found": [
            *(named(name) for name in NAMES[1:]),
            *(at(vtep) for vtep in VTEPS),
            *(topology.hosts.get(dpid) for dpid in DPIDS),
        ],
        "vm ips": [
            first(vm for vm in vms if vm.vni == vni and ip in vm.ips) for vni in VNIS for ip in IPS
        ],
        "learned ips": [speaks(vni, ip) for vni in VNIS for ip in IPS],
        "on": [
            ([v.key for v in vms if v.host == d], {one.key for one in learned if one.host == d})
            for d in PLACES
        ],
        "in": [
            tuple([one.key for one in kind if one.vni == vni] for kind in (vms, learned, vips))
            for vni in VNIS
        ],
        "after": [
            tuple(
                [one.key for one in kind if cursor is None or one.key > cursor][:3]
                for kind in (vms, learned, vips)
            )
            for cursor in CURSORS
        ],
        "keys": [
            (len(kind), [one.key for one in kind], [one.key for one in kind if one.key > 7][:2])
            for kind in (hosts, networks, vteps)
        ],
        "vm names": [[vm.key for vm in vms if vm.name == name] for name in NAMES[1:]],
        "hosts named": [[host for host in hosts if host.name == name] for name in NAMES[1:]],
        "hosts at": [[host for host in hosts if host.vtep == vtep] for vtep in VTEPS],
        "vteps named": [[vtep for vtep in vteps if vtep.name == name] for name in NAMES[1:]],
        "networks named": [[net for net in networks if net.name == name] for name in NAMES[1:]],
        "networks on": [[net for net in networks if net.vlan == v] for v in (None, Vlan(9))],
        "pinned": [[n for n in networks if n.hosts != "all" and d in n.hosts] for d in DPIDS],
        "members": [members(vni) for vni in VNIS],
        "networks": [[vni for vni in sorted(topology.networks) if carries(d, vni)] for d in DPIDS],
        "foreign": [[vtep.ip for vtep in vteps if vni in vtep.vnis] for vni in VNIS],
        "foreign found": [foreign(ref) for ref in (*NAMES[1:], *VTEPS)],
        "places": [
            *(place(named(name), name) for name in NAMES[1:]),
            *(place(at(vtep), vtep) for vtep in VTEPS),
            *(place(topology.hosts.get(dpid), dpid) for dpid in DPIDS),
        ],
        "leads to": [leads_to(each) for each in PLACES],
        "endpoints": [at(vtep) is not None or vtep in topology.vteps for vtep in VTEPS],
        "vips": [
            [vip for vip in vips if vip.vni == vni and mac in vip.macs]
            for vni in VNIS
            for mac in MACS
        ],
    }


@bounded
@given(histories)
def test_indexes_tell_what_a_search_would(history):
    topology = topology_of(history)

    assert answers(topology) == searched(topology)


@bounded
@given(histories, st.data())
def test_the_order_of_facts_makes_no_difference(history, data):
    topology = topology_of(history)
    final = [
        *topology.hosts.values(),
        *topology.networks.values(),
        *topology.vms.values(),
        *topology.learned.values(),
        *topology.vteps.values(),
        *topology.vips.values(),
    ]

    again = topology_of(map(Put, data.draw(st.permutations(final))))

    assert answers(again) == answers(topology)


@bounded
@given(histories)
def test_a_change_says_what_it_replaced(history):
    topology = Topology()
    for change in history:
        delta = topology.apply(change)
        again = topology.apply(change)
        assert again.before == again.after == delta.after


def test_network_0_is_there_from_the_start_and_stays():
    topology = Topology()
    topology.apply(Put(Network(Vni(0), learning=False)))
    topology.apply(Remove(Network, Vni(0)))

    assert topology.networks[0] == Network(Vni(0))


def test_the_declared_vtep_wins_then_the_probed_then_the_connections():
    host = Host(Dpid(1), None, None, VTEPS[0])
    assert host.vtep == VTEPS[0]
    assert Host(Dpid(1), None, None, VTEPS[0], VTEPS[1]).vtep == VTEPS[1]
    assert Host(Dpid(1), None, VTEPS[0], None, VTEPS[1]).vtep == VTEPS[0]


def test_a_name_is_looked_for_before_an_address_or_a_dpid():
    topology = topology_of(
        [
            Put(Host(Dpid(0xBEEF))),
            Put(Host(Dpid(2), name="beef")),
            Put(Host(Dpid(3), declared_vtep=VTEPS[0])),
        ]
    )

    assert topology.find_host("beef").dpid == 2
    assert topology.find_host("000000000000beef").dpid == 0xBEEF
    assert topology.find_host("192.168.33.12").dpid == 3
    assert topology.find_host("nobody") is None


def test_a_vms_addresses_are_sorted_and_said_once():
    vm = Vm(MACS[0], Vni(0), DPIDS[0], (IPS[1], IPS[0], IPS[1]))

    assert vm.ips == tuple(sorted(IPS[:2]))


@pytest.mark.parametrize("name", ["", "x" * 256, "a\nb", "\u200b"])
def test_names_that_nobody_can_read_are_refused(name):
    for make in (lambda: Host(Dpid(1), name), lambda: Network(Vni(1), name)):
        with pytest.raises(InvalidValue):
            make()


def test_a_group_address_is_no_vm():
    with pytest.raises(InvalidValue):
        Vm(Mac(1 << 40), Vni(0), Dpid(1))


def network(**policy):
    return Network(
        Vni(7), subnets=(Subnet.parse("10.1.0.0/16"), Subnet.parse("fd00::/64")), **policy
    )


@pytest.mark.parametrize(
    ("field", "policy"),
    [
        ("follow_moves", {"port_security": True, "follow_moves": True}),
        ("mtu", {"mtu_bytes": 67}),
        ("mtu", {"mtu_bytes": 65536}),
        ("lease_s", {"lease_s": 59}),
        ("lease_s", {"lease_s": 2**32}),
        ("gateway", {"gateway": Ip.parse("10.2.0.1")}),
        ("gateway", {"gateway": Ip.parse("fd00::1")}),
        ("dns", {"dns": (Ip.parse("10.1.0.1"), Ip.parse("fd00::1"))}),
    ],
)
def test_a_policy_that_cannot_be_is_refused_by_its_field(field, policy):
    with pytest.raises(InvalidValue) as caught:
        network(**policy)

    assert caught.value.field == field


def test_dhcp_needs_a_subnet_to_tell_the_mask_of():
    assert network(dhcp=True, gateway=Ip.parse("10.1.0.1")).dhcp
    with pytest.raises(InvalidValue, match="dhcp"):
        Network(Vni(7), dhcp=True, subnets=(Subnet.parse("fd00::/64"),))


def test_the_smallest_subnet_of_an_address_counts():
    nested = Network(Vni(7), subnets=(Subnet.parse("10.0.0.0/8"), Subnet.parse("10.1.1.0/24")))

    assert nested.subnet_of(Ip.parse("10.1.1.9")) == Subnet.parse("10.1.1.0/24")
    assert nested.subnet_of(Ip.parse("10.2.0.9")) == Subnet.parse("10.0.0.0/8")
    assert nested.subnet_of(Ip.parse("11.0.0.1")) is None
    assert nested.subnet_of(Ip.parse("fd00::1")) is None


def test_the_holder_of_a_virtual_ip_is_one_of_its_vms():
    vip = Vip(Vni(7), IPS[0], (MACS[1], MACS[0], MACS[1]), holder=MACS[1])

    assert vip.macs == (MACS[0], MACS[1])
    assert vip.holder == MACS[1]
    assert Vip(Vni(7), IPS[0], (MACS[0],), holder=MACS[1]).holder is None
    with pytest.raises(InvalidValue, match="macs"):
        Vip(Vni(7), IPS[0], ())
