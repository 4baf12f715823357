"""What bridges should hold depends on the facts, never on the way they came."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.engine import Engine, Settings
from controller.events import Committed, Connected
from topology.model import Host, LearnedMac, Network, Put, Remove, Topology, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Mac, Subnet, Vlan, Vni, VtepIp

DPIDS = [Dpid(number) for number in (1, 2, 3)]
VTEPS = [VtepIp(Ip.parse(f"192.168.33.{number}")) for number in (12, 13, 14)]
VNIS = [Vni(0), Vni(100)]
MACS = [Mac(0x525400000000 | number) for number in (1, 2, 3)]
IPS = [Ip.parse("10.1.1.2"), Ip.parse("10.1.1.3"), Ip.parse("fd00::2")]
RACKS = [VtepIp(Ip.parse(f"192.168.33.{number}")) for number in (200, 201)]
PLACES = [*DPIDS, *map(Foreign.at, RACKS)]
SUBNETS = [Subnet.parse("10.1.1.0/24"), Subnet.parse("10.1.0.0/16"), Subnet.parse("fd00::/64")]
POLICIES = st.sampled_from(["flood", "drop"])
PORTS = {
    dpid: {1: "patch-tun", 5: "vxlan0"} | ({6: "vxlan1"} if dpid != 3 else {}) for dpid in DPIDS
}

names = st.sampled_from(["vxlan0", "vxlan1"])
remotes = st.dictionaries(names, st.sampled_from([*VTEPS, RACKS[0], "flow"]))
wired = [
    Host(
        dpid,
        declared_vtep=vtep,
        declared_remotes=tuple(zip(("vxlan0", "vxlan1"), sorted({*VTEPS} - {vtep}), strict=True)),
    )
    for dpid, vtep in zip(DPIDS, VTEPS, strict=True)
]
facts = st.one_of(
    st.sampled_from(wired),
    st.builds(
        Host,
        dpid=st.sampled_from(DPIDS),
        name=st.sampled_from([None, "h1", "h2"]),
        declared_vtep=st.sampled_from([None, *VTEPS]),
        declared_remotes=remotes.map(lambda ends: tuple(sorted(ends.items()))),
        seen_keyless=st.lists(names, unique=True).map(lambda lost: tuple(sorted(lost))),
    ),
    st.builds(
        Network,
        vni=st.sampled_from(VNIS),
        unknown_unicast=POLICIES,
        arp_responder=st.booleans(),
        learning=st.booleans(),
        port_security=st.sampled_from([False, False, True]),
        subnets=st.lists(st.sampled_from(SUBNETS), max_size=2).map(tuple),
        unknown_arp=POLICIES,
        multicast=POLICIES,
        quiet=st.booleans(),
        mode=st.sampled_from(["proactive", "proactive", "reactive"]),
        hosts=st.sampled_from([(), (DPIDS[0],), "all"]),
    ).map(lambda net: net if net.vni == 0 else replace(net, vlan=Vlan(10))),
    st.builds(
        Vtep,
        ip=st.sampled_from([*RACKS, VTEPS[2]]),
        vnis=st.lists(st.sampled_from(VNIS), max_size=2).map(tuple),
        learning=st.booleans(),
    ),
    st.builds(
        Vip,
        vni=st.sampled_from(VNIS),
        ip=st.sampled_from([*IPS[1:], Ip.parse("10.1.1.99")]),
        macs=st.lists(st.sampled_from(MACS), min_size=1, max_size=2).map(tuple),
        holder=st.sampled_from([None, *MACS]),
    ),
    st.builds(
        Vm,
        mac=st.sampled_from(MACS),
        vni=st.sampled_from(VNIS),
        host=st.sampled_from(PLACES),
        ips=st.lists(st.sampled_from(IPS), max_size=2).map(tuple),
        respond=st.booleans(),
    ),
    st.builds(
        LearnedMac,
        vni=st.sampled_from(VNIS),
        mac=st.sampled_from(MACS),
        host=st.sampled_from(PLACES),
        seen_s=st.integers(0, 5).map(float),
        ips=st.dictionaries(st.sampled_from(IPS), st.integers(0, 5).map(float), max_size=2).map(
            lambda ips: tuple(sorted(ips.items()))
        ),
    ),
)
changes = st.one_of(facts.map(Put), facts.map(Put), facts.map(lambda f: Remove(type(f), f.key)))
histories = st.builds(
    lambda first, then: [*map(Put, first), *then],
    st.permutations(wired),
    st.lists(changes, max_size=25),
)


@dataclass
class State:
    """All that an engine would have switches hold."""

    units: dict
    desired: dict
    groups: dict
    counts: dict


def engine_of(history):
    engine = Engine(Settings(), b"secret")
    for dpid in DPIDS:
        engine.handle(Connected(dpid, 1, "", None, dict(PORTS[dpid])), 0.0)
    for change in history:
        learned = isinstance(change, Put) and isinstance(change.fact, LearnedMac)
        if not (learned and change.fact.key in engine.topology.vms):  # never learned over
            engine.handle(Committed((change,)), 0.0)
    return engine


def state_of(engine):
    replicas = engine.replicas
    return State(
        {vni: engine.tables[vni].units for vni in engine.topology.networks},
        {dpid: set(replica.desired()) for dpid, replica in replicas.items()},
        {dpid: replica.private.groups for dpid, replica in replicas.items()},
        {dpid: replica.desired_count() for dpid, replica in replicas.items()},
    )


def final_facts(topology: Topology):
    return [
        *topology.hosts.values(),
        *topology.networks.values(),
        *topology.vms.values(),
        *topology.learned.values(),
        *topology.vteps.values(),
        *topology.vips.values(),
    ]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(history=histories, data=st.data())
def test_flows_depend_on_the_facts_alone(history, data):
    engine = engine_of(history)
    final = data.draw(st.permutations(final_facts(engine.topology)))

    fresh = Engine(Settings(), b"secret")
    fresh.load(final)
    for dpid in DPIDS:
        fresh.handle(Connected(dpid, 1, "", None, dict(PORTS[dpid])), 0.0)

    assert set(fresh.topology.hosts) >= set(engine.topology.hosts)
    for dpid in set(fresh.topology.hosts) - set(engine.topology.hosts):
        fresh.handle(Committed((Remove(Host, dpid),)), 0.0)
    facts_now = [sorted(final_facts(one.topology), key=repr) for one in (fresh, engine)]
    assert facts_now[0] == facts_now[1]
    assert state_of(fresh) == state_of(engine)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(history=histories)
def test_repeated_changes_make_no_difference(history):
    doubled = [change for change in history for _ in range(2)]
    once, twice = engine_of(history), engine_of(doubled)

    assert state_of(twice) == state_of(once)
    assert twice.topology.vms == once.topology.vms


@settings(max_examples=100, deadline=None, derandomize=True)
@given(history=histories)
def test_counts_are_the_counts_of_what_is_desired(history):
    state = state_of(engine_of(history))

    assert state.counts == {dpid: len(cookies) for dpid, cookies in state.desired.items()}


@settings(max_examples=100, deadline=None, derandomize=True)
@given(history=histories)
def test_no_two_flows_of_a_bridge_claim_one_place(history):
    from controller.wire.encode import identity_of

    for replica in engine_of(history).replicas.values():
        flows = list(replica.desired().values())
        assert len({identity_of(flow) for flow in flows}) == len(flows)
