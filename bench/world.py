"""What the figures on real Open vSwitch share: a fabric, VMs for it, and waiting for it."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeAlias

from bench.harness import Broken
from bench.openflow import bridge
from bench.proxy import Proxy
from bench.rest import must, ndjson
from topology.lab import Answer, Fabric, Lab, LabHost, RestClient, netns
from topology.lab.addressing import Vms

Body: TypeAlias = dict[str, Any]

#: a host that is declared and never connects, for VMs that are remote to every other
GHOST = "00000000000000fe"
GHOST_VTEP = "192.168.33.254"
FIRST_VNI = 1000
_MANAGEMENT = IPv4Address("192.168.40.0")
_TUNNEL = {"name": "vxlan0", "remote": "flow"}
_FIRST_IP = int(IPv4Address("10.128.0.1"))
_FIRST_MAC = 0x5254_8000_0000
_BATCH_VMS = 10_000
_CONNECTED = re.compile(r"rconn\|INFO\|br-tun<->tcp:\S+ connected$")
_CALL_TIMEOUT_S = 300.0
_POLL_S = 0.02  # each REST poll costs the controller, too


@contextmanager
def fabric(hosts: int, vms: Vms = "none") -> Iterator[Fabric]:
    """A lab of hosts with one flow-based port each, its controller running, not yet connected."""
    with (
        tempfile.TemporaryDirectory(prefix="vxlan-l2-bench-") as directory,
        Lab(hosts=hosts, tunnels="flow", vms=vms, vm_subnet="10.1.0.0/16") as lab,
    ):
        manage(lab)
        one = Fabric(lab, Path(directory))
        one.rest = RestClient(one.controller.rest.url, _CALL_TIMEOUT_S)
        one.controller.start()
        yield one


def manage(lab: Lab) -> None:
    """Give each host a cable of its own to us, for its control connections.

    Else these pass br-phy, and the userspace datapath of the switch that is measured spends a
    quarter of its time on carrying them, as a kernel's would not.
    """
    for index, host in enumerate(lab.hosts):
        ours, theirs = (str(_MANAGEMENT + 4 * index + end) for end in (1, 2))
        link = f"{lab.name}-m{index + 1}"
        netns.ip(
            None,
            f"link add {link} type veth peer name mgmt0 netns {host.netns}",
            f"addr add {ours}/30 dev {link}",
            f"link set {link} up",
        )
        netns.ip(
            host.netns,
            f"addr add {theirs}/30 dev mgmt0",
            "link set mgmt0 up",
            f"route add {lab.controller_ip}/32 via {ours} src {theirs}",
        )


def declare(one: Fabric, host: LabHost) -> None:
    """Say what probes would find out, so that nothing waits for them."""
    answer(
        one.rest.put(f"/v1/hosts/{host.dpid}", {"vtep": host.vtep, "tunnel_ports": [_TUNNEL]}), 201
    )


def declare_ghost(one: Fabric) -> None:
    answer(one.rest.put(f"/v1/hosts/{GHOST}", {"vtep": GHOST_VTEP, "tunnel_ports": [_TUNNEL]}), 201)


def networks(one: Fabric, count: int) -> list[int]:
    """That many networks, on local VLANs from 101 on; gives their VNIs."""
    vnis = [FIRST_VNI + index for index in range(count)]
    for index, vni in enumerate(vnis):
        answer(one.rest.put(f"/v1/networks/{vni}", {"vlan": 101 + index}), 201)
    return vnis


def vm(index: int, vni: int, host: str) -> Body:
    """A VM with one IPv4 address, unlike that of every other index."""
    mac = (_FIRST_MAC + index).to_bytes(6, "big").hex(":")
    return {"mac": mac, "vni": vni, "host": host, "ips": [str(IPv4Address(_FIRST_IP + index))]}


def spread(count: int, vnis: Sequence[int], hosts: Sequence[str], first: int = 0) -> list[Body]:
    """VMs from index `first` on, evenly over all pairs of network and host."""
    return [
        vm(index, vnis[index % len(vnis)], hosts[index // len(vnis) % len(hosts)])
        for index in range(first, first + count)
    ]


def register(one: Fabric, vms: Sequence[Body], query: str = "") -> None:
    """Register them in batches; a host may still take longer than ?wait= (202)."""
    for at in range(0, len(vms), _BATCH_VMS):
        answer(post_batch(one, ndjson(vms[at : at + _BATCH_VMS]), query), 201, 202)


def post_batch(one: Fabric, body: bytes, query: str = "") -> Answer:
    return one.rest.call("POST", f"/v1/vms/batch{query}", body, "application/x-ndjson")


def answer(got: Answer, *statuses: int) -> Any:
    """The answer's body; Broken unless its status is 200 or one of these."""
    return must(got, 200, *statuses).body


