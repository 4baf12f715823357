"""The lab is what the seeds draw, tells the truth about the wire, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from topology.lab import Lab, LabError, netns
from topology.lab.process import start_time
from topology.lab.state import DIRECTORY, load
from topology.lab.teardown import sweep

ROOT = Path(__file__).resolve().parents[2]


def learned(lab: Lab, host: int) -> dict[str, str]:
    """MAC -> actions of what learn() put into a host's table 20."""
    found = {}
    for flow in lab.hosts[host].dump_flows(table=20, stats=False):
        match, _, actions = flow.partition(" actions=")
        if "dl_dst=" in match:
            found[match.rpartition("dl_dst=")[2]] = actions
    return found


def in_sync_and_warm(lab: Lab) -> Lab:
    lab.seed_flows()
    lab.warm_underlay()
    return lab


# -- the seeds' topologies ------------------------------------------------------------------


def test_three_hosts_of_the_second_seed_learn_from_each_other(make_lab):
    lab = in_sync_and_warm(make_lab(hosts=3, vtep_ofports=5))

    assert [host.vtep for host in lab.hosts] == ["192.168.33.12", "192.168.33.13", "192.168.33.14"]
    assert [vm.ip for vm in lab.vms] == ["10.1.1.2", "10.1.1.3", "10.1.1.4"]
    for host in lab.hosts:
        assert host.ports == {"patch-tun": 1, "vxlan0": 5, "vxlan1": 6}

    results = lab.ping_all()
    assert len(results) == 6
    assert all(result.ok for result in results.values()), results
    one, two, three = (vm.mac for vm in lab.vms)
    assert {mac: actions[-1] for mac, actions in learned(lab, 0).items()} == {two: "5", three: "6"}
    assert {mac: actions[-1] for mac, actions in learned(lab, 1).items()} == {one: "5", three: "6"}
    assert {mac: actions[-1] for mac, actions in learned(lab, 2).items()} == {one: "5", two: "6"}


def test_two_hosts_of_the_first_seed(make_lab):
    lab = in_sync_and_warm(make_lab(hosts=2))

    assert [host.ports for host in lab.hosts] == [{"patch-tun": 1, "vxlan0": 2}] * 2
    assert all(result.ok for result in lab.ping_all().values())
    assert list(learned(lab, 0)) == [lab.vms[1].mac]


def test_flow_based_tunnels_choose_the_vtep_per_flow(make_lab):
    lab = in_sync_and_warm(make_lab(hosts=3, tunnels="flow"))

    assert [host.tunnels for host in lab.hosts] == [{2: None}] * 3
    assert all(result.ok for result in lab.ping_all().values())
    with lab.capture() as cap:
        assert lab.vms[0].ping(lab.vms[2].ip).ok
    assert len(cap.unicast(lab.vms[2].mac)) == len(cap.unicast_to(lab.hosts[2].vtep))


def test_vms_in_namespaces_with_local_vlans(make_lab):
    lab = in_sync_and_warm(make_lab(hosts=2, vms="none"))
    blue = [lab.add_vm(host, f"10.2.0.{host + 1}", vlan=10) for host in (0, 1)]
    red = lab.add_vm(1, "10.2.0.3/24", mac="52:54:00:aa:bb:cc", vlan=20, name="red")

    # The seeds' flows hand the tag through, so the networks stay apart by br-int's tags alone.
    assert blue[0].ping(blue[1].ip).ok
    assert blue[0].ping(red.ip, count=2).received == 0
    assert red.exec("cat", "/sys/class/net/eth0/address").strip() == red.mac


def test_a_vm_moves_with_its_addresses(make_lab):
    lab = in_sync_and_warm(make_lab(hosts=3, vms="namespace"))
    assert all(result.ok for result in lab.ping_all().values())

    lab.vms[0].move_to(lab.hosts[2])
    lab.vms[0].send_garp()
    time.sleep(0.1)

    assert lab.vms[0].host is lab.hosts[2]
    assert all(result.ok for result in lab.ping_all().values())


def test_two_labs_at_once(make_lab):
    first = in_sync_and_warm(make_lab(hosts=2, name="first"))
    second = in_sync_and_warm(make_lab(hosts=2, name="second", subnet="192.168.34.0/24"))

    for lab in (first, second):
        assert all(result.ok for result in lab.ping_all().values())
    with pytest.raises(LabError, match="a lab named first already"):
        make_lab(hosts=1, name="first", subnet="192.168.35.0/24")
    assert all(result.ok for result in first.ping_all().values())


