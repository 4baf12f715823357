"""The fabric's switches under the whole controller but its sockets: REST, committer, store file.

What FakeFabric pretends beside the engine is here what runs in production: controller.runtime over
a SQLite file, asked through the API. Only the clock and the connections are the test's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import eventlet
import eventlet.wsgi
from webob import Request, Response

from controller.api.app import Api
from controller.certificates import Certificate
from controller.engine import Engine, Settings
from controller.events import Connected, Event, Lost, Received, Tick
from controller.journey import Journey
from controller.replica import Replica
from controller.service import Ticket
from controller.store.committer import Committer
from controller.store.sqlite import SqliteStore
from controller.wire.decode import PacketIn
from tests.fake.fabric import FakeFabric
from tests.fake.switch import FakeSwitch
from topology.draft import Draft
from topology.errors import StoreUnavailable
from topology.model import Change, Fact
from topology.types import Dpid, VtepIp

eventlet.wsgi.ALREADY_HANDLED = []  # which Ryu reads (apps/ryu_manager.py)

import ryu.base.app_manager  # noqa: E402, F401  # which Ryu wants to be imported first

from controller.runtime import Runtime  # noqa: E402

if TYPE_CHECKING:
    from controller.openflow.front import Connection

T = TypeVar("T")


class PowerCut(Exception):
    """The process is gone, before or after a transaction was on the disk."""


class Disk(SqliteStore):
    """A store file whose next transactions can meet ``trouble``.

    "full": refused, with nothing stored. "before" and "after": the power goes, just before or just
    after what was asked for is durable.
    """

    trouble: str | None = None

    def commit(self, changes: Sequence[Change]) -> None:
        if self.trouble == "full":
            raise StoreUnavailable("database or disk is full; nothing was changed")
        if self.trouble == "before":
            raise PowerCut
        super().commit(changes)
        if self.trouble == "after":
            raise PowerCut


class Link:
    """What the controller sees of a switch's connection."""

    def __init__(self, fabric: ControlledFabric, event: Connected) -> None:
        self._fabric = fabric
        self.id = self._dpid = event.dpid
        self.epoch = event.epoch
        self.peer = event.peer
        self.vtep: VtepIp | None = event.address
        self.address = (str(event.address), 40000)
        self.target = "tcp:192.168.33.1:6653"
        self.controller_ip: int | None = None
        self.certificate: Certificate | None = None
        self.dpid_text = str(Dpid(event.dpid))

    def wake(self) -> None:
        self._fabric.roused(self._dpid)

    def rest(self, seconds: float) -> None: ...

    def close(self) -> None:
        self._fabric.hung_up_on(self._dpid, self.epoch)


class Killable(Committer[T]):
    def kill(self) -> None:
        assert self._greenlet is not None
        self._greenlet.kill()


class ClockedRuntime(Runtime):
    """The controller by a clock of the test's, which also says when it ticks."""

    def __init__(self, store: Disk, settings: Settings, clock: Callable[[], float]) -> None:
        self._clock = clock
        super().__init__(store, settings)
        self._committer: Killable[Ticket] = Killable(store, self.topology, self._committed)

    def now_s(self) -> float:
        return self._clock()

    def tick(self, turn: int) -> None:
        self._handle(Tick())
        self._tell_states(turn)

    def _tick_for_ever(self) -> None:
        """It ticks when the test says so."""

    def _remember_for_ever(self) -> None:
        self._remembering = eventlet.getcurrent()
        super()._remember_for_ever()

    def die(self) -> None:
        """Nothing of it ever runs again."""
        self._committer.kill()
        self._remembering.kill()

    def take_turns(self) -> bool:
        """Let greenlets do what is left to do; whether there was anything."""
        if not self._at_work and self._to_remember.empty():
            return False
        while self._at_work or not self._to_remember.empty():
            eventlet.sleep(0)
        for _ in range(3):  # whoever took it has it written then
            eventlet.sleep(0)
        self.commit(lambda _draft: None)  # what was to be remembered went before
        return True


class ControlledFabric(FakeFabric):
    """``directory`` keeps the store. ``api`` is what users talk to."""

    def __init__(self, directory: Path, hosts: int = 3, tunnels: str = "peer") -> None:
        self._directory = directory
        self._links: dict[int, Link] = {}
        self._hung_up: list[tuple[int, int]] = []
        self._turns = 0
        super().__init__(hosts, tunnels)

    def _new_engine(self) -> Engine:
        self.disk = Disk(str(self._directory / "state.db"))
        self.runtime = ClockedRuntime(self.disk, self.settings, lambda: self.now_s)
        self.runtime.start()
        self.api = Api(self.runtime, "1.2.3")
        return self.runtime.engine

    # What is joined differently

    def roused(self, dpid: int) -> None:
        if dpid in self._connected:
            self._awake.add(dpid)

    def hung_up_on(self, dpid: int, epoch: int) -> None:
        """The controller ends a connection; it hears of its end later, as from a socket."""
        self._hung_up.append((dpid, epoch))

    def _turn(self) -> bool:
        while self._hung_up:
            dpid, epoch = self._hung_up.pop()
            if self._connected.get(dpid) == epoch:
                self.disconnect(dpid)
                return True
        return self.runtime.take_turns()

    def _due(self, replica: Replica) -> bytes:
        return b"".join(self.runtime.pull(self._link(replica.dpid)))

    def _link(self, dpid: int) -> Connection:
        return cast("Connection", self._links[dpid])

    def _handle(self, event: Event) -> None:
        match event:
            case Connected():
                link = self._links[event.dpid] = Link(self, event)
                self.runtime.connected(cast("Connection", link), dict(event.ports))
            case Lost():
                self.runtime.lost(self._link(event.dpid))
            case Received(message=PacketIn()):
                self.runtime.packets_in(self._link(event.dpid), [cast("PacketIn", event.message)])
            case Received():
                self.runtime.received(self._link(event.dpid), event.message)
            case Tick():
                self._turns += 1
                self.runtime.tick(self._turns)
            case _:
                raise TypeError(event)

    def commit(self, plan: Callable[[Draft], object]) -> Ticket:
        _answer, ticket = self.runtime.commit(plan)
        return ticket

    # What happens to the process

    def restart_controller(self) -> None:
        """kill -9 and start: nothing of the old process is left but its file."""
        for dpid in self.switches:
            self.disconnect(dpid, tell=False)
        self._awake.clear()
        self._hung_up.clear()
        self.kill()
        self.engine = self._new_engine()

    def kill(self) -> None:
        self.runtime.die()
        self.disk.close()

    def ask(self, method: str, path: str, body: object = None) -> Response:
        request = Request.blank(path, method=method, content_type="application/json")
        if body is not None:
            request.json_body = body
        return request.get_response(self.api)

    def replace_switch(self, old: int, new: int) -> None:
        """A host's bridge is made anew, under another dpid; it has not connected yet."""
        self.disconnect(old)
        switch = self.switches.pop(old)
        self.switches[new] = FakeSwitch(new, switch.vtep, dict(switch.ports))
        self.remotes[new] = self.remotes.pop(old)

    def packet_in(self, dpid: int, message: bytes) -> None:
        self._up[dpid].append(message)

    def travelled(self, journey: Journey) -> None:
        """A frame went its way: flows count it, and the controller gets its copies."""
        self._travelled(journey)

    def stored(self) -> list[Fact]:
        """What a process that starts now would find."""
        return self.disk.load()
