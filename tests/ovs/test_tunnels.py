"""The health of real tunnels: seen when they break, and when they heal."""

from __future__ import annotations

import pytest

from tests.ovs.conftest import SHAPES
from topology.lab.ovs import wait_until

VXLAN = "priority=100,udp,tp_dst=4789"


def tunnels(fabric, query=""):
    """Tunnels by (sender's VTEP, far end's VTEP)."""
    vteps = {host.dpid: host.vtep for host in fabric.lab.hosts}
    return {
        (vteps[one["host"]], one["vtep"]): one
        for one in fabric.rest.items(f"/v1/tunnels{query}")
        if one["host"] in vteps
    }


def states(fabric):
    return {pair: one["state"] for pair, one in tunnels(fabric).items()}


def wait_states(fabric, wanted, what):
    """Return when every tunnel is up but for those that are wanted to be otherwise."""

    def reached():
        found = states(fabric)
        odd = {pair: state for pair, state in found.items() if state != "up"}
        return odd == wanted and len(found) == len(fabric.lab.hosts) * (len(fabric.lab.hosts) - 1)

    wait_until(reached, f"{what}: {wanted}", timeout_s=30)


@pytest.fixture(scope="module", params=SHAPES)
def healthy(request, open_fabric):
    with open_fabric(**SHAPES[request.param]) as fabric:
        wait_states(fabric, {}, "all up")
        yield fabric


def test_every_tunnel_is_up_and_wide_enough(healthy):
    def all_told():
        return all(
            one["mtu_ok"] is not None and one["rtt_ms"] is not None
            for one in tunnels(healthy).values()
        )

    wait_until(all_told, "round trips and MTUs", timeout_s=20)
    for one in tunnels(healthy).values():
        assert one["state"] == "up"
        assert (one["mtu"], one["mtu_needed"], one["mtu_ok"]) == (1450, 1450, True)
        assert one["rtt_ms"] >= 0
        assert one["sent"] >= 1
        assert one["port_name"].startswith("vxlan")


def test_a_firewall_on_the_underlay_takes_tunnels_down_and_up_again(healthy):
    cut, *others = healthy.lab.hosts
    cut.ofctl("add-flow", "br-phy", f"{VXLAN},actions=drop")
    try:
        both = {
            pair: "down"
            for other in others
            for pair in ((cut.vtep, other.vtep), (other.vtep, cut.vtep))
        }
        wait_states(healthy, both, "its tunnels are down, no others")
        assert all(one["lost"] >= 3 for pair, one in tunnels(healthy).items() if pair in both)
        only = healthy.rest.items(f"/v1/tunnels?host={cut.dpid}&state=down")
        assert {one["vtep"] for one in only} == {other.vtep for other in others}
    finally:
        cut.ofctl("--strict", "del-flows", "br-phy", VXLAN)
    wait_states(healthy, {}, "all up again")


def test_a_host_without_its_session_is_unknown_to_the_others(healthy):
    gone, *others = healthy.lab.hosts
    gone.del_controller()
    try:
        wanted = {(other.vtep, gone.vtep): "unknown" for other in others}

        def reached():
            return {pair: s for pair, s in states(healthy).items() if s != "up"} == wanted

        wait_until(reached, "unknown, not down", timeout_s=20)
    finally:
        gone.set_controller(healthy.controller.target)
    wait_states(healthy, {}, "all up again")


def test_a_foreign_vtep_is_listed_and_unknown(healthy):
    healthy.rest.put("/v1/vteps/192.168.33.200", {"vnis": [0], "name": "rack-7"})
    try:
        foreign = healthy.rest.items("/v1/tunnels?state=unknown")
        assert [(one["vtep"], one["peer"], one["peer_name"]) for one in foreign] == [
            ("192.168.33.200", None, "rack-7")
        ] * len(healthy.lab.hosts)
    finally:
        healthy.rest.delete("/v1/vteps/192.168.33.200")
