"""A datapath id has one seat; complaints are counted, and told as there is room."""

from __future__ import annotations

import logging

import eventlet
import pytest

from controller.openflow import admission
from controller.openflow.admission import Seats
from controller.openflow.complaints import ALL_BURST, EACH_BURST, Complaints


class Visitor:
    """A connection that answers, or not, and may leave."""

    def __init__(self, seats: Seats[Visitor], name: str, *, answers: bool = True) -> None:
        self.id, self.peer, self.is_over = 7, name, False
        self.asked = 0
        self.log: list[str] = []
        self._seats, self._answers = seats, answers

    def has_gone(self) -> bool:
        return self.is_over

    def ask(self) -> None:
        self.asked += 1
        if self._answers:
            eventlet.spawn_n(self._seats.heard, self)

    def leave(self) -> None:
        self.is_over = True
        self._seats.left(self)


@pytest.fixture
def seats(monkeypatch):
    monkeypatch.setattr(admission, "ANSWER_S", 0.05)
    return Seats()


def test_the_one_that_answers_stays(seats):
    first, second = Visitor(seats, "first"), Visitor(seats, "second")
    assert seats.take(first) is None
    assert seats.take(second) is first
    assert not first.is_over
    seats.left(second)
    assert seats.take(Visitor(seats, "third")) is first


def test_the_one_that_is_silent_leaves_before_the_next_is_seated(seats):
    first, second = Visitor(seats, "first", answers=False), Visitor(seats, "second")
    seats.take(first)
    assert seats.take(second) is None
    assert first.is_over
    assert seats.take(Visitor(seats, "third")) is second


def test_all_who_wait_ask_once_and_one_is_seated(seats):
    first = Visitor(seats, "first", answers=False)
    seats.take(first)
    others = [Visitor(seats, str(number)) for number in range(5)]
    waiting = [eventlet.spawn(seats.take, other) for other in others]
    there = [one.wait() for one in waiting]
    assert first.asked == 1
    assert there.count(None) == 1
    assert {one for one in there if one is not None} == {others[there.index(None)]}


def test_a_newcomer_that_has_left_takes_nobodys_place(seats):
    first, second = Visitor(seats, "first", answers=False), Visitor(seats, "second")
    seats.take(first)
    waiting = eventlet.spawn(seats.take, second)
    eventlet.sleep(0)
    second.is_over = True
    assert waiting.wait() is None
    assert not first.is_over


def test_the_one_that_is_asked_leaves_meanwhile(seats):
    first, second = Visitor(seats, "first", answers=False), Visitor(seats, "second")
    seats.take(first)
    waiting = eventlet.spawn(seats.take, second)
    eventlet.sleep(0)
    first.leave()
    assert waiting.wait() is None
    assert seats.take(Visitor(seats, "third")) is second


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.later: list[object] = []

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def told(caplog):
    clock = Clock()
    log = logging.getLogger("tests.complaints")
    complaints = Complaints(log, clock, lambda _s, what: clock.later.append(what))
    return clock, complaints, caplog


def test_an_address_is_told_of_now_and_then_and_counted_always(told):
    clock, complaints, caplog = told
    for _ in range(1000):
        complaints.tell("malformed", "192.0.2.1", "closed")
    assert len(caplog.records) == EACH_BURST
    clock.now_s += 3600
    complaints.tell("malformed", "192.0.2.1", "closed")
    assert len(caplog.records) == EACH_BURST + 1
    assert complaints.counts == {"malformed": 1001}


def test_all_addresses_together_have_some_lines_and_a_sum(told):
    clock, complaints, caplog = told
    for number in range(2000):
        complaints.tell("full", f"192.0.2.{number}", "closed")
    assert len(caplog.records) == ALL_BURST
    (sum_up,) = clock.later
    sum_up()
    assert "1970 more connections were refused" in caplog.messages[-1]
    assert caplog.messages[-1].endswith(": 1970 full")


def test_no_reason_becomes_a_label_that_is_not_known(told):
    _clock, complaints, _records = told
    complaints.tell("whatever a switch says", "192.0.2.1", "closed")
    assert complaints.counts == {"failed": 1}
