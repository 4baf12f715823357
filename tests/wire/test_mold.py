"""A mold says byte by byte what the encoder says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.derivation import Derivation
from controller.desired import ip_recipe, mac_recipe, registered_unicast
from controller.flow import Flow
from controller.neighbours import arp_responder, gratuitous_arp, nd_responder
from controller.pipeline import Kind, Table
from controller.tables import Unit
from controller.wire.encode import encode_flow, split
from controller.wire.mold import Mold, MoldError
from tests.wire import samples
from topology.model import Put
from topology.types import Ip, Mac, VtepIp

VNI = 100
macs = st.integers(0, Mac.MAX)
v4 = st.integers(0, 0xFFFFFFFF)


def v4_flows(mac, ip, vtep):
    address = Ip.v4(ip)
    return (
        registered_unicast(VNI, mac, VtepIp(VtepIp.v4(vtep))),
        gratuitous_arp(VNI, address),
        arp_responder(VNI, mac, address),
    )


@given(mac=macs, ip=v4, vtep=v4)
def test_it_says_what_the_encoder_says(mac, ip, vtep):
    mold = MOLD.pour([mac.to_bytes(6, "big"), ip.to_bytes(4, "big"), vtep.to_bytes(4, "big")])

    assert split(mold) == [encode_flow(flow) for flow in v4_flows(mac, ip, vtep)]


MOLD = Mold(v4_flows, 6, 4, 4)


@given(mac=macs, ip=st.integers(0, Ip.MAX))
def test_ipv6_too(mac, ip):
    poured = ND.pour([mac.to_bytes(6, "big"), ip.to_bytes(16, "big")])

    assert split(poured) == [encode_flow(flow) for flow in nd_responder(VNI, mac, Ip(ip))]


ND = Mold(lambda mac, ip: nd_responder(VNI, mac, Ip(ip)), 6, 16)


def test_flows_without_values_are_what_they_are():
    flow = Flow(Kind.TABLE_MISS, Table.FLOOD, 0, ())

    assert Mold(lambda: (flow,)).pour(()) == encode_flow(flow)


def test_a_shape_that_depends_on_the_values_is_refused():
    def odd(mac):
        return (registered_unicast(VNI, mac, VtepIp(VtepIp.v4(mac & 0xFFFF))),)

    with pytest.raises(MoldError):
        Mold(odd, 6)


def test_every_unit_is_poured_as_it_would_be_encoded():
    facts = samples.topology()
    derivation = Derivation(samples.TIMING)
    tables = (facts.hosts, facts.networks, facts.vteps, facts.vms, facts.learned, facts.vips)
    for fact in (fact for table in tables for fact in table.values()):
        derivation.apply(Put(fact))
    poured = 0
    for vni, table in derivation.tables.items():
        if facts.networks[vni].mode == "reactive":
            continue
        for (what, value), unit in table.units.items():
            recipe = {"mac": mac_recipe, "ip": ip_recipe}[what]
            network = facts.networks[vni]
            made = recipe(derivation.topology, network, value).flows(network, samples.TIMING)
            assert unit == Unit.of(made), (vni, what, value)
            poured += len(split(unit.remote)) + len(split(unit.local))
    assert poured > 80
