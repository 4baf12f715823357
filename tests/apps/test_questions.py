"""Questions to a running controller, with switches that are pretended, while the fabric changes."""

from __future__ import annotations

from collections.abc import Iterator

import eventlet
import eventlet.wsgi
import pytest

from controller import inquiries, inspector
from controller.engine import Engine, Settings
from controller.events import Effects
from controller.service import CheckResult, Question
from controller.store.sqlite import SqliteStore
from tests.fake import FakeFabric
from topology.errors import Conflict, NotFound
from topology.model import Network, Remove
from topology.types import Vni

eventlet.wsgi.ALREADY_HANDLED = []  # which Ryu reads (apps/ryu_manager.py)

import ryu.base.app_manager  # noqa: E402, F401  # which Ryu wants to be imported first

from controller import runtime  # noqa: E402


class Running(runtime.Runtime):
    """A controller whose clock and switches are a fabric's."""

    fabric: FakeFabric

    def now_s(self) -> float:
        return self.fabric.now_s if hasattr(self, "fabric") else 1000.0

    def _carry_out(self, effects: Effects) -> None:
        self.fabric._take(effects)


class Fabric(FakeFabric):
    """Its switches are a running controller's; they answer while somebody waits."""

    def __init__(self, runtime: Running, hosts: int) -> None:
        self.runtime = runtime
        super().__init__(hosts, "flow")
        runtime.fabric = self

    def _new_engine(self) -> Engine:
        return self.runtime.engine

    def run(self) -> None:
        while True:
            self.settle()
            eventlet.sleep(0.005)


@pytest.fixture
def fabric(tmp_path, monkeypatch) -> Iterator[Fabric]:
    """Three hosts with a VM each, which do not answer when they are asked."""
    monkeypatch.setattr(inspector, "ASK_S", 0.01)
    runtime = Running(SqliteStore(tmp_path / "state.db"), Settings())
    runtime._inspector._probe = lambda _stage, _packet: None  # pretended bridges take no such frame
    runtime._store.open()
    runtime._committer.start()
    one = Fabric(runtime, 3)
    one.connect_all()
    one.advance(10)
    for index, name in enumerate(("web-1", "web-10", "db-1")):
        vm = one.vm(index)
        one.register(vm, name=name)
        one.declare(dpid=index + 1, name=f"hv-{index + 1}")
    one.settle()
    running = eventlet.spawn(one.run)
    yield one
    running.kill()
    runtime.stop()


def evidence(fabric: Fabric, src: str, dst: str):
    with eventlet.Timeout(30):
        return fabric.runtime.why(Question(src, dst))


def test_one_tunnel_that_is_down_is_not_why_others_fail(fabric):
    """hv-1 to hv-3 is cut one way only; the question is about hv-1 and hv-2."""
    tunnel = fabric.engine.tunnels.between(1, 3)
    tunnel.state = type(tunnel.state).DOWN
    found = fabric.runtime._noticed(fabric.connected)
    assert any(one.check == "tunnel-down" and one.status == "error" for one in found)

    told = evidence(fabric, "web-1", "web-10")
    assert told.cause != "tunnel-down"
    assert not [one for one in told.evidence if "hv-3" in one.detail]
    assert evidence(fabric, "web-1", "db-1").cause == "tunnel-down"


def test_what_is_wrong_with_web_10_is_not_said_of_web_1(fabric):
    web_10 = next(vm for vm in fabric.engine.topology.vms.values() if vm.name == "web-10")
    sightings = fabric.engine.packets.sightings
    sightings.note(web_10.vni, web_10.mac, 0, fabric.engine.topology.hosts[3].dpid, fabric.now_s)

    assert "vm-elsewhere" in {evidence(fabric, "web-10", "db-1").cause}
    told = evidence(fabric, "web-1", "db-1")
    assert not [one for one in told.evidence if "web-10" in one.detail]


def test_what_is_wrong_with_a_host_is_no_reason_why_packets_fail_that_arrive(fabric):
    wrong = CheckResult("flows-refused", "error", "hv-1", "hv-1 refused 1 flow")
    fabric.runtime._inspector._noticed = lambda _dpids: [wrong]

    told = evidence(fabric, "web-1", "db-1")
    assert told.cause == "silent"  # the pretended VMs do not answer; nothing else is wrong
    assert wrong.summary in [one.detail for one in told.evidence]


def test_a_host_that_goes_while_it_is_asked_is_a_conflict(fabric):
    count = fabric.runtime._inspector.count

    def lose(dpid, cookies):
        found = count(dpid, cookies)
        fabric.disconnect(dpid)
        return found

    fabric.runtime._inspector.count = lose
    with eventlet.Timeout(30), pytest.raises(Conflict, match="disconnected"):
        fabric.runtime.trace(Question("web-1", "db-1", live=True))


def test_a_network_that_goes_while_it_is_asked_about_is_not_found(fabric):
    def gone(_keys):
        for key in list(fabric.engine.topology.vms):
            fabric.commit(lambda draft, key=key: draft.remove_vm(key))
        fabric.engine.topology.apply(Remove(Network, Vni(100)))
        return {}

    fabric.network(100, vlan=100)
    for index, name in enumerate(("a", "b")):
        fabric.register(fabric.vm(index, 100, 100), name=name)
    fabric.runtime._inspector._since = gone
    with eventlet.Timeout(30), pytest.raises(NotFound, match="deleted"):
        fabric.runtime.trace(Question("a", "b"))


def test_a_question_too_many_leaves_none_open(fabric, monkeypatch):
    monkeypatch.setattr(inquiries, "OPEN_MAX", 1)
    replicas = list(fabric.engine.replicas.values())
    ip = next(iter(fabric.engine.topology.vms.values())).ips[0]
    for _ in range(2):
        with eventlet.Timeout(30), pytest.raises(Conflict, match="too many"):
            fabric.runtime._inspector._ask(replicas, ip, [None])
    assert fabric.engine.inquiries._asks == []


def test_who_asks_the_doctor_while_somebody_does_shares_the_look(fabric, monkeypatch):
    tunnels, looks, busy = fabric.engine.tunnels, [], [True] * 3
    monkeypatch.setattr(tunnels, "refresh", looks.append)
    monkeypatch.setattr(type(tunnels), "busy", property(lambda _self: bool(busy) and busy.pop()))
    with eventlet.Timeout(30):
        asked = [eventlet.spawn(fabric.runtime.doctor) for _ in range(5)]
        told = [one.wait() for one in asked]
        assert len(looks) == 1
        assert told == [told[0]] * 5
        fabric.runtime.doctor()
    assert len(looks) == 2


def test_a_list_of_all_tunnels_lets_others_have_their_turns(fabric, monkeypatch):
    monkeypatch.setattr(runtime, "SENDERS_AT_ONCE", 1)
    eventlet.spawn(fabric.disconnect, 3)
    senders = {tunnel.dpid for tunnel in fabric.runtime.tunnels()}
    assert senders == {1, 2}
