"""What changes of the facts are told as: one event for each, or one for many.

A batch of VMs is summed up, and so are learned MACs when more come than a person would read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from controller.happenings import Happening
from topology.model import Fact, LearnedMac, Network, Vip, Vm, Vtep
from topology.types import Foreign, Ip, Location, Mac

VMS_TOLD: Final = 100
"""A write of more VMs than this is one event."""

LEARNED_TOLD: Final = 50
"""So many learned MACs are told one by one, of those of a second; the others are counted."""


class WriteNews:
    """What a write is told as; it may come in parts. No news of what stays as it is."""

    def __init__(self) -> None:
        self._told: list[Happening] = []
        self._vms: list[Happening] = []
        self._counts = dict.fromkeys(("added", "changed", "moved", "removed"), 0)
        self._vnis: set[int] = set()

    def changed(self, before: Fact | None, after: Fact | None, *, announced: bool = False) -> None:
        """One fact's change. announced: the VM moved because it said so itself."""
        fact = before if after is None else after
        if not isinstance(fact, Vm):
            if before != after:
                self._told += _change(before, after)
            return
        assert before is None or isinstance(before, Vm)
        assert after is None or isinstance(after, Vm)
        if before is None:
            count = "added"
        elif after is None:
            count = "removed"
        elif before.host != after.host:
            count = "moved"
        elif before != after:
            count = "changed"
        else:
            return
        self._counts[count] += 1
        if len(self._vnis) < 2:
            self._vnis.add(fact.vni)
        if len(self._vms) <= VMS_TOLD:
            self._vms += _vm_change(before, after, "announcement" if announced else "api")

    def happenings(self) -> list[Happening]:
        """All of it, many VMs summed up."""
        if sum(self._counts.values()) <= VMS_TOLD:
            return [*self._told, *self._vms]
        vni = int(next(iter(self._vnis))) if len(self._vnis) == 1 else None
        return [*self._told, Happening("vms", {"vni": vni, **self._counts})]


def _action(before: Fact | None, after: Fact | None) -> str:
    return "added" if before is None else "removed" if after is None else "changed"


def _vm_change(before: Fact | None, after: Fact | None, by: str) -> Iterator[Happening]:
    vm = before if after is None else after
    assert isinstance(vm, Vm)
    if isinstance(before, Vm) and after is not None and before.host != vm.host:
        yield _moved(vm.vni, vm.mac, vm.name, before.host, vm.host, by)
        if (before.ips, before.name, before.respond) == (vm.ips, vm.name, vm.respond):
            return
    named = {"vni": int(vm.vni), "mac": str(vm.mac), "name": vm.name}
    yield Happening("vm", {**named, "host": str(vm.host), "action": _action(before, after)})


def _change(before: Fact | None, after: Fact | None) -> Iterator[Happening]:
    action = _action(before, after)
    match before if after is None else after:
        case Network() as network:
            named = {"vni": int(network.vni), "name": network.name}
            yield Happening("network", {**named, "action": action})
        case Vtep() as vtep:
            yield Happening("vtep", {"ip": str(vtep.ip), "name": vtep.name, "action": action})
        case Vip() as vip:
            yield of_vip(vip, action)


def of_vip(vip: Vip, action: str = "changed") -> Happening:
    """A virtual IP was declared, or another VM holds it."""
    holder = None if vip.holder is None else str(vip.holder)
    named = {"vni": int(vip.vni), "ip": str(vip.ip), "name": vip.name}
    return Happening("vip", {**named, "holder": holder, "action": action})


def _moved(
    vni: int, mac: Mac, name: str | None, was: Location, now: Location, by: str
) -> Happening:
    places = {"from": str(was), "to": str(now)}
    named = {"vni": int(vni), "mac": str(mac), "name": name}
    return Happening("moved", {**named, **places, "registered": by != "frame", "by": by})


class LearnedNews:
    """Learned MACs as they come and go: a few at once, of the rest a count at the second's end."""

    def __init__(self) -> None:
        self._untold = LEARNED_TOLD
        self._count = 0
        self._next_s = float("-inf")
        self._happened: list[Happening] = []

    def changed(self, before: LearnedMac | None, after: LearnedMac | None) -> None:
        """One was learned, moved, spoke for other IPs, or was forgotten; or it spoke again."""
        if not self._untold and (before is None or after is None):
            self._count += 1
            return
        if before is not None and after is not None:
            if before.host != after.host:
                self._tell(_moved(after.vni, after.mac, None, before.host, after.host, "frame"))
                return
            if [ip for ip, _s in before.ips] == [ip for ip, _s in after.ips]:
                return
        entry, action = (before, "forgotten") if after is None else (after, "learned")
        if entry is not None:
            self._tell(_learned(entry, entry.ips, action))

    def _tell(self, happening: Happening) -> None:
        if self._untold:
            self._untold -= 1
            self._happened.append(happening)
        else:
            self._count += 1

    def take(self) -> list[Happening]:
        """What is to be told now."""
        happened, self._happened = self._happened, []
        return happened

    def tick(self, now_s: float) -> None:
        """At the end of a second, tell of those that were only counted."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + 1.0
        self._untold = LEARNED_TOLD
        if self._count:
            self._happened.append(Happening("learned_many", {"count": self._count}))
            self._count = 0

    @property
    def any(self) -> bool:
        return bool(self._happened)


def _learned(entry: LearnedMac, ips: tuple[tuple[Ip, float], ...], action: str) -> Happening:
    where = "vtep" if isinstance(entry.host, Foreign) else "host"
    named = {"vni": int(entry.vni), "mac": str(entry.mac), "ips": [str(ip) for ip, _s in ips]}
    return Happening("learned", {**named, where: str(entry.host), "action": action})
