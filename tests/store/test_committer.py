"""Many writes at once: few transactions, each request all or nothing, and nobody waits in line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import eventlet
import pytest

from controller.store import committer
from controller.store.committer import Committer
from controller.store.sqlite import SqliteStore
from topology.draft import Draft
from topology.errors import Conflict, InvalidValue, NotFound, StoreUnavailable
from topology.model import Change, Host, Put, Topology, Vm
from topology.types import Dpid, Ip, Mac, Vni

Open = Callable[[], SqliteStore]


class SlowStore:
    """A store whose commits take a while, can be made to fail, and are recorded."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.delay_s = 0.0
        self.error: Exception | None = None
        self.committed: list[list[Change]] = []
        self.threads: set[int] = set()

    def commit(self, changes: Sequence[Change]) -> None:
        self.threads.add(threading.get_ident())
        threading.Event().wait(self.delay_s)
        if self.error is not None:
            raise self.error
        self.store.commit(changes)
        self.committed.append(list(changes))

    def __getattr__(self, name: str) -> object:
        return getattr(self.store, name)


class Fabric:
    """A committer over a real store and topology, whose tickets are the changes themselves."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = SlowStore(store)
        self.topology = Topology()
        for fact in store.load():
            self.topology.apply(Put(fact))
        self.committer: Committer[list[Change]] = Committer(
            self.store,  # type: ignore[arg-type]
            self.topology,
            self._apply,
        )
        self.applied: list[list[Change]] = []

    def _apply(self, changes: list[Change]) -> list[Change]:
        for change in changes:
            self.topology.apply(change)
        self.applied.append(changes)
        return changes


@pytest.fixture
def fabric(open_store: Open) -> Iterator[Fabric]:
    fabric = Fabric(open_store())
    fabric.committer.start()
    fabric.committer.commit(lambda draft: draft.set_host(Host(Dpid(1), "hv-1")))
    fabric.store.committed.clear()
    fabric.applied.clear()
    yield fabric
    fabric.committer.stop()


def _vm(number: int, ip: str | None = None, host: int = 1) -> Vm:
    return Vm(Mac(number), Vni(0), Dpid(host), () if ip is None else (Ip.parse(ip),))


def _all_at_once(fabric: Fabric, plans: Sequence[Callable[[Draft], object]]) -> list[object]:
    """What each plan's commit answered or raised, all asked for together."""

    def one(plan: Callable[[Draft], object]) -> object:
        try:
            return fabric.committer.commit(plan)[0]
        except Exception as error:
            return error

    pool = eventlet.GreenPool(len(plans))
    return list(pool.imap(one, plans))


def test_one_write(fabric: Fabric) -> None:
    result, ticket = fabric.committer.commit(lambda draft: draft.create_vm(_vm(1)))
    assert result == "created"
    assert ticket == [Put(_vm(1))]
    assert fabric.store.store.load()[1:] == [_vm(1)]
    assert fabric.topology.vms == {(0, 1): _vm(1)}


def test_200_writes_at_once_cost_few_transactions(fabric: Fabric) -> None:
    fabric.store.delay_s = 0.01
    plans = [lambda draft, n=n: draft.create_vm(_vm(n)) for n in range(1, 201)]
    assert _all_at_once(fabric, plans) == ["created"] * 200
    assert len(fabric.store.committed) <= 5
    assert len(fabric.topology.vms) == 200
    assert [len(changes) for changes in fabric.applied] == [1] * 200
    assert len(fabric.store.store.load()) == 201


def test_others_go_on_while_the_disk_syncs(fabric: Fabric) -> None:
    fabric.store.delay_s = 0.3
    writer = eventlet.spawn(fabric.committer.commit, lambda draft: draft.create_vm(_vm(1)))
    turns = 0
    while not writer.dead:
        eventlet.sleep(0.01)
        turns += 1
        assert turns < 1000
    assert turns > 10
    assert threading.get_ident() not in fabric.store.threads


def test_what_comes_meanwhile_gathers_for_the_next(fabric: Fabric) -> None:
    fabric.store.delay_s = 0.1
    writers = []
    for number in range(1, 51):
        commit = fabric.committer.commit
        writers.append(eventlet.spawn(commit, lambda draft, n=number: draft.create_vm(_vm(n))))
        eventlet.sleep(0.001)
    for writer in writers:
        writer.wait()
    sizes = [len(changes) for changes in fabric.store.committed]
    assert sum(sizes) == 50
    assert sizes[0] == 1
    assert len(sizes) <= 4


def test_one_that_fails_leaves_no_trace(fabric: Fabric) -> None:
    def half_way(draft: Draft) -> None:
        draft.create_vm(_vm(2, "10.0.0.2"))
        draft.set_host(Host(Dpid(9), "hv-9"))
        draft.create_vm(_vm(3, "10.0.0.1"))

    first, failed, third, fourth = _all_at_once(
        fabric,
        [
            lambda draft: draft.create_vm(_vm(1, "10.0.0.1")),
            half_way,
            lambda draft: draft.create_vm(_vm(4, "10.0.0.2")),
            lambda draft: draft.find_host("hv-9"),
        ],
    )
    assert (first, third) == ("created", "created")
    assert isinstance(failed, Conflict)
    assert "00:00:00:00:00:01" in str(failed)
    assert isinstance(fourth, InvalidValue)
    assert set(fabric.topology.vms) == {(0, 1), (0, 4)}
    assert len(fabric.store.committed) == 1
    assert len(fabric.store.store.load()) == 3


