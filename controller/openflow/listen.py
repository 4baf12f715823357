"""Listening sockets: bound once and alone, and taking connections for ever."""

from __future__ import annotations

import contextlib
import errno
import logging
import resource
import socket as sockets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import eventlet

from topology.errors import VxlanError

LOG = logging.getLogger("vxlan_l2.openflow")

BACKLOG = 1024
HANDSHAKE_S = 15.0
PAUSE_S = 0.2
ARRIVALS_MAX = 256
"""Connections that have not finished their handshake; fewer where few files may be open."""

Serve: TypeAlias = Callable[[Any, Any, Callable[[], None]], None]
"""Serves a socket from an address until it ends, and calls back when its handshake is done."""


class CannotListen(VxlanError):
    """An address and port that cannot be had."""


def listen(what: str, host: str, port: int) -> Any:
    """A socket that listens, with nobody beside it on the same port."""
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    try:
        # reuse_port would let a second controller in, and give each half of the switches.
        return eventlet.listen((host, port), family, BACKLOG, reuse_port=False)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CannotListen(f"port {port} is in use ({what} on {host})") from error
        reason = error.strerror or str(error)
        raise CannotListen(f"cannot listen for {what} on {host}, port {port}: {reason}") from error
    except OverflowError as error:
        raise CannotListen(f"cannot listen for {what}: {port} is no port") from error


def connections_max(most: int) -> int:
    """So many connections, or a quarter of the files that may be open where that is less."""
    files, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if files == resource.RLIM_INFINITY else max(8, min(most, files // 4))


class Patient:
    """A listening socket whose accept() outlives errors, such as running out of files.

    relieve is called at each error, and may make room.
    """

    def __init__(self, socket: Any, relieve: Callable[[], None] = lambda: None) -> None:
        self._socket = socket
        self._relieve = relieve
        self._failed_s = float("-inf")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    @property
    def failing(self) -> bool:
        """Whether connections could not be accepted just now."""
        return time.monotonic() - self._failed_s < 5 * PAUSE_S

    def accept(self) -> tuple[Any, Any]:
        """The next connection: its socket and its address."""
        while True:
            try:
                return self._socket.accept()  # type: ignore[no-any-return]
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise
                if not self.failing:
                    LOG.error("cannot accept connections: %s; trying on", error.strerror)
                self._failed_s = time.monotonic()
            self._relieve()
            eventlet.sleep(PAUSE_S)


@dataclass(eq=False)
class _Arrival:
    """A connection that has not finished its handshake."""

    socket: Any
    address: Any

    def hang_up(self) -> None:
        """Its greenlet notices, and closes it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(sockets.SHUT_RDWR)


class Acceptor:
    """Takes switches' connections, and sends those away that do not come to the point.

    When there are too many of these, the oldest goes: a switch needs milliseconds.
    """

    def __init__(self, socket: Any, tls: Any = None) -> None:
        self._socket = Patient(socket, self._hang_up_oldest)
        self._tls = tls
        self._arrivals: dict[_Arrival, None] = {}
        self._arrivals_max = connections_max(ARRIVALS_MAX)
        self._serving = False
        self.ended = False  # the loop that takes connections

    @property
    def listening(self) -> bool:
        """Whether switches can connect."""
        return self._serving and not self._socket.failing

    def serve_for_ever(self, serve: Serve) -> None:
        """Accept, each connection in a greenlet of its own."""
        self._serving = True
        try:
            while True:
                arrival = _Arrival(*self._socket.accept())
                if len(self._arrivals) >= self._arrivals_max:
                    self._hang_up_oldest()
                self._arrivals[arrival] = None
                eventlet.spawn_n(self._welcome, arrival, serve)
                eventlet.sleep(0)  # those that were hung up on can close
        finally:
            self._serving = False
            self.ended = True

    def _welcome(self, arrival: _Arrival, serve: Serve) -> None:
        timer = eventlet.spawn_after(HANDSHAKE_S, self._too_slow, arrival)

        def finished() -> None:
            timer.cancel()
            self._arrivals.pop(arrival, None)

        try:
            if self._tls is not None:
                arrival.socket = self._tls.wrap_socket(
                    arrival.socket, server_side=True, do_handshake_on_connect=False
                )
                arrival.socket.do_handshake()
            serve(arrival.socket, arrival.address, finished)
        except OSError as error:
            LOG.warning("connection from %s: closed: %s", arrival.address[0], error)
        finally:
            finished()
            arrival.socket.close()

    def _too_slow(self, arrival: _Arrival) -> None:
        LOG.info(
            "connection from %s: no OpenFlow handshake in %.0f s, closed",
            arrival.address[0],
            HANDSHAKE_S,
        )
        arrival.hang_up()

    def _hang_up_oldest(self) -> None:
        oldest = next(iter(self._arrivals), None)
        if oldest is not None:
            del self._arrivals[oldest]
            oldest.hang_up()
