"""What can go wrong, as one or two lines for a person, or an object for a program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ERRORS_SHOWN = 10


class Failure(Exception):
    """The command was not done: what is wrong, and the way out. Exit status 1."""

    def __init__(self, what: str, way_out: str = "", more: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.way_out = way_out
        self.more = list(more)

    def lines(self) -> list[str]:
        return [self.what, *self.more, *([self.way_out] if self.way_out else [])]

    def as_json(self) -> dict[str, Any]:
        return {"title": "Failed", "detail": self.what, "more": self.more, "hint": self.way_out}


class Unreachable(Failure):
    """No controller answers at the URL."""


class TooOld(Failure):
    """The controller has no such endpoint."""

    def __init__(self, path: str) -> None:
        super().__init__(f"this controller is older: it has no {path}", "update it, then ask again")


class Refused(Failure):
    """The API answered with a problem (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any], way_out: str = "") -> None:
        self.status = status
        self.problem = dict(problem)
        title = problem.get("title") or "Error"
        super().__init__(f"{title} ({status}): {problem.get('detail') or 'no detail'}", way_out)
        errors = [error for error in problem.get("errors") or () if isinstance(error, dict)]
        if len(errors) > 1:
            self.what = f"{title} ({status}):"
            self.more = [f"  {error.get('field')}: {error.get('reason')}" for error in errors]
            if len(self.more) > ERRORS_SHOWN:
                left = len(self.more) - ERRORS_SHOWN
                self.more[ERRORS_SHOWN:] = [f"  and {left} more"]

    def as_json(self) -> dict[str, Any]:
        return {**self.problem, "status": self.status, "hint": self.way_out}


class WrongUsage(Exception):
    """The command line itself is wrong. Exit status 2."""


def near(wanted: str, known: Sequence[str]) -> str:
    """``did you mean compute-1 or compute-2?``, or nothing."""
    import difflib

    lower = {name.lower(): name for name in known if name}
    found = difflib.get_close_matches(wanted.lower(), lower, 3, 0.6)
    return f"did you mean {' or '.join(lower[name] for name in found)}?" if found else ""
