"""Hosts that connect with TLS, each with a certificate of its own."""

from __future__ import annotations

import pytest

from tests.pki import Authority
from topology.lab.ovs import wait_until


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki") / "ca")


@pytest.fixture
def make_secured(make_fabric, authority):
    """A fabric whose controller takes only switches with a certificate; none is connected."""

    def make(**options):
        own = authority.sign("controller")
        tls = {"ctl_privkey": own.key, "ctl_cert": own.cert, "ca_certs": authority.cert}
        return make_fabric(hosts=3, connect=False, options={**tls, **options})

    return make


def give(authority, host, pair):
    host.vsctl("set-ssl", str(pair.key), str(pair.cert), str(authority.cert))


def connect_again(fabric, host):
    """Open vSwitch goes on with the session that it has, whatever certificate it is given."""
    host.set_controller("ssl:127.0.0.1:1")  # never none: it would flush the flows
    host.set_controller(fabric.controller.target)


def state(fabric, host):
    for shown in fabric.rest.items("/v1/hosts"):
        if shown["dpid"] == host.dpid:
            return shown
    return {"state": None, "connected": False}


def settle(fabric, host, wanted):
    wait_until(lambda: state(fabric, host)["state"] == wanted, f"{host.name} {wanted}", 20)


def identify(authority, fabric):
    """Each host gets a certificate that names its dpid, as `ovs-pki req+sign DPID switch` does."""
    for host in fabric.lab.hosts:
        give(authority, host, authority.sign(f"{host.dpid} id:8d92ab66-c4d2-49b0"))


def all_reach_each_other(fabric):
    return all(result.received == 3 for result in fabric.lab.ping_all(3).values())


def test_three_hosts_with_a_certificate_each(make_secured, authority):
    fabric = make_secured(bind_certificates=True)
    identify(authority, fabric)
    fabric.connect()
    assert all_reach_each_other(fabric)
    seen = {shown["certificate_seen"] for shown in fabric.rest.items("/v1/hosts")}
    assert len(seen) == 3
    assert None not in seen
    assert fabric.in_sync()


def test_a_host_cannot_be_another_one(make_secured, authority):
    """With the key of h2 nobody is h3; and what is bound to one certificate takes no other."""
    fabric = make_secured()
    _one, two, three = fabric.lab.hosts
    identify(authority, fabric)
    fabric.connect()
    before = state(fabric, three)["vtep"]

    give(authority, three, authority.sign(f"{two.dpid} id:8d92ab66"))
    connect_again(fabric, three)
    settle(fabric, three, "DISCONNECTED")
    wait_until(lambda: f"it says it is {three.dpid}" in said(fabric), "the log says why", 20)
    assert state(fabric, three)["vtep"] == before
    assert state(fabric, two)["state"] == "LIVE"

    anonymous = authority.sign("compute-3")
    give(authority, three, anonymous)
    connect_again(fabric, three)
    settle(fabric, three, "LIVE")
    pinned = authority.sign("compute-3")
    body = {"certificate": pinned.fingerprint}
    assert fabric.rest.put(f"/v1/hosts/{three.dpid}", body).status == 200
    settle(fabric, three, "DISCONNECTED")
    assert f"it presents {anonymous.fingerprint}" in said(fabric)
    give(authority, three, pinned)
    connect_again(fabric, three)
    settle(fabric, three, "LIVE")
    fabric.wait_settled()
    assert all_reach_each_other(fabric)


def test_an_undeclared_host_keeps_its_flows_until_it_is_declared(make_secured, authority):
    """h3 forwards by hand-made flows, which nobody touches until the operator says whose it is."""
    fabric = make_secured(hold_unknown=True)
    one, two, three = fabric.lab.hosts
    for host in fabric.lab.hosts:
        host.seed_flows()
    identify(authority, fabric)
    for host in (one, two):
        assert fabric.rest.put(f"/v1/hosts/{host.dpid}", {"vtep": host.vtep}).status == 201
    fabric.lab.set_controller(fabric.controller.target)
    for host, wanted in ((one, "LIVE"), (two, "LIVE"), (three, "HELD")):
        settle(fabric, host, wanted)
    three.seed_flows()  # Open vSwitch itself flushed them when it got its first controller
    flows = own_flows(three)
    address = state(fabric, three)["address"]
    assert address.startswith(three.vtep)
    assert f"vxlanctl host declare {three.dpid}" in state(fabric, three)["reason"]
    fabric.controller.stop()
    fabric.controller.start()
    settle(fabric, three, "HELD")
    assert own_flows(three) == flows
    address = state(fabric, three)["address"]

    assert fabric.rest.put(f"/v1/hosts/{three.dpid}", {"name": "third"}).status == 201
    fabric.wait_settled(20)
    assert state(fabric, three)["address"] == address, "it did not connect again"
    assert all_reach_each_other(fabric)
    assert fabric.in_sync()


def own_flows(host):
    """Its flows but for those that it learned by learn()."""
    return [flow for flow in host.dump_flows(stats=False) if "hard_timeout" not in flow]


def said(fabric):
    return fabric.controller.log.read_text(encoding="utf-8")
