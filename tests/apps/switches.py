"""Switches that talk to a running controller over TCP: one that behaves, and bare connections."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterable
from struct import pack

from controller.wire import encode
from tests.fake.switch import FakeSwitch

ECHO_LIMIT_S = 30.0
PORTS = {1: "patch-tun", 2: "vxlan0"}


def hello(xid: int = 1) -> bytes:
    return encode.message(encode.HELLO, xid)


def features(dpid: int, xid: int = 2) -> bytes:
    return encode.message(encode.FEATURES_REPLY, xid, pack("!QIBB2xII", dpid, 0, 254, 0, 0x4F, 0))


def ports_reply(ports: Iterable[tuple[int, str]], xid: int = 3, *, more: bool = False) -> bytes:
    body = b"".join(
        pack("!I4x6s2x16s32x", number, bytes(6), name.encode()) for number, name in ports
    )
    return encode.message(encode.MULTIPART_REPLY, xid, pack("!HH4x", 13, more) + body)


class Bare:
    """A TCP connection that says OpenFlow bytes, as they are given."""

    def __init__(self, port: int, source: str = "127.0.0.1", timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), timeout=timeout_s, source_address=(source, 0)
        )
        self._buffer = b""

    def send(self, *messages: bytes) -> None:
        self.socket.sendall(b"".join(messages))

    def next(self) -> bytes | None:
        """The next message; None when the other end has closed."""
        while len(self._buffer) < 8 or len(self._buffer) < self._size():
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self._buffer += data
        size = self._size()
        message, self._buffer = self._buffer[:size], self._buffer[size:]
        return message

    def _size(self) -> int:
        return int.from_bytes(self._buffer[2:4], "big")

    def until(self, kind: int) -> bytes | None:
        """The next message of a kind; None when the other end closes before."""
        while (message := self.next()) is not None and message[1] != kind:
            pass
        return message

    def shake_hands(self, dpid: int, ports: dict[int, str] | None = None) -> bool:
        """Hello, features and ports; False when the controller hangs up first."""
        self.send(hello())
        if self.until(encode.FEATURES_REQUEST) is None:
            return False
        self.send(features(dpid))
        if self.until(encode.MULTIPART_REQUEST) is None:
            return False
        self.send(ports_reply((PORTS if ports is None else ports).items()))
        return True

    def is_served(self) -> bool:
        """Whether the controller answers an echo; echoes of its own are answered meanwhile."""
        payload = b"are you there"
        try:
            self.send(encode.message(encode.ECHO_REQUEST, 99, payload))
            while (message := self.next()) is not None:
                if message[1] == encode.ECHO_REPLY and message[8:] == payload:
                    return True
                if message[1] == encode.ECHO_REQUEST:
                    self.send(bytes((4, encode.ECHO_REPLY)) + message[2:])
        except ConnectionError:
            pass
        return False

    def is_closed(self) -> bool:
        """Whether the other end has closed, or does within the time limit."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Bare:
        return self

    def __exit__(self, *_how: object) -> None:
        self.close()


class Good(threading.Thread):
    """A switch that does what it is told, and asks for an echo every so often.

    ``answered``: how many echoes came back; ``slowest_s``: after how long at most. It ends at the
    first that does not come, or when the controller hangs up: ``gone`` says why.
    """

    def __init__(
        self, port: int, dpid: int, every_s: float = 0.1, source: str = "127.0.0.1"
    ) -> None:
        super().__init__(daemon=True)
        self.switch = FakeSwitch(dpid, 0x7F000001, dict(PORTS))
        self.answered = 0
        self.slowest_s = 0.0
        self.gone: str | None = None
        self._every_s = every_s
        self._port, self._source = port, source
        self._stopping = threading.Event()
        self._asked_s: float | None = None
        self.start()

    def run(self) -> None:
        try:
            self._run()
        except (OSError, AssertionError) as error:
            self.gone = repr(error)

    def _run(self) -> None:
        with Bare(self._port, self._source) as bare:
            if not bare.shake_hands(self.switch.dpid, self.switch.ports):
                self.gone = "the controller hung up at the handshake"
                return
            bare.socket.settimeout(self._every_s)
            next_s = time.monotonic()
            while not self._stopping.is_set():
                now_s = time.monotonic()
                if self._asked_s is not None and now_s > self._asked_s + ECHO_LIMIT_S:
                    self.gone = "an echo was not answered"
                    return
                if self._asked_s is None and now_s >= next_s:
                    self._asked_s, next_s = now_s, now_s + self._every_s
                    bare.send(encode.message(encode.ECHO_REQUEST, 7, b"ask"))
                with contextlib.suppress(TimeoutError):
                    message = bare.next()
                    if message is None:
                        self.gone = "the controller hung up"
                        return
                    self._take(bare, message)

    def _take(self, bare: Bare, message: bytes) -> None:
        if message[1] == encode.ECHO_REPLY:
            assert self._asked_s is not None
            self.slowest_s = max(self.slowest_s, time.monotonic() - self._asked_s)
            self._asked_s = None
            self.answered += 1
        elif message[1] == encode.ECHO_REQUEST:
            bare.send(bytes((4, encode.ECHO_REPLY)) + message[2:])
        else:
            replies = self.switch.receive(message, time.monotonic())
            replies += self.switch.unasked
            self.switch.unasked.clear()
            if replies:
                bare.send(*replies)

    def has_asked(self, times: int, limit_s: float = 60.0) -> bool:
        """Wait until so many more echoes came back."""
        wanted, end_s = self.answered + times, time.monotonic() + limit_s
        while self.answered < wanted and self.gone is None and time.monotonic() < end_s:
            time.sleep(0.02)
        return self.answered >= wanted

    def stop(self) -> None:
        self._stopping.set()
        self.join(20)

    def __enter__(self) -> Good:
        return self

    def __exit__(self, *_how: object) -> None:
        self.stop()
