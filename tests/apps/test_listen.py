"""Connections are taken for ever, and those that do not come to the point are sent away."""

from __future__ import annotations

import errno
from typing import Any

import eventlet
import pytest

from controller.openflow import guard, listen


class Tired:
    """Refuses twice to accept, as a process out of files does."""

    def __init__(self) -> None:
        self.refusals = [OSError(errno.EMFILE, "Too many open files") for _ in range(2)]

    def accept(self) -> tuple[str, str]:
        if self.refusals:
            raise self.refusals.pop()
        return "socket", "address"


def test_accept_outlives_a_shortage_of_files(monkeypatch):
    monkeypatch.setattr(listen, "PAUSE_S", 0)
    monkeypatch.setattr(listen, "RELIEVED_S", 0)
    asked = []
    patient = listen.Patient(Tired(), lambda: asked.append("room"))
    assert patient.accept() == ("socket", "address")
    assert asked == ["room", "room"]


def test_a_port_is_had_alone():
    one = listen.listen("OpenFlow", "127.0.0.1", 0)
    port = one.getsockname()[1]
    with pytest.raises(listen.CannotListen, match=rf"port {port} is in use \(REST on 127.0.0.1\)"):
        listen.listen("REST", "127.0.0.1", port)
    with pytest.raises(listen.CannotListen, match="70000 is no port"):
        listen.listen("REST", "127.0.0.1", 70000)
    with pytest.raises(
        listen.CannotListen, match=r"cannot listen for REST on 192\.0\.2\.1, port 1: "
    ):
        listen.listen("REST", "192.0.2.1", 1)
    one.close()


class Door:
    """An acceptor on a port of its own, whose visitors are served until they hang up."""

    def __init__(self) -> None:
        sock = listen.listen("OpenFlow", "127.0.0.1", 0)
        self.address = sock.getsockname()
        self.acceptor = listen.Acceptor(sock)
        self.greenlet = eventlet.spawn(self.acceptor.serve_for_ever, self._serve)

    def _serve(self, sock: Any, _address: Any, finished: Any) -> None:
        while data := sock.recv(100):
            finished()
            sock.sendall(data)

    def visit(self) -> Any:
        return eventlet.connect(self.address)

    def known(self) -> Any:
        """A visitor that finished its handshake."""
        visitor = self.visit()
        visitor.sendall(b"hello")
        assert visitor.recv(5) == b"hello"
        return visitor


@pytest.fixture
def door():
    one = Door()
    yield one
    one.greenlet.kill()
    assert not one.acceptor.listening


def test_who_does_not_finish_the_handshake_is_sent_away(monkeypatch, door):
    known = door.known()
    monkeypatch.setattr(listen, "HANDSHAKE_S", 0.05)
    idle = door.visit()
    assert idle.recv(1) == b""
    known.sendall(b"still")
    assert known.recv(5) == b"still"
    assert door.acceptor.listening


def test_too_many_at_the_door_send_the_oldest_away(monkeypatch):
    monkeypatch.setattr(listen, "ARRIVALS_MAX", 8)
    door = Door()
    known = door.known()
    idle = [door.visit() for _ in range(12)]
    assert [each.recv(1) for each in idle[:4]] == [b""] * 4
    for each in (known, idle[-1], door.visit()):
        each.sendall(b"hello")
        assert each.recv(5) == b"hello"
    door.greenlet.kill()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "does not speak OpenFlow, it says b'GET / HTTP/1'"),
        (bytes.fromhex("16030102000100 01fc0303"), "it speaks TLS"),
        (bytes(16), "does not speak OpenFlow"),
        (bytes.fromhex("0105000800000001"), "OpenFlow version byte 1"),
    ],
)
def test_what_is_no_openflow_is_called_so(sent, reason):
    with pytest.raises(guard.Refused, match=reason):
        guard.check(bytearray(sent), 0, guard.Phase.HELLO)


@pytest.mark.parametrize(
    ("hello", "spoken"),
    [
        ("0100000800000001", "1.0"),
        ("0300000800000001", "1.0, 1.1, 1.2"),
        ("060000100000000100010008 00000042", "1.0, 1.5"),
        ("040000100000000100010008 00000000", "of no version"),
    ],
)
def test_a_switch_without_openflow_13_is_told_in_its_own_version(hello, spoken):
    message = bytes.fromhex(hello)
    with pytest.raises(guard.TooOld, match=f"speaks OpenFlow {spoken} and not 1.3") as refused:
        guard.check_hello(message)
    answer = refused.value.answer()
    assert answer[:2] == bytes((min(message[0], 4), 1))
    assert int.from_bytes(answer[2:4], "big") == len(answer)
    assert answer[8:12] == bytes(4)  # hello failed, incompatible


@pytest.mark.parametrize(
    "hello", ["0400000800000001", "0600000800000001", "060000100000000100010008 00000052"]
)
def test_openflow_13_among_others_will_do(hello):
    guard.check_hello(bytes.fromhex(hello))
