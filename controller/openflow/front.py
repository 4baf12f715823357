"""The OpenFlow connections: our own receive and send loops in Ryu's Datapath.

Ryu keeps what other Ryu apps rely on (its datapaths, events and replies); what the controller
itself reads and writes goes around Ryu's per-message machinery, as bytes. Nothing that a switch
sends, or does not read, harms anything but its own connection.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import random
import socket as sockets
import time
from collections.abc import Callable
from typing import Any, Protocol

import eventlet
from eventlet.hubs import trampoline
from ryu.controller import controller as ryu_controller
from ryu.controller.handler import CONFIG_DISPATCHER, DEAD_DISPATCHER
from ryu.lib import hub

from controller.certificates import Certificate
from controller.events import Message
from controller.openflow import guard, identity, to_ryu
from controller.openflow.admission import Seats
from controller.openflow.complaints import Complaints
from controller.openflow.guard import Phase, Refused
from controller.openflow.listen import Acceptor
from controller.openflow.peer import Peer
from controller.openflow.sending import AWAKE, Sender
from controller.openflow.values import value_of
from controller.replica import XID_BASE
from controller.tables import Buffer
from controller.wire import decode, encode

LOG = logging.getLogger("vxlan_l2.openflow")

READ_BYTES = 256 * 1024
MESSAGES_BEFORE_YIELD = 512
BREATH_S = 0.005
"""So long are messages of one switch taken before others get a turn."""

ECHO_EVERY_S = 5.0
DEAD_AFTER_S = 15.0
OWN_STALL_S = 1.0
PORTS_MAX = 4096
DUMP_MAX_BYTES = 32 << 20
"""What a reply in parts may have in all, or more where the switch should hold more."""

PART_BYTES, DUMPS_MAX = 1024, 64
"""What a part costs besides its bytes; how many replies may be begun at a time."""

REST_MAX_S = 0.25

_PACKET_IN = bytes((encode.VERSION, encode.PACKET_IN))
_HEADER_BYTES = guard.HEADER_BYTES
_AUXILIARY_AT, _DELETED = 21, 1
_SEATS: Seats[Connection] = Seats()
_EPOCHS = itertools.count(int(time.time() * 1000) & 0xFFFFFFFFFF)


class Listener(Protocol):
    """Who hears of connections and messages; ``pull`` gives what is to be sent.

    Packet-ins that arrive together are handed over together.
    """

    def objection(self, connection: Connection) -> str | None: ...

    def connected(self, connection: Connection, ports: dict[int, str]) -> None: ...

    def lost(self, connection: Connection) -> None: ...

    def refused(self, connection: Connection, reason: str) -> None: ...

    def duplicate(self, connection: Connection, there: Connection) -> None: ...
    def turned_away(self, address: str, reason: str) -> None: ...

    def received(self, connection: Connection, message: Message) -> None: ...

    def packets_in(self, connection: Connection, packets: list[decode.PacketIn]) -> None: ...

    def pull(self, connection: Connection) -> list[Buffer]: ...

    def holds_bytes(self, connection: Connection) -> int: ...


class Connection(Peer, ryu_controller.Datapath):  # type: ignore[misc]
    """One switch's connection. ``epoch`` tells it from earlier ones of the same switch."""

    listener: Listener
    complaints: Complaints

    def __init__(
        self, socket: Any, address: Any, announced: Callable[[], None] = lambda: None
    ) -> None:
        self._on_announced = announced
        self._sender = Sender(self)
        self._more_to_read = True
        self._packets: list[decode.PacketIn] = []
        self._heard_s = time.monotonic()
        self._announced = False
        self._over = False
        self._rest_s = 0.0
        self._phase = Phase.HELLO
        self._ports_here: dict[int, str] = {}  # numbers and names
        self._dumps: dict[int, int] = {}  # xid -> bytes of a reply that goes on
        self._dump_max_bytes = DUMP_MAX_BYTES
        self._told_unreadable = False
        self.certificate: Certificate | None = None
        self.epoch = next(_EPOCHS)
        super().__init__(socket, address)
        with contextlib.suppress(OSError):
            socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)

    # Out

    def send(self, buf: bytes, close_socket: bool = False) -> bool:
        """Queue bytes of Ryu's or another app's; False when nobody will read them."""
        return self._sender.put(buf)

    def wake(self) -> None:
        """There may be something to send: soon, with what else comes up until then."""
        self._sender.wake()

    def pull(self) -> list[Buffer]:
        """What the listener has for this switch, now that there is room for it."""
        return self.listener.pull(self) if self._announced else []

    def _send_loop(self) -> None:
        self._sender.loop()

    def _echo_request_loop(self) -> None:
        while not self.is_over:
            due_s = time.monotonic() + ECHO_EVERY_S
            hub.sleep(ECHO_EVERY_S)
            if time.monotonic() > due_s + OWN_STALL_S:
                # It was this process that was busy: what the switch said meanwhile is not read yet.
                self._heard_s = time.monotonic()
            silent_s = time.monotonic() - self._heard_s
            if silent_s > DEAD_AFTER_S:
                self.cut("silent", f"silent for {silent_s:.0f} s")
                return
            if self._announced:
                self.ask()

    # Its end

    @property
    def is_over(self) -> bool:
        """Whether nothing is read or sent any more."""
        return self._over or self.state == DEAD_DISPATCHER

    def cut(self, kind: str, reason: str) -> None:
        """End it for what the switch does, or does not do."""
        if not self.is_over:
            then = "; it keeps its flows, and may come back" if self._announced else ""
            self._complain(kind, f"given up: {reason}{then}")
            self.close()

    def close(self) -> None:
        """End the connection, also where the other end does not; its loops notice."""
        self._over = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(sockets.SHUT_RDWR)
        self._sender.rouse()

    def leave(self) -> None:
        """Its session is over for all who listen, now."""
        self.close()
        _SEATS.left(self)
        if self._announced:
            self._announced = False
            self.listener.lost(self)

    def _complain(
        self, kind: str, line: str, level: int = logging.WARNING, *, trace: bool = False
    ) -> None:
        address = str(self.address[0])
        self.complaints.tell(kind, address, f"{self}: {line}", level, trace=trace)

    # Admission

    def ask(self) -> None:
        """Send an echo request; any message that comes then shows that it lives."""
        self.send(encode.message(encode.ECHO_REQUEST, random.getrandbits(32)))

    def has_gone(self) -> bool:
        """Whether it is over, or its other end has closed it meanwhile."""
        return self.is_over or self.hung_up()

    def _admit(self) -> None:
        """Refused, unless this switch, whose handshake is done, is who it says, and alone."""
        objection = identity.check(self)
        if objection is not None:
            raise Refused(objection, "identity")
        there = _SEATS.take(self)
        if there is not None:
            self.listener.duplicate(self, there)
            raise Refused(
                f"datapath id {self.dpid_text} is in use by {there.peer}, which answers; if these"
                " are two bridges, give one of them another: ovs-vsctl set bridge br-tun"
                " other_config:datapath-id=...",
                "duplicate",
            )

    # In

    def rest(self, seconds: float) -> None:
        """Leave the socket unread for so long: it brings more than is taken of one switch."""
        self._rest_s = min(REST_MAX_S, self._rest_s + seconds)

    def _recv_loop(self) -> None:
        try:
            self._receive_for_ever()
        except Refused as error:
            self._refuse(error.kind, error)
            if isinstance(error, guard.TooOld):
                with contextlib.suppress(OSError):
                    self.socket.send(error.answer())
        except decode.Malformed as error:
            self._refuse("malformed", error)
        except OSError as error:
            self._complain("broken", f"the connection broke: {error}", logging.INFO)
        except Exception as error:
            self._complain("failed", f"closed: {error!r}", logging.ERROR, trace=True)
        finally:
            try:
                self.leave()
            finally:
                self.set_state(DEAD_DISPATCHER)
                with contextlib.suppress(OSError):
                    self.socket.close()

    def _refuse(self, kind: str, error: Exception) -> None:
        self._complain(kind, f"closed: {error}")
        self.listener.refused(self, str(error))

    def _receive_for_ever(self) -> None:
        buffer = bytearray()
        needed = _HEADER_BYTES
        while not self.is_over:
            data = self._receive()
            if not data:
                break
            buffer += data
            if len(buffer) >= needed:
                needed = self._take_messages(buffer)
            if self._rest_s:
                rest_s, self._rest_s = self._rest_s, 0.0
                eventlet.sleep(rest_s)
            if self._more_to_read:
                eventlet.sleep(0)  # a dump comes faster than it is read

    def _receive(self) -> bytes:
        """The next bytes; empty when the connection has ended."""
        socket = self.socket.fd
        while True:
            if not self._more_to_read:
                trampoline(socket, read=True)
            try:
                data: bytes = socket.recv(READ_BYTES)
            except BlockingIOError:
                self._more_to_read = False
                continue
            self._more_to_read = len(data) == READ_BYTES
            return data

    def _take_messages(self, buffer: bytearray) -> int:
        """Take what is whole of a buffer; how many bytes the next message needs."""
        stream = bytes(buffer)
        at, taken, end, needed = 0, 0, len(stream), _HEADER_BYTES
        others_hear_packets = to_ryu.others_hear_packets(self.ofp_brick)
        breath_s = time.monotonic() + BREATH_S
        while end - at >= _HEADER_BYTES:
            ours = self._phase is Phase.LIVE and stream[at : at + 2] == _PACKET_IN
            length = stream[at + 2] << 8 | stream[at + 3] if ours else 0
            if length < _HEADER_BYTES:
                ours, length = False, guard.check(stream, at, self._phase)
            if end - at < length:
                needed = length
                break
            message = stream[at : at + length]
            at += length
            taken += 1
            if ours:
                self._packets.append(decode.packet_in(message))
                if others_hear_packets:
                    self._hand_to_ryu(message)
                tired = taken % MESSAGES_BEFORE_YIELD == 0
            elif guard.says_own_change_only(message):
                tired = taken % MESSAGES_BEFORE_YIELD == 0
            else:
                self._take(message)
                tired = time.monotonic() > breath_s
            if tired:
                self._hand_packets_over()
                eventlet.sleep(0)
                if self.is_over:
                    return _HEADER_BYTES
                breath_s = time.monotonic() + BREATH_S
        if taken:
            self._heard_s = time.monotonic()
            _SEATS.heard(self)
        del buffer[:at]
        self._hand_packets_over()
        AWAKE.flush()
        return needed

    def _hand_packets_over(self) -> None:
        if self._packets:
            packets, self._packets = self._packets, []
            self.listener.packets_in(self, packets)

    def _take(self, message: bytes) -> None:
        msg_type = message[1]
        if msg_type == encode.ECHO_REQUEST:
            self.send(bytes((encode.VERSION, encode.ECHO_REPLY)) + message[2:])
        elif msg_type == encode.ECHO_REPLY:
            pass  # that it came is all it says
        elif self._phase is Phase.LIVE:
            self._take_live(message)
        elif msg_type in _HANDSHAKE:
            _HANDSHAKE[msg_type](self, message)
        else:
            self._take_early(message)

    # The handshake: hello, features, ports

    def _take_early(self, message: bytes) -> None:
        """What other apps asked for as soon as they knew the switch; the rest is for nobody yet."""
        guard.inside(message)
        early = message[1] in guard.ASYNCHRONOUS
        if not early and to_ryu.others_hear(self.ofp_brick, message):
            self._hand_to_ryu(message)

    def _take_hello(self, message: bytes) -> None:
        guard.check_hello(message)
        # Ryu gets a plain one: its parser follows lengths that a switch chose.
        self._hand_to_ryu(encode.message(encode.HELLO, int.from_bytes(message[4:8], "big")))
        if self.state != CONFIG_DISPATCHER:
            raise Refused("no OpenFlow version in common", "version")
        self._phase = Phase.FEATURES

    def _take_features(self, message: bytes) -> None:
        if self.id is not None:
            raise Refused("a second features reply during the handshake", "type")
        if message[_AUXILIARY_AT]:
            raise Refused("an auxiliary connection, which is of no use here", "type")
        self._hand_to_ryu(message)

    def _take_ports(self, message: bytes) -> None:
        kind, more, body = decode.multipart(message)
        if kind != encode.MP_PORT_DESC or self.id is None:
            raise Refused("an unasked multipart reply during the handshake", "type")
        self._account(int.from_bytes(message[4:8], "big"), len(message), more=more)
        self._ports_here.update((port.number, port.name) for port in decode.ports(body))
        if len(self._ports_here) > PORTS_MAX:
            raise Refused(f"more than {PORTS_MAX} ports", "too_much")
        if more:
            self._hand_to_ryu(message)
            return
        self._admit()
        if self.has_gone():
            return
        self._hand_to_ryu(message)
        self._phase = Phase.LIVE
        self._announced = True
        self._on_announced()
        self.listener.connected(self, dict(self._ports_here))

    def _take_refusal(self, message: bytes) -> None:
        if message[8:10] == bytes(2) or self._phase is Phase.HELLO:
            raise Refused(guard.refusal_of(message), "version")
        if to_ryu.others_hear(self.ofp_brick, message):
            self._hand_to_ryu(message)

    # Live

    def _take_live(self, message: bytes) -> None:
        self._hand_packets_over()
        msg_type = message[1]
        if msg_type == encode.MULTIPART_REPLY:
            xid = int.from_bytes(message[4:8], "big")
            self._account(xid, len(message), more=bool(message[11] & decode.MORE))
        value = value_of(message)
        if msg_type == encode.EXPERIMENTER or (value is None and msg_type in guard.WALKED):
            guard.inside(message)
        if isinstance(value, decode.PortStatus):
            self._count_ports(value)
        if value is not None:
            self.listener.received(self, value)
        if to_ryu.others_hear(self.ofp_brick, message) and not self._is_our_dump(message):
            self._hand_to_ryu(message)

    @staticmethod
    def _is_our_dump(message: bytes) -> bool:
        return message[1] == encode.MULTIPART_REPLY and message[4] == XID_BASE >> 24

    def _account(self, xid: int, size_bytes: int, *, more: bool) -> None:
        """Bound what a reply in parts has in all, and how many are begun."""
        so_far = self._dumps.pop(xid, 0) + size_bytes + PART_BYTES
        if not more:
            return
        if so_far > self._dump_max_bytes:
            self._dump_max_bytes = DUMP_MAX_BYTES
            if self._announced:
                self._dump_max_bytes += self.listener.holds_bytes(self)
            if so_far > self._dump_max_bytes:
                raise Refused(f"a reply of more than {self._dump_max_bytes} bytes", "too_much")
        if len(self._dumps) >= DUMPS_MAX:
            raise Refused(f"more than {DUMPS_MAX} replies at a time", "too_much")
        self._dumps[xid] = so_far

    def _count_ports(self, status: decode.PortStatus) -> None:
        number = status.port.number
        if status.reason == _DELETED:
            self._ports_here.pop(number, None)
            return
        self._ports_here[number] = status.port.name
        if len(self._ports_here) > PORTS_MAX:
            raise Refused(f"more than {PORTS_MAX} ports", "too_much")

    def _hand_to_ryu(self, message: bytes) -> None:
        """Tell Ryu and other apps; what Ryu cannot read ends a handshake, and is nothing else."""
        try:
            to_ryu.hand_over(self, message)
        except to_ryu.Unreadable as error:
            if self._phase is not Phase.LIVE:
                raise Refused(str(error), "failed") from error
            if not self._told_unreadable:
                self._told_unreadable = True
                LOG.warning("%s: %s; other apps do not hear of it", self, error)


_HANDSHAKE: dict[int, Callable[[Connection, bytes], None]] = {
    encode.HELLO: Connection._take_hello,
    encode.ERROR: Connection._take_refusal,
    encode.FEATURES_REPLY: Connection._take_features,
    encode.MULTIPART_REPLY: Connection._take_ports,
}


def install(listener: Listener, switches: Acceptor) -> None:
    """Make every switch that connects to this Ryu process one of our connections."""
    Connection.listener = listener
    Connection.complaints = switches.complaints
    switches.turned_away = listener.turned_away

    def serve(socket: Any, address: Any, announced: Callable[[], None] = lambda: None) -> None:
        try:
            connection = Connection(socket, address, announced)
        except OSError:
            return
        with contextlib.closing(connection):
            try:
                connection.serve()
            except Exception as error:
                line = f"{connection}: closed: {error!r}"
                switches.complaints.tell("failed", address[0], line, logging.ERROR, trace=True)

    def server_loop(*_ports: Any) -> None:
        switches.serve_for_ever(serve)

    ryu_controller.datapath_connection_factory = serve
    ryu_controller.OpenFlowController.server_loop = server_loop
