"""Frames that the lab builds say what they should: to its own reader, and to tcpdump's."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from topology.lab import frame
from topology.lab.command import run
from topology.lab.dissect import Frame, parse

ONE, TWO = "52:54:00:00:00:01", "52:54:00:00:00:02"
FORGED = "52:54:00:00:00:66"
LOCAL = "fe80::5054:ff:fe00:1"
V6 = frame.ETH_IPV6

# name -> frame, what the reader says of it, what tcpdump -vv says of it
FRAMES: dict[str, tuple[bytes, dict[str, Any], list[str]]] = {
    "forged ARP": (
        frame.arp(frame.ARP_REPLY, ONE, "10.1.1.2", TWO, "10.1.1.3", TWO, eth_src=FORGED),
        {"eth_src": FORGED, "eth_dst": TWO, "arp_op": 2, "arp_spa": "10.1.1.2"},
        [f"{FORGED} > {TWO}", f"Reply 10.1.1.2 is-at {ONE}"],
    ),
    "RARP as QEMU sends it": (
        frame.rarp(ONE),
        {"eth_src": ONE, "eth_dst": frame.BROADCAST, "eth_type": frame.ETH_RARP, "arp_op": None},
        [f"Reverse Request who-is {ONE} tell {ONE}", "length 60"],
    ),
    "solicitation": (
        frame.ns(ONE, "fd00::2", "fd00::1:2:3"),
        {
            "eth_dst": "33:33:ff:02:00:03",
            "ip_src": "fd00::2",
            "ip_dst": "ff02::1:ff02:3",
            "icmpv6_type": 135,
            "nd_target": "fd00::1:2:3",
            "nd_sll": ONE,
            "nd_tll": None,
            "nd_flags": None,
        },
        ["who has fd00::1:2:3", f"source link-address option (1), length 8 (1): {ONE}", "hlim 255"],
    ),
    "unicast solicitation": (
        frame.ns(ONE, "fd00::2", "fd00::3", TWO, sll=False),
        {"eth_dst": TWO, "ip_dst": "fd00::3", "icmpv6_type": 135, "nd_sll": None},
        ["fd00::2 > fd00::3", "who has fd00::3"],
    ),
    "duplicate address detection": (
        frame.dad(ONE, "fd00::2"),
        {"ip_src": "::", "ip_dst": "ff02::1:ff00:2", "nd_target": "fd00::2", "nd_sll": None},
        [":: > ff02::1:ff00:2", "who has fd00::2"],
    ),
    "forged solicitation": (
        frame.ns(ONE, "fd00::2", "fd00::3", eth_src=FORGED),
        {"eth_src": FORGED, "nd_sll": ONE},
        [f"{FORGED} > 33:33:ff:00:00:03", f"option (1), length 8 (1): {ONE}"],
    ),
    "advertisement": (
        frame.na(ONE, "fd00::2", TWO, "fd00::3"),
        {
            "eth_dst": TWO,
            "ip_src": "fd00::2",
            "ip_dst": "fd00::3",
            "icmpv6_type": 136,
            "nd_target": "fd00::2",
            "nd_tll": ONE,
            "nd_sll": None,
            "nd_flags": "SO",
        },
        ["tgt is fd00::2, Flags [solicited, override]", f"length 8 (1): {ONE}"],
    ),
    "unsolicited advertisement": (
        frame.na(ONE, "fd00::2"),
        {"eth_dst": "33:33:00:00:00:01", "ip_dst": "ff02::1", "nd_flags": "O", "nd_tll": ONE},
        ["fd00::2 > ff02::1", "Flags [override]"],
    ),
    "router's forged advertisement": (
        frame.na(ONE, "fd00::2", flags="R", tll=False, ip_src="fd00::9", eth_src=FORGED),
        {"eth_src": FORGED, "ip_src": "fd00::9", "nd_flags": "R", "nd_tll": None},
        ["fd00::9 > ff02::1", "Flags [router]"],
    ),
    "router solicitation": (
        frame.rs(ONE, LOCAL),
        {"eth_dst": "33:33:00:00:00:02", "ip_src": LOCAL, "icmpv6_type": 133, "nd_sll": ONE},
        [f"{LOCAL} > ff02::2", "router solicitation"],
    ),
    "router solicitation of the nameless": (
        frame.rs(ONE, "::"),
        {"ip_src": "::", "icmpv6_type": 133, "nd_sll": None, "nd_target": None},
        [":: > ff02::2", "router solicitation"],
    ),
    "router advertisement": (
        frame.ra(ONE, LOCAL, "fd00:5::/64", lifetime_s=900),
        {"ip_dst": "ff02::1", "icmpv6_type": 134, "nd_sll": ONE, "nd_target": None},
        ["fd00:5::/64, Flags [onlink, auto]", "router lifetime 900s", f"length 8 (1): {ONE}"],
    ),
    "MLD report": (
        frame.mld2_report(ONE, LOCAL, "ff02::1:ff00:2"),
        {"eth_dst": "33:33:00:00:00:16", "ip_proto": 58, "icmpv6_type": 143, "nd_target": None},
        ["multicast listener report v2, 1 group record(s) [gaddr ff02::1:ff00:2 to_ex", "rtalert"],
    ),
    "IGMPv2 report": (
        frame.igmp2_report(ONE, "10.1.1.2", "239.129.2.3"),
        {"eth_dst": "01:00:5e:01:02:03", "ip_dst": "239.129.2.3", "ip_proto": 2},
        ["igmp v2 report 239.129.2.3", "options (RA)", "ttl 1"],
    ),
    "IGMPv3 report": (
        frame.igmp3_report(ONE, "10.1.1.2", "239.1.2.3"),
        {"eth_dst": "01:00:5e:00:00:16", "ip_dst": "224.0.0.22", "ip_proto": 2},
        ["igmp v3 report, 1 group record(s) [gaddr 239.1.2.3 to_ex", "options (RA)"],
    ),
    "UDP": (
        frame.udp(ONE, "10.9.9.9", TWO, "10.1.1.3", 5000, 40001, b"odd"),
        {"ip_src": "10.9.9.9", "ip_dst": "10.1.1.3", "ip_proto": 17, "udp_src": 5000},
        ["10.9.9.9.5000 > 10.1.1.3.40001", "UDP, length 3"],
    ),
    "UDP over IPv6": (
        frame.udp(ONE, "fd00::9", TWO, "fd00::3", 40000, 547),
        {"eth_type": V6, "ip_src": "fd00::9", "ip_proto": 17, "udp_src": 40000, "udp_dst": 547},
        ["fd00::9.40000 > fd00::3.547"],
    ),
}
#: what tcpdump says of checksums, by protocol; IGMP's it mentions only when they are wrong
SUM_OK = {17: "[udp sum ok]", 58: "[icmp6 sum ok]"}


def read(data: bytes) -> Frame:
    seen = parse(data, 0.0, "", len(data))
    assert seen is not None
    return seen


def tcpdump(file: Path, data: bytes) -> str:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    file.write_bytes(head + struct.pack("<IIII", 0, 0, len(data), len(data)) + data)
    return run("tcpdump", "-n", "-e", "-vv", "-r", str(file))


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_says_what_it_should(ovs_machine, tmp_path, name):
    data, fields, words = FRAMES[name]

    seen = read(data)
    assert {field: getattr(seen, field) for field in fields} == fields
    said = tcpdump(tmp_path / "one.pcap", data)
    for word in [*words, *([SUM_OK[seen.ip_proto]] if seen.ip_proto in SUM_OK else [])]:
        assert word in said
    assert "bad" not in said
    assert "invalid" not in said


def test_a_wrong_checksum_would_have_been_seen(ovs_machine, tmp_path):
    for name, at in ("solicitation", 56), ("UDP", 40), ("IGMPv3 report", 40), ("UDP", 24):
        data = bytearray(FRAMES[name][0])
        data[at] ^= 1
        assert "bad" in tcpdump(tmp_path / "one.pcap", bytes(data)), name


@pytest.mark.parametrize(
    ("tunnel_type", "word"),
    [
        ("vxlan", "VXLAN, flags [I] (0x08), vni 11256099"),
        ("gre", "GREv0, Flags [key present], key=0xabc123"),
        ("geneve", "Geneve, Flags [none], vni 0xabc123"),
    ],
)
def test_a_frame_in_a_tunnel(ovs_machine, tmp_path, tunnel_type, word):
    inner = frame.garp(ONE, "10.1.1.2")
    outer = frame.in_tunnel(
        inner, tunnel_type, 0xABC123, FORGED, "192.168.33.99", TWO, "192.168.33.12"
    )

    seen = read(outer)
    assert (seen.encap, seen.vni) == (tunnel_type, 0xABC123)
    assert (seen.outer_src, seen.outer_dst) == ("192.168.33.99", "192.168.33.12")
    assert (seen.eth_src, seen.arp_spa, seen.data) == (ONE, "10.1.1.2", inner)
    assert seen.length_bytes == len(outer)
    said = tcpdump(tmp_path / "one.pcap", outer)
    assert word in said
    assert "who-has 10.1.1.2" in said
    assert "bad" not in said


def test_tunnel_headers_of_every_length():
    """A GRE checksum and sequence number, no GRE key, Geneve options."""
    inner = frame.plain(ONE, TWO)

    def carried(proto: int, packet: bytes) -> tuple[str | None, int | None, str]:
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(packet), 0, 0, 64, proto, 0) + bytes(8)
        seen = read(bytes(12) + b"\x08\x00" + ip + packet)
        return seen.encap, seen.vni, seen.eth_src

    full = struct.pack("!HHIII", 0xB000, 0x6558, 0x12340000, 9, 77)
    assert carried(47, full + inner) == ("gre", 9, ONE)
    assert carried(47, struct.pack("!HH", 0, 0x6558) + inner) == ("gre", 0, ONE)
    routed = struct.pack("!HHI", 0x2000, 0x0800, 9)
    assert carried(47, routed + inner)[:2] == (None, None)
    udp = struct.pack("!HHHH", 4000, 6081, 28 + len(inner), 0)
    options = struct.pack("!HHI", 0x0300, 0x6558, 9 << 8) + bytes(12)
    assert carried(17, udp + options + inner) == ("geneve", 9, ONE)


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_cut_anywhere_is_read_without_error(name):
    data = FRAMES[name][0]
    for size in range(len(data)):
        parse(data[:size], 0.0, "", len(data))
