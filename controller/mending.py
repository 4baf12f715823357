"""What could not be derived from a stored fact, for a fault of ours, and is tried again.

A stored change is applied, whatever becomes of what follows from it: the facts in memory are those
of the store, the changes beside it are not held up, and a switch lacks the flows of one fact at
most. Since every unit is recomputed from the facts as they are, trying again needs no history but
which facts it is about.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from topology.model import Fact, Key

AGAIN_S, AGAIN_MAX_S = 1.0, 300.0

Transition: TypeAlias = tuple[Fact | None, Fact | None]
"""A fact before and after a change."""


@dataclass(slots=True)
class _Unfinished:
    transition: Transition
    pause_s: float = AGAIN_S
    due_s: float | None = None


@dataclass(slots=True)
class Mending:
    """What is unfinished; ``told`` collects lines for the log."""

    told: list[str] = field(default_factory=list)
    _unfinished: dict[tuple[type[Fact], Key], _Unfinished] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._unfinished)

    def failed(self, before: Fact | None, after: Fact | None, trace: str) -> None:
        """What follows from a fact's change is not in the tables, or only some of it."""
        fact = before if before is not None else after
        assert fact is not None
        self._unfinished[type(fact), fact.key] = _Unfinished((before, after))
        self.told.append(
            f"a fault of ours: the flows of {fact} are not all in place; it is tried again"
            f" (please report this)\n{trace}"
        )

    def due(self, now_s: float) -> list[Transition]:
        """Those to be tried again now; each is unfinished until ``done``."""
        due = []
        for one in self._unfinished.values():
            if one.due_s is None:
                one.due_s = now_s + one.pause_s
            elif now_s >= one.due_s:
                one.pause_s = min(AGAIN_MAX_S, one.pause_s * 2)
                one.due_s = now_s + one.pause_s
                due.append(one.transition)
        return due

    def done(self, fact: Fact) -> None:
        """What follows from it is in the tables."""
        if self._unfinished.pop((type(fact), fact.key), None) is not None:
            self.told.append(f"the flows of {fact} are in place now")
