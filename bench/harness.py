"""What a figure is told, and what it reports: samples of several rounds, goals, notes."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from math import ceil
from pathlib import Path
from typing import TypeAlias

from topology.lab import LabError
from topology.lab.command import run

#: series -> median of its rounds
Medians: TypeAlias = Mapping[str, float]

#: command whose first line of --version tells the version
_TOOLS = {"Open vSwitch": "ovs-vswitchd", "OVN": "ovn-controller"}


class Broken(Exception):
    """What was measured behaves wrongly, so that its time means nothing."""


@dataclass(frozen=True)
class Scale:
    """short: small sizes, to see that all works; rounds: how often each series is measured."""

    short: bool
    rounds: int


@dataclass
class Series:
    """The values of one series, one a round; percentile: "p50", "p99", or "" of a plain value."""

    unit: str
    percentile: str = ""
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True)
class Goal:
    """A bound for a value of the medians; ``at_least`` or ``at_most`` is given."""

    text: str
    value: Callable[[Medians], float]
    at_least: float | None
    at_most: float | None

    def reached(self, medians: Medians) -> float | None:
        """The value, None where a series it needs was not measured."""
        try:
            return self.value(medians)
        except KeyError:
            return None

    def met(self, reached: float) -> bool:
        over = self.at_least is None or reached >= self.at_least
        return over and (self.at_most is None or reached <= self.at_most)

    @property
    def bound(self) -> str:
        words = ((">=", self.at_least), ("<=", self.at_most))
        return " and ".join(f"{sign} {limit:g}" for sign, limit in words if limit is not None)


class Report:
    """One figure's results; ``say`` is told of each as it comes."""

    def __init__(self, name: str, title: str, say: Callable[[str], None]) -> None:
        self.name = name
        self.title = title
        self.series: dict[str, Series] = {}
        self.goals: list[Goal] = []
        self.notes: list[str] = []
        self._say = say

    def sample(self, series: str, value: float, unit: str) -> None:
        """One measurement of one round; the first series of a unit is ours."""
        self._add(series, Series(unit), value)

    def distribution(self, series: str, values_s: Sequence[float]) -> None:
        """Latencies of one round, in seconds: the series "... p50" and "... p99", in ms."""
        ordered = sorted(values_s)
        for percent in (50, 99):
            value_s = ordered[ceil(len(ordered) * percent / 100) - 1]
            self._add(f"{series} p{percent}", Series("ms", f"p{percent}"), value_s * 1000)

    def _add(self, name: str, fresh: Series, value: float) -> None:
        series = self.series.setdefault(name, fresh)
        series.values.append(value)
        self._say(f"{name}: {number(value)} {series.unit}")

    def goal(
        self,
        text: str,
        value: Callable[[Medians], float],
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Judge ``value`` of the medians over all rounds; a miss is shown, never an error."""
        self.goals.append(Goal(text, value, at_least, at_most))

    def note(self, text: str) -> None:
        """Versions of peers, sizes, what a profile said; said twice it is kept once."""
        if text not in self.notes:
            self.notes.append(text)
            self._say(text)

    # -- reading ---------------------------------------------------------------------------

    @property
    def medians(self) -> dict[str, float]:
        return {name: series.median for name, series in self.series.items()}

    def ratio(self, name: str) -> float | None:
        """Ours by that series: the first of its unit (and percentile) stands for us."""
        series = self.series[name]
        kind = series.unit, series.percentile
        ours = next(one for one in self.series.values() if (one.unit, one.percentile) == kind)
        return None if ours is series or not series.median else ours.median / series.median

    def as_json(self) -> dict[str, object]:
        medians = self.medians
        return {
            "title": self.title,
            "series": {
                name: {"unit": one.unit, "median": one.median, "values": one.values}
                for name, one in self.series.items()
            },
            "goals": [
                {
                    "text": goal.text,
                    "bound": goal.bound,
                    "reached": (reached := goal.reached(medians)),
                    "met": None if reached is None else goal.met(reached),
                }
                for goal in self.goals
            ],
            "notes": self.notes,
        }


def number(value: float) -> str:
    """Three significant digits, thousands set apart."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def machine() -> dict[str, str]:
    """Where this runs: processor, cores, memory, kernel, date (UTC), and what else ran there."""
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_bytes / (1 << 30):.0f} GiB",
        "kernel": platform.release(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def versions() -> dict[str, str]:
    """What is measured, and what it runs on; a peer that is not installed is left out."""
    found = {name: metadata.version(name) for name in ("vxlan-l2", "ryu", "eventlet")}
    found["Python"] = platform.python_version()
    for name, tool in _TOOLS.items():
        try:
            found[name] = run(tool, "--version").split("\n", 1)[0].rpartition(" ")[2]
        except LabError:
            continue
    return found
