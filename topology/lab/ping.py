"""ping(8): run it, count what came back."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from topology.lab import netns
from topology.lab.errors import LabError
from topology.lab.process import Processes

_REPLY = re.compile(r"icmp_seq=(\d+) ttl=\d+ time=([\d.]+) ms( \(DUP!\))?")
_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received")


@dataclass(frozen=True, slots=True)
class PingResult:
    """Counts of echo requests; missing: the sequence numbers that stayed without an answer."""

    sent: int
    received: int
    lost: int
    duplicates: int
    rtts_ms: tuple[float, ...]
    missing: tuple[int, ...]
    interval_s: float

    @property
    def ok(self) -> bool:
        return self.sent > 0 and self.lost == 0

    @property
    def longest_outage_s(self) -> float:
        """The longest run of lost packets, as time at the nominal interval."""
        longest = run = previous = 0
        for seq in self.missing:
            run = run + 1 if seq == previous + 1 else 1
            longest, previous = max(longest, run), seq
        return longest * self.interval_s


def parse(output: str, interval_s: float, stopped: bool = False) -> PingResult:
    """Read ping's output; of a stopped ping the last packet is not counted while unanswered."""
    summary = _SUMMARY.search(output)
    if summary is None:
        raise LabError(f"ping gave no summary: {output.strip()[-300:]}")
    sent = int(summary[1])
    rtts_ms: dict[int, float] = {}
    duplicates = 0
    for seq, rtt_ms, duplicate in _REPLY.findall(output):
        if duplicate or int(seq) in rtts_ms:
            duplicates += 1
        else:
            rtts_ms[int(seq)] = float(rtt_ms)
    if stopped and sent and sent not in rtts_ms:
        sent -= 1
    missing = tuple(seq for seq in range(1, sent + 1) if seq not in rtts_ms)
    return PingResult(
        sent=sent,
        received=sent - len(missing),
        lost=len(missing),
        duplicates=duplicates,
        rtts_ms=tuple(rtts_ms.values()),
        missing=missing,
        interval_s=interval_s,
    )


class Ping:
    """A ping under way."""

    def __init__(
        self, child: subprocess.Popen[bytes], log: Path, interval_s: float, processes: Processes
    ) -> None:
        self._child = child
        self._log = log
        self._interval_s = interval_s
        self._processes = processes
        self._result: PingResult | None = None

    @property
    def received(self) -> int:
        """Answers so far."""
        return len(_REPLY.findall(self._text()))

    def wait_received(self, count: int, timeout_s: float = 10.0) -> None:
        """Return when `count` answers are in; LabError when time is up."""
        deadline_s = time.monotonic() + timeout_s
        while self.received < count:
            if time.monotonic() > deadline_s:
                raise LabError(f"{self.received} of {count} answers within {timeout_s:g} s")
            time.sleep(0.01)

    def wait(self, timeout_s: float | None = None) -> PingResult:
        """Let a ping with a count come to its end."""
        if self._result is None:
            self._processes.wait(self._child, timeout_s)
            self._result = self._read(stopped=False)
        return self._result

    def finish(self) -> PingResult:
        """Stop now; a packet in flight at this moment is not counted."""
        if self._result is None:
            ended = self._child.poll() is not None
            self._processes.end(self._child, signal.SIGINT)
            self._result = self._read(stopped=not ended)
        return self._result

    def _text(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""

    def _read(self, stopped: bool) -> PingResult:
        text = self._text()
        self._log.unlink(missing_ok=True)
        return parse(text, self._interval_s, stopped)


def start(
    netns_name: str,
    log: Path,
    processes: Processes,
    ip: str,
    count: int | None,
    interval_s: float,
    timeout_s: float,
    source: str,
) -> Ping:
    """Start ping in the namespace from the address or interface `source`."""
    limit = [] if count is None else ["-c", str(count)]
    pace = ["-i", f"{interval_s:g}", "-W", f"{timeout_s:g}", "-I", source]
    argv = netns.argv_in(netns_name, ["ping", "-n", *limit, *pace, ip])
    return Ping(processes.start(argv, log), log, interval_s, processes)