def test_requests_of_one_group_see_each_other(fabric: Fabric) -> None:
    def move(draft: Draft) -> str:
        return draft.set_vm(_vm(1, "10.0.0.1", host=2))

    outcomes = _all_at_once(
        fabric,
        [
            lambda draft: draft.create_vm(_vm(1, "10.0.0.1")),
            lambda draft: draft.set_host(Host(Dpid(2), "hv-2")),
            lambda draft: draft.find_host("hv-2").dpid,
            move,
            lambda draft: draft.set_host(Host(Dpid(3), "hv-2")),
            lambda draft: draft.remove_host(2),
            lambda draft: draft.remove_host(1),
            lambda draft: draft.create_vm(_vm(5)),
            lambda draft: draft.create_vm(_vm(1, "10.0.0.1", host=2)),
        ],
    )
    assert len(fabric.store.committed) == 1
    assert outcomes[:4] == ["created", "created", 2, "changed"]
    assert isinstance(outcomes[4], Conflict)
    assert isinstance(outcomes[5], Conflict)
    assert outcomes[6] is None
    assert isinstance(outcomes[7], InvalidValue)
    assert outcomes[8] == "unchanged"
    assert set(fabric.topology.hosts) == {2}


def test_unchanged_costs_no_transaction_and_still_has_a_ticket(fabric: Fabric) -> None:
    fabric.committer.commit(lambda draft: draft.create_vm(_vm(1)))
    fabric.store.committed.clear()
    assert fabric.committer.commit(lambda draft: draft.create_vm(_vm(1))) == (
        "unchanged",
        [Put(_vm(1))],
    )
    assert fabric.committer.commit(lambda draft: None) == (None, [])
    assert fabric.store.committed == []


def test_store_error_reaches_all_of_the_group_and_changes_nothing(fabric: Fabric) -> None:
    fabric.store.error = StoreUnavailable("the disk is full")
    outcomes = _all_at_once(
        fabric,
        [
            lambda draft: draft.create_vm(_vm(1)),
            lambda draft: draft.create_vm(_vm(2)),
            lambda draft: draft.remove_vm((0, 3)),
        ],
    )
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    assert fabric.topology.vms == {}
    assert fabric.applied == []
    with pytest.raises(NotFound):
        fabric.committer.commit(lambda draft: draft.remove_vm((0, 3)))
    fabric.store.error = None
    assert fabric.committer.commit(lambda draft: draft.create_vm(_vm(1)))[0] == "created"


def test_unexpected_error_reaches_the_requester_and_the_next_is_served(fabric: Fabric) -> None:
    fabric.store.error = ZeroDivisionError("a fault in the store")
    with pytest.raises(ZeroDivisionError):
        fabric.committer.commit(lambda draft: draft.create_vm(_vm(1)))
    fabric.store.error = None
    with pytest.raises(ZeroDivisionError):
        fabric.committer.commit(lambda draft: 1 // 0)
    assert fabric.committer.commit(lambda draft: draft.create_vm(_vm(1)))[0] == "created"


def test_stop_finishes_what_was_asked_for(fabric: Fabric) -> None:
    fabric.store.delay_s = 0.05
    writers = [
        eventlet.spawn(fabric.committer.commit, lambda draft, n=n: draft.create_vm(_vm(n)))
        for n in range(1, 11)
    ]
    eventlet.sleep(0)
    fabric.committer.stop()
    assert [writer.wait()[0] for writer in writers] == ["created"] * 10
    with pytest.raises(StoreUnavailable, match="stopping"):
        fabric.committer.commit(lambda draft: draft.create_vm(_vm(99)))


def test_a_store_that_hangs_refuses_what_it_has_not_begun(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is inside the write waits for it; the rest is refused, and is not done later."""
    monkeypatch.setattr(committer, "STALL_S", 0.2)
    fabric.store.delay_s = 1.5
    first = eventlet.spawn(fabric.committer.commit, lambda draft: draft.create_vm(_vm(1)))
    eventlet.sleep(0.05)
    with pytest.raises(StoreUnavailable, match="its disk hangs; nothing was changed"):
        fabric.committer.commit(lambda draft: draft.create_vm(_vm(2)))
    with pytest.raises(StoreUnavailable, match="its disk hangs"):
        fabric.committer.commit(lambda draft: draft.create_vm(_vm(3)))
    assert not first.dead
    assert first.wait()[0] == "created"
    fabric.store.delay_s = 0.0
    assert fabric.committer.commit(lambda draft: draft.create_vm(_vm(4)))[0] == "created"
    assert set(fabric.topology.vms) == {(0, 1), (0, 4)}


def test_trouble_is_told_once_and_is_over_by_itself(
    fabric: Fabric, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(committer, "RECOVER_EVERY_S", 0.05)
    fabric.store.error = StoreUnavailable("the disk is full")
    for number in range(1, 30):
        with pytest.raises(StoreUnavailable):
            fabric.committer.commit(lambda draft, n=number: draft.create_vm(_vm(n)))
    assert [record.getMessage() for record in caplog.records] == ["the disk is full"]
    assert fabric.committer.trouble == "the disk is full"
    fabric.store.error = None
    with eventlet.Timeout(10):
        while fabric.committer.trouble is not None:
            eventlet.sleep(0.02)
    assert caplog.records[-1].getMessage() == "the store takes writes again"
