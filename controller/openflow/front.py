"""The OpenFlow connections: our own receive and send loops in Ryu's Datapath.

Ryu keeps what other Ryu apps rely on (its datapaths, events and replies); what the controller
itself reads and writes goes around Ryu's per-message machinery, as bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import socket as sockets
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import eventlet
from eventlet.event import Event
from eventlet.greenio import GreenSocket
from eventlet.hubs import get_hub, trampoline
from ryu.controller import controller as ryu_controller
from ryu.controller import ofp_event
from ryu.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER
from ryu.lib import hub
from ryu.ofproto import ofproto_parser

from controller.events import (
    BarrierAnswered,
    BundleCommitted,
    DumpPart,
    FlowUpdates,
    Message,
    MonitorPaused,
)
from controller.openflow import guard
from controller.openflow.listen import Acceptor
from controller.replica import XID_BASE
from controller.tables import Buffer
from controller.wire import decode, encode
from topology.errors import InvalidValue
from topology.types import VtepIp

LOG = logging.getLogger("vxlan_l2.openflow")

READ_BYTES = 256 * 1024
WRITE_BYTES = 256 * 1024
MORE_BYTES = 64 * 1024
IOV_MAX = 1024
MESSAGES_BEFORE_YIELD = 512
FLUSHES_AT_ONCE = 64
ECHO_EVERY_S = 5.0
DEAD_AFTER_S = 15.0
OWN_STALL_S = 1.0
UNREAD_MAX_BYTES = 4 << 20
REST_MAX_S = 0.25

_PACKET_IN = bytes((encode.VERSION, encode.PACKET_IN))
_EPOCHS = itertools.count(int(time.time() * 1000) & 0xFFFFFFFFFF)
_FOR_RYU_TOO = {
    encode.FLOW_REMOVED: ofp_event.EventOFPFlowRemoved,
    encode.BARRIER_REPLY: ofp_event.EventOFPBarrierReply,
    encode.ERROR: ofp_event.EventOFPErrorMsg,
    encode.PORT_STATUS: ofp_event.EventOFPPortStatus,
}


_STATS_FOR_RYU = {
    0: ofp_event.EventOFPDescStatsReply,
    1: ofp_event.EventOFPFlowStatsReply,
    2: ofp_event.EventOFPAggregateStatsReply,
    3: ofp_event.EventOFPTableStatsReply,
    4: ofp_event.EventOFPPortStatsReply,
    5: ofp_event.EventOFPQueueStatsReply,
    6: ofp_event.EventOFPGroupStatsReply,
    7: ofp_event.EventOFPGroupDescStatsReply,
    8: ofp_event.EventOFPGroupFeaturesStatsReply,
    9: ofp_event.EventOFPMeterStatsReply,
    10: ofp_event.EventOFPMeterConfigStatsReply,
    11: ofp_event.EventOFPMeterFeaturesStatsReply,
    12: ofp_event.EventOFPTableFeaturesStatsReply,
    13: ofp_event.EventOFPPortDescStatsReply,
}


class Listener(Protocol):
    """Who hears of connections and messages; ``pull`` gives what is to be sent.

    Packet-ins that arrive together are handed over together.
    """

    def connected(self, connection: Connection, ports: dict[int, str]) -> None: ...

    def lost(self, connection: Connection) -> None: ...

    def refused(self, connection: Connection, reason: str) -> None: ...

    def received(self, connection: Connection, message: Message) -> None: ...

    def packets_in(self, connection: Connection, packets: list[decode.PacketIn]) -> None: ...

    def pull(self, connection: Connection) -> list[Buffer]: ...


class _Awake:
    """The connections that may have something to send."""

    def __init__(self) -> None:
        self._connections: deque[Connection] = deque()
        self._is_due = False

    def add(self, connection: Connection) -> None:
        self._connections.append(connection)
        self._come_back()

    def flush(self) -> None:
        """Send without ever waiting; many connections take several turns."""
        for _ in range(min(len(self._connections), FLUSHES_AT_ONCE)):
            connection = self._connections.popleft()
            try:
                connection.flush()
            except Exception:
                LOG.exception("%s: closed", connection)
                connection.close()
        if self._connections:
            self._come_back()

    def _come_back(self) -> None:
        if not self._is_due:
            self._is_due = True
            get_hub().schedule_call_global(0, self._turn)

    def _turn(self) -> None:
        self._is_due = False
        self.flush()


_AWAKE = _Awake()


class Connection(ryu_controller.Datapath):  # type: ignore[misc]
    """One switch's connection. ``epoch`` tells it from earlier ones of the same switch."""

    listener: Listener

    def __init__(
        self, socket: Any, address: Any, announced: Callable[[], None] = lambda: None
    ) -> None:
        self._on_announced = announced
        self._outbox: deque[bytes] = deque()
        self._unread_bytes = 0
        self._waiting: Event | None = None  # of the sender, while it has nothing to do
        self._awake = False
        self._rest: list[Buffer] = []
        self._more_to_read = True
        self._packets: list[decode.PacketIn] = []
        self._heard_s = time.monotonic()
        self._announced = False
        self._first_ports: dict[int, str] = {}
        self._rest_s = 0.0
        self.epoch = next(_EPOCHS)
        super().__init__(socket, address)
        with contextlib.suppress(OSError):
            socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1)

    @property
    def peer(self) -> str:
        """``address:port`` of the switch's end."""
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def target(self) -> str:
        """What the switch's set-controller names, as far as this end knows: its own address."""
        host, port = self.socket.getsockname()[:2]
        return f"{'tcp' if self._is_plain else 'ssl'}:{str(host).removeprefix('::ffff:')}:{port}"

    @property
    def controller_ip(self) -> int | None:
        """This end's IPv4 address, None over IPv6."""
        try:
            return VtepIp.parse(self.target.split(":")[1]).low32
        except InvalidValue:
            return None

    @property
    def vtep(self) -> VtepIp | None:
        """The address it connects from, where that can be a VTEP's."""
        try:
            vtep = VtepIp.parse(str(self.address[0]).removeprefix("::ffff:"))
        except InvalidValue:
            return None
        return None if vtep.low32 >> 24 == 127 else vtep

    # Out

    def send(self, buf: bytes, close_socket: bool = False) -> bool:
        """Queue bytes of Ryu's or another app's."""
        if self.state == DEAD_DISPATCHER:
            return False
        self._outbox.append(bytes(buf))
        self._unread_bytes += len(buf)
        self.wake()
        return True

    def wake(self) -> None:
        """There may be something to send: soon, with what else comes up until then."""
        if not self._awake:
            self._awake = True
            _AWAKE.add(self)

    def flush(self) -> None:
        """Send what is due as far as the socket takes it at once; the sender does the rest."""
        self._awake = False
        if self._waiting is None:
            return  # the sender is at it
        if self._is_plain and self.state != DEAD_DISPATCHER:
            buffers = self._due()
            if not buffers:
                return
            try:
                self._rest = _unsent(buffers, self.socket.fd.sendmsg(buffers[:IOV_MAX]))
            except OSError:
                self._rest = buffers  # it is full, or broken: the sender waits, or ends
            if not self._rest and sum(map(len, buffers)) < MORE_BYTES:
                return
        self._rouse()

    def _rouse(self) -> None:
        """Have the sender look again, if it waits."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.send()

    def close(self) -> None:
        """End the connection, also where the other end does not."""
        super().close()
        self._shut()
        self._rouse()

    def _due(self) -> list[Buffer]:
        buffers: list[Buffer] = [self._outbox.popleft() for _ in range(len(self._outbox))]
        self._unread_bytes = 0
        if self._announced:
            buffers += self.listener.pull(self)
        return buffers

    @property
    def _is_plain(self) -> bool:
        """Whether the socket can be used as it is: TLS has its own buffers and rounds."""
        return isinstance(self.socket, GreenSocket)

    def _send_loop(self) -> None:
        try:
            while self.state != DEAD_DISPATCHER:
                buffers, self._rest = self._rest, []
                buffers = buffers or self._due()
                if buffers:
                    self._write(buffers)
                    eventlet.sleep(0)
                    continue
                self._waiting = Event()
                self._waiting.wait()
        except OSError as error:
            LOG.info("%s: sending failed: %s", self, error)
        finally:
            self._shut()

    def _write(self, buffers: list[Buffer]) -> None:
        if not self._is_plain:
            view = memoryview(b"".join(buffers))
            for at in range(0, len(view), WRITE_BYTES):
                self.socket.sendall(view[at : at + WRITE_BYTES])
            return
        socket = self.socket.fd
        while buffers:
            try:
                buffers = _unsent(buffers, socket.sendmsg(buffers[:IOV_MAX]))
            except BlockingIOError:
                trampoline(socket, write=True)

    def _echo_request_loop(self) -> None:
        while self.state != DEAD_DISPATCHER:
            due_s = time.monotonic() + ECHO_EVERY_S
            hub.sleep(ECHO_EVERY_S)
            if time.monotonic() > due_s + OWN_STALL_S:
                # It was this process that was busy: what the switch said meanwhile is not read yet.
                self._heard_s = time.monotonic()
            silent_s = time.monotonic() - self._heard_s
            if silent_s > DEAD_AFTER_S:
                LOG.warning(
                    "%s: silent for %.0f s, given up; it keeps its flows, and may come back",
                    self,
                    silent_s,
                )
                self._shut()
                return
            if self._announced:
                self.send(encode.message(encode.ECHO_REQUEST, encode.FLOW_XID))

    def _shut(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(sockets.SHUT_RDWR)

    # In

    def rest(self, seconds: float) -> None:
        """Leave the socket unread for so long: it brings more than is taken of one switch."""
        self._rest_s = min(REST_MAX_S, self._rest_s + seconds)

    @property
    def dpid_text(self) -> str:
        return "unknown" if self.id is None else f"{self.id:016x}"

    def __str__(self) -> str:
        if self.id is None:
            return f"connection from {self.peer}"
        return f"switch {self.dpid_text} at {self.peer}"

    def _recv_loop(self) -> None:
        buffer = bytearray()
        try:
            while self.state != DEAD_DISPATCHER:
                data = self._receive()
                if not data:
                    break
                self._heard_s = time.monotonic()
                buffer += data
                self._take_messages(buffer)
                if self._rest_s:
                    rest_s, self._rest_s = self._rest_s, 0.0
                    eventlet.sleep(rest_s)
                if self._more_to_read:
                    eventlet.sleep(0)  # a dump comes faster than it is read
        except (decode.Malformed, guard.Refused) as error:
            LOG.warning("%s: closed: %s", self, error)
            self.listener.refused(self, str(error))
            if isinstance(error, guard.TooOld):
                with contextlib.suppress(OSError):
                    self.socket.send(error.answer())
        except OSError as error:
            LOG.info("%s: the connection broke: %s", self, error)
        finally:
            if self._announced:
                self.listener.lost(self)
            self.set_state(DEAD_DISPATCHER)
            self._rouse()
            with contextlib.suppress(OSError):
                self.socket.close()

    def _receive(self) -> bytes:
        """The next bytes; empty when the connection has ended."""
        if not self._is_plain:
            while True:
                with contextlib.suppress(TimeoutError):
                    return bytes(self.socket.recv(READ_BYTES))
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

    def _take_messages(self, buffer: bytearray) -> None:
        stream = bytes(buffer)
        at, taken, end = 0, 0, len(stream)
        while end - at >= 8:
            ours = self.state == MAIN_DISPATCHER and stream[at : at + 2] == _PACKET_IN
            length = stream[at + 2] << 8 | stream[at + 3] if ours else 0
            if length < 8:
                ours, length = False, guard.message_length(stream, at)
            if end - at < length:
                break
            message = stream[at : at + length]
            at += length
            if ours:
                self._packets.append(decode.packet_in(message))
                if self._others_hear(ofp_event.EventOFPPacketIn):
                    self._hand_to_ryu(message)
            elif not guard.says_own_change_only(message):
                self._take(message)
            taken += 1
            if taken % MESSAGES_BEFORE_YIELD == 0:
                self._hand_packets_over()
                eventlet.sleep(0)
        del buffer[:at]
        self._hand_packets_over()
        _AWAKE.flush()

    def _hand_packets_over(self) -> None:
        if self._packets:
            packets, self._packets = self._packets, []
            self.listener.packets_in(self, packets)

    def _take(self, message: bytes) -> None:
        msg_type = message[1]
        if msg_type == encode.ECHO_REQUEST:
            if self._unread_bytes > UNREAD_MAX_BYTES:
                raise guard.Refused("it asks for echoes and does not read them")
            self.send(bytes((message[0], encode.ECHO_REPLY)) + message[2:])
            return
        if self.state == MAIN_DISPATCHER:
            self._take_live(msg_type, message)
            return
        if msg_type in guard.ASYNCHRONOUS:
            return
        if msg_type == encode.MULTIPART_REPLY:
            _kind, _more, body = decode.multipart(message)
            self._first_ports.update((port.number, port.name) for port in decode.ports(body))
        self._hand_to_ryu(message)
        if self.state == MAIN_DISPATCHER:
            self._announced = True
            self._on_announced()
            self.listener.connected(self, self._first_ports)

    def _take_live(self, msg_type: int, message: bytes) -> None:
        self._hand_packets_over()
        value: Message | None = None
        xid = int.from_bytes(message[4:8], "big")
        if msg_type == encode.BARRIER_REPLY:
            value = BarrierAnswered(xid)
        elif msg_type == encode.MULTIPART_REPLY:
            kind, more, body = decode.multipart(message)
            if xid >> 24 == XID_BASE >> 24:
                value = DumpPart(xid, kind, body, more)
            elif kind == encode.MP_EXPERIMENTER and body.startswith(encode.FLOW_MONITOR_NAME):
                value = FlowUpdates(body[len(encode.FLOW_MONITOR_NAME) :])
            elif self._others_hear(_STATS_FOR_RYU.get(kind)):
                self._hand_to_ryu(message)
        elif msg_type == encode.PORT_STATUS:
            value = decode.port_status(message)
        elif msg_type == encode.FLOW_REMOVED:
            value = decode.flow_removed(message)
        elif msg_type == encode.ERROR:
            value = decode.error(message)
        elif msg_type == encode.EXPERIMENTER:
            bundle_id = guard.committed_bundle(message)
            paused = guard.monitor_paused(message)
            if bundle_id is not None:
                value = BundleCommitted(bundle_id)
            elif paused is not None:
                value = MonitorPaused(paused)
        if value is not None:
            self.listener.received(self, value)
        if msg_type in guard.RYU_REPLIES or self._others_hear(_FOR_RYU_TOO.get(msg_type)):
            self._hand_to_ryu(message)

    def _others_hear(self, event: type | None) -> bool:
        """Whether any app beside Ryu's own handshake handler wants this event."""
        if event is None:
            return False
        return event is ofp_event.EventOFPPortStatus or bool(self.ofp_brick.observers.get(event))

    def _hand_to_ryu(self, message: bytes) -> None:
        guard.check_for_ryu(message, handshake=self.state != MAIN_DISPATCHER)
        version, msg_type, length, xid = ofproto_parser.header(message)
        parsed = ofproto_parser.msg(self, version, msg_type, length, xid, message)
        if not parsed:
            return
        event = ofp_event.ofp_msg_to_ev(parsed)
        self.ofp_brick.send_event_to_observers(event, self.state)
        for handler in self.ofp_brick.get_handlers(event):
            if self.state in handler.callers[event.__class__].dispatchers:
                handler(event)


def _unsent(buffers: list[Buffer], sent_bytes: int) -> list[Buffer]:
    """What is left of the buffers after so many bytes."""
    for index, buffer in enumerate(buffers):
        if sent_bytes < len(buffer):
            return [memoryview(buffer)[sent_bytes:], *buffers[index + 1 :]]
        sent_bytes -= len(buffer)
    return []


def install(listener: Listener, switches: Acceptor) -> None:
    """Make every switch that connects to this Ryu process one of our connections."""
    Connection.listener = listener

    def serve(socket: Any, address: Any, announced: Callable[[], None] = lambda: None) -> None:
        try:
            connection = Connection(socket, address, announced)
        except OSError:
            return
        with contextlib.closing(connection):
            try:
                connection.serve()
            except Exception:
                LOG.exception("%s: closed", connection)

    def server_loop(*_ports: Any) -> None:
        switches.serve_for_ever(serve)

    ryu_controller.datapath_connection_factory = serve
    ryu_controller.OpenFlowController.server_loop = server_loop
