"""Group commit: what is asked for while one commit is on its way to the disk shares the next."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

import eventlet
import eventlet.event
import eventlet.queue
import eventlet.tpool

from controller.measures import SHORT_S, Histogram
from controller.store.base import Named, Store
from topology.draft import Draft
from topology.errors import StoreUnavailable
from topology.model import Change, Topology

T = TypeVar("T")
R = TypeVar("R")

_LOG: Final = logging.getLogger(__name__)

STALL_S: Final = 20.0
"""A disk that lets the store wait longer than this hangs; its busy timeout and batches are less."""
RECOVER_EVERY_S: Final = 2.0
TELL_EVERY_S: Final = 60.0


@dataclass(slots=True)
class _Request:
    plan: Callable[[Draft], object]
    done: eventlet.event.Event
    draft: Draft | None = None
    result: object = None
    error: Exception | None = None
    taken: bool = False
    withdrawn: bool = False


class Committer(Generic[R]):
    """The only writer of durable facts.

    One greenlet takes every request that waits, runs their plans in the order they came, each on a
    fork of one draft so that a plan that raises leaves no trace, stores all their changes in one
    transaction, and then hands each request's changes to ``apply`` and its answer to the requester.
    The store works in a thread of its own, so that other greenlets go on while the disk syncs.

    While the store takes no writes it is tried every two seconds whether it does again. While it
    hangs in a write, further ones are refused.

    ``apply`` gets what each plan wanted, also what holds already, and its answer goes to the
    requester. It is called in this greenlet, after the changes are durable.
    """

    def __init__(
        self, store: Store, topology: Topology, apply: Callable[[list[Change]], R]
    ) -> None:
        self._store = store
        self._topology = topology
        self._apply = apply
        self._requests: eventlet.queue.Queue = eventlet.queue.Queue()
        self._greenlet: eventlet.greenthread.GreenThread | None = None
        self._stopped = False
        self._writing_since_s: float | None = None
        self._told_s = float("-inf")
        self.trouble: str | None = None  # why the store takes no writes now
        self.transactions = 0
        self.failures = 0
        self.latency = Histogram(SHORT_S)  # of transactions, in seconds

    def start(self) -> None:
        """Begin to take requests; those that came before are taken first."""
        self._greenlet = eventlet.spawn(self._run)

    @property
    def alive(self) -> bool:
        """Whether the greenlet that takes requests is there."""
        return self._greenlet is not None and not self._greenlet.dead

    @property
    def stalled_s(self) -> float | None:
        """For how long the store has not come back from a write, if that is too long."""
        if self._writing_since_s is None:
            return None
        waited_s = time.monotonic() - self._writing_since_s
        return waited_s if waited_s > STALL_S else None

    def stop(self) -> None:
        """Finish what was asked for already, then refuse the rest; the store stays open."""
        self._stopped = True
        if self._greenlet is not None:
            self._requests.put(None)
            self._greenlet.wait()
            self._greenlet = None

    def commit(self, plan: Callable[[Draft], T]) -> tuple[T, R]:
        """Run the plan on a draft, make its changes durable, apply them; answer what both answer.

        Blocks this greenlet only. What the plan raises is raised here, and StoreUnavailable when
        the store takes no writes; either way nothing has changed. The plan runs in another
        greenlet, and may switch: no fact but a learned one changes meanwhile.
        """
        if self._stopped:
            raise StoreUnavailable("the controller is stopping; nothing was changed")
        self._refuse_if_stalled()
        request = _Request(plan, eventlet.event.Event())
        self._requests.put(request)
        while not request.taken and not request.done.ready():
            timer = eventlet.Timeout(STALL_S)
            try:
                return request.done.wait()  # type: ignore[no-any-return]
            except eventlet.Timeout as expired:
                if expired is not timer:
                    raise
            finally:
                timer.cancel()
            if not request.taken and self.stalled_s is not None:
                request.withdrawn = True
                self._refuse_if_stalled()
        return request.done.wait()  # type: ignore[no-any-return]

    def _refuse_if_stalled(self) -> None:
        waited_s = self.stalled_s
        if waited_s is not None:
            self.failures += 1
            raise StoreUnavailable(
                f"{self._store.describe()} has not come back from a write for {waited_s:.0f} s:"
                " its disk hangs; nothing was changed"
            )

    def since(self, facts: Iterable[Named]) -> dict[Named, datetime]:
        """Since when these facts are as they are. Takes its turn among the writes."""
        wanted = list(facts)
        found, _answer = self.commit(
            lambda _draft: eventlet.tpool.execute(self._store.since, wanted)
        )
        return found  # type: ignore[no-any-return]

    def _run(self) -> None:
        while True:
            group, last = self._next_group()
            try:
                self._commit_group(group)
            except Exception as error:
                _LOG.exception("a group of %d writes failed", len(group))
                for request in group:
                    if not request.done.ready():
                        request.done.send_exception(error)
            if last:
                return

    def _next(self) -> _Request | None:
        """The next request, None to stop; tries meanwhile whether the store works again."""
        while self.trouble is not None:
            try:
                return self._requests.get(timeout=RECOVER_EVERY_S)  # type: ignore[no-any-return]
            except eventlet.queue.Empty:
                self._recover()
        return self._requests.get()  # type: ignore[no-any-return]

    def _recover(self) -> None:
        try:
            self._in_thread(self._store.recover)
        except StoreUnavailable as error:
            self._failed(error)
        except Exception:
            _LOG.exception("cannot find out whether the store takes writes")

    def _next_group(self) -> tuple[list[_Request], bool]:
        """Every request that waits, at least one; and whether it is time to stop after them."""
        group: list[_Request] = []
        taken = self._next()
        while taken is not None:
            if not taken.withdrawn:
                taken.taken = True
                group.append(taken)
            if self._requests.empty():
                return group, False
            taken = self._requests.get_nowait()
        return group, True

    def _commit_group(self, group: list[_Request]) -> None:
        draft = Draft(self._topology)
        for request in group:
            fork = draft.fork()
            try:
                request.result = request.plan(fork)
            except Exception as error:
                request.error = error
                continue
            request.draft = fork
            draft.absorb(fork)
        try:
            self._store_changes(draft.changes)
        except StoreUnavailable as error:
            # Also for the plans that raised: they may have met a fact that was never stored.
            self.failures += 1
            self._failed(error)
            for request in group:
                request.done.send_exception(StoreUnavailable(str(error)))
            return
        for request in group:
            self._answer(request)

    def _store_changes(self, changes: list[Change]) -> None:
        if changes:
            began_s = time.monotonic()
            self._in_thread(self._store.commit, changes)
            self.transactions += 1
            self.latency.observe(time.monotonic() - began_s)

    def _in_thread(self, work: Callable[..., None], *arguments: object) -> None:
        """Have the store write; other greenlets go on."""
        self._writing_since_s = time.monotonic()
        try:
            eventlet.tpool.execute(work, *arguments)
        finally:
            self._writing_since_s = None
        if self.trouble is not None:
            _LOG.warning("the store takes writes again")
            self.trouble = None

    def _failed(self, error: StoreUnavailable) -> None:
        """Tell of the first failure, and every minute that it lasts."""
        now_s = time.monotonic()
        if self.trouble is None or now_s - self._told_s > TELL_EVERY_S:
            _LOG.error("%s", error)
            self._told_s = now_s
        self.trouble = str(error)

    def _answer(self, request: _Request) -> None:
        if request.draft is None:
            request.done.send_exception(request.error)
            return
        try:
            ticket = self._apply(request.draft.wanted)
        except Exception as error:
            _LOG.exception("changes are stored, but applying them failed")
            request.done.send_exception(error)
            return
        request.done.send((request.result, ticket))