def state(one: Fabric, host: str) -> str:
    """A host's session state, "" while REST does not answer."""
    try:
        got = one.rest.get(f"/v1/hosts/{host}")
    except OSError:
        return ""
    return str(got.body["state"]) if got.status == 200 else ""


def wait(done: Callable[[], bool], what: str, timeout_s: float = 300.0) -> float:
    """Poll until it is so; gives the monotonic time then. Broken when time is up."""
    deadline_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline_s:
            raise Broken(f"{what}: not within {timeout_s:g} s")
        time.sleep(_POLL_S)
    return time.monotonic()


def wait_live(one: Fabric, hosts: Iterable[str], timeout_s: float = 300.0) -> float:
    """Until every one of these hosts is LIVE; gives the monotonic time then."""
    left = list(hosts)

    def all_live() -> bool:
        while left and state(one, left[-1]) == "LIVE":
            left.pop()
        return not left

    return wait(all_live, "every host LIVE", timeout_s)


def connect(one: Fabric) -> list[str]:
    """Point the lab's hosts, declared, at the controller; gives their dpids once all are LIVE."""
    dpids = []
    for host in one.lab.hosts:
        declare(one, host)
        dpids.append(host.dpid)
        point(host, one.controller.target)
    wait_live(one, dpids)
    return dpids


def point(host: LabHost, target: str) -> None:
    """Make it the bridge's controller; Open vSwitch pauses for a second at most to reconnect."""
    host.vsctl(
        *("--id=@c", "create", "controller", f'target="{target}"', "max_backoff=1000"),
        *("--", "set", "bridge", "br-tun", "controller=@c"),
    )


def proxy(one: Fabric, *, keep: bool = False) -> Proxy:
    """A relay before the fabric's controller."""
    return Proxy(one.controller.ip, one.controller.openflow_port, keep=keep)


def flow_count(host: LabHost) -> int:
    with bridge(host.ovs.rundir) as session:
        return session.flow_count()


def settle(host: LabHost) -> None:
    """Return when its ovs-vswitchd has nothing left to do, such as freeing deleted flows."""
    calm = 0
    before_s = cpu_s(host)
    while calm < 3:
        time.sleep(0.1)
        now_s = cpu_s(host)
        calm = calm + 1 if now_s - before_s < 0.02 else 0
        before_s = now_s


def connected_s(host: LabHost) -> float:
    """When its bridge last had a connection, by its own log, on the monotonic clock (to 1 ms).

    Open vSwitch may take half a second to notice that it is connected: its main loop sleeps.
    """
    log = (host.ovs.rundir / "ovs-vswitchd.log").read_text(encoding="utf-8", errors="replace")
    stamp = [line for line in log.splitlines() if _CONNECTED.search(line)][-1].partition("|")[0]
    return time.monotonic() - (time.time() - datetime.fromisoformat(stamp).timestamp())


def cpu_s(host: LabHost) -> float:
    """CPU seconds that its ovs-vswitchd has used so far."""
    fields = Path(f"/proc/{host.ovs.vswitchd_pid}/stat").read_text(encoding="ascii").split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
