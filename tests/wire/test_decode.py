"""Whatever bytes come, a decoder answers or raises Malformed, and always ends."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import frames, probes
from controller.journey import Packet, Punt
from controller.openflow import guard
from controller.refusals import explain
from controller.wire import decode, encode, readback
from controller.wire.dumptext import actions_text, match_text
from tests.fake.frames import packet_in
from tests.fake.switch import Entry, FakeSwitch
from tests.wire.samples import every_flow, every_group

bounded = settings(max_examples=400, deadline=None, derandomize=True)


def flow_stats(flows):
    """A dump of these flows, as a switch gives it."""
    switch = FakeSwitch(1, 1, {}, dump_part_bytes=60000)
    for flow in flows:
        add = encode.encode_flow(flow)
        switch.flows[encode.identity_of(add)] = Entry(add, 0.0)
    (reply,) = switch.receive(encode.multipart_request(encode.MP_FLOW, 1), 1.0)
    return decode.multipart(reply)[2]


def group_descriptions():
    switch = FakeSwitch(1, 1, {}, dump_part_bytes=60000)
    switch.groups = {group.group_id: encode.encode_buckets(group) for group in every_group()}
    (reply,) = switch.receive(encode.multipart_request(encode.MP_GROUP_DESC, 1), 1.0)
    return decode.multipart(reply)[2]


PACKET_IN = packet_in(Punt(1, 5, 7, 100, 0xC0A8210C, 0xC0A8210D, Packet(1, 2), 128))
PORT_STATUS = encode.message(
    encode.PORT_STATUS, 0, bytes(8) + b"\0\0\0\5" + bytes(12) + b"vxlan0".ljust(48, b"\0")
)
ERROR = encode.message(encode.ERROR, 0, b"\0\4\0\x09" + encode.encode_flow(every_flow()[9])[:64])
FLOW_STATS = flow_stats(every_flow())
GROUPS = group_descriptions()


def read_entries(body):
    """A dump is read, compared and shown."""
    for entry in decode.flow_entries(body):
        for read in (decode.entry_match, match_text, actions_text):
            read(entry)


READERS = {
    "packet-in": (decode.packet_in, PACKET_IN),
    "port status": (decode.port_status, PORT_STATUS),
    "error": (lambda data: explain(decode.error(data)), ERROR),
    "multipart": (decode.multipart, encode.message(encode.MULTIPART_REPLY, 1, bytes(8))),
    "features": (decode.features_dpid, encode.message(encode.FEATURES_REPLY, 1, bytes(24))),
    "ports": (lambda data: list(decode.ports(data)), PORT_STATUS[16:]),
    "flow stats": (read_entries, flow_stats(every_flow()[::16])),
    "groups": (lambda data: list(decode.group_entries(data)), GROUPS),
    "meters": (lambda data: list(decode.meter_entries(data)), GROUPS),
    "OXM": (decode.oxm_fields, b"".join(encode.oxm(*term) for term in every_flow()[-1].match)),
    "our flow": (readback.read_flow, encode.encode_flow(every_flow()[-1])),
    "our buckets": (readback.read_buckets, encode.encode_buckets(every_group()[1])),
    "our actions": (readback.read_actions, encode.encode_actions(every_flow()[-1].actions)),
    "bundle reply": (guard.committed_bundle, encode.bundle_control(5, 7, 7)),
    "frame": (frames.parse, bytes(12) + b"\x81\0\0\x0a\x08\x06" + bytes(28)),
    "probe": (lambda data: probes.decode(data, b"secret"), bytes(60)),
}
reader = pytest.mark.parametrize("name", READERS)


def survives(read, data):
    with suppress(decode.Malformed):
        read(data)


@reader
def test_what_a_correct_switch_sends_is_read(name):
    read, good = READERS[name]

    if name != "meters":  # a group description is no meter
        read(good)


@reader
def test_truncated_bytes_are_malformed_or_short(name):
    read, good = READERS[name]
    for end in range(min(len(good), 400)):
        survives(read, good[:end])


@reader
def test_one_changed_byte_is_read_or_malformed(name):
    read, good = READERS[name]
    for at in range(min(len(good), 400)):
        for value in (0, 1, 4, 7, 8, 0x7F, 0xFF):
            survives(read, good[:at] + bytes((value,)) + good[at + 1 :])


@reader
def test_random_bytes_are_read_or_malformed(name):
    read, good = READERS[name]
    chance = random.Random(name)
    for _ in range(300):
        survives(read, chance.randbytes(chance.randrange(200)))
        start = chance.randrange(len(good))
        survives(read, good[:start] + chance.randbytes(chance.randrange(100)))


@bounded
@given(st.sampled_from(sorted(READERS)), st.binary(max_size=120))
def test_any_bytes_are_read_or_malformed(name, data):
    survives(READERS[name][0], data)


def test_elements_of_no_length_do_not_hold_anyone_up():
    """The ways in which a parser that trusts lengths would never end."""
    for entries in (decode.flow_entries, decode.group_entries, decode.meter_entries):
        with pytest.raises(decode.Malformed):
            list(entries(bytes(64)))
    with pytest.raises(decode.Malformed):
        decode.oxm_fields(b"\x80\0\x0a\0" * 4)
    with pytest.raises(decode.Malformed):
        readback.read_actions(b"\0\x19\0\0" + bytes(12))
    with pytest.raises(decode.Malformed):
        readback.read_buckets(bytes(32))


def test_a_packet_in_is_read():
    packet = decode.packet_in(PACKET_IN)

    assert (packet.cookie, packet.in_port, packet.tun_id) == (5, 7, 100)
    assert (packet.tun_src, packet.tun_dst) == (0xC0A8210C, 0xC0A8210D)
    assert packet.frame[:12] == bytes((0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1))


def test_an_installed_flow_is_shown_in_words():
    entries = list(decode.flow_entries(FLOW_STATS))
    shown = {match_text(entry) + " " + actions_text(entry) for entry in entries}

    assert len(entries) == len({encode.identity_of(encode.encode_flow(f)) for f in every_flow()})
    assert "in_port=1 goto_table:1" in shown
    assert "dl_vlan=10" in " ".join(shown)
