"""Facts survive the way to bytes and back; bytes that are no record are refused, never guessed."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.store.records import Record, decode, encode, is_durable
from topology.errors import StoreRefused
from topology.model import Fact, Host, LearnedMac, Network, Vm, Vtep
from topology.types import Dpid, Ip, Mac, Vlan, Vni, VtepIp

names = st.none() | st.text(min_size=1, max_size=20).filter(str.isprintable)
dpids = st.integers(0, Dpid.MAX).map(Dpid)
vnis = st.integers(0, Vni.MAX).map(Vni)
macs = st.integers(1, Mac.MAX).map(lambda value: Mac(value & ~(1 << 40) or 1))
ips = st.integers(0, Ip.MAX).map(Ip) | st.integers(0, 2**32 - 1).map(Ip.v4)
vtep_ips = st.integers(0, 2**32 - 1).map(lambda value: VtepIp(Ip.v4(value)))
remotes = st.lists(st.tuples(st.text(max_size=15), vtep_ips | st.just("flow"))).map(tuple)
policies = st.sampled_from(("flood", "drop"))

facts = st.one_of(
    st.builds(Host, dpids, names, *[st.none() | vtep_ips] * 3, remotes, remotes),
    st.builds(
        Network,
        vnis,
        names,
        st.none() | st.integers(1, 4094).map(Vlan),
        policies,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(Vm, macs, vnis, dpids, st.lists(ips, max_size=4).map(tuple), names, st.booleans()),
    st.builds(Vtep, vtep_ips, st.lists(vnis, max_size=4).map(tuple), names, st.booleans()),
)

VM = Vm(Mac.parse("52:54:00:00:00:01"), Vni(100), Dpid(7), (Ip.parse("10.1.1.2"),), "web-1")


@given(facts)
def test_round_trip(fact: Fact) -> None:
    again = decode(encode(fact))
    assert again == fact
    assert type(again) is type(fact)


@given(st.lists(st.builds(lambda vni, mac: Vm(mac, vni, Dpid(1)), vnis, macs), min_size=2))
def test_keys_sort_like_facts(vms: list[Vm]) -> None:
    by_record = sorted(vms, key=lambda vm: encode(vm).key)
    assert by_record == sorted(vms, key=lambda vm: vm.key)


def test_learned_macs_are_not_durable() -> None:
    assert not is_durable(LearnedMac)
    assert all(is_durable(kind) for kind in (Host, Network, Vm, Vtep))


def test_version_1_is_read_as_it_was_written() -> None:
    """These bytes are in files of the first release: what they mean must never change."""
    value = bytes.fromhex(
        "920186a36d6163c406525400000001a3766e6964a4686f737407a369707391c4040a010102a46e616d65a57765"
        "622d31a7726573706f6e64c3"
    )
    assert decode(Record("vm", bytes.fromhex("000064525400000001"), value)) == VM
    assert encode(VM).value == value


def _broken(**changes: object) -> bytes:
    version, fields = msgpack.unpackb(encode(VM).value)
    fields.update(changes)
    fields = {name: value for name, value in fields.items() if value is not ...}
    return msgpack.packb([version, fields])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (msgpack.packb([2, {}]), "version 2"),
        (msgpack.packb([True, {}]), "version True"),
        (msgpack.packb([[], {}]), r"version \[\]"),
        (msgpack.packb([1, []]), "no map"),
        (msgpack.packb({"a": 1}), "damaged"),
        (msgpack.packb(7), "damaged"),
        (b"", "damaged"),
        (b"\x92\x01", "damaged"),
        (b"\xc1", "damaged"),
        (_broken(extra=1), "unknown fields"),
        (_broken(respond=...), "no field 'respond'"),
        (_broken(respond=1), "respond is a int"),
        (_broken(mac=b"\x01\0\0\0\0\1"), "group"),
        (_broken(mac="52:54"), "mac is a str"),
        (_broken(vni=2**24), "VNI"),
        (_broken(host=-1), "datapath id"),
        (_broken(host=True), "host is a bool"),
        (_broken(ips=[b"123"]), "4 or 16 bytes"),
        (_broken(name="a\nb"), "printable"),
        (_broken(vni=101), "it describes"),
    ],
)
def test_malformed_is_refused(value: bytes, says: str) -> None:
    with pytest.raises(StoreRefused, match=says):
        decode(Record("vm", encode(VM).key, value))


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(StoreRefused, match="unknown kind 'router'"):
        decode(Record("router", b"\1", b""))


@given(st.sampled_from(["host", "network", "vm", "vtep"]), st.binary(max_size=40))
def test_any_bytes_are_a_fact_or_refused(kind: str, value: bytes) -> None:
    with pytest.raises(StoreRefused):
        decode(Record(kind, b"\0", value))