# -- the wire -------------------------------------------------------------------------------


@pytest.mark.parametrize("underlay", ["linux", "ovs"])
def test_capture_counts_every_flooded_copy_once(make_lab, underlay):
    lab = in_sync_and_warm(make_lab(hosts=3, underlay=underlay))
    assert lab.underlay.switch == underlay
    one, two, three = lab.vms

    with lab.capture() as cap:
        one.send_garp()
    assert [(seen.port, seen.outer_src, seen.outer_dst) for seen in cap.arp_requests()] == [
        ("h1", "192.168.33.12", "192.168.33.13"),
        ("h1", "192.168.33.12", "192.168.33.14"),
    ]
    assert {(seen.vni, seen.eth_src, seen.arp_spa, seen.arp_tpa) for seen in cap.arp()} == {
        (0, one.mac, one.ip, one.ip)
    }

    lab.ping_all(count=1)
    lab.flush_arp()
    with lab.capture() as cap:
        assert one.ping(two.ip, count=5, interval_s=0.02).ok
    assert len([seen for seen in cap.arp_requests() if seen.arp_tpa == two.ip]) == 2
    echoes = [seen for seen in cap.unicast_to(lab.hosts[1].vtep) if seen.ip_proto == 1]
    assert [(seen.ip_src, seen.ip_dst) for seen in echoes] == [(one.ip, two.ip)] * 5
    assert cap.unicast_to(lab.hosts[2].vtep) == []
    assert cap.unicast(three.mac) == []


def test_capture_can_be_read_while_it_runs_and_at_a_vm(make_lab):
    lab = in_sync_and_warm(make_lab(hosts=2, vms="namespace", ipv6=False))

    with lab.capture() as wire, lab.capture(at=lab.vms[1]) as inside:
        lab.vms[0].send_garp()
        assert len(wire.arp_requests()) == 1
        lab.vms[0].send_garp()
    assert len(wire.arp_requests()) == 2
    seen = [(frame.eth_src, frame.arp_op, frame.vni) for frame in inside.frames()]
    assert seen == [(lab.vms[0].mac, 1, None)] * 2


def test_a_background_ping_counts_what_an_outage_costs(make_lab):
    lab = in_sync_and_warm(make_lab(hosts=2))
    lab.ping_all(count=1)

    ping = lab.vms[0].ping_start(lab.vms[1].ip, interval_s=0.01)
    ping.wait_received(20)
    lab.hosts[1].pause()
    time.sleep(0.5)
    lab.hosts[1].resume()
    ping.wait_received(ping.received + 20)
    result = ping.finish()
    assert result.sent == result.received + result.lost
    assert result.ok, "a stopped switch queues packets and answers late"

    ping = lab.vms[0].ping_start(lab.vms[1].ip, interval_s=0.01)
    ping.wait_received(20)
    lab.hosts[1].ofctl("del-flows", "br-tun")
    time.sleep(0.3)
    lab.hosts[1].seed_flows()
    ping.wait_received(ping.received + 20)
    result = ping.finish()
    assert 20 <= result.lost <= 60
    assert result.longest_outage_s == pytest.approx(0.3, abs=0.2)


def test_tcp_crosses_the_overlay_with_good_checksums(make_lab):
    lab = in_sync_and_warm(make_lab(hosts=2, vms="namespace"))
    one, two = lab.vms

    server = netns.inside(two.netns, lambda: socket.create_server((two.ip, 0)))
    to = server.getsockname()
    client = netns.inside(one.netns, lambda: socket.create_connection(to, timeout=5))
    with server, client:
        peer, address = server.accept()
        with peer:
            peer.settimeout(5)
            assert address[0] == one.ip
            client.sendall(b"x" * 100_000)
            client.shutdown(socket.SHUT_WR)
            assert sum(len(part) for part in iter(lambda: peer.recv(65536), b"")) == 100_000


# -- the way to the controller --------------------------------------------------------------


