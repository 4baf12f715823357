"""Clients that write at once, and remember what they were told: what must be there afterwards."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from tests.apps.process import Running

Key: TypeAlias = tuple[str, int, str]
"""("vm", VNI, MAC) or ("network", VNI, "")."""
Value: TypeAlias = tuple[Any, ...] | None
"""What is to be seen of a fact, None: nothing."""

HOSTS = tuple(f"{number:016x}" for number in range(0x11, 0x14))
DECLARED = {dpid: f"hv-{at}" for at, dpid in enumerate(HOSTS, start=1)}
MANY = 25
WRITERS = 4


@dataclass
class Remembered:
    """What one client was told. ``asked``: what it asks for now, which may come to be or not."""

    facts: dict[Key, Value] = field(default_factory=dict)
    asked: dict[Key, Value] = field(default_factory=dict)
    answers: int = 0
    registered: int = 0
    fresh: Iterator[int] = field(default_factory=itertools.count)

    def settle(self, found: Mapping[Key, Value]) -> list[str]:
        """Compare with what is there; what was asked for last is there wholly or not at all."""
        wrong = [
            f"{key}: {value} was acknowledged, {found.get(key)} is there"
            for key, value in self.facts.items()
            if key not in self.asked and found.get(key) != value
        ]
        done = {key: value for key, value in self.asked.items() if found.get(key) != value}
        undone = {key for key in self.asked if found.get(key) != self.facts.get(key)}
        if done and undone:
            wrong.append(f"half applied: {self.asked}")
        for key in self.asked:
            self.facts[key] = found.get(key)
        self.asked = {}
        return wrong


class Client(threading.Thread):
    """One connection that writes about facts of its own, until the controller is gone."""

    def __init__(self, number: int, url: str, remembered: Remembered, seed: str) -> None:
        super().__init__(daemon=True)
        self._number = number
        self._url = urlsplit(url)
        self._remembered = remembered
        self._chance = random.Random(seed)
        self._fresh = remembered.fresh
        self.trouble: list[str] = []
        self.over = threading.Event()
        """Set: no further request."""

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._url.netloc, timeout=30)
        acts: list[Callable[[], tuple[str, str, object, dict[Key, Value]]]] = [
            self._register,
            self._register,
            self._move,
            self._delete,
            self._batch,
            self._import,
            self._network,
        ]
        while not self.over.is_set():
            method, path, body, wanted = self._chance.choice(acts)()
            if not wanted:
                continue
            self._remembered.asked = wanted
            try:
                connection.request(method, path, _encoded(body), _headers(body))
                answer = connection.getresponse()
                text = answer.read()
            except (OSError, http.client.HTTPException):
                return  # killed: whether it was done shows at the next start
            self._remembered.asked = {}
            if answer.status == 503:
                continue  # stopping: nothing was changed
            if answer.status not in (200, 201, 202):
                self.trouble.append(f"{method} {path}: {answer.status} {text!r}")
                return
            self._remembered.answers += 1
            self._remembered.registered += sum(
                1
                for key, value in wanted.items()
                if key[0] == "vm" and value is not None and not self._remembered.facts.get(key)
            )
            self._remembered.facts.update(wanted)

    def _mac(self) -> str:
        number = next(self._fresh)
        return ":".join(f"{byte:02x}" for byte in (0x52, 0x54, self._number, *number.to_bytes(3)))

    def _wait(self) -> str:
        return "?wait=0.2" if self._chance.random() < 0.2 else ""

    def _vms(self) -> list[Key]:
        return [key for key, value in self._remembered.facts.items() if key[0] == "vm" and value]

    def _register(self) -> tuple[str, str, object, dict[Key, Value]]:
        mac, host = self._mac(), self._chance.choice(HOSTS)
        body = {"mac": mac, "host": host, "name": f"web {mac}"}
        return "POST", f"/v1/vms{self._wait()}", body, {("vm", 0, mac): (host, body["name"])}

    def _move(self) -> tuple[str, str, object, dict[Key, Value]]:
        there = self._vms()
        if not there:
            return "", "", None, {}
        key, host = self._chance.choice(there), self._chance.choice(HOSTS)
        was = self._remembered.facts[key]
        assert was is not None
        return "PUT", f"/v1/vms/0/{key[2]}{self._wait()}", {"host": host}, {key: (host, was[1])}

    def _delete(self) -> tuple[str, str, object, dict[Key, Value]]:
        there = self._vms()
        if not there:
            return "", "", None, {}
        key = self._chance.choice(there)
        return "DELETE", f"/v1/vms/0/{key[2]}", None, {key: None}

    def _batch(self) -> tuple[str, str, object, dict[Key, Value]]:
        host = self._chance.choice(HOSTS)
        body = [{"mac": self._mac(), "host": host, "name": "batch"} for _ in range(MANY)]
        wanted: dict[Key, Value] = {("vm", 0, one["mac"]): (host, "batch") for one in body}
        return "POST", "/v1/vms/batch", body, wanted

    def _import(self) -> tuple[str, str, object, dict[Key, Value]]:
        """What is there is moved, and as many come."""
        host = self._chance.choice(HOSTS)
        there = self._vms()
        some = [key[2] for key in self._chance.sample(there, min(len(there), 5))]
        macs = [*some, *(self._mac() for _ in range(5))]
        lines: list[dict[str, object]] = [{"kind": "vxlan-l2", "version": 1}]
        lines += [{"kind": "vm", "mac": mac, "host": host, "name": "load"} for mac in macs]
        wanted: dict[Key, Value] = {("vm", 0, mac): (host, "load") for mac in macs}
        return "POST", "/v1/import?mode=merge", lines, wanted

    def _network(self) -> tuple[str, str, object, dict[Key, Value]]:
        vni = self._number * 1000 + self._chance.randrange(5)
        key = ("network", vni, "")
        if self._remembered.facts.get(key) is not None and self._chance.random() < 0.5:
            return "DELETE", f"/v1/networks/{vni}", None, {key: None}
        name = f"net {self._number} {next(self._fresh)}"
        policy = self._chance.choice(("flood", "drop"))
        body = {"name": name, "vlan": vni % 4000 + 1, "unknown_unicast": policy}
        return "PUT", f"/v1/networks/{vni}", body, {key: (name, policy)}


def _encoded(body: object) -> bytes | None:
    if body is None:
        return None
    if _is_lines(body):
        return b"\n".join(json.dumps(line).encode() for line in body)  # type: ignore[attr-defined]
    return json.dumps(body).encode()


def _headers(body: object) -> dict[str, str]:
    lines = _is_lines(body)
    return {"Content-Type": "application/x-ndjson" if lines else "application/json"}


def _is_lines(body: object) -> bool:
    return isinstance(body, list) and "kind" in body[0]


def declare(controller: Running) -> None:
    """The hosts on which the VMs are."""
    for dpid, name in DECLARED.items():
        assert controller("PUT", f"/v1/hosts/{dpid}", {"name": name}).status in (200, 201)


def found(controller: Running) -> dict[Key, Value]:
    """Every VM and network that is there."""
    facts: dict[Key, Value] = {}
    for vm in items(controller, "/v1/vms"):
        facts["vm", vm["vni"], vm["mac"]] = (vm["host"], vm["name"])
    for network in items(controller, "/v1/networks"):
        if network["vni"]:
            facts["network", network["vni"], ""] = (network["name"], network["unknown_unicast"])
    return facts


def items(controller: Running, path: str) -> list[Any]:
    """All pages of a list."""
    got: list[Any] = []
    cursor = ""
    while True:
        page = controller("GET", f"{path}?limit=1000{cursor}").body
        got += page["items"]
        if page["next"] is None:
            return got
        cursor = f"&cursor={page['next']}"
