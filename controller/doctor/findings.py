"""Checks by name, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final, TypeAlias

from controller.doctor.evidence import Evidence
from controller.service import CheckResult

RECENT_S = 600.0

Findings: TypeAlias = Iterator[CheckResult]
Check: TypeAlias = Callable[[Evidence], Findings]
CHECKS: Final[dict[str, Check]] = {}


def named(name: str) -> Callable[[Check], Check]:
    """Make a function the check of this name."""

    def take(check: Check) -> Check:
        CHECKS[name] = check
        return check

    return take


def results(name: str, evidence: Evidence) -> list[CheckResult]:
    """One check's findings; without any, that all is well with what it looked at."""
    check = CHECKS[name]
    looked_at = (check.__doc__ or "").partition("\n")[0].rstrip(".")
    found = [replace(one, check=name) for one in check(evidence)]
    return found or [CheckResult(name, "ok", None, looked_at)]


def error(subject: str | None, summary: str, cause: str, command: str | None) -> CheckResult:
    """Something does not work."""
    return CheckResult("", "error", subject, summary, cause, command)


def warning(subject: str | None, summary: str, cause: str, command: str | None) -> CheckResult:
    """Something will not work, did not, or cannot be told for certain."""
    return CheckResult("", "warning", subject, summary, cause, command)


def ago(seconds: float) -> str:
    """A time span, in one unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and seconds % size < 1):
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
