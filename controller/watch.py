"""What a switch's flow monitor says: evidence that somebody else changed its flows.

Open vSwitch tells a subscriber of each change, and abbreviates the subscriber's own (ONF extension
EXT-187 for OpenFlow 1.3). It is evidence only; that a flow of ours is gone, or altered, is judged
when it is looked into, against what the switch should hold by then.

An abbreviation comes for every flow-mod of ours, so the monitor is suspended while many are sent.
Open vSwitch pauses it by itself when it is not read quickly enough. Either way an audit tells.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from controller.pipeline import SOURCE_KINDS, cookie_kind
from controller.wire import decode, encode
from controller.wire.decode import FlowEntry

MANY_ENTRIES, MANY_BYTES = 1000, 256 * 1024
"""More than this is left to an audit."""


class Evidence(NamedTuple):
    """Flows whose cookies are ours and that are gone; what was added or altered, as it is now."""

    gone: tuple[int, ...]
    there: tuple[FlowEntry, ...]


class Watch:
    """The flow monitor of one connection.

    ``works``: whether the switch has one, None while that is not known. ``suspects``: an audit is
    due for what it said, or could not say.
    """

    def __init__(self) -> None:
        self.works: bool | None = None
        self.suspects = False
        self._lately = False  # since the audit under way began
        self._is_on = False
        self._paused = False
        self._overflowed = False
        self._id = 0
        self._xid: int | None = None
        self._last: dict[bytes, tuple[bool, FlowEntry]] = {}  # by identity; is it there now?
        self._bytes = 0

    @property
    def is_due(self) -> bool:
        """Whether it is to be subscribed to."""
        return not self._is_on and self.works is not False

    def subscribe(self, xid: int) -> bytes:
        """The request, with an id of its own each time.

        Open vSwitch 3.1 answers one that it has with an error made of freed memory.
        """
        self._is_on, self._paused = True, False
        self._id += 1
        self._xid = xid
        return encode.flow_monitor(self._id, xid)

    def suspend(self) -> list[bytes]:
        """Hear nothing from now on, until it is subscribed to again."""
        if not self._is_on:
            return []
        self._is_on = False
        return [encode.flow_monitor_cancel(self._id)]

    def answered(self, xid: int, body: bytes) -> None:
        """The answer to the request, if it is that."""
        if xid != self._xid:
            return
        if body.startswith(encode.FLOW_MONITOR_NAME):
            self.works = True
        else:
            self.refused()

    def refused(self) -> None:
        """The switch knows no flow monitor."""
        self.works, self._is_on = False, False

    def paused(self, paused: bool) -> None:
        """Not all is told from here on; or it is again."""
        self._paused = paused
        if not paused:
            self._suspect()

    def take(self, body: bytes) -> bool:
        """Some updates came; True when there is something to look into."""
        if not self.works or self._paused or self._overflowed:
            return False
        for update in decode.flow_updates(body):
            self._note(update)
        if len(self._last) > MANY_ENTRIES or self._bytes > MANY_BYTES:
            self._forget()
            self._overflowed = True
            self._suspect()
        return self.suspects or bool(self._last)

    def _note(self, update: decode.FlowUpdate) -> None:
        entry = update.entry
        name = entry.name
        ours = cookie_kind(entry.cookie)
        before = self._last.pop(name, None)
        if before is not None:
            self._bytes -= len(before[1].raw)
        if update.event is not decode.Updated.DELETED:
            self._suspect()  # of what it took the place of, nothing is said
        elif update.reason == decode.GROUP_DELETED:
            self._suspect()
            return
        elif update.reason in decode.TIMED_OUT or ours is None or ours in SOURCE_KINDS:
            # A learned source that is gone is heard again.
            return
        self._last[name] = (update.event is not decode.Updated.DELETED, entry)
        self._bytes += len(entry.raw)

    def evidence(self) -> Evidence:
        """What is to be looked into; it is told once."""
        last = list(self._last.values())
        self._forget()
        return Evidence(
            tuple(entry.cookie for is_there, entry in last if not is_there),
            tuple(entry for is_there, entry in last if is_there),
        )

    def _forget(self) -> None:
        self._last.clear()
        self._bytes = 0

    def _suspect(self) -> None:
        self.suspects = self._lately = True

    def audit_begins(self) -> None:
        """All that was not told until now will be found."""
        self._overflowed = self._lately = False

    def audited(self) -> bool:
        """Whether it had asked for this audit; it asks for another one for what it said since."""
        asked, self.suspects = self.suspects, self._lately
        return asked

    def settled(self, missing: Collection[int]) -> None:
        """An audit found and mended these."""
        for name, (is_there, entry) in list(self._last.items()):
            if not is_there and entry.cookie in missing:
                del self._last[name]
                self._bytes -= len(entry.raw)
