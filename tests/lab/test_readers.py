"""What the lab reads: tcpdump's files and ping's words."""

from __future__ import annotations

import struct

import pytest

from topology.lab import LabError, frame, pcap, ping

ONE, TWO = "52:54:00:00:00:01", "52:54:00:00:00:02"


def pcap_file(link_type: int, *packets: bytes) -> bytes:
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type)
    for second, packet in enumerate(packets):
        out += struct.pack("<IIII", second, 500_000, len(packet), len(packet)) + packet
    return out


def in_vxlan(inner: bytes, vni: int, tag: bytes = b"") -> bytes:
    vxlan = struct.pack("!II", 0x08000000, vni << 8)
    udp = struct.pack("!HHHH", 40000, 4789, 8 + len(vxlan + inner), 0)
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp + vxlan + inner), 0, 0, 64, 17, 0)
    ip += bytes([192, 168, 33, 12]) + bytes([192, 168, 33, 13])
    return bytes(12) + tag + b"\x08\x00" + ip + udp + vxlan + inner


def test_a_gratuitous_arp_inside_vxlan():
    wire = in_vxlan(frame.garp(ONE, "10.1.1.2"), vni=0xABCDEF)
    (seen,) = pcap.read(pcap_file(1, wire), {}, "eth0")

    assert (seen.outer_src, seen.outer_dst, seen.vni) == (
        "192.168.33.12",
        "192.168.33.13",
        0xABCDEF,
    )
    assert (seen.eth_src, seen.eth_dst, seen.eth_type) == (ONE, frame.BROADCAST, frame.ETH_ARP)
    assert (seen.arp_op, seen.arp_spa, seen.arp_tpa) == (1, "10.1.1.2", "10.1.1.2")
    assert seen.is_multicast
    assert (seen.time_s, seen.port, seen.length_bytes) == (0.5, "eth0", len(wire))


def test_vlan_tags_outside_and_inside():
    reply = frame.arp(frame.ARP_REPLY, ONE, "10.1.1.2", TWO, "10.1.1.3", TWO)
    tagged = reply[:12] + struct.pack("!HH", 0x8100, 0x200A) + reply[12:]
    wire = in_vxlan(tagged, vni=7, tag=struct.pack("!HH", 0x8100, 5))
    (seen,) = pcap.read(pcap_file(1, wire), {})

    assert (seen.vni, seen.vlan, seen.arp_op, seen.is_multicast) == (7, 10, 2, False)


def test_cooked_frames_count_by_the_port_they_came_in():
    wire = in_vxlan(frame.garp(ONE, "10.1.1.2"), vni=0)

    def cooked(index: int) -> bytes:
        head = struct.pack("!HHIHBB", 0x0800, 0, index, 1, 3, 6) + bytes(8)
        return head + wire[14:]

    seen = list(pcap.read(pcap_file(276, cooked(4), cooked(9), cooked(5)), {4: "h1", 5: "h2"}))
    assert [(one.port, one.vni, one.length_bytes) for one in seen] == [
        ("h1", 0, len(wire)),
        ("h2", 0, len(wire)),
    ]


@pytest.mark.parametrize("cut", [1, 42, 57])
def test_a_file_that_is_still_written(cut: int):
    whole = pcap_file(1, frame.garp(ONE, "10.1.1.2"), frame.garp(TWO, "10.1.1.3"))
    assert len(list(pcap.read(whole[:-cut], {}))) == 1


def test_a_file_of_another_kind_is_refused():
    with pytest.raises(LabError, match="not a pcap file"):
        list(pcap.read(b"PK" + bytes(40), {}))
    with pytest.raises(LabError, match="link type 113"):
        list(pcap.read(pcap_file(113), {}))


def said(sent: int, answered: list[int], more: str = "") -> str:
    lines = [f"64 bytes from 10.1.1.3: icmp_seq={seq} ttl=64 time=0.5 ms" for seq in answered]
    summary = f"{sent} packets transmitted, {len(answered)} received, 0% packet loss, time 9ms"
    return "\n".join([*lines, more, "--- 10.1.1.3 ping statistics ---", summary])


def test_ping_tells_which_were_lost_and_for_how_long():
    result = ping.parse(said(10, [1, 2, 6, 7, 9, 10]), interval_s=0.01)

    assert (result.sent, result.received, result.lost) == (10, 6, 4)
    assert result.missing == (3, 4, 5, 8)
    assert result.longest_outage_s == pytest.approx(0.03)
    assert not result.ok


def test_ping_counts_duplicates_apart():
    twice = "64 bytes from 10.1.1.3: icmp_seq=2 ttl=64 time=0.9 ms (DUP!)"
    result = ping.parse(said(2, [1, 2], twice), interval_s=1)

    assert (result.ok, result.received, result.duplicates) == (True, 2, 1)


def test_a_packet_in_flight_when_ping_is_stopped_is_not_lost():
    assert ping.parse(said(4, [1, 2, 3]), interval_s=1, stopped=True).ok
    assert ping.parse(said(4, [1, 2]), interval_s=1, stopped=True).missing == (3,)
    assert ping.parse(said(4, [1, 2, 3]), interval_s=1).missing == (4,)


def test_a_ping_that_never_started_is_an_error():
    with pytest.raises(LabError, match="no summary"):
        ping.parse("ping: connect: Network is unreachable", interval_s=1)
