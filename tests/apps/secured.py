"""Switches over sockets, plain or with TLS: as much of one as the controller needs to see."""

from __future__ import annotations

import contextlib
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.farm.switch import Switch
from controller.wire import encode

_SOURCES = itertools.cycle(range(1, 255))
STEP_S = 0.05
SEND_S = 60.0
RECEIVE_BYTES = 16384
"""Little, so that the controller soon notices when a switch does not read."""


@contextmanager
def connected(port: int, dpid: int, tls: ssl.SSLContext | None = None) -> Iterator[Connected]:
    """A switch that connects, answers as it should, and goes when the context ends."""
    raw = socket.socket()
    raw.settimeout(20)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
    # Of the lines in the log, each address has a few.
    raw.bind((f"127.0.1.{next(_SOURCES)}", 0))
    raw.connect(("127.0.0.1", port))
    with contextlib.closing(raw if tls is None else tls.wrap_socket(raw)) as sock:
        one = Connected(sock, dpid)
        try:
            yield one
        finally:
            one.stop()


class Connected:
    """``ended``: the controller has hung up."""

    def __init__(self, sock: socket.socket, dpid: int) -> None:
        self.switch = Switch(0, dpid, True, lambda _mac: None)
        self.ended = threading.Event()
        self.reads = threading.Event()
        self.reads.set()
        self._sock = sock
        self._stopping = False
        self.switch.connected()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def say_goodbye(self) -> None:
        """Send TLS's close_notify, and leave the connection open: Open vSwitch does the first."""
        self._stopping = True
        self._thread.join(20)
        assert isinstance(self._sock, ssl.SSLSocket)
        with contextlib.suppress(OSError):
            self._sock.unwrap()

    def stop(self) -> None:
        self._stopping = True
        self.reads.set()
        self._thread.join(20)

    def _run(self) -> None:
        buffer = bytearray()
        try:
            while not self._stopping:
                while self.switch.out:
                    said = self.switch.out.popleft()
                    self._sock.settimeout(SEND_S)
                    for part in (said,) if isinstance(said, memoryview) else said:
                        self._sock.sendall(part)
                self.reads.wait()
                self._sock.settimeout(STEP_S)
                with contextlib.suppress(TimeoutError):
                    data = self._sock.recv(65536)
                    if not data:
                        break
                    buffer += data
                    del buffer[: self.switch.receive(buffer, len(buffer))]
        except OSError:
            pass
        self.ended.set()


def say_hello(sock: socket.socket) -> None:
    sock.sendall(encode.message(encode.HELLO, 1))


def until(done: Callable[[], bool], what: str, limit_s: float = 30.0) -> None:
    """Return when it is done; AssertionError when it is not in time."""
    end_s = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end_s, what
        time.sleep(STEP_S)
