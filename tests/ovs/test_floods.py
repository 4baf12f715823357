"""A VM floods, or sends what hangs ryu.lib.packet: the meters hold, others are served meanwhile."""

from __future__ import annotations

import random
import struct
import time

import pytest

from topology.lab.frame import arp, garp, mac_bytes, ns, plain
from topology.lab.ovs import wait_until

RED, VLAN = 300, 30
FLOOD_FRAMES = 4000
LEARN_BURST, LEARN_PER_S = 400, 100


@pytest.fixture(scope="module")
def busy(open_fabric):
    """Two hosts; a registered VM on each, two that nobody knows on the first."""
    with open_fabric(hosts=2, vms="none", tunnels="flow") as fabric:
        policy = {"vlan": VLAN, "subnets": ["10.1.1.0/24"], "dhcp": True}
        assert fabric.network(RED, **policy).status == 201
        for index in (0, 1):
            vm = fabric.lab.add_vm(index, f"10.1.1.{10 + index}", vlan=VLAN, vni=RED)
            assert fabric.register(vm, name=f"web-{index}").status == 201
        fabric.lab.add_vm(0, "10.1.1.20", vlan=VLAN, vni=RED)
        fabric.lab.add_vm(0, "10.1.1.21", vlan=VLAN, vni=RED)
        yield fabric


def counter(fabric, name):
    lines = fabric.rest.get("/metrics").body.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def taken_by(fabric, frames, vm):
    """How many packet-ins came of these frames."""
    before = counter(fabric, "vxlan_l2_packet_ins_total")
    vm.send_frames(frames)
    return counter(fabric, "vxlan_l2_packet_ins_total") - before


def strange_macs(count, seed):
    chance = random.Random(seed)
    return [f"02:{chance.randbytes(5).hex(':')}" for _ in range(count)]


def test_a_vm_that_makes_macs_up_is_metered_and_others_are_served(busy):
    web, far, flooder, quiet = busy.lab.vms
    frames = [plain(mac, far.mac) for mac in strange_macs(FLOOD_FRAMES, 1)]
    began_s = time.monotonic()
    taken = taken_by(busy, frames, flooder)
    seconds = time.monotonic() - began_s
    print(f"{FLOOD_FRAMES} frames in {seconds:.2f} s: {taken:.0f} packet-ins")
    assert taken <= LEARN_BURST + LEARN_PER_S * (seconds + 1) + 100

    # The meter that the flood used up is not the one of announcements, of DHCP, of answers.
    flooder.send_frames([plain(mac, far.mac) for mac in strange_macs(FLOOD_FRAMES // 4, 2)])
    quiet.send_frames([garp(quiet.mac, quiet.ip)])
    wait_until(lambda: quiet.mac in busy.learned(), "the announcement was heard", timeout_s=10)
    assert web.dhcp().ip == "10.1.1.10"
    assert web.ping(far.ip, count=3, interval_s=0.05).ok
    body = {"mac": "52:54:00:00:77:01", "host": far.host.dpid, "ips": ["10.1.1.77"], "vni": RED}
    assert busy.rest.post("/v1/vms?wait=10", body).body["applied"] == {"hosts": 2, "of": 2}
    assert busy.in_sync()


def test_a_flood_of_announcements_leaves_registered_vms_their_answers(busy):
    web, far, flooder, _quiet = busy.lab.vms
    frames = [garp(mac, f"10.1.2.{n % 250 + 1}") for n, mac in enumerate(strange_macs(2000, 3))]
    flooder.send_frames(frames)

    busy.lab.flush_arp()
    assert web.ping(far.ip, count=3, interval_s=0.05).ok
    assert web.dhcp().ip == "10.1.1.10"
    assert busy.in_sync()


# What hangs ryu.lib.packet: an option, or a parameter, of length 0 (docs/decisions/0029-floods.md).


def hanging_tcp(eth_src, eth_dst):
    """58 bytes: a TCP header whose only option, of kind 2, has length 0."""
    tcp = struct.pack("!HHIIBBHHH", 1, 2, 0, 0, 6 << 4, 2, 0, 0, 0) + b"\x02\0\0\0"
    return _ipv4(eth_src, eth_dst, 6, tcp)


def hanging_sctp(eth_src, eth_dst):
    """An SCTP INIT chunk with a parameter of length 0 (RFC 9260, 3.2.1)."""
    chunk = struct.pack("!BBH", 1, 0, 24) + bytes(16) + struct.pack("!HH", 0x8000, 0)
    return _ipv4(eth_src, eth_dst, 132, struct.pack("!HHII", 1, 2, 0, 0) + chunk)


def _ipv4(eth_src, eth_dst, proto, payload):
    total = 20 + len(payload)
    head = struct.pack("!BBHHHBBH", 0x45, 0, total, 0, 0, 64, proto, 0) + bytes((10, 1, 1, 20))
    ethernet = mac_bytes(eth_dst) + mac_bytes(eth_src) + b"\x08\0"
    return ethernet + head + bytes((10, 1, 1, 11)) + payload


def typed(frame, eth_type):
    """The same bytes under another EtherType."""
    return frame[:12] + struct.pack("!H", eth_type) + frame[14:]


@pytest.mark.parametrize("make", [hanging_tcp, hanging_sctp])
def test_the_frame_that_hangs_ryu_is_sent_to_every_punt(busy, make):
    """By unknown MACs, as ARP, as IPv6, as DHCP of a registered VM, and inside of solicitations."""
    web, far, flooder, _quiet = busy.lab.vms
    macs = [f"52:54:00:00:{len(make.__name__):02x}:{n:02x}" for n in range(6)]
    frames = [make(mac, far.mac) for mac in macs[:2]]
    assert make is not hanging_tcp or {len(frame) for frame in frames} == {58}
    frames += [typed(make(macs[2], "ff:ff:ff:ff:ff:ff"), 0x0806)]
    frames += [typed(make(macs[3], "33:33:ff:00:00:01"), 0x86DD)]
    frames += [ns(macs[4], "fe80::1", "fd00::9") + make(macs[4], far.mac)[34:]]
    frames += [
        arp(1, macs[5], "10.1.1.30", "00:00:00:00:00:00", "10.1.1.31", "ff:ff:ff:ff:ff:ff")
        + make(macs[5], far.mac)[34:]
    ]
    before = counter(busy, "vxlan_l2_packet_ins_total")
    flooder.send_frames(frames)
    web.send_frames([_dhcp_with(make(web.mac, "ff:ff:ff:ff:ff:ff")[34:], web.mac)])
    wait_until(
        lambda: counter(busy, "vxlan_l2_packet_ins_total") >= before + len(frames),
        "the controller was shown all of them",
        timeout_s=5,
    )

    assert set(macs[:2]) <= set(busy.learned())
    assert web.dhcp().ip == "10.1.1.10"
    assert busy.rest.get("/readyz").status == 200
    assert busy.in_sync()


def _dhcp_with(payload, mac):
    """UDP from 68 to 67 with something else in it."""
    udp = struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload
    return _ipv4(mac, "ff:ff:ff:ff:ff:ff", 17, udp)
