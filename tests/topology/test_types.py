"""Values are read as people write them, print as people read them, and are never wrong."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from topology.errors import InvalidValue
from topology.types import Dpid, Foreign, Ip, Mac, Subnet, Vlan, Vni, VtepIp

bounded = settings(max_examples=200, deadline=None, derandomize=True)


@bounded
@given(st.integers(1, (1 << 48) - 1).filter(lambda value: not value >> 40 & 1))
def test_macs_print_as_they_are_read(value):
    mac = Mac(value)

    assert Mac.parse(str(mac)) == mac
    assert Mac.parse(str(mac).upper().replace(":", "-")) == mac
    assert isinstance(Mac.parse(str(mac)), Mac)


@bounded
@given(st.integers(0, (1 << 64) - 1))
def test_dpids_print_as_they_are_read(value):
    dpid = Dpid(value)

    assert len(str(dpid)) == 16
    assert Dpid.parse(str(dpid)) == Dpid.parse(hex(value)) == dpid


@bounded
@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_ips_agree_with_the_standard_library(address):
    try:
        ip = Ip.parse(str(address))
    except InvalidValue:
        assert (
            address.is_multicast
            or address.is_unspecified
            or address.is_reserved
            or (address.is_loopback or address in ipaddress.ip_network("240.0.0.0/4"))
        )
        return
    assert not address.is_multicast
    assert ip.packed == address.packed or ip.is_v4
    assert Ip.parse(str(ip)) == ip


def test_an_ipv4_address_is_one_value_however_it_is_written():
    assert Ip.parse("10.1.1.2") == Ip.parse("::ffff:10.1.1.2") == Ip.v4(0x0A010102)
    assert str(Ip.parse("::ffff:10.1.1.2")) == "10.1.1.2"
    assert Ip.parse("10.1.1.2").packed == bytes((10, 1, 1, 2))
    assert Ip.parse("FD00:0::2") == Ip.parse("fd00::2")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "52:54:00:00:00",
        "52:54:00:00:00:01:02",
        "52:54:00:00:00:0g",
        "52:54-00:00:00:01",
        "525400000001",
        " 52:54:00:00:00:01",
        "52:54:00:00:00:01\n",
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
        "5\u0662:54:00:00:00:01",
    ],
)
def test_what_is_no_stations_mac_is_refused(text):
    with pytest.raises(InvalidValue) as refused:
        Mac.parse(text, "vms[3].mac")
    assert refused.value.field == "vms[3].mac"
    assert (refused.value.status, refused.value.title) == (422, "Invalid value")


@pytest.mark.parametrize(
    "text",
    [
        *("", "10.1.1", "10.1.1.256", "10.1.1.2/24", "0.0.0.0", "224.0.0.1", "255.255.255.255"),
        "127.0.0.1",
        *("::", "::1", "ff02::1", "fd00::g", "fd00::2%eth0", "10.1.1.2 ", "\u0661.1.1.1", "a\0b"),
    ],
)
def test_what_is_no_stations_ip_is_refused(text):
    with pytest.raises(InvalidValue) as refused:
        Ip.parse(text, "ips[0]")
    assert refused.value.field == "ips[0]"


@pytest.mark.parametrize("text", ["fd00::2", "224.0.0.1", "host-1", ""])
def test_what_is_no_vtep_is_refused(text):
    with pytest.raises(InvalidValue):
        VtepIp.parse(text)


@pytest.mark.parametrize("text", ["", "0x", "1" * 17, "host", "-1", "12 34"])
def test_what_is_no_dpid_is_refused(text):
    with pytest.raises(InvalidValue):
        Dpid.parse(text)


@pytest.mark.parametrize(
    ("kind", "least", "most"),
    [
        (Vni, 0, 2**24 - 1),
        (Vlan, 1, 4094),
        (Mac, 0, 2**48 - 1),
        (Dpid, 0, 2**64 - 1),
        (Ip, 0, 2**128 - 1),
    ],
)
def test_numbers_beyond_the_ends_cannot_be(kind, least, most):
    assert (int(kind(least)), int(kind(most))) == (least, most)
    for beyond in (least - 1, most + 1):
        with pytest.raises(InvalidValue):
            kind(beyond)


@bounded
@given(st.text(max_size=40))
def test_any_text_is_a_value_or_refused(text):
    for kind in (Mac, Ip, VtepIp, Dpid, Subnet):
        try:
            value = kind.parse(text)
        except InvalidValue:
            continue
        assert kind.parse(str(value)) == value


@bounded
@given(st.data(), st.sampled_from([4, 6]))
def test_subnets_agree_with_the_standard_library(data, version):
    address = data.draw(st.ip_addresses(v=version))
    bits = data.draw(st.integers(0, address.max_prefixlen))
    assume(version == 4 or address.ipv4_mapped is None)  # ours are IPv4 then
    theirs = ipaddress.ip_network(f"{address}/{bits}", strict=False)
    if theirs.network_address != address:
        with pytest.raises(InvalidValue, match="host bits"):
            Subnet.parse(f"{address}/{bits}")
    subnet = Subnet.parse(str(theirs))
    assert Subnet.parse(str(subnet)) == subnet
    for number in (0, theirs.num_addresses - 1, -1, theirs.num_addresses):
        other = int(theirs.network_address) + number
        if 0 <= other < 1 << address.max_prefixlen:
            ip = Ip.v4(other) if version == 4 else Ip(other)
            inside = 0 <= number < theirs.num_addresses and ip.is_v4 == (version == 4)
            assert (ip in subnet) == inside


def test_a_subnet_holds_its_own_family_only():
    assert Ip.parse("10.1.1.2") in Subnet.parse("0.0.0.0/0")
    assert Ip.parse("fd00::2") not in Subnet.parse("0.0.0.0/0")
    assert Ip.parse("10.1.1.2") not in Subnet.parse("::/0")


@pytest.mark.parametrize(
    "text",
    [
        *("10.1.1.0", "10.1.1.0/", "/24", "10.1.1.0/33", "10.1.1.0/-1", "10.1.1.0/24/8", ""),
        *("10.1.1.1/24", "fd00::/129", "fd00::1/64", "10.1.1.0/ 24", "10.1.1.0/\u0662", "x/8"),
        *("10.1.1.0/255.255.255.0", "10.1.1.0/" + "2" * 5000),
    ],
)
def test_what_is_no_subnet_is_refused(text):
    with pytest.raises(InvalidValue) as refused:
        Subnet.parse(text, "subnets[1]")
    assert refused.value.field == "subnets[1]"


@bounded
@given(st.integers(0, 2**32 - 1), st.integers(0, Dpid.MAX))
def test_a_foreign_vtep_is_no_host(address, number):
    vtep = VtepIp(VtepIp.v4(address))
    place = Foreign.at(vtep)

    assert place.vtep == vtep
    assert str(place) == str(vtep)
    assert place != Dpid(number)
