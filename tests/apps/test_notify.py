"""systemd hears when the controller is ready, that it is alive, and that it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

import pytest

from apps.notify import Notifier
from tests.apps.process import running


@pytest.fixture
def systemd(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(20)
        yield sock


def heard_until(systemd, text: str) -> list[str]:
    heard = []
    while not any(text in each for each in heard):
        heard.append(systemd.recv(4096).decode())
    return heard


def drain(systemd) -> None:
    systemd.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while systemd.recv(4096):
            pass


def test_a_life_as_systemd_hears_it(tmp_path, systemd):
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with running(tmp_path, env=env) as controller:
        (first,) = heard_until(systemd, "READY=1")
        assert "STATUS=0 of 0 hosts connected, 0 VMs registered" in first
        assert heard_until(systemd, "WATCHDOG=1")
        assert controller("PUT", "/v1/hosts/0000000000000011", {"name": "hv-1"}).status == 201
        assert controller("POST", "/v1/vms", {"mac": "52:54:00:00:00:01", "host": "hv-1"})
        heard_until(systemd, "STATUS=0 of 1 hosts connected, 1 VMs registered")
        assert controller.stop() == 0
        heard_until(systemd, "STOPPING=1")


def test_a_hung_loop_gives_no_word(tmp_path, systemd):
    """The watchdog is no thread of its own, that would live on while nothing else does."""
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with running(tmp_path, env=env) as controller:
        heard_until(systemd, "WATCHDOG=1")
        os.kill(controller.child.pid, signal.SIGSTOP)
        try:
            time.sleep(0.3)
            drain(systemd)
            systemd.settimeout(1.5)
            with pytest.raises(TimeoutError):
                systemd.recv(4096)
        finally:
            os.kill(controller.child.pid, signal.SIGCONT)
        systemd.settimeout(20)
        heard_until(systemd, "WATCHDOG=1")


def test_the_watchdog_of_another_process_is_none_of_ours():
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "30000000"}
    assert Notifier(environ).watchdog_s == 30
    assert Notifier({**environ, "WATCHDOG_PID": "1"}).watchdog_s is None
    assert Notifier({**environ, "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 30
    assert Notifier({"WATCHDOG_USEC": "30000000"}).watchdog_s is None


def test_nobody_who_listens_is_no_trouble(caplog):
    Notifier({}).ready("fine")
    assert not caplog.records
    gone = Notifier({"NOTIFY_SOCKET": "/nowhere/at/all"})
    gone.ready("fine")
    gone.stopping()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot tell systemd READY=1: [Errno 2] No such file or directory"
    ]


def test_a_word_that_is_lost_is_not_the_last_one(tmp_path, caplog):
    """Whoever fell silent for good would be started anew by the watchdog."""
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"})
    for _ in range(3):
        notifier.alive()
    assert len(caplog.records) == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        notifier.alive()
        assert systemd.recv(4096) == b"WATCHDOG=1"
