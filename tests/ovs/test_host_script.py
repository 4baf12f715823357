"""A host as `vxlanctl host script` prepares it: once, and again without any harm."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.vxlanctl import main
from topology.lab import Fabric
from topology.lab.errors import LabError
from topology.lab.host import LabHost

Script = Callable[..., str]


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Script:
    """script(fabric, ...) -> what vxlanctl prints, which a shell can read."""

    def printed(fabric: Fabric, *options: str) -> str:
        capsys.readouterr()
        argv = ["host", "script", "--url", fabric.rest.url, "--datapath", "netdev", *options]
        target = fabric.controller.target
        assert main([*argv, "--controller", target]) == 0
        text = capsys.readouterr().out
        if "--ifupdown" not in options:
            file = tmp_path / "script"
            file.write_text(text)
            subprocess.run(["sh", "-n", file], check=True)
        return text

    return printed


def unprepared(fabric: Fabric, host: LabHost) -> None:
    """As a host comes: no bridge of ours."""
    for bridge in ("br-tun", "br-int"):
        host.vsctl("--if-exists", "del-br", bridge)


def run(host: LabHost, text: str) -> str:
    return host.exec("sh", "-c", text)


def state(host: LabHost) -> str:
    """Everything that is configured of the switch, without counters."""
    tables = ("Bridge", "Port", "Interface", "Controller")
    columns = {"Controller": "target,max_backoff", "Bridge": "name,ports,fail_mode,protocols"}
    columns["Bridge"] += ",other_config,controller,datapath_type"
    columns |= {"Port": "_uuid,name,tag,interfaces", "Interface": "_uuid,name,type,options,ofport"}
    return "\n".join(host.vsctl(f"--columns={columns[table]}", "list", table) for table in tables)


def wait_live(fabric: Fabric, host: LabHost) -> None:
    deadline_s = time.monotonic() + 20
    while True:
        try:
            if fabric.host(host)["state"] == "LIVE":
                return
        except (LabError, KeyError):
            pass
        assert time.monotonic() < deadline_s, fabric.rest.items("/v1/hosts")
        time.sleep(0.1)


@pytest.mark.parametrize(
    "options",
    [
        ("--tunnel", "flow"),
        ("--tunnel", "peer", "--peer", "{other}"),
        ("--tunnel", "flow", "--type", "geneve"),
    ],
    ids=" ".join,
)
def test_hosts_prepared_by_it_are_live_and_run_again_it_changes_nothing(
    make_fabric, script, options
):
    fabric = make_fabric(hosts=2, tunnels="flow", vms="namespace", connect=False)
    one, two = fabric.lab.hosts
    texts = {}
    for host, other in ((one, two), (two, one)):
        unprepared(fabric, host)
        own = [option.format(other=other.vtep) for option in options]
        texts[host] = script(fabric, "--new", "--vtep", host.vtep, *own)
        told = run(host, texts[host])
        assert f"prepared: br-tun is {host.dpid}" in told
        assert f"vxlanctl host declare {host.dpid} --vtep {host.vtep}" in told
    for vm in fabric.lab.vms:
        vm.plug()
    for host in (one, two):
        wait_live(fabric, host)
    fabric.wait_settled()
    first, second = fabric.lab.vms
    deadline_s = time.monotonic() + 20
    while not first.ping(second.ip, count=3, interval_s=0.1).ok:
        assert time.monotonic() < deadline_s
    before = {host: (state(host), fabric.ages(host)) for host in (one, two)}
    pings = first.ping_start(second.ip, interval_s=0.01)
    pings.wait_received(50)
    for host in (one, two):
        run(host, texts[host])
        run(host, texts[host])
    result = pings.finish()
    assert result.sent >= 50
    assert result.lost == 0
    for host in (one, two):
        assert state(host) == before[host][0]
        lost = before[host][1].keys() - fabric.ages(host).keys()
        assert not {cookie for cookie in lost if cookie != "0x0"}
        wait_live(fabric, host)


def test_a_bridge_with_flows_of_its_own_is_not_flushed(make_fabric, script):
    """Hand-made flows carry traffic: set-controller would have Open vSwitch drop them."""
    fabric = make_fabric(hosts=2, tunnels="flow", connect=False)
    host = fabric.lab.hosts[0]
    fabric.lab.seed_flows()
    before = host.dump_flows()
    assert before
    text = script(fabric, "--new")
    done = host.exec("sh", "-c", f"({text}) 2>&1; echo status $?", check=False)
    assert "contrib/takeover.sh br-tun" in done
    assert done.endswith("status 1\n")
    assert len(host.dump_flows()) >= len(before)  # learn() may add some
    assert host.vsctl("get-controller", "br-tun") == ""


def test_ifupdown_stanzas_make_the_same_host(make_fabric, script):
    """Each stanza is brought up by Debian's own script, in the order in which ifup does it."""
    fabric = make_fabric(hosts=2, tunnels="flow", connect=False)
    one, two = fabric.lab.hosts
    options = ("--new", "--tunnel", "peer", "--peer", "192.0.2.8", "--peer", "192.0.2.9")
    stanzas, commands = (script(fabric, *options, form) for form in ("--ifupdown", "--shell"))
    made = {}
    for host in (one, two):
        unprepared(fabric, host)
        if host is two:
            run(host, commands)
        for stanza in ifup_order(stanzas) if host is one else ():
            ifup(host, stanza)
            ifup(host, stanza)
        wait_live_or_degraded(fabric, host)
        made[host] = configured(host)
    assert made[one] == made[two]


