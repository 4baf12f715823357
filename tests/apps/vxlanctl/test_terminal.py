"""What a person at a terminal sees; pipes are in the other tests."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys

import pytest

from tests.apps.vxlanctl.conftest import ROOT
from tests.apps.vxlanctl.test_views import LEDGER, sse

HOST = {"dpid": "0000000000000011", "name": "hv-1", "vtep": "192.0.2.1", "state": "LIVE", "vms": 1}


class Terminal:
    """A run of vxlanctl on a terminal of its own, 100 columns wide."""

    def __init__(self, *argv: str, **env: str) -> None:
        self._end, ours = pty.openpty()
        size = {"COLUMNS": "100", "LINES": "30", "TERM": "xterm-256color"}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "apps.vxlanctl", *argv],
            stdin=ours,
            stdout=ours,
            stderr=ours,
            cwd=ROOT,
            env={**os.environ, **size, **env},
            start_new_session=True,
        )
        os.close(ours)
        self.seen = b""

    def wait_for(self, text: bytes) -> None:
        """Read until it is there; the test's own time limit ends a wait in vain."""
        while text not in self.seen:
            assert self._read(), self.seen

    def press(self, keys: bytes) -> None:
        os.write(self._end, keys)

    def interrupt(self) -> None:
        self._child.send_signal(signal.SIGINT)

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._end)
        return self._child.wait()

    def _read(self) -> bool:
        try:
            select.select([self._end], [], [])
            got = os.read(self._end, 65536)
        except OSError:
            return False
        self.seen += got
        return bool(got)


@pytest.fixture
def busy(told):
    told.answers["/v1/hosts"] = {"items": [HOST], "next": None, "total": 1}
    told.answers["/v1/ledger"] = LEDGER
    told.answers["/v1/events"] = sse(("b-1", "host", {"host": HOST["dpid"], "state": "LIVE"}))
    return told


def test_states_have_colours_unless_nobody_wants_them(busy):
    shown = Terminal("host", "list")
    assert shown.end() == 0
    assert b"\x1b[32mLIVE" in shown.seen
    for plain in (Terminal("host", "list", NO_COLOR="1"), Terminal("host", "list", "--no-color")):
        assert plain.end() == 0
        assert b"LIVE" in plain.seen
        assert b"\x1b[32m" not in plain.seen


def test_top_is_redrawn_until_q(busy):
    top = Terminal("top", "--interval", "0.5")
    top.wait_for(b"blue")
    asked = len(busy.asked)
    top.wait_for(b"LIVE")
    while len(busy.asked) < asked + 4:
        top._read()
    top.press(b"q")
    assert top.end() == 0
    assert top.seen.count(b"ANSWERED/S") > 1
    assert b"Traceback" not in top.seen


@pytest.mark.parametrize("argv", [("top",), ("events",)], ids=str)
def test_ctrl_c_ends_it_quietly(busy, argv):
    run = Terminal(*argv)
    run.wait_for(b"LIVE")
    run.interrupt()
    assert run.end() == 130
    assert b"Traceback" not in run.seen
    assert b"KeyboardInterrupt" not in run.seen


def test_names_and_addresses_are_not_folded_while_there_is_other_text(told):
    tunnel = {"host": HOST["dpid"], "host_name": "compute-10", "vtep": "192.168.33.13"}
    tunnel |= {"port_name": "vxlan0", "state": "unknown", "sent": 9, "mtu": 1450}
    tunnel |= {"rtt_ms": 0.42, "last_seen_s": 3}
    others = [{**tunnel, "host_name": name} for name in ("compute-9", "compute-1")]
    told.answers["/v1/tunnels"] = {"items": [tunnel, *others], "next": None, "total": 3}
    run = Terminal("--url", told.url, "tunnels", COLUMNS="76", NO_COLOR="1")
    assert run.end() == 0
    lines = [line.split() for line in run.seen.decode().splitlines()]
    shown = [line for line in lines if line[:1] and line[0].startswith("compute-")]
    assert [line[0] for line in shown] == ["compute-1", "compute-9", "compute-10"]
    assert {tuple(line[2:5]) for line in shown} == {("192.168.33.13", "vxlan0", "unknown")}
