"""What goes out: one sender for each connection, which never holds anybody else up.

What waits to be sent is bounded, by bytes and by time: a switch that does not read is cut. The
tables' flows do not wait here. They are pulled when there is room for them.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any, Final, Protocol

import eventlet
from eventlet.event import Event
from eventlet.hubs import get_hub, trampoline

from controller.tables import Buffer

LOG = logging.getLogger("vxlan_l2.openflow")

MORE_BYTES: Final = 64 * 1024
IOV_MAX: Final = 1024
FLUSHES_AT_ONCE: Final = 64

QUEUED_MAX_BYTES: Final = 4 << 20
"""What may wait for one switch, of other apps' messages and of echoes."""

ALL_QUEUED_MAX_BYTES: Final = 64 << 20
MESSAGE_BYTES: Final = 64
"""What a message costs besides its bytes."""

STALLED_S = 20.0
"""A switch that takes nothing at all for so long is cut."""

SLOWEST_BYTES_PER_S: Final = 32 * 1024
"""And one that takes what was begun more slowly than this, once it has lasted STALLED_S."""


class Stalled(OSError):
    """The other end does not read."""


class Owner(Protocol):
    """Whose sender it is."""

    socket: Any

    @property
    def is_over(self) -> bool: ...

    def pull(self) -> list[Buffer]: ...

    def cut(self, kind: str, reason: str) -> None: ...

    def close(self) -> None: ...


class _Awake:
    """The senders that may have something to send."""

    def __init__(self) -> None:
        self._senders: deque[Sender] = deque()
        self._is_due = False

    def add(self, sender: Sender) -> None:
        self._senders.append(sender)
        self._come_back()

    def flush(self) -> None:
        """Send without ever waiting; many connections take several turns."""
        for _ in range(min(len(self._senders), FLUSHES_AT_ONCE)):
            self._senders.popleft().flush_safely()
        if self._senders:
            self._come_back()

    def _come_back(self) -> None:
        if not self._is_due:
            self._is_due = True
            get_hub().schedule_call_global(0, self._turn)

    def _turn(self) -> None:
        self._is_due = False
        self.flush()


AWAKE = _Awake()


class _Backlog:
    """What waits for all switches together."""

    def __init__(self) -> None:
        self._of: dict[Sender, int] = {}
        self._sum = 0

    def note(self, sender: Sender, queued_bytes: int) -> None:
        """So much waits there now; whoever has the most is cut when it is too much in all."""
        self._sum += queued_bytes - self._of.pop(sender, 0)
        if queued_bytes:
            self._of[sender] = queued_bytes
        if self._sum > ALL_QUEUED_MAX_BYTES:
            most = max(self._of, key=self._of.__getitem__)
            most.overflow(self._of[most])


_BACKLOG = _Backlog()


class Sender:
    """Queues, and sends what is queued and what can be pulled, in that order."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._waiting: Event | None = None  # of the loop, while it has nothing to do
        self._awake = False
        self._rest: list[Buffer] = []

    def put(self, message: bytes) -> bool:
        """Queue a message of another app's, or an echo; False when the connection is over."""
        if self._owner.is_over:
            return False
        self._queue.append(bytes(message))
        self._queued_bytes += len(message) + MESSAGE_BYTES
        _BACKLOG.note(self, self._queued_bytes)
        if self._queued_bytes > QUEUED_MAX_BYTES:
            self.overflow(self._queued_bytes)
            return False
        self.wake()
        return True

    def overflow(self, queued_bytes: int) -> None:
        """Too much waits here."""
        self.drop()
        self._owner.cut("stuck", f"it does not read: {queued_bytes} bytes wait for it")

    def drop(self) -> None:
        """Nothing is sent any more."""
        self._queue.clear()
        self._queued_bytes = 0
        _BACKLOG.note(self, 0)

    def wake(self) -> None:
        """There may be something to send: soon, with what else comes up until then."""
        if not self._awake:
            self._awake = True
            AWAKE.add(self)

    def rouse(self) -> None:
        """Have the loop look again, if it waits."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.send()

    def flush_safely(self) -> None:
        """Send what can be sent at once; what goes wrong ends this connection only."""
        try:
            self._flush()
        except Exception as error:
            LOG.exception("%s: closed", self._owner)
            self._owner.cut("failed", f"could not be sent to: {error!r}")

    def _flush(self) -> None:
        self._awake = False
        if self._waiting is None:
            return  # the loop is at it
        if not self._owner.is_over:
            buffers = self._due()
            if not buffers:
                return
            try:
                self._rest = unsent(buffers, self._owner.socket.fd.sendmsg(buffers[:IOV_MAX]))
            except OSError:
                self._rest = buffers  # it is full, or broken: the loop waits, or ends
            if not self._rest and sum(map(len, buffers)) < MORE_BYTES:
                return
        self.rouse()

    def _due(self) -> list[Buffer]:
        buffers: list[Buffer] = []
        if self._queue:
            buffers += self._queue
            self.drop()
        return buffers + self._owner.pull()

    def loop(self) -> None:
        """Send for as long as the connection lasts."""
        owner = self._owner
        try:
            while not owner.is_over:
                buffers, self._rest = self._rest, []
                buffers = buffers or self._due()
                if buffers:
                    self._write(buffers)
                    eventlet.sleep(0)
                    continue
                self._waiting = Event()
                self._waiting.wait()
        except Stalled as error:
            owner.cut("stuck", str(error))
        except OSError as error:
            LOG.debug("%s: sending failed: %s", owner, error)
        finally:
            self.drop()
            self._rest = []
            owner.close()

    def _write(self, buffers: list[Buffer]) -> None:
        size = sum(map(len, buffers))
        deadline_s = time.monotonic() + STALLED_S + size / SLOWEST_BYTES_PER_S
        for at in range(0, len(buffers), IOV_MAX):
            self._write_part(buffers[at : at + IOV_MAX], deadline_s)

    def _write_part(self, part: list[Buffer], deadline_s: float) -> None:
        socket = self._owner.socket.fd
        stalled = False
        while part:
            try:
                part = unsent(part, socket.sendmsg(part))
                stalled = False
            except BlockingIOError:
                # A timer may be over because this process stood still: once more, then.
                if stalled or time.monotonic() > deadline_s:
                    left = sum(map(len, part))
                    raise Stalled(
                        f"it does not read: {left} bytes could not be sent in time"
                    ) from None
                try:
                    trampoline(socket, write=True, timeout=STALLED_S, timeout_exc=TimeoutError)
                except TimeoutError:
                    stalled = True


def unsent(buffers: list[Buffer], sent_bytes: int) -> list[Buffer]:
    """What is left of the buffers after so many bytes."""
    for index, buffer in enumerate(buffers):
        if sent_bytes < len(buffer):
            return [memoryview(buffer)[sent_bytes:], *buffers[index + 1 :]]
        sent_bytes -= len(buffer)
    return []