def ifup_order(text: str) -> list[dict[str, str]]:
    stanzas = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines:
            allow, name = lines[0].split()
            assert lines[1] == f"iface {name} inet manual"
            options = dict(line.strip().split(" ", 1) for line in lines[2:])
            stanzas[name] = {"name": name, "allow": allow, **options}
    ordered = []
    for bridge in (one for one in stanzas.values() if one["allow"] == "allow-ovs"):
        ordered.append(bridge)
        for port in bridge["ovs_ports"].split():
            assert stanzas[port]["allow"] == f"allow-{bridge['name']}"
            ordered.append(stanzas[port])
    assert len(ordered) == len(stanzas)
    return ordered


def ifup(host: LabHost, stanza: dict[str, str]) -> None:
    """What ifup runs for one stanza; the ports of a bridge are brought up by ourselves."""
    given = {f"IF_{key.upper()}": value for key, value in stanza.items() if key != "ovs_ports"}
    given |= {"MODE": "start", "IFACE": stanza["name"]}
    env = [f"{key}={value}" for key, value in given.items()]
    script = "/usr/share/openvswitch/scripts/ifupdown.sh"
    # It asks systemd and init for Open vSwitch, which here runs in a namespace.
    quiet = "service() { return 1; }; systemctl() { return 0; }; "
    host.exec("env", *env, "bash", "-c", f"{quiet} . {script}")


def configured(host: LabHost) -> dict[str, str]:
    """By name what is configured of each port and bridge."""
    found = {}
    for bridge in ("br-int", "br-tun"):
        for column in ("fail_mode", "protocols", "other_config:disable-in-band"):
            found[f"{bridge} {column}"] = host.vsctl("--if-exists", "get", "bridge", bridge, column)
        found[f"{bridge} controller"] = host.vsctl("get-controller", bridge)
        for port in host.vsctl("list-ports", bridge).split():
            for column in ("type", "options"):
                found[f"{port} {column}"] = host.vsctl("get", "interface", port, column)
    return found


def wait_live_or_degraded(fabric: Fabric, host: LabHost) -> None:
    deadline_s = time.monotonic() + 20
    while fabric.host(host).get("state") not in ("LIVE", "DEGRADED"):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
