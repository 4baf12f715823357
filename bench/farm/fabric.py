"""The real controller with a farm of fake switches around it, all on loopback."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from bench.farm.client import Farm
from bench.harness import Broken
from bench.rest import must
from topology.lab.controller import Controller
from topology.lab.process import Processes
from topology.lab.rest import RestClient
from topology.lab.state import LabState

_REST_TIMEOUT_S = 600.0
_LIVE_WITHIN_S = 600.0
_IN_SYNC_WITHIN_S = 60.0
_SECOND_AUDIT_S = 2.5
"""A switch that connected is dumped again 2 s later."""
WAIT_MAX_S = 60
"""What ?wait= takes at most."""
BATCH_VMS = 10_000


@contextmanager
def own_processes() -> Iterator[tuple[Processes, Path]]:
    """What starts here ends here, and its directory goes."""
    with tempfile.TemporaryDirectory(prefix="vxlan-l2-bench-") as directory:
        processes = Processes(LabState("bench"))
        try:
            yield processes, Path(directory)
        finally:
            processes.end_all()


def put(rest: RestClient, path: str, body: Mapping[str, object]) -> None:
    must(rest.put(path, body))


class Fabric:
    """``Fabric(100)``: hosts 0 to 99 with VTEPs 10.200.0.0 and so on, flow-based tunnel ports.

    ``live_s``: seconds from the first switch's connecting until all are LIVE.
    """

    def __init__(
        self, hosts: int, *, hold: bool = False, options: Mapping[str, object] | None = None
    ) -> None:
        self.hosts = hosts
        self.live_s = 0.0
        self._hold = hold
        self._options = options
        self._stack = ExitStack()

    def __enter__(self) -> Fabric:
        try:
            processes, directory = self._stack.enter_context(own_processes())
            self.controller = Controller(processes, directory, "127.0.0.1", self._options)
            self.controller.start()
            self.rest = RestClient(self.controller.rest.url, _REST_TIMEOUT_S)
            self.farm = self._stack.enter_context(Farm())
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self._stack.close()

    def dpid(self, host: int) -> str:
        return self.farm.dpid(host)

    def declare(self) -> None:
        """Tell the controller each host's VTEP and that its tunnel port is flow-based."""
        for host in range(self.hosts):
            body = {
                "vtep": f"10.200.{host >> 8}.{host & 0xFF}",
                "tunnel_ports": [{"name": "vxlan0", "remote": "flow"}],
            }
            put(self.rest, f"/v1/hosts/{self.dpid(host)}", body)

    def connect(self) -> None:
        """Connect every switch, and wait until all are LIVE and nothing more is sent."""
        began_s = time.monotonic()
        port = int(self.controller.target.rpartition(":")[2])
        self.farm.start(port, self.hosts, hold=self._hold)
        self.farm.wait_connected(_LIVE_WITHIN_S)
        self.wait_live(_LIVE_WITHIN_S)
        self.live_s = time.monotonic() - began_s
        self.farm.wait_quiet(0.3, _LIVE_WITHIN_S)

    def settle(self) -> None:
        """Outwait the second audit, so that it does not come into what is measured next."""
        self.farm.wait_quiet(_SECOND_AUDIT_S, 10 * _SECOND_AUDIT_S)

    def wait_live(self, within_s: float) -> None:
        until_s = time.monotonic() + within_s
        while True:
            states = [host["state"] for host in self.rest.items("/v1/hosts")]
            if states.count("LIVE") == self.hosts:
                return
            if time.monotonic() > until_s:
                raise Broken(f"{states.count('LIVE')} of {self.hosts} LIVE after {within_s:g} s")
            time.sleep(0.05)

    def network(self, vni: int, vlan: int | None, *, everywhere: bool = False) -> None:
        body = {"vni": vni, "vlan": vlan, "hosts": "all" if everywhere else []}
        put(self.rest, f"/v1/networks/{vni}", body)

    def desired(self) -> list[int]:
        """How many flows each host should hold, says the controller."""
        flows = {host["dpid"]: host["flows"] for host in self.rest.items("/v1/hosts")}
        return [flows[self.dpid(host)] for host in range(self.hosts)]

    def check_held(self) -> None:
        """Broken unless every switch holds as many flows as it should."""
        held, desired = self.farm.held(), self.desired()
        if held != desired:
            wrong = [host for host in range(self.hosts) if held[host] != desired[host]]
            host = wrong[0]
            raise Broken(
                f"{len(wrong)} of {self.hosts} hosts hold other flows than they should:"
                f" host {host} {held[host]}, not {desired[host]}"
            )
        self._check_farm()

    def check_in_sync(self) -> None:
        """Broken unless the controller soon finds on every switch what should be there.

        Soon: who fell behind the log of changes is brought up to date by an audit. A learned source
        may be missing: its end is meant, and the next frame brings it back.
        """
        until_s = time.monotonic() + _IN_SYNC_WITHIN_S
        for host in range(self.hosts):
            while not (diff := must(self.rest.get(f"/v1/hosts/{self.dpid(host)}/diff")))["in_sync"]:
                if time.monotonic() > until_s:
                    missing, extra = len(diff["missing"]), len(diff["extra"])
                    raise Broken(f"host {host}: {missing} flows missing, {extra} extra")
                time.sleep(0.5)
        self._check_farm()

    def _check_farm(self) -> None:
        counters = self.farm.counters()
        if counters.faults or counters.losses:
            raise Broken(f"{counters.losses} connections lost, faults: {counters.faults}")

    def register(self, vms: Iterable[Mapping[str, object]]) -> None:
        """Register VMs by batches, which are durable but perhaps not applied when this returns."""
        rest = iter(vms)
        while batch := list(islice(rest, BATCH_VMS)):
            must(self.rest.post("/v1/vms/batch", batch))

    def wait_applied(self, within_s: float) -> None:
        """Until every switch holds what it should: asked when flow-mods stop coming."""
        until_s = time.monotonic() + within_s
        before = -1
        while True:
            flow_mods = self.farm.counters().flow_mods
            if flow_mods == before and self.farm.held() == self.desired():
                return
            if time.monotonic() > until_s:
                self.check_held()
            before = flow_mods
            time.sleep(1)

    def memory_mb(self) -> dict[str, float]:
        """VmRSS and VmHWM of the controller's process, in MB (2**20 bytes)."""
        status = Path(f"/proc/{self.controller.pid}/status").read_text(encoding="ascii")
        sizes = re.findall(r"^(Vm\w+):\s+(\d+) kB", status, re.M)
        return {name: int(kib) / 1024 for name, kib in sizes}


def vm(number: int, vni: int, dpid: str) -> dict[str, object]:
    """VM `number` with one IPv4 address: every number is another MAC and address."""
    mac = f"52:54:{number >> 24 & 0xFF:02x}:{number >> 16 & 0xFF:02x}"
    mac += f":{number >> 8 & 0xFF:02x}:{number & 0xFF:02x}"
    ip = f"10.{number >> 16 & 0x7F}.{number >> 8 & 0xFF}.{number & 0xFF}"
    return {"vni": vni, "mac": mac, "host": dpid, "ips": [ip]}
