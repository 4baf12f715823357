"""What is encoded reads back as it was, and a cookie names one flow and no other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.flow import (
    ANY_VLAN,
    CopyToController,
    Field,
    Flow,
    Group,
    Move,
    Output,
    PopVlan,
    PushVlan,
    SetField,
    match,
)
from controller.pipeline import COOKIE_OWNER, Kind, PipelineError, Table, cookie_kind
from controller.wire.encode import (
    bundle,
    cookie_of,
    delete_of,
    encode_actions,
    encode_buckets,
    encode_flow,
    identity_of,
)
from controller.wire.readback import read_actions, read_buckets, read_flow
from tests.wire.samples import every_flow, every_group

bounded = settings(max_examples=200, deadline=None, derandomize=True)


def settable(field):
    most = 0xFFF if field is Field.VLAN_VID else (1 << 8 * field.width) - 1
    return st.builds(SetField, st.just(field), st.integers(0, most))


movable = [Field.ETH_DST, Field.ETH_SRC, Field.ARP_SHA, Field.ARP_THA]
actions = st.one_of(
    st.builds(Output, st.integers(1, 0xFFFFFF00)),
    st.builds(Group, st.integers(0, 0xFFFFFF00)),
    st.sampled_from([field for field in Field if field is not Field.IN_PORT]).flatmap(settable),
    st.builds(Move, st.sampled_from(movable), st.sampled_from(movable)),
    st.just(PushVlan()),
    st.builds(CopyToController, st.integers(0, 0xFFFF), st.none() | st.integers(1, 0xFFFF)),
)
flows = st.builds(
    lambda mac, vni, priority, acts: Flow(
        Kind.UNICAST_REGISTERED,
        Table.UNICAST,
        priority,
        match((Field.ETH_DST, mac), (Field.TUN_ID, vni)),
        tuple(acts),
    ),
    st.integers(0, (1 << 48) - 1),
    st.integers(0, (1 << 24) - 1),
    st.integers(0, 0xFFFF),
    st.lists(actions, max_size=6),
)


@pytest.mark.parametrize("flow", every_flow(), ids=lambda flow: Kind(flow.kind).name)
def test_every_flow_reads_back_as_it_was(flow):
    assert read_flow(encode_flow(flow)) == flow


@bounded
@given(flows)
def test_any_flow_reads_back_as_it_was(flow):
    assert read_flow(encode_flow(flow)) == flow


@bounded
@given(st.lists(actions, max_size=8))
def test_actions_read_back_as_they_were(acts):
    encoded = encode_actions(acts)

    assert len(encoded) % 8 == 0
    assert read_actions(encoded) == tuple(acts)


def test_buckets_read_back_as_they_were():
    for group in every_group():
        assert read_buckets(encode_buckets(group)) == group.buckets


def test_a_cookie_tells_owner_and_kind():
    for flow in every_flow():
        cookie = cookie_of(encode_flow(flow))
        assert cookie >> 56 == COOKIE_OWNER
        assert cookie_kind(cookie) is flow.kind
    assert cookie_kind(0) is None
    assert cookie_kind(COOKIE_OWNER << 56 | 0xFF << 48) is None


def test_no_two_flows_share_a_cookie():
    flows = every_flow()

    assert len({cookie_of(encode_flow(flow)) for flow in flows}) == len(flows)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": Kind.UNICAST_LOCAL},
        {"table": Table.FLOOD},
        {"priority": 11},
        {"match": match((Field.TUN_ID, 100))},
        {"actions": (Output(1),)},
        {"actions": ()},
        {"goto": Table.FLOOD, "actions": ()},
        {"hard_timeout_s": 300},
    ],
)
def test_any_change_to_a_flow_renames_it(change):
    flow = Flow(
        Kind.UNICAST_REGISTERED,
        Table.UNICAST,
        10,
        match((Field.TUN_ID, 100), (Field.ETH_DST, 1)),
        (SetField(Field.TUN_DST, 1),),
    )

    assert cookie_of(encode_flow(replace(flow, **change))) != cookie_of(encode_flow(flow))


def test_a_cookie_stays_the_same_from_run_to_run():
    """Else a restarted or upgraded controller would send every flow again."""
    flow = Flow(Kind.PATCH_IN, Table.CLASSIFY, 10, match((Field.IN_PORT, 1)), (), Table.FROM_LOCAL)

    assert hex(cookie_of(encode_flow(flow))) == "0x76028ebd49426b5f"


def test_flows_of_one_place_have_one_identity():
    flow = Flow(Kind.PATCH_IN, Table.CLASSIFY, 10, match((Field.IN_PORT, 1)))
    here = identity_of(encode_flow(flow))

    assert identity_of(encode_flow(replace(flow, actions=(Output(1),)))) == here
    for other in (
        replace(flow, priority=9),
        replace(flow, match=match((Field.IN_PORT, 2))),
        replace(flow, table=Table.FROM_TUNNEL),
    ):
        assert identity_of(encode_flow(other)) != here


@bounded
@given(flows)
def test_a_delete_names_the_same_place_and_cookie(flow):
    add = encode_flow(flow)
    delete = delete_of(add)

    assert int.from_bytes(delete[2:4], "big") == len(delete)
    assert (identity_of(delete), cookie_of(delete)) == (identity_of(add), cookie_of(add))
    assert delete[16:24] == b"\xff" * 8


@pytest.mark.parametrize(
    ("flow", "reason"),
    [
        (Flow(Kind.DELIVER, Table.TO_LOCAL, 1, match((Field.IN_PORT, 1))), "may not match on"),
        (Flow(Kind.PATCH_IN, Table.CLASSIFY, 1, (), (), Table.FLOOD), "may not go to table"),
        (Flow(Kind.EGRESS_VTEP, Table.EGRESS, 1, (), (PopVlan(),)), "pop_vlan needs"),
        (Flow(Kind.UNICAST_LEARNED, Table.UNICAST, 1, ()), "needs a hard timeout"),
    ],
)
def test_a_flow_that_its_table_does_not_allow_is_never_encoded(flow, reason):
    with pytest.raises(PipelineError, match=reason):
        encode_flow(flow)


def test_pop_vlan_is_allowed_where_a_tag_is_matched():
    encode_flow(Flow(Kind.EGRESS_VTEP, Table.EGRESS, 1, match(ANY_VLAN), (PopVlan(), Output(5))))


def test_terms_are_put_in_the_order_of_the_wire():
    """A field comes after those it requires, whatever order it was written in."""
    terms = [(Field.ARP_SPA, 1), (Field.ETH_TYPE, 0x0806), (Field.ETH_SRC, 2)]

    assert match(*terms) == match(*reversed(terms))
    assert [term[0] for term in match(*terms)] == [Field.ETH_SRC, Field.ETH_TYPE, Field.ARP_SPA]


def test_a_bundle_is_whole_messages():
    adds = [encode_flow(flow) for flow in every_flow()]
    stream = b"".join(bundle(5, adds, 5))
    kinds = []
    while stream:
        size = int.from_bytes(stream[2:4], "big")
        kinds.append(int.from_bytes(stream[12:16], "big"))
        stream = stream[size:]

    assert kinds == [2300, *[2301] * len(adds), 2300]
