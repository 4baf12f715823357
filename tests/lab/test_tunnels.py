"""VXLAN, GRE and Geneve between Open vSwitches, and the VNI on the wire."""

from __future__ import annotations

import pytest

from topology.lab import Lab, frame
from topology.lab.ovs import wait_until

VNI = 0xABC123
FORGED = "52:00:00:00:00:66"


def carry(lab: Lab, vni: int) -> None:
    """Hand-made flows of one network: to every peer out, only that VNI in."""
    for host in lab.hosts:
        out = []
        for port, remote in host.tunnels.items():
            to = host.peers if remote is None else [None]
            out += [
                f"set_field:{peer}->tun_dst,output:{port}" if peer else f"output:{port}"
                for peer in to
            ]
        flows = [
            f"in_port={host.ports['patch-tun']} actions=set_field:{vni}->tun_id,{','.join(out)}",
            f"priority=1,tun_id={vni} actions=output:{host.ports['patch-tun']}",
        ]
        host.ofctl("add-flows", "br-tun", "-", stdin="\n".join(flows) + "\n")
    lab.warm_underlay()


@pytest.mark.parametrize(
    ("tunnel_type", "tunnels"),
    [("vxlan", "peer"), ("gre", "peer"), ("gre", "flow"), ("geneve", "peer"), ("geneve", "flow")],
)
def test_the_flow_chooses_the_vni_on_every_kind_of_port(make_lab, tunnel_type, tunnels):
    lab = make_lab(
        hosts=3,
        vms="namespace",
        ipv6=False,
        tunnel_type=tunnel_type,
        tunnels=tunnels,
        key_flow=True,
    )
    carry(lab, VNI)
    first, peers = lab.hosts[0], [host.vtep for host in lab.hosts[1:]]
    expected = {"peer": {2: peers[0], 3: peers[1]}, "flow": {2: None}}
    assert first.tunnels == expected[tunnels]
    assert f"{tunnel_type}0" in first.ports

    with lab.capture() as cap:
        assert lab.vms[0].ping(lab.vms[1].ip, count=2).ok
    assert {(seen.encap, seen.vni) for seen in cap.tunnelled()} == {(tunnel_type, VNI)}
    assert [seen.outer_dst for seen in cap.arp_requests(VNI)] == peers
    assert len(cap.unicast(lab.vms[1].mac)) == 2 * len(peers), "these flows only flood"
    assert cap.vxlan() == cap.tunnelled()
    assert cap.tunnelled(VNI + 1) == []


@pytest.mark.parametrize("tunnel_type", ["gre", "geneve"])
def test_ports_without_a_key_carry_vni_0(make_lab, tunnel_type):
    lab = make_lab(hosts=2, vms="namespace", ipv6=False, tunnel_type=tunnel_type)
    lab.seed_flows()
    lab.warm_underlay()

    with lab.capture() as cap:
        assert lab.vms[0].ping(lab.vms[1].ip).ok
    assert {(seen.encap, seen.vni) for seen in cap.tunnelled()} == {(tunnel_type, 0)}


@pytest.mark.parametrize("tunnel_type", ["vxlan", "gre", "geneve"])
@pytest.mark.parametrize("tunnels", ["peer", "flow"])
def test_injected_frames_come_from_the_vtep_and_in_the_vni_they_say(make_lab, tunnel_type, tunnels):
    lab = make_lab(
        hosts=2,
        vms="namespace",
        ipv6=False,
        tunnel_type=tunnel_type,
        tunnels=tunnels,
        key_flow=True,
    )
    carry(lab, VNI)
    to, stranger = lab.vms[0], "192.168.33.99"
    with lab.capture(at=to, expression="") as cap:
        for source in lab.hosts[1].vtep, stranger:
            for vni in VNI, VNI + 1:
                lab.inject(source, 0, vni, frame.udp(FORGED, "10.1.1.9", to.mac, source))

    # Open vSwitch itself knows no stranger on a port that names its peer.
    sources = [lab.hosts[1].vtep] if tunnels == "peer" else [lab.hosts[1].vtep, stranger]
    assert [(seen.eth_src, seen.ip_dst) for seen in cap.frames()] == [
        (FORGED, source) for source in sources
    ]


def test_ten_thousand_frames_reach_the_switch(make_lab):
    lab = make_lab(hosts=2, vms="none")
    host = lab.hosts[0]
    host.ofctl("add-flow", "br-tun", "actions=drop")
    sources = (b"\x52" + index.to_bytes(5, "big") for index in range(10_000))

    lab.inject(lab.hosts[1].vtep, host, 0, *(frame.plain(mac.hex(":")) for mac in sources))

    def received() -> int:
        (flow,) = host.dump_flows()
        return int(flow.split("n_packets=")[1].split(",")[0])

    wait_until(lambda: received() > 9_950, "the switch's counters, which come late")
