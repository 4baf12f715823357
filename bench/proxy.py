"""A TCP relay between switches and the controller, which counts what the controller sends."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from functools import partial

from bench.openflow import take, unwrapped
from controller.wire import encode

_CHUNK_BYTES = 1 << 18
_STATE = (encode.FLOW_MOD, encode.GROUP_MOD, encode.METER_MOD)


class Proxy:
    """Before the controller at `ip`, `port`. A context manager.

    target: what a bridge is told.
    flow_mods: how many the controller sent, in bundles or not. With `keep`, `sent` has these, the
    group-mods and the meter-mods, in order and without envelopes.
    """

    def __init__(self, ip: str, port: int, *, keep: bool = False) -> None:
        self._server = socket.create_server((ip, 0))
        self._controller = (ip, port)
        self._keep = keep
        self._open = True
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.target = f"tcp:{ip}:{self._server.getsockname()[1]}"
        self.sent: list[bytes] = []
        self.flow_mods = 0

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        # A thread that sits in accept() is not woken by close() alone.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """End every connection, at both ends, and take no other until resume()."""
        self._open = False
        with self._lock:
            ends, self._sockets = self._sockets, set()
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def resume(self) -> None:
        self._open = True

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                switch, _address = self._server.accept()
                try:
                    if not self._open:
                        raise ConnectionRefusedError
                    controller = socket.create_connection(self._controller, timeout=5)
                except OSError:
                    switch.close()  # as it would be refused without us
                    continue
                controller.settimeout(None)
                for end in (switch, controller):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self._lock:
                    self._sockets |= {switch, controller}
                self._relay(switch, controller, lambda data: None)
                self._relay(controller, switch, partial(self._look, bytearray()))

    def _relay(
        self, source: socket.socket, sink: socket.socket, look: Callable[[bytes], None]
    ) -> None:
        def run() -> None:
            with contextlib.suppress(OSError):
                while data := source.recv(_CHUNK_BYTES):
                    sink.sendall(data)
                    look(data)
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)
            with self._lock:
                self._sockets.discard(source)
            source.close()

        threading.Thread(target=run, daemon=True).start()

    def _look(self, buffer: bytearray, data: bytes) -> None:
        buffer += data
        for message in take(buffer):
            inner = unwrapped(message)
            if inner[1] not in _STATE:
                continue
            self.flow_mods += inner[1] == encode.FLOW_MOD
            if self._keep:
                self.sent.append(inner)
