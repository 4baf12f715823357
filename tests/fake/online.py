"""A fake switch on a real connection: it talks OpenFlow 1.3 to a controller over TCP."""

from __future__ import annotations

import itertools
import socket
import time
from contextlib import suppress
from struct import pack
from threading import Event, Lock, Thread
from types import TracebackType

from controller.wire import encode
from tests.fake.switch import FakeSwitch

PORTS = {1: "patch-tun", 5: "vxlan0"}
ANSWER_LIMIT_S = 30.0


class Unanswered(AssertionError):
    """The controller left a switch without an answer."""


class OnlineSwitch:
    """Connects at once, and hangs up at the end of its ``with``.

    It answers whatever the controller asks, unless ``lies`` has another answer to a statistics
    request of that kind. Nothing is said before ``shake_hands`` or ``say``.
    """

    def __init__(self, port: int, dpid: int, *, host: str = "127.0.0.1") -> None:
        self.switch = FakeSwitch(dpid, 0, dict(PORTS))
        self.lies: dict[int, bytes] = {}
        self.lied = Event()
        self._ready = Event()
        self._echoes: dict[int, Event] = {}
        self._tokens = itertools.count(1)
        self._sending = Lock()
        self._socket = socket.create_connection((host, port), timeout=ANSWER_LIMIT_S)
        self._socket.settimeout(None)
        self.closed = Event()
        self._reader = Thread(target=self._read_for_ever, daemon=True)
        self._reader.start()

    def __enter__(self) -> OnlineSwitch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def say(self, message: bytes) -> None:
        """Send bytes as they are; those for which nobody is left are lost."""
        with suppress(OSError), self._sending:
            self._socket.sendall(message)

    def shake_hands(self) -> OnlineSwitch:
        """Hello, features, ports; returns when the controller has asked for its flows."""
        self.say(encode.message(encode.HELLO, 1))
        if not self._ready.wait(ANSWER_LIMIT_S):
            raise Unanswered("the handshake is not finished")
        return self

    def echo(self) -> float:
        """Ask for an echo; how long it took in seconds."""
        token, heard = next(self._tokens), Event()
        self._echoes[token] = heard
        began_s = time.monotonic()
        self.say(encode.message(encode.ECHO_REQUEST, token))
        if self.closed.is_set() or not heard.wait(ANSWER_LIMIT_S) or self.closed.is_set():
            raise Unanswered("an echo is not answered")
        return time.monotonic() - began_s

    # The other end

    def _read_for_ever(self) -> None:
        buffer = b""
        with suppress(OSError):
            while data := self._socket.recv(1 << 16):
                buffer += data
                while len(buffer) >= 8:
                    size = int.from_bytes(buffer[2:4], "big")
                    if len(buffer) < size:
                        break
                    self.say(b"".join(self._answers(buffer[:size])))
                    buffer = buffer[size:]
        self.closed.set()
        for heard in list(self._echoes.values()):
            heard.set()

    def _answers(self, message: bytes) -> list[bytes]:
        kind, xid = message[1], int.from_bytes(message[4:8], "big")
        match kind:
            case encode.ECHO_REPLY:
                self._echoes.pop(xid, Event()).set()
                return []
            case encode.ECHO_REQUEST:
                return [encode.message(encode.ECHO_REPLY, xid, message[8:])]
            case encode.HELLO | encode.ERROR | encode.SET_CONFIG | encode.SET_ASYNC:
                return []
            case encode.FEATURES_REQUEST:
                body = pack("!QIBBxxII", self.switch.dpid, 0, 254, 0, 0x47, 0)
                return [encode.message(encode.FEATURES_REPLY, xid, body)]
            case encode.MULTIPART_REQUEST:
                return self._statistics(message, xid)
        return self.switch.receive(message, time.monotonic())

    def _statistics(self, request: bytes, xid: int) -> list[bytes]:
        kind = int.from_bytes(request[8:10], "big")
        if kind == encode.MP_FLOW:
            self._ready.set()
        lie = self.lies.pop(kind, None)
        if lie is not None:
            self.lied.set()
            return [lie[:4] + request[4:8] + lie[8:]]
        if kind == encode.MP_PORT_DESC:
            ports = [
                pack("!I4x6s2x16s32x", number, bytes(6), name.encode())
                for number, name in self.switch.ports.items()
            ]
            body = pack("!HH4x", kind, 0) + b"".join(ports)
            return [encode.message(encode.MULTIPART_REPLY, xid, body)]
        return self.switch.receive(request, time.monotonic())
