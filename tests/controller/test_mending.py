"""A fault of ours about one fact holds up no other, and what it left out is made good."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.engine import Engine, Settings
from controller.events import Committed, Connected, Tick
from topology.model import Change, Host, Network, Put, Remove, Vm
from topology.types import Dpid, Ip, Mac, Vlan, Vni, VtepIp

HOSTS = [Host(Dpid(n), f"hv-{n}", declared_vtep=VtepIp.parse(f"192.0.2.{n}")) for n in (1, 2)]
NET = Network(Vni(7), "blue", Vlan(7))


def _vm(number: int, host: int = 1, ip: int = 0) -> Vm:
    return Vm(Mac(number), Vni(7), Dpid(host), (Ip.parse(f"10.0.{ip}.{number % 250 + 1}"),))


def _engine() -> Engine:
    engine = Engine(Settings(), secret=b"x" * 32)
    engine.load([*HOSTS, NET])
    for host in HOSTS:
        engine.handle(Connected(int(host.dpid), 1, "peer", None, {1: "patch-tun", 2: "vxlan0"}), 1)
    return engine


def _units(engine: Engine) -> dict[int, object]:
    """What is derived: of the shared tables, and of each bridge's own."""
    derived: dict[int, object] = {vni: dict(table.units) for vni, table in engine.tables.items()}
    derived.update({-dpid: dict(one.private.units) for dpid, one in engine.replicas.items()})
    return derived


def _break(engine: Engine, mac: int, method: str) -> Callable[[], None]:
    """Have what follows from one MAC's fact go wrong; returns what ends that."""
    derivation = engine._derivation
    works = getattr(derivation, method)

    def broken(*arguments: object, **more: object) -> None:
        if mac in arguments:
            raise ZeroDivisionError("a fault of ours")
        works(*arguments, **more)

    setattr(derivation, method, broken)
    return lambda: setattr(derivation, method, works)


@pytest.mark.parametrize("method", ["_touch_mac", "_may_change_membership", "_refresh_service_at"])
def test_the_rest_of_a_batch_is_applied_and_the_one_is_made_good(method: str) -> None:
    start: list[Change] = [Put(_vm(n)) for n in range(1, 6)]
    batch: list[Change] = [Put(_vm(n, host=2)) for n in range(6, 40)]
    batch += [Put(_vm(3, host=2, ip=9)), Remove(Vm, (7, 4))]
    engine = _engine()
    engine.handle(Committed(tuple(start)), 2)
    wrong = 7 if method == "_may_change_membership" else 3
    repair = _break(engine, wrong, method)

    told = engine.handle(Committed(tuple(batch)), 3).log

    assert any("a fault of ours" in line and "ZeroDivisionError" in line for line in told)
    assert {vm.mac for vm in engine.topology.vms.values()} == {*range(1, 40)} - {4}
    assert {("mac", mac) for mac in (1, 2, 5, *range(6, 40))} <= engine.tables[7].units.keys()
    for at_s in range(4, 12):
        engine.handle(Tick(), at_s)
    repair()
    told = []
    for at_s in range(12, 60):
        told += engine.handle(Tick(), at_s).log
    assert any("in place now" in line for line in told)
    sound = _engine()
    sound.handle(Committed(tuple(start)), 2)
    sound.handle(Committed(tuple(batch)), 3)
    for at_s in range(4, 60):
        sound.handle(Tick(), at_s)
    assert _units(engine) == _units(sound)


def test_a_fault_about_a_network_is_no_fault_about_each_event() -> None:
    engine = _engine()
    derivation = engine._derivation
    works, calls = derivation._refresh_carriers, []

    def broken(vni: int, dpids: set[int]) -> None:
        calls.append(vni)
        if len(calls) == 1:
            raise ZeroDivisionError("a fault of ours")
        works(vni, dpids)

    derivation._refresh_carriers = broken  # type: ignore[method-assign]
    assert engine.handle(Committed((Put(_vm(1)),)), 2).log
    assert not engine.handle(Committed((Put(_vm(2)),)), 3).log
    for at_s in range(4, 10):
        engine.handle(Tick(), at_s)
    sound = _engine()
    sound.handle(Committed((Put(_vm(1)), Put(_vm(2)))), 2)
    assert _units(engine) == _units(sound)
