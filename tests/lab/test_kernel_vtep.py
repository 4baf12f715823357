"""Linux kernel vxlan devices: among themselves, and with Open vSwitch."""

from __future__ import annotations

import socket

import pytest

from topology.lab import Lab, Station, netns

ALL = "00:00:00:00:00:00"


def join(lab: Lab, *vteps: str) -> None:
    """Put foreign VTEPs into the seeds' flows, on ports of their own where ports name a peer."""
    for host in lab.hosts:
        for vtep in vteps:
            host.peers.append(vtep)
            if lab.tunnels == "peer":
                host.add_tunnel(vtep)
    lab.seed_flows()
    lab.warm_underlay()


def test_kernel_vteps_flood_and_learn(make_lab):
    lab = make_lab(hosts=1, vms="none", ipv6=False)
    one = lab.add_kernel_vtep(0xABC123, "10.1.1.20", remotes=[])
    two = lab.add_kernel_vtep(0xABC123, "10.1.1.21", remotes=[one.vtep])
    three = lab.add_kernel_vtep(0xABC123, "10.1.1.22", remotes=[one.vtep])
    assert [vtep.vtep for vtep in lab.kernel_vteps] == [f"192.168.33.{n}" for n in (13, 14, 15)]
    assert one.ping(two.ip, count=1).received == 0, "it has nobody to flood to"
    for other in two, three:
        one.add_remote(other.vtep)

    with lab.capture() as cap:
        one.flush_arp()
        assert one.ping(two.ip, count=2).ok
    assert {seen.outer_dst for seen in cap.arp_requests(0xABC123)} == {two.vtep, three.vtep}
    assert {seen.outer_dst for seen in cap.unicast(two.mac)} == {two.vtep}
    assert one.fdb() == {ALL: {two.vtep, three.vtep}, two.mac: {two.vtep}}
    assert three.fdb() == {ALL: {one.vtep}, one.mac: {one.vtep}}


def test_kernel_vteps_of_different_networks_do_not_meet(make_lab):
    lab = make_lab(hosts=1, vms="none", ipv6=False)
    one = lab.add_kernel_vtep(7, "10.1.1.20", remotes=[])
    two = lab.add_kernel_vtep(8, "10.1.1.21", remotes=[one.vtep])
    one.add_remote(two.vtep)

    with lab.capture() as cap:
        assert one.ping(two.ip, count=1).received == 0
    assert {seen.outer_dst for seen in cap.arp_requests(7)} == {two.vtep}
    assert cap.tunnelled(8) == []


def test_a_proxy_answers_for_those_it_was_told_of(make_lab):
    lab = make_lab(hosts=1, vms="none", ipv6=False)
    one = lab.add_kernel_vtep(7, "10.1.1.20", remotes=[], mode="proxy")
    two = lab.add_kernel_vtep(7, "10.1.1.21", remotes=[one.vtep], mode="proxy")
    one.add_remote(two.vtep)
    assert one.ping(two.ip, count=1).received == 0

    one.add_static(two.mac, two.ip, two.vtep)
    two.add_static(one.mac, one.ip, one.vtep)
    one.flush_arp()
    with lab.capture() as cap:
        assert one.ping(two.ip, count=2).ok
    assert len(cap.tunnelled(7)) == 4
    assert cap.arp(7) == []
    assert one.fdb() == {ALL: {two.vtep}, two.mac: {two.vtep}}


def test_a_proxy_lets_no_arp_of_its_station_out(make_lab):
    """Not even answers and gratuitous ones: who talks to such a station must be told of it."""
    lab = make_lab(hosts=1, vms="none", ipv6=False)
    proxy = lab.add_kernel_vtep(7, "10.1.1.20", remotes=[], mode="proxy")
    other = lab.add_kernel_vtep(7, "10.1.1.21", remotes=[proxy.vtep])
    proxy.add_static(other.mac, other.ip, other.vtep)
    proxy.add_remote(other.vtep)

    with lab.capture() as cap:
        assert other.ping(proxy.ip, count=1).received == 0
        proxy.send_garp()
    assert {seen.outer_src for seen in cap.arp(7)} == {other.vtep}

    other.add_static(proxy.mac, proxy.ip, proxy.vtep)
    other.exec("ip", "neigh", "replace", proxy.ip, "lladdr", proxy.mac, "dev", other.link)
    assert other.ping(proxy.ip, count=2).ok


@pytest.mark.parametrize("tunnels", ["peer", "flow"])
def test_a_kernel_vtep_and_open_vswitch_reach_each_other(make_lab, tunnels):
    lab = make_lab(hosts=2, vms="namespace", tunnels=tunnels)
    kernel = lab.add_kernel_vtep(0, "10.1.1.20", ip6="fd00::20")
    vm = lab.add_vm(1, "10.1.1.9", ip6="fd00::9")
    join(lab, kernel.vtep)

    assert kernel.ping(lab.vms[0].ip).ok
    assert lab.vms[1].ping(kernel.ip).ok
    assert vm.ping(kernel.ip6).ok
    assert kernel.fdb()[lab.vms[0].mac] == {lab.hosts[0].vtep}


def test_a_port_that_names_its_peer_is_closed_to_others(make_lab):
    lab = make_lab(hosts=1, vms="namespace", ipv6=False)
    kernel = lab.add_kernel_vtep(0, "10.1.1.20")
    with lab.capture(at=lab.vms[0]) as cap:
        assert kernel.ping(lab.vms[0].ip, count=1).received == 0
    assert cap.frames() == []

    join(lab, kernel.vtep)
    assert lab.hosts[0].tunnels == {2: kernel.vtep}
    assert kernel.ping(lab.vms[0].ip).ok


def test_tcp_between_a_kernel_vtep_and_a_vm_has_good_checksums(make_lab):
    lab = make_lab(hosts=1, vms="namespace")
    kernel, vm = lab.add_kernel_vtep(0, "10.1.1.20"), lab.vms[0]
    join(lab, kernel.vtep)

    for client_at, server_at in (kernel, vm), (vm, kernel):
        assert send(client_at, server_at, b"x" * 100_000) == b"x" * 100_000


def send(client_at: Station, server_at: Station, data: bytes) -> bytes:
    """What arrives of data sent by TCP."""
    server = netns.inside(server_at.netns, lambda: socket.create_server((server_at.ip, 0)))
    to = server.getsockname()
    client = netns.inside(client_at.netns, lambda: socket.create_connection(to, timeout=5))
    with server, client:
        peer, _ = server.accept()
        with peer:
            peer.settimeout(5)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: peer.recv(65536), b""))


def test_kernel_vteps_go_with_the_lab(ovs_machine):
    with Lab(hosts=1, vms="none") as lab:
        one = lab.add_kernel_vtep(7, "10.1.1.20", vtep="192.168.33.200", name="rack")
        assert (one.netns, one.vtep) == (f"{lab.name}-rack", "192.168.33.200")
        assert netns.exists(one.netns)
    assert not netns.exists(one.netns)
