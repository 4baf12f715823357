"""Listeners to /v1/events over sockets: none delays another, and who does not read is dropped."""

from __future__ import annotations

import re

import eventlet
import pytest

from controller.api.app import Api
from controller.happenings import Happening
from controller.journal import Journal
from controller.measures import Measures
from controller.web.connections import PATIENCE_S, Phase
from controller.web.server import Server

IDLE_S = 1.0


class Journals:
    """A service that has nothing but events."""

    def __init__(self) -> None:
        self.measured = Measures()
        self.journal = Journal("b007")

    def measures(self) -> Measures:
        return self.measured

    def ready(self) -> bool:
        return True

    def happen(self, events: int, size: int = 10) -> None:
        """One after another, with a turn for everybody in between."""
        for number in range(events):
            self.journal.publish([Happening("vm", {"n": number, "fill": "x" * size})])
            eventlet.sleep(0)


@pytest.fixture
def served(monkeypatch):
    """A server as apps/rest.py has it, on a port of its own: (service, address)."""
    service = Journals()
    socket = eventlet.listen(("127.0.0.1", 0))
    monkeypatch.setitem(PATIENCE_S, Phase.ANSWER, IDLE_S)
    server = eventlet.spawn(
        Server(Api(service, "1.2.3"), 100, service.measured.http_ended).serve_for_ever, socket
    )
    yield service, socket.getsockname()
    server.kill()
    socket.close()


def connected(address, request: bytes = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"):
    """A connection whose answer has begun."""
    socket = eventlet.connect(address)
    socket.settimeout(20)
    socket.sendall(request)
    begun = b""
    while b"\r\n\r\n" not in begun:
        begun += socket.recv(4096)
    assert begun.startswith(b"HTTP/1.1 200 ")
    return socket


def wait_for(done) -> None:
    with eventlet.Timeout(20):
        while not done():
            eventlet.sleep(0.01)


def test_events_arrive_one_by_one_as_they_happen(served):
    service, address = served
    socket = connected(address)
    wait_for(lambda: service.journal.listeners == 1)
    seen = b""
    for number in range(3):
        service.happen(1)
        while b"b007-%d\n" % (number + 1) not in seen:
            seen += socket.recv(4096)
    socket.close()


def test_who_hangs_up_is_gone_at_once(served):
    service, address = served
    sockets = [connected(address) for _ in range(5)]
    wait_for(lambda: service.journal.listeners == 5)
    for socket in sockets:
        socket.close()
    wait_for(lambda: service.journal.listeners == 0)


def test_who_does_not_read_is_dropped_and_delays_nobody(served):
    service, address = served
    stalled, reader = connected(address), connected(address)
    wait_for(lambda: service.journal.listeners == 2)
    numbers: list[int] = []

    def read() -> None:
        rest = b""
        while len(numbers) < 3000:
            rest += reader.recv(1 << 20)
            *lines, rest = rest.split(b"\n")
            numbers.extend(int(m[1]) for line in lines if (m := re.match(rb'.*"n":(\d+)', line)))

    reading = eventlet.spawn(read)
    service.happen(3000, size=5000)
    reading.wait()
    assert numbers == list(range(3000))
    wait_for(lambda: service.journal.listeners == 1)
    reader.close()
    stalled.close()


def test_head_ends(served):
    service, address = served
    socket = connected(
        address, b"HEAD /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    while socket.recv(4096):
        pass
    assert service.journal.listeners == 0
    socket.close()
