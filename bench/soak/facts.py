"""The soak's own idea of what was told to the controller, and random REST calls that change it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bench.soak.failed import Failed
from bench.soak.world import TENANT, TENANT_VLAN, World
from topology.lab import Answer, VmNs

Body: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[int, str]

GHOSTS_MAX = 120
BATCH = 40


@dataclass
class Facts:
    """vms: (VNI, MAC) -> every state that it may be in, None for "not there".

    More than one only after a call that never answered, until somebody looks.
    """

    world: World
    random: random.Random
    vms: dict[Key, list[Body | None]] = field(default_factory=dict)
    policy: list[str] = field(default_factory=lambda: ["flood"])
    calls: Counter[str] = field(default_factory=Counter)
    _ghosts: int = 0

    def begin(self) -> None:
        """Register the VMs that are to be, and the tenant's network."""
        if self.world.tenants:
            self._must("PUT", f"/v1/networks/{TENANT}?wait=10", self._network("flood"))
        for vm in (*self.world.registered, *self.world.tenants):
            self._put(self._body(vm), wait=True)
        if self.world.mover is not None:
            self._put(self._body(self.world.mover), wait=True)

    def churn(self, count: int, *, wait: bool) -> None:
        """Random writes; while the controller is away they fail, and may have been done or not."""
        for _ in range(count):
            ghosts = [key for key, states in self.vms.items() if states[0] and _is_ghost(states[0])]
            what = self.random.choice(("add", "add", "batch", "move", "delete", "wrong", "network"))
            if what == "add" and len(ghosts) < GHOSTS_MAX:
                self._put(self._new_ghost(), wait=wait)
            elif what == "batch" and len(ghosts) < GHOSTS_MAX:
                self._batch()
            elif what == "move" and ghosts:
                known = self.vms[self.random.choice(ghosts)][0]
                assert known is not None
                self._put({**known, "host": self._any_host()}, wait)
            elif what == "delete" and ghosts:
                self._delete(self.random.choice(ghosts), wait=wait)
            elif what == "wrong":
                self._call("POST", "/v1/vms", {"mac": "52:54:00:00:00:zz", "host": "h"}, (422,))
            elif what == "network" and self.world.tenants:
                self._change_network()

    def move(self, vm: VmNs) -> None:
        """Tell that a VM is where it is now."""
        self._put(self._body(vm), wait=True)

    def check(self) -> None:
        """What the controller says it was told is what it was told. Settles what was open."""
        there: dict[Key, Body] = {}
        for item in self.world.fabric.rest.items("/v1/vms"):
            body = {name: item[name] for name in ("mac", "vni", "host", "ips", "name")}
            there[body["vni"], body["mac"]] = body
        for key in there.keys() - self.vms.keys():
            raise Failed(f"a VM that nobody registered: {there[key]}")
        for key, states in list(self.vms.items()):
            now = there.get(key)
            if now not in states:
                raise Failed(f"VM {key} is {now}, and should be one of {states}")
            self.vms[key] = [now]
            if now is None:
                del self.vms[key]
        if self.world.tenants:
            policy = self.world.fabric.rest.get(f"/v1/networks/{TENANT}")["unknown_unicast"]
            if policy not in self.policy:
                raise Failed(f"network {TENANT}: {policy}, and should be one of {self.policy}")
            self.policy = [policy]

    # Calls

    def _put(self, body: Body, wait: bool) -> None:
        key = (body["vni"], body["mac"])
        states = self.vms.get(key, [None])
        exists = states[0] is not None
        method, path = ("PUT", f"/v1/vms/{key[0]}/{key[1]}") if exists else ("POST", "/v1/vms")
        query = "?wait=5" if wait else ""
        answer = self._call(method, path + query, body, (200, 201, 202))
        self.vms[key] = [body] if answer else [*states, body]

    def _delete(self, key: Key, *, wait: bool) -> None:
        query = "?wait=5" if wait else ""
        done = self._call("DELETE", f"/v1/vms/{key[0]}/{key[1]}{query}", None, (200, 202, 204))
        if done:
            del self.vms[key]
        else:
            self.vms[key] = [*self.vms[key], None]

    def _batch(self) -> None:
        bodies = [self._new_ghost() for _ in range(self.random.randint(2, BATCH))]
        done = self._call("POST", "/v1/vms/batch", bodies, (200, 201, 202))
        for body in bodies:
            self.vms[body["vni"], body["mac"]] = [body] if done else [None, body]

    def _change_network(self) -> None:
        policy = self.random.choice(("flood", "drop"))
        done = self._call("PUT", f"/v1/networks/{TENANT}", self._network(policy), (200, 201, 202))
        self.policy = [policy] if done else [*self.policy, policy]

    def _network(self, policy: str) -> Body:
        return {"vlan": TENANT_VLAN, "unknown_unicast": policy, "name": "tenant"}

    def _must(self, method: str, path: str, body: Body) -> None:
        if self._call(method, path, body, (200, 201)) is None:
            raise Failed(f"{method} {path}: no answer")

    def _call(self, method: str, path: str, body: object, wanted: tuple[int, ...]) -> Answer | None:
        """The answer; None where there was none."""
        try:
            answer = self.world.fabric.rest.call(method, path, body)
        except OSError:
            self.calls["no answer"] += 1
            return None
        self.calls[f"{answer.status // 100}xx"] += 1
        if answer.status not in wanted:
            raise Failed(f"{method} {path} {body}: {answer.status} {answer.body}")
        return answer

    def _new_ghost(self) -> Body:
        """A VM that is registered only; its MAC and its address are used once."""
        self._ghosts += 1
        number, vni = self._ghosts, TENANT if self.world.tenants else 0
        return {
            "mac": f"52:55:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
            "vni": vni,
            "host": self._any_host(),
            "ips": [f"10.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"],
            "name": f"ghost-{number}",
        }

    def _any_host(self) -> str:
        return self.random.choice(list(self.world.dpids.values()))

    def _body(self, vm: VmNs) -> Body:
        host = self.world.dpids[vm.host]
        return {"mac": vm.mac, "vni": vm.vni, "host": host, "ips": vm.ips, "name": vm.name}


def _is_ghost(body: Body) -> bool:
    return str(body["name"]).startswith("ghost-")
