"""Open vSwitch is restarted as ovs-ctl does it: flows saved, restored, and kept."""

from __future__ import annotations

import time

from tests.ovs.fire import all_reach, cookies, dual_stack
from topology.lab.ovs import wait_until


def test_restored_flows_are_taken_over_as_they_are(make_fabric):
    """flow-restore-wait, as ovs-ctl restarts: saved, restored, and the switch let go.

    With a service controller, as contrib/takeover.sh makes it. Where the controller is a primary
    one, Open vSwitch itself flushes what was restored when it connects (docs/operations.md).
    """
    fabric = make_fabric(hosts=2, tunnels="flow", vms="none")
    lab = fabric.lab
    host, _other = lab.hosts
    for vm in dual_stack(lab):
        fabric.register(vm)
    host.vsctl("del-controller", "br-tun")
    host.vsctl(
        *("--id=@new", "create", "controller", f'target="{fabric.controller.target}"'),
        *("type=service", "--", "add", "bridge", "br-tun", "controller", "@new"),
    )
    wait_until(lambda: fabric.host(host)["connected"], "connected as a service controller", 20)
    fabric.wait_settled(30)
    all_reach(fabric)
    saved = {
        kind: "\n".join(line for line in text.splitlines() if mark in line) + "\n"
        for kind, mark, text in (
            ("flows", "actions=", host.ofctl("--no-names", "--no-stats", "dump-flows", "br-tun")),
            ("groups", "group_id=", host.ofctl("dump-groups", "br-tun")),
        )
    }
    before = cookies(host)

    host.vsctl("set", "Open_vSwitch", ".", "other_config:flow-restore-wait=true")
    host.restart_vswitchd()
    assert cookies(host) == set(), "nobody puts flows there while it is restored"
    host.ofctl("add-groups", "br-tun", "-", stdin=saved["groups"])
    host.ofctl("add-flows", "br-tun", "-", stdin=saved["flows"])
    assert cookies(host) == before
    with lab.watch_flows(host) as watch:
        host.vsctl("remove", "Open_vSwitch", ".", "other_config", "flow-restore-wait")
        wait_until(lambda: fabric.host(host)["connected"], "connected", 30)
        fabric.wait_settled(30)
        time.sleep(0.5)
        gone = [update.text for update in watch.deleted() if update.cookie in before]

    assert gone == []
    all_reach(fabric)
    wait_until(fabric.in_sync, "in sync", 30)
