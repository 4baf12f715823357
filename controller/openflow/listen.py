"""Listening sockets: bound once and alone, and taking connections for ever."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import resource
import socket as sockets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import eventlet
from eventlet.hubs import get_hub

from controller.openflow.complaints import Complaints
from controller.openflow.tls import NotSecured, Tls
from topology.errors import VxlanError

LOG = logging.getLogger("vxlan_l2.openflow")

BACKLOG = 1024
HANDSHAKE_S = 15.0
LATE_MAX = 4
"""So often a handshake's time begins anew where it is this process that has not read what came."""

PAUSE_S, RELIEVED_S = 0.2, 0.01
"""How long to wait where no file is left: until somebody goes; until who was sent away is gone."""

CONNECTIONS_MAX, PER_ADDRESS_MAX = 4096, 1024
ARRIVALS_MAX = 2048
"""Connections that have not finished their handshake; at most half of all."""

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


def switches_max(most: int) -> int:
    """So many switches, or half of the files that may be open where that is less."""
    files, _most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if files == resource.RLIM_INFINITY else max(8, min(most, files // 2))


def allow_files(connections: int) -> None:
    """Have as many files as so many connections need, and REST, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections * 4
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Patient:
    """A listening socket whose accept() outlives errors, such as running out of files.

    relieve is called at each error, and may make room.
    """

    def __init__(self, socket: Any, relieve: Callable[[], object] = lambda: None) -> None:
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
            eventlet.sleep(RELIEVED_S if self._relieve() else PAUSE_S)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many connections there may be, and how many of one address (of one /64 over IPv6)."""

    connections: int = CONNECTIONS_MAX
    per_address: int = PER_ADDRESS_MAX


@dataclass(eq=False)
class _Guest:
    """A connection; an arrival until its handshake is done."""

    socket: Any
    address: Any
    origin: str = field(init=False)  # who it is counted for
    deadline: Any = None  # of its handshake
    late: int = 0

    def __post_init__(self) -> None:
        self.origin = _origin(str(self.address[0]))

    def hang_up(self) -> None:
        """Its greenlet notices, and closes it."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(sockets.SHUT_RDWR)

    def has_unread(self) -> bool:
        """Whether something came that was not read yet."""
        try:
            peeked = sockets.MSG_PEEK | sockets.MSG_DONTWAIT
            return bool(self.socket.fd.recv(1, peeked))  # a green one's recv would wait for it
        except OSError:
            return False

    def turn_away(self) -> None:
        """Close it at once, with nothing left to wait for (RST)."""
        with contextlib.suppress(OSError):
            reset = struct.pack("ii", 1, 0)
            self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, reset)
        self.socket.close()


def _origin(host: str) -> str:
    """The address, or the /64 that one host has all of (RFC 4291, 2.5.1)."""
    host = host.removeprefix("::ffff:").partition("%")[0]
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((host, 64), strict=False))


class _Book:
    """Guests by whom they are counted for, the oldest first."""

    def __init__(self) -> None:
        self.count = 0
        self._of: dict[str, dict[_Guest, None]] = {}

    def add(self, guest: _Guest) -> None:
        self._of.setdefault(guest.origin, {})[guest] = None
        self.count += 1

    def discard(self, guest: _Guest) -> None:
        there = self._of.get(guest.origin)
        if there is None or guest not in there:
            return
        del there[guest]
        self.count -= 1
        if not there:
            del self._of[guest.origin]

    def count_of(self, origin: str) -> int:
        return len(self._of.get(origin, ()))

    def oldest_of(self, origin: str) -> _Guest | None:
        return next(iter(self._of.get(origin, ())), None)

    def busiest(self) -> str | None:
        """Whose are the most."""
        return max(self._of, key=self.count_of, default=None)


class Acceptor:
    """Takes switches' connections, and sends those away that do not come to the point.

    A switch needs milliseconds for its handshake. When there are too many at it, whoever has the
    most of them loses his oldest: nobody keeps others out. ``complaints`` hears of all of these.
    """

    def __init__(self, socket: Any, tls: Tls | None = None, limits: Limits | None = None) -> None:
        self._socket = Patient(socket, self._make_room)
        self._tls = tls
        limits = limits or Limits()
        self._open_max = switches_max(limits.connections)
        self._per_address_max = limits.per_address
        self._arrivals_max = max(4, min(ARRIVALS_MAX, self._open_max // 2))
        self._open, self._arrivals = _Book(), _Book()
        self._serving = False
        self.complaints = Complaints(LOG, time.monotonic, eventlet.spawn_after)
        self.turned_away: Callable[[str, str], None] = lambda _address, _reason: None
        self.ended = False  # the loop that takes connections

    @property
    def listening(self) -> bool:
        """Whether switches can connect; those that find no file left wait for their turn."""
        return self._serving

    def serve_for_ever(self, serve: Serve) -> None:
        """Accept, each connection in a greenlet of its own."""
        self._serving = True
        try:
            while True:
                socket, address = self._socket.accept()
                try:
                    self._take_in(_Guest(socket, address), serve)
                except Exception as error:
                    socket.close()
                    line = f"connection from {address[0]}: closed: {error!r}"
                    self.complaints.tell("failed", str(address[0]), line, trace=True)
                eventlet.sleep(0)  # those that were hung up on can close
        finally:
            self._serving = False
            self.ended = True

    def _take_in(self, guest: _Guest, serve: Serve) -> None:
        if not self._has_room_for(guest):
            guest.turn_away()
            return
        self._open.add(guest)
        self._arrivals.add(guest)
        eventlet.spawn_n(self._welcome, guest, serve)

    def _has_room_for(self, guest: _Guest) -> bool:
        """Whether a guest may stay, once those that are too many are gone."""
        origin = guest.origin
        if self._open.count_of(origin) >= self._per_address_max and not self._dismiss(origin):
            self._complain(
                guest,
                "address_full",
                f"it has {self._per_address_max} connections already"
                " ([vxlan] connections_per_address_max)",
            )
            return False
        if self._open.count >= self._open_max and not self._make_room():
            self._complain(
                guest,
                "full",
                f"there are {self._open_max} already ([vxlan] connections_max, and at most half"
                " of the files that may be open)",
            )
            return False
        if self._arrivals.count >= self._arrivals_max:
            self._make_room()
        return True

    def _make_room(self) -> bool:
        """Send somebody away whose handshake is not done, of whoever has the most of these."""
        busiest = self._arrivals.busiest()
        return busiest is not None and self._dismiss(busiest)

    def _dismiss(self, origin: str) -> bool:
        """Send the oldest away of those of one address whose handshake is not done."""
        oldest = self._arrivals.oldest_of(origin)
        if oldest is None:
            return False
        self._forget(oldest)
        self._complain(oldest, "evicted", "too many have not finished their handshake")
        oldest.hang_up()
        return True

    def _forget(self, guest: _Guest) -> None:
        self._arrivals.discard(guest)
        self._open.discard(guest)

    def _complain(self, guest: _Guest, kind: str, why: str, level: int = logging.WARNING) -> None:
        self.complaints.tell(
            kind, guest.origin, f"connection from {guest.address[0]}: closed: {why}", level
        )

    def _welcome(self, guest: _Guest, serve: Serve) -> None:
        guest.deadline = get_hub().schedule_call_global(HANDSHAKE_S, self._time_is_up, guest)

        def finished() -> None:
            guest.deadline.cancel()
            self._arrivals.discard(guest)

        try:
            if self._tls is not None:
                guest.socket = secured = self._tls.wrap(guest.socket)
                secured.do_handshake()
            serve(guest.socket, guest.address, finished)
        except NotSecured as error:
            self._complain(guest, "tls", str(error))
            self.turned_away(str(guest.address[0]), str(error))
        except OSError as error:
            self._complain(guest, "broken", str(error))
        finally:
            guest.deadline.cancel()
            self._forget(guest)
            guest.socket.close()

    def _time_is_up(self, guest: _Guest) -> None:
        if guest.late < LATE_MAX and guest.has_unread():
            guest.late += 1
            guest.deadline = get_hub().schedule_call_global(HANDSHAKE_S, self._time_is_up, guest)
            return
        self._complain(
            guest, "handshake", f"no OpenFlow handshake in {HANDSHAKE_S:.0f} s", logging.INFO
        )
        guest.hang_up()
