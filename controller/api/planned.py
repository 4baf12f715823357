"""Writes of many facts: what they do, thing by thing, done or only planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar, cast

import eventlet
from webob import Response

from controller.api import shapes
from controller.api.answers import answer, written
from controller.api.call import Call
from controller.api.exported import key_of, show_fact
from controller.api.problems import FieldError, Problem, invalid, invalid_fields, problem_of
from topology.draft import Draft
from topology.errors import InvalidValue, VxlanError
from topology.model import Change, Fact, Vm

T = TypeVar("T")

ITEMS_MAX: Final = 1000
_AT_ONCE: Final = 200  # things, one or two milliseconds


@dataclass(slots=True)
class Tally:
    """Counts of what is done, and the first things of it."""

    added: int = 0
    changed: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    items: list[shapes.PlannedThing] = field(default_factory=list)

    def note(self, before: Fact | None, after: Fact | None) -> None:
        """One thing, as it was and as it will be."""
        if before == after:
            self.unchanged += 1
            return
        action: shapes.Action = "change"
        if before is None:
            self.added += 1
            action = "add"
        elif after is None:
            self.removed += 1
            action = "remove"
        elif isinstance(before, Vm) and isinstance(after, Vm) and before.host != after.host:
            self.moved += 1
            action = "move"
        else:
            self.changed += 1
        if len(self.items) < ITEMS_MAX:
            self.items.append(_item(action, before, after))

    def counts(self) -> shapes.Tally:
        return {
            "added": self.added,
            "changed": self.changed,
            "moved": self.moved,
            "removed": self.removed,
            "unchanged": self.unchanged,
        }


def _item(action: shapes.Action, before: Fact | None, after: Fact | None) -> shapes.PlannedThing:
    fact = before if after is None else after
    assert fact is not None
    shown = show_fact(fact)
    item = {"action": action, "kind": shown["kind"], **key_of(shown), "name": shown.get("name")}
    if isinstance(fact, Vm):
        item["host"] = shown["host"]
    if before is not None and after is not None:
        was = show_fact(before)
        item["changes"] = [name for name, value in shown.items() if was[name] != value]
        if action == "move":
            item |= {"from": was["host"], "to": shown["host"]}
    return cast(shapes.PlannedThing, item)  # its keys are those of what it is about


class _Foreseen(Exception):
    """Ends a plan that must leave no trace."""

    def __init__(self, tally: Tally, changes: list[Change]) -> None:
        super().__init__()
        self.tally = tally
        self.changes = changes


def carry_out(call: Call, run: Callable[[Draft], Tally]) -> Response:
    """Do what ``run`` drafts, all or nothing; or, with ``?dry_run=true``, say what it would do."""
    dry_run = call.query_flag("dry_run")

    def plan(draft: Draft) -> Tally:
        tally = run(draft)
        draft.settle()
        if dry_run:
            raise _Foreseen(tally, draft.changes)
        return tally

    try:
        tally, ticket = call.service.commit(plan)
    except _Foreseen as foreseen:
        return _foreseen(call, foreseen)
    touched = {"hosts": len(ticket.targets), "flows": None}
    return written(call, ticket, lambda: {**tally.counts(), **touched})


def _foreseen(call: Call, foreseen: _Foreseen) -> Response:
    forecast = call.service.forecast(foreseen.changes)
    return answer(
        {
            **foreseen.tally.counts(),
            "hosts": forecast.hosts,
            "flows": forecast.flows,
            "items": foreseen.tally.items,
            "applied": {"hosts": 0, "of": 0},
        }
    )


@contextmanager
def at(index: int) -> Iterator[None]:
    """Errors of the facts name the item of the request that they are about."""
    try:
        yield
    except VxlanError as error:
        raise placed(index, error) from error


def placed(index: int, error: VxlanError) -> Problem:
    """What a user is told about an error of one item of the request."""
    if isinstance(error, InvalidValue):
        wrong = FieldError(f"[{index}].{error.field}", error.reason)
        return invalid_fields([wrong], {"index": index})
    told = problem_of(error)
    return Problem(
        told.status,
        f"[{index}]: {told.detail}",
        title=told.title,
        headers=told.headers,
        extra={"index": index},
    )


def twice(index: int, first: int) -> Problem:
    """A 422 about an item that is there already."""
    problem = invalid(f"[{index}]", f"is about the same thing as [{first}]")
    problem.extra["index"] = index
    return problem


def slices(items: Iterable[T]) -> Iterator[list[T]]:
    """The items, some at a time; other greenlets run in between: there may be 100,000."""
    iterator = iter(items)
    while some := list(islice(iterator, _AT_ONCE)):
        yield some
        eventlet.sleep(0)


def sliced(items: Iterable[T]) -> Iterator[T]:
    """The items one by one; other greenlets run every now and then."""
    for some in slices(items):
        yield from some
