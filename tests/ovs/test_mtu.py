"""An underlay that is too narrow for what networks want is found with packets of real size."""

from __future__ import annotations

import pytest

from topology.lab.ovs import wait_until

NARROW, INSIDE = 1400, 1350


def set_mtu(host, mtu):
    host.exec("ip", "link", "set", "eth1", "mtu", str(mtu))


def mtus(fabric):
    names = {host.dpid: host.name for host in fabric.lab.hosts}
    names |= {host.vtep: host.name for host in fabric.lab.hosts}
    return {
        (names[one["host"]], names[one["vtep"]]): (one["mtu"], one["mtu_ok"])
        for one in fabric.rest.items("/v1/tunnels")
    }


@pytest.mark.parametrize("tunnels", ["peer", "flow"])
def test_one_host_with_a_narrow_uplink_is_named(make_fabric, tunnels):
    fabric = make_fabric(hosts=3, tunnels=tunnels, connect=False)
    narrow, *others = fabric.lab.hosts
    set_mtu(narrow, NARROW)
    # Its OpenFlow session would lose large segments as well.
    narrow.exec("ip", "link", "set", "br-phy", "mtu", str(NARROW))
    fabric.connect()

    def found():
        seen = mtus(fabric)
        return len(seen) == 6 and all(ok is not None and mtu for mtu, ok in seen.values())

    wait_until(found, "the size of every tunnel", timeout_s=60)
    seen = mtus(fabric)
    for other in others:
        assert seen[narrow.name, other.name] == (INSIDE, False)
        assert seen[other.name, narrow.name][1] is False
    assert seen[others[0].name, others[1].name] == (1450, True)
    one, two, _three = fabric.lab.vms
    # What the probes say is what VMs meet.
    assert ping_of(one, two, INSIDE)
    assert not ping_of(one, two, INSIDE + 1)

    (bad,) = [
        check
        for check in fabric.rest.get("/v1/doctor?check=mtu")["checks"]
        if check["status"] != "ok"
    ]
    assert bad["subject"] == narrow.dpid
    assert bad["status"] == "error"

    narrow.exec("sh", "-c", bad["command"])

    def healed():
        (check, *_more) = fabric.rest.get("/v1/doctor?check=mtu")["checks"]
        return check["status"] == "ok"

    wait_until(healed, "wide again", timeout_s=30)


def ping_of(vm, to, ip_bytes):
    """Whether an IP packet of this size gets through, unfragmented."""
    size = str(ip_bytes - 28)
    said = vm.host.exec("ping", "-c2", "-W1", "-i0.2", "-M", "dont", "-s", size, to.ip, check=False)
    return " 0% packet loss" in said


def test_a_network_that_wants_less_is_content(make_fabric):
    fabric = make_fabric(hosts=2, connect=False)
    for host in fabric.lab.hosts:
        set_mtu(host, NARROW)
        host.exec("ip", "link", "set", "br-phy", "mtu", str(NARROW))
    fabric.connect()
    fabric.network(0, mtu=INSIDE)

    def content():
        return set(mtus(fabric).values()) == {(INSIDE, True)}

    wait_until(content, "1350 comes through", timeout_s=60)
