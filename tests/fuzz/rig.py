"""Connections of the real front end before a real engine, without a network between."""

from __future__ import annotations

import itertools
from typing import Any

from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.ofp_handler import OFPHandler

from controller.engine import Engine, Settings
from controller.events import Connected, Continue, Effects, Event, Lost, PacketsIn, Received, Tick
from controller.openflow import front, guard
from controller.openflow.complaints import Complaints
from controller.wire import decode, encode
from tests.apps.switches import PORTS, features, hello, ports_reply
from tests.fake.switch import FakeSwitch
from tests.wire.samples import facts

PHASES = ("hello", "features", "live")
AGAIN_MAX = 1000


class Wire:
    """A socket's place, where nothing is sent."""

    @property
    def fd(self) -> Wire:
        return self

    def recv(self, *_args: object) -> bytes:
        raise BlockingIOError

    def setsockopt(self, *_args: object) -> None: ...

    def settimeout(self, _limit_s: object) -> None: ...

    def shutdown(self, _how: int) -> None: ...

    def close(self) -> None: ...

    def send(self, _data: bytes) -> None: ...


class _Spy(app_manager.RyuApp):
    """Another Ryu app, that wants to hear of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "spy"
        self.heard = 0

    def _send_event(self, _event: Any, _state: str) -> None:
        self.heard += 1


class Rig:
    """Feeds bytes to connections. ``refusals``: how many were ended for what they said."""

    def __init__(self) -> None:
        app_manager.SERVICE_BRICKS.clear()
        self.brick, self.spy = OFPHandler(), _Spy()
        for app in (self.brick, self.spy):
            app_manager.register_app(app)
        for name, event in vars(ofp_event).items():
            if name.startswith("EventOFP") and name != "EventOFPMsgBase":
                self.brick.register_observer(event, "spy", ())
        self.complaints = Complaints(_Silent(), lambda: 0.0, lambda _s, _what: None)
        front.Connection.listener = self
        front.Connection.complaints = self.complaints
        self.now_s = 1000.0
        self.engine = Engine(Settings(), b"secret" * 8)
        self.engine.load(facts())
        self.refusals = 0
        self.taken = 0
        self._dpids = itertools.cycle(range(1, 5))
        self._ports = itertools.count(40000)
        self.dpid = 0
        self.switch = FakeSwitch(1, 1, dict(PORTS))
        self.connection = self._new()

    # What the front end tells

    def connected(self, connection: front.Connection, ports: dict[int, str]) -> None:
        self._handle(Connected(connection.id, connection.epoch, connection.peer, None, ports))

    def lost(self, connection: front.Connection) -> None:
        self._handle(Lost(connection.id, connection.epoch))

    def objection(self, _connection: front.Connection) -> str | None:
        return None

    def refused(self, _connection: front.Connection, _reason: str) -> None: ...

    def duplicate(self, _connection: front.Connection, _there: front.Connection) -> None: ...

    def received(self, connection: front.Connection, message: Any) -> None:
        self._handle(Received(connection.id, connection.epoch, message))

    def packets_in(self, connection: front.Connection, packets: list[decode.PacketIn]) -> None:
        self._handle(PacketsIn(connection.id, connection.epoch, packets))

    def pull(self, connection: front.Connection) -> list[Any]:
        replica = self.engine.replicas.get(connection.id)
        return replica.pull() if replica is not None and replica.epoch == connection.epoch else []

    def holds_bytes(self, _connection: front.Connection) -> int:
        return 0

    # What is fed

    def reach(self, phase: str) -> None:
        """Have a connection that is so far with its handshake."""
        if self.connection.is_over or PHASES.index(phase) < self.connection._phase:
            self._renew()
        if phase != "hello" and self.connection._phase is guard.Phase.HELLO:
            self.feed(hello())
        if phase == "live" and self.connection._phase is guard.Phase.FEATURES:
            if self.connection.id is None:
                self.feed(features(self.dpid))
            self.feed(ports_reply(PORTS.items()))
            if self.connection.is_over:
                self.reach(phase)

    def feed(self, data: bytes) -> bool:
        """Give bytes to the connection; False when they, and it, were refused."""
        self.taken += 1
        try:
            self.connection._take_messages(bytearray(data))
        except (guard.Refused, decode.Malformed):
            self.refusals += 1
            self._renew()
            return False
        return True

    def talk(self) -> list[bytes]:
        """What a correct switch would answer to what it is sent now."""
        sent = b"".join(map(bytes, self.pull(self.connection)))
        replies = []
        for message in encode.split(sent):
            replies += self.switch.receive(message, self.now_s)
            replies += self.switch.unasked
            self.switch.unasked.clear()
        return replies

    def tick(self) -> None:
        self.now_s += 1.0
        self._handle(Tick())

    def _renew(self) -> None:
        self.connection.leave()
        self.switch.hang_up()
        self.connection = self._new()

    def _new(self) -> front.Connection:
        self.dpid = next(self._dpids)
        if self.switch.dpid != self.dpid:
            self.switch = FakeSwitch(self.dpid, 1, dict(PORTS))
        return front.Connection(Wire(), ("192.0.2.1", next(self._ports)))

    def _handle(self, event: Event) -> None:
        effects = self.engine.handle(event, self.now_s)
        self._carry_out(effects)
        for _ in range(AGAIN_MAX):
            if not effects.again:
                return
            effects = self.engine.handle(Continue(), self.now_s)
            self._carry_out(effects)

    def _carry_out(self, effects: Effects) -> None:
        if self.dpid in effects.close:
            self.connection.close()


class _Silent:
    def log(self, *_args: object, **_more: object) -> None: ...

    warning = log
