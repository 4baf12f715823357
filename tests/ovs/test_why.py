"""Why does A not reach B, on fabrics that are broken in the usual ways: each cause is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from topology.lab import Fabric, netns
from topology.lab.vm import VmNs

OpenFabric = Callable[..., Any]


@pytest.fixture(scope="module", params=["flow", "peer"])
def fabric(request: pytest.FixtureRequest, open_fabric: OpenFabric) -> Iterator[Fabric]:
    """Three named hosts, by a flow-based port each or by a port for each peer."""
    with open_fabric(hosts=3, tunnels=request.param) as one:
        for number, host in enumerate(one.lab.hosts, start=1):
            assert one.rest.put(f"/v1/hosts/{host.dpid}", {"name": f"hv-{number}"}).status == 200
        for vm in one.lab.vms:
            assert one.register(vm).status == 201
        _settled(one)
        yield one


def _settled(fabric: Fabric) -> None:
    """Every tunnel is known to be up, and what was broken before is no longer what is said."""
    _until(lambda: all(one["state"] == "up" for one in fabric.rest.items("/v1/tunnels")))
    _until(lambda: why(fabric, *fabric.lab.vms[:2])["reachable"])


def _until(holds: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.2)


def why(fabric: Fabric, src: VmNs | str, dst: VmNs | str) -> dict[str, Any]:
    names = [vm if isinstance(vm, str) else vm.name for vm in (src, dst)]
    answer = fabric.rest.get(f"/v1/why?src={names[0]}&dst={names[1]}")
    assert answer.status == 200, answer
    body: dict[str, Any] = answer.body
    return body


def trace(fabric: Fabric, src: VmNs, dst: VmNs, live: bool = True) -> dict[str, Any]:
    body: dict[str, Any] = fabric.rest.get(
        f"/v1/trace?src={src.name}&dst={dst.name}&live={'true' if live else 'false'}"
    ).body
    return body


def test_a_sound_pair_reaches_each_other_and_a_probe_proves_it(fabric):
    a, b, _c = fabric.lab.vms[:3]

    told = trace(fabric, a, b)

    assert told["delivered"]
    assert told["cause"] is None
    arp, there, back = told["stages"]
    assert arp["outcome"] == "answered in the switch on hv-1"
    for stage in (there, back):
        counted = [hop["packets"] for hop in stage["hops"] if hop["flow"] is not None]
        assert len(counted) >= 7
        assert min(counted) >= 3
    reason = next(hop["reason"] for hop in there["hops"] if hop["table_name"] == "UNICAST")
    assert f"VM {b.name}" in reason
    assert "is on hv-2: registered, since 20" in reason
    assert why(fabric, a, b)["reachable"]


def test_the_probe_is_no_burden_to_the_vm(fabric):
    """What asks and probes send teaches VMs nothing, and nobody answers it but the asked."""
    a, b, c = fabric.lab.vms[:3]
    before = b.exec("ip", "-o", "neigh", "show", "nud", "all")

    assert why(fabric, a, c)["reachable"]

    assert b.exec("ip", "-o", "neigh", "show", "nud", "all") == before


def test_a_flow_that_was_deleted(fabric):
    a, b, _c = fabric.lab.vms[:3]
    a.host.ofctl("del-flows", "br-tun", f"table=20,dl_dst={b.mac}")

    told = why(fabric, a, b)

    assert told["cause"] in ("flow-missing", "recent-drift")
    assert "hv-1" in told["sentence"]
    assert b.mac in told["sentence"] or b.name in told["sentence"]


def test_a_flow_that_somebody_added(fabric):
    a, b, _c = fabric.lab.vms[:3]
    a.host.ofctl("add-flow", "br-tun", f"table=20,priority=60000,dl_dst={b.mac},actions=drop")

    told = why(fabric, a, b)

    assert told["cause"] in ("foreign-flow", "recent-drift")
    assert "hv-1" in told["sentence"]


def test_a_vm_that_runs_on_another_host(fabric):
    a, b, c = fabric.lab.vms[:3]
    guest = fabric.lab.add_vm(b.host, "10.1.1.60")
    assert fabric.register(guest).status == 201
    guest.move_to(c.host)

    told = why(fabric, a, guest)

    assert told["cause"] == "vm-elsewhere"
    assert f"registered on hv-2, but answers on {'hv-3'}" in told["sentence"]
    assert told["command"] == f"vxlanctl vm move {guest.name} hv-3 --network 0"


def test_a_port_with_the_tag_of_another_network(fabric):
    a, b, _c = fabric.lab.vms[:3]
    assert fabric.network(20, vlan=20, name="red").status in (200, 201)
    guest = fabric.lab.add_vm(b.host, "10.1.1.61")
    assert fabric.register(guest).status == 201
    b.host.vsctl("set", "port", guest.port, "tag=20")

    told = why(fabric, a, guest)

    assert told["cause"] == "vlan-mismatch"
    assert "answers on hv-2 on local VLAN 20" in told["sentence"]


def test_a_vm_that_is_down(fabric):
    a, b, _c = fabric.lab.vms[:3]
    guest = fabric.lab.add_vm(b.host, "10.1.1.62")
    assert fabric.register(guest).status == 201
    netns.ip(guest.netns, f"link set {guest.link} down")

    told = why(fabric, a, guest)

    assert told["cause"] == "silent"
    assert "10.1.1.62 on hv-2" in told["sentence"]


def test_an_address_that_two_have(fabric):
    a, b, _c = fabric.lab.vms[:3]
    guest = fabric.lab.add_vm(b.host, "10.1.1.63")
    assert fabric.register(guest).status == 201
    other = fabric.lab.add_vm(b.host, "10.1.1.63")

    told = why(fabric, a, guest)

    assert told["cause"] == "duplicate-ip"
    assert other.mac in told["sentence"]


def test_isolated_networks_are_no_fault_of_any_host(fabric):
    a, _b, _c = fabric.lab.vms[:3]
    fabric.network(30, vlan=30, name="green")
    body = {"mac": "52:54:00:00:30:01", "vni": 30, "host": "hv-1", "name": "green-1"}
    assert fabric.rest.post("/v1/vms", body).status == 201

    told = why(fabric, a, "green-1")

    assert told["cause"] == "different-networks"
    assert "network green" in told["sentence"]


def test_a_tunnel_port_that_is_gone(fabric):
    a, b, _c = fabric.lab.vms[:3]
    port, remote = next(
        (name, remote)
        for name, number in a.host.ports.items()
        if number in a.host.tunnels and (remote := a.host.tunnels[number]) in (None, b.host.vtep)
    )
    a.host.vsctl("del-port", "br-tun", port)
    _until(lambda: not why(fabric, a, b)["reachable"])

    told = why(fabric, a, b)

    assert told["cause"] in ("no-tunnel-port", "no-tunnel-to-vtep")
    assert "hv-1" in told["sentence"]
    a.host.add_tunnel(remote or "flow")
    _settled(fabric)


def test_a_patch_port_that_is_gone(fabric):
    a, b, _c = fabric.lab.vms[:3]
    b.host.vsctl("del-port", "br-tun", "patch-tun")
    _until(lambda: not why(fabric, a, b)["reachable"])

    told = why(fabric, a, b)

    assert told["cause"] == "no-patch-port"
    assert "hv-2" in told["sentence"]
    b.host.vsctl(
        *("add-port", "br-tun", "patch-tun"),
        *("--", "set", "interface", "patch-tun", "type=patch", "options:peer=patch-int"),
    )
    _settled(fabric)


def test_a_vtep_that_is_declared_wrong(fabric):
    a, b, _c = fabric.lab.vms[:3]
    by_address = "flow" in {port["remote"] for port in fabric.host(a.host)["tunnel_ports"]}
    body = {"name": "hv-2", "vtep": "192.168.33.99"}
    assert fabric.rest.put(f"/v1/hosts/{b.host.dpid}?wait=5", body).status == 200

    if by_address:
        _until(lambda: why(fabric, a, b)["cause"] == "wrong-vtep")
        told = why(fabric, a, b)
        assert "192.168.33.99" in told["sentence"]
        assert b.host.vtep in told["sentence"]
        assert told["command"].endswith(f" --name hv-2 --vtep {b.host.vtep}")
    else:  # a port with one peer needs no address, once a probe has told whose it is
        _until(lambda: why(fabric, a, b)["reachable"])
    fabric.rest.put(f"/v1/hosts/{b.host.dpid}?wait=5", {"name": "hv-2"})
    _settled(fabric)


def test_a_host_that_is_not_connected(fabric):
    a, b, _c = fabric.lab.vms[:3]
    b.host.del_controller()
    _until(lambda: not fabric.host(b.host)["connected"])

    told = why(fabric, a, b)

    assert told["cause"] == "host-disconnected"
    assert "hv-2" in told["sentence"]
    assert "cannot be told" in told["sentence"]
    b.host.set_controller(fabric.controller.target)
    _until(lambda: fabric.host(b.host)["connected"])
    _settled(fabric)


def test_a_port_with_a_tag_that_no_network_has(fabric):
    a, b, _c = fabric.lab.vms[:3]
    guest = fabric.lab.add_vm(b.host, "10.1.1.64")
    assert fabric.register(guest).status == 201
    b.host.vsctl("set", "port", guest.port, "tag=99")
    _until(lambda: guest.send_garp() or _noticed(fabric))

    told = why(fabric, a, guest)

    assert told["cause"] == "vlan-mismatch"
    assert "VLAN 99" in told["sentence"]


def _noticed(fabric: Fabric) -> bool:
    checks = fabric.rest.get("/v1/doctor?check=vlan")["checks"]
    return any("VLAN 99" in check["summary"] for check in checks)
