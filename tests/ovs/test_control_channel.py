"""What lies between switches and controller is bad, half-open, or leads to two controllers."""

from __future__ import annotations

import time

from controller.contest import MANY
from tests.ovs.fire import dual_stack, fire, pairs
from topology.lab.ovs import wait_until
from topology.lab.wire import Impairment

BEFORE_ECHOES_TELL_S = 12


def test_loss_and_delay_on_the_way_to_the_controller(make_fabric):
    """A tenth is lost, the rest is 100 ms late, each way: slow, and that is all."""
    fabric = make_fabric(hosts=3, tunnels="flow", vms="none")
    lab = fabric.lab
    for vm in dual_stack(lab):
        fabric.register(vm)
    host = lab.hosts[0]
    how = Impairment(loss=0.1, delay_ms=100, only="control", seed=6)

    with lab.impaired(host, how), fire(fabric, pairs(lab.vms)) as one:
        came = fabric.controller.log_tail(1000).count("connected from")
        for number in range(4):
            body = {"mac": f"52:55:00:00:00:0{number}", "host": host.dpid}
            assert fabric.rest.post("/v1/vms", body).status == 201
        wait_until(lambda: "52:55:00:00:00:03" in "\n".join(host.dump_flows(1)), "told", 30)

    assert one.lost == {}
    assert one.wrongs == []
    assert fabric.controller.log_tail(1000).count("connected from") == came, "one session"
    fabric.wait_settled(30)
    assert fabric.in_sync()
    assert sum(fabric.rest.get("/v1/status")["drifts"].values()) == 0


def test_a_host_that_lost_power_is_replaced_before_its_connection_is_known_to_be_dead(make_fabric):
    """Nothing ends the old TCP connection; the new switch has the dpid, and another address."""
    fabric = make_fabric(hosts=3, tunnels="flow", connect=False)
    dead, witness, spare = fabric.lab.hosts
    for host in (dead, witness):
        host.set_controller(fabric.controller.target)
    wait_until(lambda: fabric.host(dead).get("state") == "LIVE", "the first is LIVE")
    dpid = dead.dpid
    spare.vsctl("set", "bridge", "br-tun", f"other_config:datapath-id={dpid}")

    dead.set_uplink(False)
    spare.set_controller(fabric.controller.target)

    def replaced() -> bool:
        body = fabric.rest.get(f"/v1/hosts/{dpid}").body
        return body["state"] == "LIVE" and body["vtep"] == spare.vtep

    wait_until(replaced, "the new one is in hand", BEFORE_ECHOES_TELL_S)
    wait_until(lambda: len(spare.dump_flows()) > 20, "and has its flows")
    assert fabric.rest.get(f"/v1/hosts/{dpid}/diff")["in_sync"]


PACKETS_OF_A_FIGHT = 50


def test_two_controllers_by_mistake_are_damped_and_named(make_fabric, tmp_path):
    """Each undoes what the other does: not for ever at full speed, and the doctor says why."""
    fabric = make_fabric(hosts=2, tunnels="flow", vms="none")
    lab = fabric.lab
    for vm in dual_stack(lab):
        fabric.register(vm)
    other = lab.controller(tmp_path)
    other.start()
    for src, _dst, ip in pairs(lab.vms):
        assert src.ping(ip, 2, timeout_s=1).received

    with fire(fabric, pairs(lab.vms), watched=()) as one:
        lab.set_controller(fabric.controller.target, other.target)

        def named() -> bool:
            return "as fast as they are mended" in fabric.controller.log_tail(1000)

        wait_until(named, "the log names it", 20)
        time.sleep(2)
    (found,) = [
        check
        for check in fabric.rest.get("/v1/doctor")["checks"]
        if check["check"] == "drift" and check["subject"] == lab.hosts[0].dpid
    ]
    assert found["status"] == "error"
    assert "another controller" in found["cause"]
    told = [line for line in fabric.controller.log_tail(1000).splitlines() if "had drifted" in line]
    assert len(told) <= MANY * len(lab.hosts)
    # What one deletes the other has back within a round trip: some packets are lost, no stream is.
    assert all(lost < PACKETS_OF_A_FIGHT for lost in one.lost.values()), one.lost

    lab.set_controller(fabric.controller.target)
    fabric.wait_settled(30)
    wait_until(fabric.in_sync, "in sync again", 30)
