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


def state(fabric, host):
    for shown in fabric.rest.items("/v1/hosts"):
        if shown["dpid"] == host.dpid:
            return shown
    return {"state": None, "connected": False}


def settle(fabric, host, wanted):
    wait_until(lambda: state(fabric, host)["state"] == wanted, f"{host.name} {wanted}", 20)


def test_three_hosts_with_a_certificate_each(make_secured, authority):
    fabric = make_secured(bind_certificates=True)
    for host in fabric.lab.hosts:
        give(authority, host, authority.sign(f"{host.dpid} id:8d92ab66-c4d2"))
    fabric.connect()
    one, two, three = fabric.lab.vms
    assert one.ping(two, count=3).received == 3
    assert three.ping(one, count=3).received == 3
    seen = {shown["certificate_seen"] for shown in fabric.rest.items("/v1/hosts")}
    assert len(seen) == 3
    assert None not in seen
    assert fabric.in_sync()
