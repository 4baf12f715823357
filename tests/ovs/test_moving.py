"""VMs that move, speak, and fall silent."""

from __future__ import annotations

import time

import pytest

from topology.lab.ovs import wait_until


@pytest.fixture
def roomy(make_fabric):
    """Three hosts, VMs in namespaces of their own, every pair pinging."""
    fabric = make_fabric(hosts=3, vtep_ofports=5, vms="namespace", ipv6=False)
    assert all(result.ok for result in fabric.lab.ping_all(count=2).values())
    fabric.wait_learned()
    return fabric


def test_a_learned_vm_is_followed(roomy):
    lab = roomy.lab
    vm, two, three = lab.vms
    before = roomy.macs(two.host, priority=1)[vm.mac]

    vm.move_to(three.host)
    vm.send_garp()

    wait_until(
        lambda: roomy.macs(two.host, priority=1).get(vm.mac, before) != before,
        "the flow on the host that did not take part follows",
        timeout_s=2,
    )
    roomy.wait_learned()
    assert vm.mac not in roomy.macs(three.host, priority=1)
    assert roomy.learned()[vm.mac]["host"] == three.host.dpid
    lab.flush_arp()
    assert all(result.ok for result in lab.ping_all().values())


def test_a_learned_vm_that_moves_without_a_word_is_found_when_it_speaks(roomy):
    vm, two, three = roomy.lab.vms

    vm.move_to(three.host)

    assert vm.ping(two.ip, count=3).received >= 2
    wait_until(lambda: roomy.learned()[vm.mac]["host"] == three.host.dpid, "followed")
    assert two.ping(vm.ip).ok


def test_a_registered_vm_moves_when_its_registration_does(roomy):
    lab = roomy.lab
    vm, two, three = lab.vms
    for each in lab.vms:
        roomy.register(each)

    answer = roomy.rest.put(
        f"/v1/vms/0/{vm.mac}?wait=10", {"host": three.host.dpid, "ips": [vm.ip], "name": vm.name}
    )
    vm.move_to(three.host)
    vm.send_garp()

    assert (answer.status, answer["applied"]) == (200, {"hosts": 3, "of": 3})
    assert vm.mac in roomy.macs(two.host, priority=10)
    lab.flush_arp()
    with lab.capture() as cap:
        wait_until(lambda: two.ping(vm.ip, count=1).ok, "pinging", timeout_s=5)
        assert all(result.ok for result in lab.ping_all().values())
    assert cap.arp_requests() == []
    assert roomy.in_sync()


def test_a_mac_is_known_while_it_speaks_and_forgotten_when_it_is_silent(make_fabric):
    learn_s = 6
    fabric = make_fabric(
        options={"learn_timeout": learn_s}, hosts=3, vtep_ofports=5, vms="namespace", ipv6=False
    )
    lab = fabric.lab
    speaker, listener, witness = lab.vms
    assert all(result.ok for result in lab.ping_all(count=2).values())
    fabric.wait_learned()

    ping = speaker.ping_start(listener.ip, interval_s=0.2)
    gaps = 0
    until_s = time.monotonic() + 2.5 * learn_s
    while time.monotonic() < until_s:
        gaps += speaker.mac not in fabric.macs(witness.host, priority=1)
        time.sleep(0.1)
    assert gaps == 0, "a MAC that spoke was forgotten for a while"
    assert ping.finish().lost == 0
    # The witness has been silent for longer than that.
    assert witness.mac not in fabric.macs(speaker.host, priority=1)
    assert witness.mac not in fabric.learned()

    wait_until(
        lambda: speaker.mac not in fabric.macs(witness.host, priority=1),
        "the flow of the silent VM times out",
        timeout_s=learn_s + 2,
    )
    wait_until(lambda: speaker.mac not in fabric.learned(), "so does the fact", timeout_s=2)
    assert all(result.ok for result in lab.ping_all().values())
