"""A lab with the controller in charge of it, and what one asks and tells of the two together."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from topology.lab.errors import LabError
from topology.lab.host import LabHost
from topology.lab.lab import Lab
from topology.lab.rest import Answer
from topology.lab.vm import VmNs

_UNICAST = 20
_DL_DST = re.compile(r"dl_dst=([0-9a-f:]{17})[, ]")
_COOKIE_AND_DURATION = re.compile(r"cookie=(0x[0-9a-f]+), duration=([\d.]+)s")


class Fabric:
    """lab: its hosts, VMs and wire; controller: the process and its REST client."""

    def __init__(
        self, lab: Lab, directory: Path, options: Mapping[str, object] | None = None
    ) -> None:
        self.lab = lab
        self.controller = lab.controller(directory, options)
        self.rest = self.controller.rest

    def connect(self, timeout_s: float = 15.0) -> None:
        """Point every host at the controller and wait until it has them all in hand."""
        self.lab.set_controller(self.controller.target)
        self.wait_settled(timeout_s)

    def wait_settled(self, timeout_s: float = 15.0) -> None:
        """Return when every host is LIVE and it is known where each tunnel port leads."""

        def waiting() -> list[str]:
            states = {host["dpid"]: host for host in self.rest.items("/v1/hosts")}
            missing = []
            for host in self.lab.hosts:
                state = states.get(host.dpid)
                if state is None or state["state"] != "LIVE":
                    missing.append(f"{host.name}: {state and (state['state'], state['reason'])}")
                elif state["vtep"] != host.vtep or not _remotes_known(host, state):
                    missing.append(f"{host.name}: {state['vtep']} {state['tunnel_ports']}")
            return missing

        _wait_nothing(waiting, timeout_s)

    # -- asking ----------------------------------------------------------------------------

    def host(self, host: LabHost) -> dict[str, Any]:
        """The controller's view of a host."""
        body: dict[str, Any] = self.rest.get(f"/v1/hosts/{host.dpid}").body
        return body

    def learned(self) -> dict[str, dict[str, Any]]:
        """Learned MACs by MAC."""
        return {entry["mac"]: entry for entry in self.rest.items("/v1/learned")}

    def macs(self, host: LabHost, priority: int) -> dict[str, str]:
        """MACs of the host's table 20 at that priority -> the flow that says where they are."""
        found = {}
        for flow in host.dump_flows(_UNICAST, stats=False):
            mac = _DL_DST.search(flow)
            if mac is not None and f"priority={priority}," in flow:
                found[mac[1]] = flow
        return found

    def ages(self, host: LabHost) -> dict[str, float]:
        """Seconds since each flow of the host was added, by cookie; 0x0 stands for many."""
        return {
            found[1]: float(found[2])
            for flow in host.dump_flows()
            if (found := _COOKIE_AND_DURATION.search(flow))
        }

    def wait_learned(self, timeout_s: float = 5.0) -> None:
        """Return when every host's table 20 has every VM of the other hosts."""

        def waiting() -> list[str]:
            wrong = []
            for host in self.lab.hosts:
                wanted = {vm.mac for vm in self.lab.vms if vm.host is not host}
                if unknown := wanted - set(self.macs(host, 1)):
                    wrong.append(f"{host.name} does not know {sorted(unknown)}")
            return wrong

        _wait_nothing(waiting, timeout_s)

    def in_sync(self) -> bool:
        """Whether every host holds exactly what it should, by its own dump."""
        answers = [self.rest.get(f"/v1/hosts/{host.dpid}/diff") for host in self.lab.hosts]
        return all(answer.status == 200 and answer["in_sync"] for answer in answers)

    # -- telling ---------------------------------------------------------------------------

    def register(self, vm: VmNs, wait_s: float | None = 10, **more: object) -> Answer:
        """Register a VM where it is, with all its addresses; `more` goes into the body."""
        body = {"mac": vm.mac, "host": vm.host.dpid, "ips": vm.ips, "name": vm.name, "vni": vm.vni}
        return self.rest.post(f"/v1/vms{_query(wait_s)}", {**body, **more})

    def network(self, vni: int, wait_s: float | None = 10, **body: object) -> Answer:
        """Make a network, or replace it by this one."""
        return self.rest.put(f"/v1/networks/{vni}{_query(wait_s)}", body)


def _query(wait_s: float | None) -> str:
    return "" if wait_s is None else f"?wait={wait_s:g}"


def _remotes_known(host: LabHost, state: dict[str, Any]) -> bool:
    known = {port["port"]: port["remote"] for port in state["tunnel_ports"]}
    return known == {number: remote or "flow" for number, remote in host.tunnels.items()}


def _wait_nothing(waiting: Callable[[], list[str]], timeout_s: float) -> None:
    """Return when nothing is waited for any more; LabError names what is left."""
    deadline_s = time.monotonic() + timeout_s
    while left := waiting():
        if time.monotonic() > deadline_s:
            raise LabError(f"not within {timeout_s:g} s: {'; '.join(left)}")
        time.sleep(0.05)
