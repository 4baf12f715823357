"""A real Open vSwitch reads our bytes as it reads our words, and gives back what is compared."""

from __future__ import annotations

import re
from struct import pack

import pytest

from controller.bridges import METERS
from controller.flow import (
    Field,
    Flow,
    Group,
    Output,
    PopVlan,
    SetField,
    match,
    ofctl_buckets,
    ofctl_flow,
)
from controller.openflow.guard import committed_bundle
from controller.pipeline import Kind, Table, cookie_kind
from controller.refusals import explain
from controller.wire import decode, encode
from controller.wire.encode import (
    cookie_of,
    delete_by_cookie,
    delete_of,
    encode_flow,
    identity_of,
)
from tests.wire.samples import BLUE, coexisting, every_flow, every_group
from tests.wire.switch import BUNDLE_ID


def errors(replies):
    return [decode.error(reply) for reply in replies if reply[1] == encode.ERROR]


def dumped(host):
    """cookie -> the flow in ovs-ofctl's words."""
    lines = [re.sub(r"cookie=(0x[0-9a-f]+), ", r"\1|", one) for one in host.dump_flows(stats=False)]
    return {int(line.split("|")[0], 16): line.split("|")[1] for line in lines}


def group_lines(host):
    lines = host.ofctl("dump-groups", "br-tun").splitlines()
    return sorted(line.strip() for line in lines if "group_id=" in line)


def test_every_kind_is_among_the_samples():
    assert {flow.kind for flow in every_flow()} == set(Kind)


def layers():
    """Every flow, in as few lots as there are flows for one place."""
    left = every_flow()
    while left:
        lot = {identity_of(encode_flow(flow)): flow for flow in left}
        yield list(lot.values())
        left = [flow for flow in left if flow not in lot.values()]


def test_bytes_and_words_make_the_same_flow(host, ready):
    """Each flow twice: as our bytes, then as ovs-ofctl reads our text; the dumps are equal."""
    for lot in layers():
        adds = [encode_flow(flow) for flow in lot]
        assert ready.ask(adds) == []
        ours = dumped(host)
        host.ofctl("del-flows", "br-tun")
        words = [
            f"cookie={cookie_of(add):#x},{ofctl_flow(flow)}"
            for add, flow in zip(adds, lot, strict=True)
        ]
        host.ofctl("add-flows", "br-tun", "-", stdin="\n".join(words) + "\n")
        theirs = dumped(host)
        host.ofctl("del-flows", "br-tun")

        assert ours == theirs
        assert ours.keys() == set(map(cookie_of, adds))


def test_flows_go_in_as_one_bundle_and_come_back_by_cookie(host, ready):
    adds = [encode_flow(flow) for flow in coexisting()]

    replies = ready.ask(encode.bundle(BUNDLE_ID, adds, BUNDLE_ID))

    assert errors(replies) == []
    assert [committed_bundle(reply) for reply in replies] == [None, BUNDLE_ID]
    entries = list(decode.flow_entries(ready.dump(encode.MP_FLOW)))
    assert sorted(entry.cookie for entry in entries) == sorted(map(cookie_of, adds))
    by_cookie = {cookie_of(add): add for add in adds}
    for entry in entries:
        add = by_cookie[entry.cookie]
        assert (entry.table, entry.priority) == (add[24], int.from_bytes(add[30:32], "big"))
        assert entry.hard_timeout_s == int.from_bytes(add[28:30], "big")
        assert entry.idle_timeout_s == encode.idle_timeout_of(add)
        assert cookie_kind(entry.cookie) is Kind(add[9])


def test_what_was_learned_is_read_back_from_the_dump(ready):
    flows = {
        cookie_of(encode_flow(flow)): flow
        for flow in coexisting()
        if flow.kind in (Kind.LOCAL_LEARNED, Kind.LOCAL_LEARNED_ARP, Kind.LOCAL_LEARNED_ND)
    }
    ready.ask(map(encode_flow, flows.values()))

    entries = list(decode.flow_entries(ready.dump(encode.MP_FLOW)))
    assert len(entries) == len(flows) == 8
    for entry in entries:
        terms = {field: value for field, value, _mask in flows[entry.cookie].match}
        there = decode.entry_match(entry)
        for name in (
            Field.ETH_SRC,
            Field.VLAN_VID,
            Field.ARP_SPA,
            Field.IPV6_SRC,
            Field.ND_TARGET,
        ):
            assert there.get(name) == terms.get(name)


def test_a_delete_takes_exactly_one_flow(host, ready):
    adds = [encode_flow(flow) for flow in coexisting()]
    ready.ask(adds)
    left = set(map(cookie_of, adds))
    assert set(dumped(host)) == left
    for index, add in enumerate(adds):
        delete = delete_of(add) if index % 2 else delete_by_cookie(cookie_of(add))
        assert ready.ask([delete]) == []
        left.remove(cookie_of(add))
        assert set(dumped(host)) == left


def test_a_delete_spares_the_flow_that_took_the_place(host, ready):
    """delete_of is strict and names the cookie: a newer flow of the same match stays."""
    old = Flow(Kind.PATCH_IN, Table.CLASSIFY, 10, match((Field.IN_PORT, 1)), (), 1)
    new = Flow(Kind.PATCH_IN, Table.CLASSIFY, 10, match((Field.IN_PORT, 1)), (), 2)
    ready.ask([encode_flow(old), encode_flow(new), delete_of(encode_flow(old))])

    assert set(dumped(host)) == {cookie_of(encode_flow(new))}


def test_adding_again_replaces_and_counts_once(host, ready):
    add = encode_flow(coexisting()[0])
    ready.ask([add, add])

    assert list(dumped(host)) == [cookie_of(add)]


