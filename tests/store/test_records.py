"""Facts survive the way to bytes and back; bytes that are no record are refused, never guessed."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.store.records import Record, decode, encode, is_durable
from topology.errors import StoreRefused
from topology.model import Fact, Host, LearnedMac, Network, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Mac, Subnet, Vlan, Vni, VtepIp

names = st.none() | st.text(min_size=1, max_size=20).filter(str.isprintable)
dpids = st.integers(0, Dpid.MAX).map(Dpid)
vnis = st.integers(0, Vni.MAX).map(Vni)
macs = st.integers(1, Mac.MAX).map(lambda value: Mac(value & ~(1 << 40) or 1))
ips = st.integers(0, Ip.MAX).map(Ip) | st.integers(0, 2**32 - 1).map(Ip.v4)
vtep_ips = st.integers(0, 2**32 - 1).map(lambda value: VtepIp(Ip.v4(value)))
remotes = st.lists(st.tuples(st.text(max_size=15), vtep_ips | st.just("flow"))).map(tuple)
policies = st.sampled_from(("flood", "drop"))
port_names = st.lists(st.text(max_size=15), max_size=3).map(tuple)
places = dpids | vtep_ips.map(Foreign.at)


@st.composite
def subnets(draw: st.DrawFn) -> Subnet:
    ip = draw(ips)
    width = 32 if ip.is_v4 else 128
    bits = draw(st.integers(1, width))
    low = (ip.low32 if ip.is_v4 else int(ip)) >> (width - bits) << (width - bits)
    return Subnet(Ip.v4(low) if ip.is_v4 else Ip(low), bits)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    held = draw(st.lists(subnets(), max_size=3))
    v4 = [subnet.ip for subnet in held if subnet.is_v4]
    secure = draw(st.booleans())
    return Network(
        draw(vnis),
        draw(names),
        draw(st.none() | st.integers(1, 4094).map(Vlan)),
        draw(policies),
        draw(st.booleans()),
        draw(st.booleans()),
        port_security=secure,
        subnets=tuple(held),
        unknown_arp=draw(policies),
        multicast=draw(policies),
        quiet=draw(st.booleans()),
        mode=draw(st.sampled_from(("proactive", "reactive"))),
        hosts=draw(st.just("all") | st.lists(dpids, max_size=3).map(tuple)),
        follow_moves=not secure and draw(st.booleans()),
        dhcp=bool(v4) and draw(st.booleans()),
        gateway=draw(st.sampled_from([None, *v4])),
        dns=draw(st.lists(st.integers(0, 2**32 - 1).map(Ip.v4), max_size=2).map(tuple)),
        mtu_bytes=draw(st.integers(68, 65535)),
        lease_s=draw(st.integers(60, 2**32 - 1)),
    )


@st.composite
def vips(draw: st.DrawFn) -> Vip:
    sharing = draw(st.lists(macs, min_size=1, max_size=3))
    holder = draw(st.sampled_from([None, *sharing]))
    return Vip(draw(vnis), draw(ips), tuple(sharing), draw(names), holder)


facts = st.one_of(
    st.builds(Host, dpids, names, *[st.none() | vtep_ips] * 3, remotes, remotes, port_names),
    networks(),
    st.builds(Vm, macs, vnis, places, st.lists(ips, max_size=4).map(tuple), names, st.booleans()),
    st.builds(Vtep, vtep_ips, st.lists(vnis, max_size=4).map(tuple), names, st.booleans()),
    vips(),
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
    assert all(is_durable(kind) for kind in (Host, Network, Vm, Vtep, Vip))


def test_keys_of_virtual_ips_sort_like_facts() -> None:
    sharing = (Mac(1),)
    found = [Vip(vni, ip, sharing) for vni in (Vni(1), Vni(256)) for ip in (Ip(2), Ip.v4(1))]
    assert sorted(found, key=lambda vip: encode(vip).key) == sorted(found, key=lambda v: v.key)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        (
            VM,
            "920286a36d6163c406525400000001a3766e6964a4686f737407a369707391c4040a010102a46e616d65a5"
            "7765622d31a7726573706f6e64c3",
        ),
        (
            Vm(VM.mac, VM.vni, Foreign.at(VtepIp.parse("192.168.33.20"))),
            "920286a36d6163c406525400000001a3766e6964a4686f7374c404c0a82114a369707390a46e616d"
            "65c0a7726573706f6e64c3",
        ),
        (
            Vip(Vni(100), Ip.parse("10.1.1.9"), (VM.mac,), "gw", VM.mac),
            "920185a3766e6964a26970c4040a010109a46d61637391c406525400000001a46e616d65a26777a6"
            "686f6c646572c406525400000001",
        ),
    ],
)
def test_written_records_stay_as_they_are(fact: Fact, value: str) -> None:
    """These bytes are in files of this release: what they mean must never change."""
    record = encode(fact)
    assert record.value.hex() == value
    assert decode(record) == fact


def _broken(**changes: object) -> bytes:
    version, fields = msgpack.unpackb(encode(VM).value)
    fields.update(changes)
    fields = {name: value for name, value in fields.items() if value is not ...}
    return msgpack.packb([version, fields])


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (msgpack.packb([3, {}]), "version 3"),
        (msgpack.packb([0, {}]), "version 0"),
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
        (_broken(host=bytes(16)), "not IPv4"),
        (_broken(host=b"123"), "4 or 16 bytes"),
        (_broken(mac=b"\x52\x54"), "not 6 bytes"),
    ],
)
def test_malformed_is_refused(value: bytes, says: str) -> None:
    with pytest.raises(StoreRefused, match=says):
        decode(Record("vm", encode(VM).key, value))


def _fields(fact: Fact) -> dict[str, object]:
    fields: dict[str, object] = msgpack.unpackb(encode(fact).value)[1]
    return fields


@pytest.mark.parametrize(
    ("fact", "field", "value"),
    [
        *((Network(Vni(7)), "hosts", value) for value in ("some", [True], [-1], ["1"], None)),
        *((Network(Vni(7)), "subnets", value) for value in ([7], [[b"1234"]], [[b"1234", True]])),
        (Network(Vni(7)), "subnets", [[b"1234", 33]]),
        (Network(Vni(7)), "mode", "lazy"),
        (Network(Vni(7)), "multicast", None),
        (Network(Vni(7)), "mtu_bytes", 0),
        (Network(Vni(7)), "quiet", 1),
        (Network(Vni(7)), "gateway", b"12345"),
        (Host(Dpid(7)), "seen_keyless", [b"vxlan0"]),
        (Host(Dpid(7)), "seen_keyless", None),
        (Host(Dpid(7)), "certificate", b"7" * 31),
        (Host(Dpid(7)), "certificate", "7" * 32),
        (Vip(Vni(7), Ip.v4(9), (Mac(1),)), "macs", []),
        (Vip(Vni(7), Ip.v4(9), (Mac(1),)), "macs", [b"1"]),
        (Vip(Vni(7), Ip.v4(9), (Mac(1),)), "holder", 1),
    ],
)
def test_malformed_field_is_refused(fact: Fact, field: str, value: object) -> None:
    record = encode(fact)
    version = msgpack.unpackb(record.value)[0]
    broken = msgpack.packb([version, _fields(fact) | {field: value}])
    with pytest.raises(StoreRefused, match="is damaged"):
        decode(Record(record.kind, record.key, broken))


@pytest.mark.parametrize("fact", [Host(Dpid(7)), Network(Vni(7)), VM])
def test_a_version_has_its_own_fields_only(fact: Fact) -> None:
    """A record says its version truly, or is refused: nothing is guessed, nothing is lost."""
    record = encode(fact)
    foreign = {"host": b"\xc0\xa8\x21\x14"} if fact is VM else {}
    mislabelled = msgpack.packb([1, _fields(fact) | foreign])
    with pytest.raises(StoreRefused, match="is damaged"):
        decode(Record(record.kind, record.key, mislabelled))


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(StoreRefused, match="unknown kind 'router'"):
        decode(Record("router", b"\1", b""))


@given(st.sampled_from(["host", "network", "vm", "vtep", "vip"]), st.binary(max_size=40))
def test_any_bytes_are_a_fact_or_refused(kind: str, value: bytes) -> None:
    with pytest.raises(StoreRefused):
        decode(Record(kind, b"\0", value))
