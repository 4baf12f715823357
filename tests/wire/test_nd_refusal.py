"""A datapath without ND extensions, as the kernel's is, refuses the responder and says which flow.

``ovs-appctl dpif/set-dp-features BRIDGE nd_ext false`` makes a userspace datapath such a one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.neighbours import nd_responder, nd_trial
from controller.pipeline import ND_RESPONDER_KINDS, cookie_kind
from controller.refusals import explain
from controller.wire import decode, encode
from controller.wire.encode import cookie_of, encode_flow
from tests.wire.samples import BLUE, IPS, VM
from tests.wire.switch import BUNDLE_ID, Connection
from topology.lab import LabHost

TURN, REPLY = (encode_flow(flow) for flow in nd_trial())


@pytest.fixture
def lesser(host: LabHost, ready: Connection) -> Iterator[Connection]:
    host.appctl("dpif/set-dp-features", "br-tun", "nd_ext", "false")
    yield ready
    host.appctl("dpif/set-dp-features", "br-tun", "nd_ext", "true")


def refused(replies):
    return [explain(decode.error(reply)).cookie for reply in replies if reply[1] == encode.ERROR]


def test_a_datapath_with_nd_extensions_takes_the_trial(ready):
    assert ready.ask([TURN, REPLY]) == []


def test_a_datapath_without_them_refuses_the_trial_by_its_cookie(lesser):
    """It refuses to set nd_reserved; what only matches on ND options it would take."""
    assert refused(lesser.ask([TURN, REPLY])) == [cookie_of(TURN)]
    assert cookie_kind(cookie_of(TURN)) in ND_RESPONDER_KINDS


def test_it_refuses_the_trial_in_a_bundle_too_and_commits_the_rest(lesser):
    replies = lesser.ask(encode.bundle(BUNDLE_ID, [TURN, REPLY], BUNDLE_ID))

    assert refused(replies) == [cookie_of(TURN)]
    left = [entry.cookie for entry in decode.flow_entries(lesser.dump(encode.MP_FLOW))]
    assert left == [cookie_of(REPLY)]


def test_it_refuses_a_responder_by_its_cookie(lesser):
    turn, reply = (encode_flow(flow) for flow in nd_responder(BLUE, VM.mac, IPS[1]))

    assert refused(lesser.ask([turn, reply])) == [cookie_of(turn)]
