"""Memory and descriptors of the controller, over the time that one process lives."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.soak.failed import Failed

GROWTH_MAX_KIB = 8 * 1024
"""Resident memory may grow by this from the first to the last quarter of what is watched."""

DESCRIPTORS_MORE = 4
"""Open files at a quiet point, beyond the least seen: a connection that is still being closed."""

WARM_UP = 6
"""Samples of a process that do not count: code is imported, buffers and pools are filled."""


@dataclass
class Gauges:
    """samples: (seconds since the start, pid, resident KiB, open files), at quiet points."""

    samples: list[tuple[float, int, int, int]] = field(default_factory=list)

    def read(self, at_s: float, pid: int) -> None:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
        resident = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        files = len(os.listdir(f"/proc/{pid}/fd"))
        self.samples.append((at_s, pid, int(resident.split()[1]), files))

    def lived_longest(self) -> list[tuple[float, int, int, int]]:
        """Samples of the process with most of them, warmed up."""
        pids = [pid for _at, pid, _kib, _files in self.samples]
        if not pids:
            return []
        longest = max(set(pids), key=pids.count)
        return [sample for sample in self.samples if sample[1] == longest][WARM_UP:]

    def growth_kib(self) -> float | None:
        """Between the first and the last quarter; None when there is too little to tell."""
        kib = [kib for _at, _pid, kib, _files in self.lived_longest()]
        quarter = len(kib) // 4
        return median(kib[-quarter:]) - median(kib[:quarter]) if quarter > 1 else None

    def check(self) -> None:
        growth = self.growth_kib()
        if growth is not None and growth > GROWTH_MAX_KIB:
            raise Failed(f"memory grew by {growth / 1024:.1f} MiB: {self.curve()}")
        files = [files for *_rest, files in self.lived_longest()]
        if files and files[-1] > min(files) + DESCRIPTORS_MORE:
            raise Failed(f"open files: {min(files)} at first, {files[-1]} at last")

    def curve(self, points: int = 24) -> str:
        """Seconds:MiB/files, so many points of it; a new process is marked by a bar."""
        step = max(1, len(self.samples) // points)
        shown, before = [], None
        for at_s, pid, kib, files in self.samples[::step]:
            mark = "" if before in (None, pid) else "| "
            shown.append(f"{mark}{at_s:.0f}s:{kib / 1024:.1f}/{files}")
            before = pid
        return " ".join(shown)
