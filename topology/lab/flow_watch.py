"""Every change of a bridge's flows, as a passive observer is told of it by Open vSwitch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from topology.lab.errors import LabError
from topology.lab.host import LabHost
from topology.lab.ovs import wait_until
from topology.lab.process import Processes

_EVENT = re.compile(
    r"event=(ADDED|MODIFIED|DELETED)(?: reason=([a-z_ ]+?))? table=(\d+).*? cookie=(0x[0-9a-f]+)"
)
_TIMED_OUT = ("hard timeout", "idle timeout", "hard_timeout", "idle_timeout", "hard", "idle")


class Update(NamedTuple):
    """event: ADDED, MODIFIED or DELETED; reason: of a DELETED one; text: the flow's match too."""

    event: str
    reason: str
    table: int
    cookie: str
    text: str


class FlowWatch:
    """A context manager: ``ovs-ofctl monitor`` on br-tun, beside the controller's session.

    adds: whether additions are told, too; without, it keeps up with thousands of them.
    Ends with the switch: it does not survive a restart of ovs-vswitchd.
    """

    def __init__(self, host: LabHost, processes: Processes, log: Path, *, adds: bool) -> None:
        self._flags = "!initial,!actions" + ("" if adds else ",!add")
        self._host = host
        self._processes = processes
        self._log = log

    def __enter__(self) -> FlowWatch:
        argv = ["ovs-ofctl", "-O", "OpenFlow13", "monitor", "br-tun", f"watch:{self._flags}"]
        self._child = self._processes.start(argv, self._log, self._host.ovs.env)
        wait_until(lambda: "FLOW_MONITOR reply" in self._text(), f"watching {self._host.name}")
        return self

    def __exit__(self, *_error: object) -> None:
        self._processes.end(self._child)

    def updates(self) -> Iterator[Update]:
        """What changed so far; LabError if the switch did not tell all of it."""
        text = self._text()
        if "PAUSED" in text.upper():
            raise LabError(f"{self._host.name} changed faster than the observer reads")
        for line in text.splitlines():
            found = _EVENT.search(line)
            if found is not None:
                event, reason, table, cookie = found.groups()
                yield Update(event, reason or "", int(table), cookie, line.strip())

    def deleted(self) -> list[Update]:
        """Flows that somebody deleted; those that timed out are not among them."""
        return [
            update
            for update in self.updates()
            if update.event == "DELETED" and update.reason not in _TIMED_OUT
        ]

    def _text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
