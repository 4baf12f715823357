"""The connections there are: how long each has made us wait, and who goes when all are taken."""

from __future__ import annotations

import _socket
import contextlib
import socket as sockets
import time
from collections import Counter
from enum import Enum
from typing import Any, Final


class Phase(Enum):
    """What a connection is at."""

    HANDSHAKE = "handshake"
    IDLE = "idle"
    HEAD = "head"
    BODY = "body"
    ANSWER = "answer"
    LINGER = "linger"


PATIENCE_S: Final = {
    Phase.HANDSHAKE: 10.0,
    Phase.IDLE: 60.0,
    Phase.HEAD: 10.0,
    Phase.BODY: 20.0,
    Phase.ANSWER: 60.0,
    Phase.LINGER: 10.0,
}
"""For so long in all may a client make us wait there."""
ANSWERS_MAX_BYTES: Final = 128 << 20
"""Of answers that wait for their clients; beyond, who has waited longest loses his."""


RATE_BYTES_S: Final = 16384.0
"""What is read or sent this fast in a body or an answer makes nobody impatient."""

_EARNS: Final = (Phase.BODY, Phase.ANSWER)


class Connection:
    """address: the client's. The socket may become one with TLS on the way."""

    __slots__ = (
        "_blocked_since_s",
        "_used_s",
        "address",
        "late",
        "moved_bytes",
        "phase",
        "socket",
        "unread_bytes",
    )

    def __init__(self, socket: Any, address: Any) -> None:
        self.socket = socket
        self.address = address
        self.late = False
        """Whether it was given up while it sent a request."""
        self.unread_bytes = 0
        """Of its answer, in memory."""
        self.begin(Phase.IDLE)

    def begin(self, phase: Phase) -> None:
        self.phase = phase
        self.moved_bytes = 0
        self._used_s = 0.0
        self._blocked_since_s: float | None = None

    def wait(self) -> None:
        """From here on it is the client's turn, until ``moved``."""
        self._blocked_since_s = time.monotonic()

    def moved(self, count: int) -> None:
        """So many bytes came, or went."""
        if self._blocked_since_s is not None:
            self._used_s += time.monotonic() - self._blocked_since_s
            self._blocked_since_s = None
        self.moved_bytes += count

    @property
    def blocked(self) -> bool:
        """Whether it is the client's turn."""
        return self._blocked_since_s is not None

    @property
    def streams(self) -> bool:
        """Whether its answer has begun and goes on: it can be asked for again."""
        return self.phase is Phase.ANSWER

    def waited_s(self, now_s: float) -> float:
        """How long the client has made us wait in this phase, beyond what it moved before."""
        blocked_s = 0.0 if self._blocked_since_s is None else now_s - self._blocked_since_s
        earned_s = self.moved_bytes / RATE_BYTES_S if self.phase in _EARNS else 0.0
        return max(0.0, self._used_s - earned_s) + blocked_s

    def stop_reading(self) -> None:
        """Its greenlet finds the request at its end, and can still answer."""
        self.late = True
        self._shut_down(sockets.SHUT_RD)

    def hang_up(self) -> None:
        """Its greenlet finds the connection at its end."""
        self._shut_down(sockets.SHUT_RDWR)

    def end_answer(self) -> None:
        """The client finds the answer at its end, and what it still sends is taken."""
        self._shut_down(sockets.SHUT_WR)

    def _shut_down(self, how: int) -> None:
        # Not a TLS socket's own shutdown(), which forgets that there is TLS: its greenlet may wait.
        with contextlib.suppress(OSError):
            plain = getattr(self.socket, "fd", self.socket)
            _socket.socket.shutdown(plain, how)


class Connections:
    """No more than ``most``; ``ended`` counts by reason those that were not the client's wish."""

    def __init__(self, most: int, ended: Counter[str]) -> None:
        self._most = most
        self._all: dict[Connection, None] = {}
        self._ended = ended

    @property
    def full(self) -> bool:
        return len(self._all) >= self._most

    def add(self, connection: Connection) -> None:
        self._all[connection] = None

    def remove(self, connection: Connection) -> None:
        self._all.pop(connection, None)

    def make_room(self, now_s: float) -> bool:
        """Hang up on some that make us wait, of the address that has the most of them.

        Without any, on answers without end. What is being worked on stays; then there is no room.
        """
        waiting = [one for one in self._all if one.blocked]
        some = waiting or [one for one in self._all if one.streams]
        if not some:
            return False
        [(address, _count)] = Counter(one.address[0] for one in some).most_common(1)
        theirs = [one for one in some if one.address[0] == address]
        theirs.sort(key=lambda one: one.waited_s(now_s), reverse=True)
        for one in theirs[: max(1, self._most // 32)]:  # several: this is not to be done for each
            self._end(one, "too_many")
        return True

    def sweep(self, now_s: float) -> None:
        """End what makes us wait for too long."""
        for one in list(self._all):
            if not one.blocked or one.waited_s(now_s) <= PATIENCE_S[one.phase]:
                continue
            if one.phase in (Phase.HEAD, Phase.BODY):
                one.stop_reading()  # the answer 408 is counted
            else:
                self._end(one, f"{one.phase.value}_too_slow")
        unread = [one for one in self._all if one.unread_bytes and one.blocked]
        unread.sort(key=lambda one: one.waited_s(now_s))
        left_bytes = ANSWERS_MAX_BYTES
        for one in unread:
            left_bytes -= one.unread_bytes
            if left_bytes < 0:
                self._end(one, "answers_unread")

    def _end(self, connection: Connection, reason: str) -> None:
        del self._all[connection]
        self._ended[reason] += 1
        connection.hang_up()