# -- groups and meters -----------------------------------------------------------------------


def test_group_buckets_come_back_as_they_were_sent(host, wire):
    groups = every_group()
    assert any(PopVlan() in bucket.actions for group in groups for bucket in group.buckets)
    sent = {group.group_id: encode.encode_buckets(group) for group in groups}
    mods = [encode.group_mod(encode.GROUP_ADD, gid, buckets) for gid, buckets in sent.items()]

    assert wire.ask(mods) == []

    there = list(decode.group_entries(wire.dump(encode.MP_GROUP_DESC)))
    assert {gid: buckets for gid, _kind, buckets in there} == sent
    assert {kind for _gid, kind, _buckets in there} == {encode.GROUP_TYPE_ALL}


def test_group_bytes_and_words_make_the_same_group(host, wire):
    for group in every_group():
        mod = encode.group_mod(encode.GROUP_ADD, group.group_id, encode.encode_buckets(group))
        assert wire.ask([mod]) == []
        ours = group_lines(host)
        host.ofctl("del-groups", "br-tun")
        host.ofctl("add-group", "br-tun", ofctl_buckets(group))

        assert group_lines(host) == ours
        host.ofctl("del-groups", "br-tun")


def test_a_group_can_be_changed_and_deleted(wire):
    first, second = (encode.encode_buckets(group) for group in every_group()[:2])
    assert wire.ask([encode.group_mod(encode.GROUP_ADD, 7, first)]) == []
    assert wire.ask([encode.group_mod(encode.GROUP_MODIFY, 7, second)]) == []
    assert list(decode.group_entries(wire.dump(encode.MP_GROUP_DESC))) == [(7, 0, second)]
    assert wire.ask([encode.group_mod(encode.GROUP_DELETE, 7)]) == []
    assert wire.dump(encode.MP_GROUP_DESC) == b""


def test_meters_come_back_as_they_were_sent(wire):
    mods = {meter.meter_id: encode.meter_mod(encode.ADD, meter) for meter in METERS}
    assert wire.ask(mods.values()) == []

    there = dict(decode.meter_entries(wire.dump(encode.MP_METER_CONFIG)))
    assert there == {meter_id: mod[10:12] + mod[16:] for meter_id, mod in mods.items()}


def test_changing_a_meter_keeps_its_flows(host, ready):
    add = encode_flow(next(flow for flow in every_flow() if flow.kind is Kind.LOCAL_UNKNOWN))
    ready.ask([add])
    assert ready.ask([encode.meter_mod(encode.MODIFY, METERS[0])]) == []

    assert list(dumped(host)) == [cookie_of(add)]


# -- refusals --------------------------------------------------------------------------------


def spoil(add, at, value):
    """The add message with some bytes changed."""
    return add[:at] + value + add[at + len(value) :]


def refused_flow():
    """Refused when it is installed, not when it is read: the group does not exist."""
    terms = match((Field.TUN_ID, BLUE))
    return encode_flow(Flow(Kind.NETWORK_FLOOD, Table.FLOOD, 1, terms, (Group(12345),)))


def unreadable_flow():
    """Refused when it is read: pop_vlan without a tag in the match."""
    add = encode_flow(Flow(Kind.DELIVER, Table.TO_LOCAL, 1, (), (Output(1),)))
    pop = pack("!HH4x", 18, 8)
    body = add[48:56] + pack("!HH4x", 4, 8 + len(pop)) + pop
    head = spoil(add[:48], 2, (48 + len(body)).to_bytes(2, "big"))
    return head + body


@pytest.mark.parametrize("make", [refused_flow, unreadable_flow])
def test_a_refused_flow_is_named_by_its_cookie(ready, make):
    bad = make()

    (error,) = errors(ready.ask([bad]))

    assert explain(error).cookie == cookie_of(bad)


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_flow_that_cannot_be_installed_refuses_its_bundle(host, ready, place):
    bad, good = refused_flow(), [encode_flow(flow) for flow in coexisting()[:5]]
    messages = [bad, *good] if place == "first" else [*good, bad]

    replies = ready.ask(encode.bundle(BUNDLE_ID, messages, BUNDLE_ID))

    assert {explain(error).cookie for error in errors(replies)} == {cookie_of(bad), None}
    assert BUNDLE_ID not in [committed_bundle(reply) for reply in replies]
    assert dumped(host) == {}


@pytest.mark.parametrize("place", ["first", "last"])
def test_a_flow_that_cannot_be_read_is_left_out_of_its_bundle(host, ready, place):
    bad, good = unreadable_flow(), [encode_flow(flow) for flow in coexisting()[:5]]
    messages = [bad, *good] if place == "first" else [*good, bad]

    replies = ready.ask(encode.bundle(BUNDLE_ID, messages, BUNDLE_ID))

    assert [explain(error).cookie for error in errors(replies)] == [cookie_of(bad)]
    assert BUNDLE_ID in [committed_bundle(reply) for reply in replies]
    assert set(dumped(host)) == set(map(cookie_of, good))


def test_adding_a_meter_that_is_there_can_be_ignored(ready):
    (error,) = errors(ready.ask([encode.meter_mod(encode.ADD, METERS[0])]))

    assert explain(error).ignorable


def test_adding_a_group_that_is_there_can_be_ignored(ready):
    (error,) = errors(ready.ask([encode.group_mod(encode.GROUP_ADD, every_group()[0].group_id)]))

    assert explain(error).ignorable


# -- packets ---------------------------------------------------------------------------------


def test_a_packet_out_is_taken(wire):
    actions = (SetField(Field.TUN_DST, 0xC0A8210D), Output(2))

    assert wire.ask([encode.packet_out(actions, b"\x02" * 60)]) == []
