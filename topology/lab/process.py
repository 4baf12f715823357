"""Processes of the lab: started, remembered by pid and start time, ended by nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from topology.lab.command import environment
from topology.lab.errors import LabError
from topology.lab.state import LabState


def start_time(pid: int) -> int | None:
    """Start of a living process in clock ticks since boot; None if gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def kill_recorded(processes: Sequence[tuple[int, int]], timeout_s: float = 5.0) -> None:
    """SIGKILL each (pid, start) that is still the same process, and wait until it is gone."""
    for pid, start in processes:
        if start_time(pid) == start:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    deadline_s = time.monotonic() + timeout_s
    while any(start_time(pid) == start for pid, start in processes):
        if time.monotonic() > deadline_s:
            raise LabError(f"processes that do not end: {[pid for pid, _ in processes]}")
        time.sleep(0.005)


class Processes:
    """Starts processes and writes each into the lab's state before anything can go wrong."""

    def __init__(self, state: LabState) -> None:
        self._state = state
        self._lock = threading.Lock()
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(
        self, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start in a session of its own (Ctrl-C does not reach it); output goes to `log`."""
        with log.open("ab") as output:
            child = subprocess.Popen(
                argv,
                env=environment(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        with self._lock:
            self._children[child.pid] = child
        self._state.add_process(child.pid, start_time(child.pid) or 0)
        return child

    def adopt(self, pid: int) -> None:
        """Remember a process that made itself a daemon: it ends when the lab is taken down."""
        self._state.add_process(pid, start_time(pid) or 0)

    def end(
        self,
        child: subprocess.Popen[bytes],
        how: signal.Signals = signal.SIGKILL,
        timeout_s: float = 5.0,
    ) -> int:
        """Signal the child, wait for it, forget it; gives its return code."""
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(how)
        return self.wait(child, timeout_s)

    def wait(self, child: subprocess.Popen[bytes], timeout_s: float | None = None) -> int:
        """Wait for the child's own end (SIGKILL when time is up), forget it."""
        try:
            child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        self._state.drop_process(child.pid)
        with self._lock:
            self._children.pop(child.pid, None)
        return child.returncode

    def end_all(self) -> None:
        with self._lock:
            children = list(self._children.values())
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
        for child in children:
            self.end(child)
