"""VMs with IPv6, VMs without an address, and what the controller is told of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from topology.lab import Fabric, Lab, LabError, VmNs, frame, netns
from topology.lab.ovs import wait_until
from topology.lab.process import Processes

ROUTER = "52:54:00:00:00:99"


def two_vms(lab: Lab, **more: Any) -> tuple[VmNs, VmNs]:
    one = lab.add_vm(0, "10.1.1.2", ip6="fd00::2", **more)
    two = lab.add_vm(1, "10.1.1.3", ip6="fd00::3/64", **more)
    lab.seed_flows()
    lab.warm_underlay()
    return one, two


# -- IPv6 -----------------------------------------------------------------------------------


def test_vms_with_ipv6_ask_and_answer_as_kernels_do(make_lab):
    one, two = two_vms(lab := make_lab(hosts=2, vms="none"))
    assert (one.ip6, two.ip6, one.ips) == ("fd00::2", "fd00::3", ["10.1.1.2", "fd00::2"])

    with lab.capture() as cap:
        assert one.ping(two.ip6).ok
    asked = [seen for seen in cap.tunnelled() if seen.nd_target == two.ip6]
    assert [(seen.icmpv6_type, seen.ip_src, seen.eth_dst) for seen in asked] == [
        (frame.ICMPV6_NS, one.ip6, "33:33:ff:00:00:03"),
        (frame.ICMPV6_NA, two.ip6, one.mac),
    ]
    assert (asked[0].nd_sll, asked[1].nd_tll, asked[1].nd_flags) == (one.mac, two.mac, "SO")


def test_duplicate_address_detection_is_off_unless_asked_for(make_lab):
    lab = make_lab(hosts=1, vms="none")
    lab.seed_flows()

    with lab.capture(at=(host := lab.add_vm(0, None, name="ear")), expression="icmp6") as cap:
        assert host.ips == []
        quick = lab.add_vm(0, None, ip6="fd00::2")
        slow = lab.add_vm(0, None, ip6="fd00::3", dad=True)
        assert "tentative" not in quick.exec("ip", "addr", "show", "to", "fd00::2")
        assert "tentative" in slow.exec("ip", "addr", "show", "to", "fd00::3")
        wait_until(lambda: "tentative" not in slow.exec("ip", "addr"), "the end of DAD")
    probed = {seen.nd_target for seen in cap.frames() if seen.ip_src == "::" and seen.nd_target}
    assert "fd00::3" in probed
    assert "fd00::2" not in probed


def test_a_silent_vm_may_still_have_ipv6(make_lab):
    lab = make_lab(hosts=2, vms="none", ipv6=False)
    one, two = two_vms(lab)
    silent = lab.add_vm(0, "10.1.1.4")

    assert one.ping(two.ip6).ok
    assert "inet6" not in silent.exec("ip", "addr")


def test_kernels_believe_the_frames_we_build(make_lab):
    """They check checksums, hop limits and addresses before they answer, or believe."""
    one, two = two_vms(lab := make_lab(hosts=2, vms="none"))

    with lab.capture() as cap:
        one.send_frames(
            [
                frame.ns(one.mac, one.ip6, two.ip6),
                frame.ns(one.mac, one.ip6, two.ip6, two.mac, sll=False),
                frame.dad(one.mac, two.ip6),
                frame.udp(one.mac, one.ip6, two.mac, two.ip6),
                frame.udp(one.mac, one.ip, two.mac, two.ip),
                frame.ra(ROUTER, "fe80::99", "fd00:99::/64"),
            ]
        )
    answers = [seen for seen in cap.tunnelled() if seen.icmpv6_type == frame.ICMPV6_NA]
    assert {(seen.ip_dst, seen.nd_flags) for seen in answers if seen.nd_target == two.ip6} == {
        (one.ip6, "SO"),
        (one.ip6, "S"),  # to the unicast question
        ("ff02::1", "O"),  # to DAD
    }
    # "port unreachable", in both versions of IP
    assert [seen.port for seen in cap.tunnelled() if seen.icmpv6_type == 1] == ["h2"]
    assert [seen.port for seen in cap.tunnelled() if seen.ip_proto == 1] == ["h2"]
    assert "fd00:99::" in two.exec("ip", "addr")
    assert f"fe80::99 dev eth0 lladdr {ROUTER} router" in two.exec("ip", "-6", "neigh")

    assert one.ping(two.ip6).ok
    assert one.mac in two.exec("ip", "neigh", "show", one.ip6)
    one.send_frames([frame.na(ROUTER, one.ip6)])
    assert ROUTER in two.exec("ip", "neigh", "show", one.ip6)
    one.send_na()
    assert one.mac in two.exec("ip", "neigh", "show", one.ip6)


# -- DHCP -----------------------------------------------------------------------------------

OFFER = """
start 10.1.1.50
end 10.1.1.60
interface eth0
lease_file /dev/null
pidfile /dev/null
option subnet 255.255.255.0
option router 10.1.1.1
option dns 9.9.9.9 8.8.8.8
option mtu 1400
option lease 864
"""


def serve(lab: Lab, server: VmNs, directory: Path, offer: str) -> None:
    conf = directory / "udhcpd.conf"
    conf.write_text(offer, encoding="ascii")
    argv = netns.argv_in(server.netns, ["busybox", "udhcpd", "-f", str(conf)])
    Processes(lab._state).start(argv, directory / "udhcpd.out")


def dhcp_lab(make_lab: Any) -> tuple[Lab, VmNs, VmNs]:
    lab = make_lab(hosts=2, vms="none", ipv6=False)
    server, client = lab.add_vm(0, "10.1.1.1"), lab.add_vm(1, None)
    lab.seed_flows()
    lab.warm_underlay()
    return lab, server, client


def test_a_real_dhcp_client_gets_an_address_and_uses_it(make_lab, tmp_path):
    lab, server, client = dhcp_lab(make_lab)
    serve(lab, server, tmp_path, OFFER)
    resolver = Path("/etc/resolv.conf").read_bytes()

    with lab.capture() as cap:
        lease = client.dhcp()

    assert re.fullmatch(r"10\.1\.1\.(5\d|60)", lease.ip)
    assert (lease.prefix_bits, lease.router, lease.server_id) == (24, "10.1.1.1", "10.1.1.1")
    assert (lease.dns, lease.mtu_bytes, lease.lease_s) == (("9.9.9.9", "8.8.8.8"), 1400, 864)
    assert {(seen.udp_src, seen.udp_dst) for seen in cap.tunnelled() if seen.udp_dst} == {
        (68, 67),
        (67, 68),
    }
    assert (client.ip, client.ips) == (lease.ip, [lease.ip])
    assert client.exec("cat", "/sys/class/net/eth0/mtu") == "1400\n"
    assert client.ping(server.ip).ok
    assert Path("/etc/resolv.conf").read_bytes() == resolver

    wanted = client.dhcp(more=["-r", lease.ip])
    assert wanted.ip == lease.ip
    assert client.ping(server.ip).ok


def test_what_a_dhcp_server_leaves_out(make_lab, tmp_path):
    lab, server, client = dhcp_lab(make_lab)
    serve(lab, server, tmp_path, OFFER.partition("option")[0])

    lease = client.dhcp()

    assert (lease.prefix_bits, lease.router, lease.dns, lease.mtu_bytes) == (32, None, (), None)
    assert client.address == f"{lease.ip}/32"


def test_no_dhcp_server_is_an_error(make_lab):
    _, _, client = dhcp_lab(make_lab)
    with pytest.raises(LabError, match="no lease within 1 s"):
        client.dhcp(timeout_s=1)
    assert client.ips == []


# -- what the controller is told ------------------------------------------------------------


class Recorder:
    def __init__(self) -> None:
        self.calls: list[tuple[str, object]] = []

    def post(self, path: str, body: object) -> None:
        self.calls.append((path, body))

    put = post


def test_a_fabric_tells_all_there_is_to_a_vm(make_lab, tmp_path):
    lab = make_lab(hosts=1, vms="none")
    fabric = Fabric(lab, tmp_path)
    fabric.rest = told = Recorder()  # type: ignore[assignment]
    vm = lab.add_vm(0, "10.1.1.2", vlan=10, vni=100, ip6="fd00::2")
    bare = lab.add_vm(0, None)

    fabric.network(100, vlan=10, dhcp=True)
    fabric.register(vm)
    fabric.register(bare, wait_s=None, name="web", ips=["10.1.1.9"])

    dpid = lab.hosts[0].dpid
    both = ["10.1.1.2", "fd00::2"]
    assert told.calls == [
        ("/v1/networks/100?wait=10", {"vlan": 10, "dhcp": True}),
        (
            "/v1/vms?wait=10",
            {"vni": 100, "mac": vm.mac, "host": dpid, "ips": both, "name": "vm1"},
        ),
        (
            "/v1/vms",
            {"vni": 0, "mac": bare.mac, "host": dpid, "ips": ["10.1.1.9"], "name": "web"},
        ),
    ]