def test_switches_call_the_controller_from_their_vtep(make_lab):
    lab = make_lab(hosts=3)
    with socket.create_server((lab.controller_ip, 0), backlog=8) as server:
        server.settimeout(10)
        lab.set_controller(f"tcp:{lab.controller_ip}:{server.getsockname()[1]}")
        callers = set()
        for _ in lab.hosts:
            connection, address = server.accept()
            with connection:
                connection.settimeout(5)
                callers.add((address[0], connection.recv(4)[1]))
    openflow_hello = 0
    assert callers == {(host.vtep, openflow_hello) for host in lab.hosts}


def test_without_controller_and_flows_nothing_is_forwarded(make_lab):
    lab = make_lab(hosts=2)
    lab.warm_underlay()
    for host in lab.hosts:
        host.set_controller("tcp:127.0.0.1:1")
        assert host.dump_flows() == []
    assert lab.vms[0].ping(lab.vms[1].ip, count=2).received == 0


def test_a_restarted_switch_has_its_ports_and_addresses_but_no_flows(make_lab):
    lab = in_sync_and_warm(make_lab(hosts=2, vtep_ofports=5))
    host = lab.hosts[0]
    dpid, pid = host.dpid, host.ovs.vswitchd_pid

    host.restart_vswitchd()

    assert host.ovs.vswitchd_pid != pid
    assert host.dpid == dpid
    assert host.ports == {"patch-tun": 1, "vxlan0": 5}
    assert host.dump_flows() == []
    host.seed_flows()
    lab.warm_underlay()
    assert all(result.ok for result in lab.ping_all().values())


# -- nothing stays --------------------------------------------------------------------------


def assert_gone(name: str, namespaces: list[str], processes: list[tuple[int, int]]) -> None:
    assert namespaces
    assert processes
    assert [space for space in namespaces if netns.exists(space)] == []
    assert [pid for pid, start in processes if start_time(pid) == start] == []
    assert not (DIRECTORY / name).exists()
    assert f"{name}-ctl" not in dict(map(reversed, socket.if_nameindex()))


def test_the_end_of_a_lab_leaves_nothing(ovs_machine):
    with Lab(hosts=2, name="ends", vms="namespace") as lab:
        lab.vms[0].ping_start("10.1.1.3")
        lab.capture().start()
        state = load("ends")
        assert len(state.processes) == 2 * 2 + 2
        assert len(state.namespaces) == 1 + 2 + 2
    assert_gone("ends", state.namespaces, state.processes)


def test_a_lab_that_fails_half_way_leaves_nothing(ovs_machine):
    netns.add("fails-h2")
    try:
        with pytest.raises(LabError, match="fails-h2 is there already"):
            Lab(hosts=2, name="fails").up()
        assert netns.exists("fails-h2"), "a namespace that is not the lab's was deleted"
        assert not netns.exists("fails-h1")
        assert not netns.exists("fails-net")
        assert not (DIRECTORY / "fails").exists()
    finally:
        netns.delete("fails-h2")


def test_the_next_lab_clears_up_after_a_killed_one(ovs_machine):
    script = (
        "import time; from topology.lab import Lab; "
        "Lab(hosts=1, name='killed').up(); print('up', flush=True); time.sleep(60)"
    )
    maker = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    with maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"up\n"
        assert sweep() == [], "a lab whose maker lives was taken for a dead one"
        os.kill(maker.pid, signal.SIGKILL)
    state = load("killed")
    assert all(start_time(pid) == start for pid, start in state.processes)

    assert sweep() == ["killed"]

    assert_gone("killed", state.namespaces, state.processes)


def test_a_lab_by_hand_stays_until_it_is_taken_down(ovs_machine):
    def lab(*args: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "topology.lab", *args],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    try:
        said = lab("up", "--name", "byhand", "--hosts", "2", "--vms", "namespace", "--seed-flows")
        state = load("byhand")
        assert "192.168.33.13" in said
        assert "set-controller br-tun tcp:192.168.33.1:6653" in said
        assert sweep() == []
        assert "byhand h1=byhand-h1 h2=byhand-h2 vm1=byhand-vm1" in lab("list")
        assert "vxlan0" in lab("exec", "--name", "byhand", "h1", "ovs-vsctl", "show")
        assert " 0% packet loss" in lab(
            "exec", "--name", "byhand", "vm1", "ping", "-c2", "-i0.1", "10.1.1.3"
        )
    finally:
        said = lab("down", "--name", "byhand")
    assert said == "lab byhand is gone\n"
    assert_gone("byhand", state.namespaces, state.processes)
