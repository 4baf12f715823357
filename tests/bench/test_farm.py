"""The farm of fake switches: it counts right, holds flows truly, and notices each new MAC."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from bench.farm.fabric import Fabric, vm
from bench.farm.switch import Switch
from controller.flow import Field, Flow, Output, match
from controller.pipeline import Kind, Table
from controller.wire import encode

HOSTS, VMS, VNI = 4, 60, 100


def flow_mods(kinds: str) -> list[bytes]:
    """Adds of several lengths: u is short, r is longer, each with another MAC."""
    mods = []
    for number, kind in enumerate(kinds):
        terms = match((Field.TUN_ID, VNI), (Field.ETH_DST, 0x525400000000 + number))
        actions = (Output(7),) * (1 if kind == "u" else 3)
        flow = Flow(Kind.UNICAST_REGISTERED, Table.UNICAST, 10, terms, actions)
        mods.append(encode.encode_flow(flow))
    return mods


def fed(switch: Switch, stream: bytes, cuts: random.Random) -> None:
    """Hand a stream over in pieces of any length, as a socket would."""
    buffer = bytearray()
    while stream or buffer:
        size = cuts.randint(1, 9000)
        buffer += stream[:size]
        stream = stream[size:]
        taken = switch.receive(buffer, len(buffer))
        assert stream or taken
        del buffer[:taken]


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("bundled", [False, True])
@pytest.mark.parametrize(
    "kinds", ["u" * 900, "urr" * 300, "urr" * 99 + "uu" + "urr" * 99, "ur" * 40 + "r" + "urru" * 90]
)
def test_each_flow_mod_is_counted_and_known_however_the_stream_is_cut(kinds, bundled, hold):
    for seed in range(5):
        switch = Switch(0, 1, hold, lambda _mac: None)
        mods = flow_mods(kinds)
        wire = encode.bundle(7, mods, 9) if bundled else mods
        stream = b"".join([*wire, encode.delete_of(mods[3]), encode.barrier(5)])
        fed(switch, stream, random.Random(seed))
        assert switch.counts.flow_mods == len(mods) + 1
        assert switch.counts.deletes == 1
        assert switch.counts.barriers == 1
        assert switch.counts.octets == len(stream)
        expected = {encode.cookie_of(mod) for mod in mods} - {encode.cookie_of(mods[3])}
        assert set(switch.flows.cookies()) == expected
        assert len(switch.flows) == len(expected)


@pytest.fixture(scope="module", params=[False, True], ids=["drain", "hold"])
def fabric(request) -> Iterator[Fabric]:
    with Fabric(HOSTS, hold=request.param) as made:
        made.declare()
        made.network(VNI, 10, everywhere=True)
        made.connect()
        made.register(vm(number, VNI, made.dpid(number % HOSTS)) for number in range(VMS))
        made.farm.wait_quiet()
        yield made


def in_sync(fabric: Fabric) -> None:
    fabric.check_held()
    for host in range(HOSTS):
        views = fabric.rest.items(f"/v1/hosts/{fabric.dpid(host)}/flows")
        assert {int(view["cookie"], 16) for view in views} == set(fabric.farm.cookies(host))
        diff = fabric.rest.get(f"/v1/hosts/{fabric.dpid(host)}/diff")
        assert diff["in_sync"], diff.body


def test_switches_hold_what_they_should(fabric):
    in_sync(fabric)


def test_who_connects_again_has_its_flows_and_gets_none(fabric):
    fabric.farm.mark()
    fabric.farm.reconnect()
    fabric.farm.wait_connected()
    fabric.wait_live(20)
    fabric.farm.wait_quiet()
    counters = fabric.farm.counters()
    # The probe flow, and the flows that ask whether ND can be answered, come at every connect.
    assert counters.flow_mods < 10 * HOSTS
    in_sync(fabric)


def test_each_new_mac_is_decided(fabric):
    storm = fabric.farm.storm(VNI, 20)
    assert storm.decided == storm.sent == 20 * HOSTS
    assert len(fabric.farm.ping(VNI, 5)) == 5
    assert len(fabric.rest.items(f"/v1/learned?vni={VNI}")) == 20 * HOSTS + 5
