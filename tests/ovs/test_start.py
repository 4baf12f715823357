"""The process itself: how it starts, why it does not, and what hostile clients do to it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from topology.lab.controller import free_port
from topology.lab.ovs import wait_until

ROOT = Path(__file__).resolve().parents[2]
MANAGER = Path(sys.executable).parent / "ryu-manager"
HELLO = bytes((4, 0, 0, 8, 0, 0, 0, 1))
FEW_FILES = 64


class Process:
    """`ryu-manager apps/vxlan_l2.py` on loopback, in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.openflow, self.rest = free_port("127.0.0.1"), free_port("127.0.0.1")
        self._child: subprocess.Popen[bytes] | None = None

    def argv(self, *options: str, app: str = "apps/vxlan_l2.py") -> list[str]:
        listen = ["--ofp-listen-host=127.0.0.1", f"--ofp-tcp-listen-port={self.openflow}"]
        return [str(MANAGER), *listen, f"--wsapi-port={self.rest}", *options, str(ROOT / app)]

    def refused(self, *options: str, app: str = "apps/vxlan_l2.py", **environ: str) -> str:
        """Why it does not start: one line, without a traceback."""
        done = subprocess.run(
            self.argv(*options, app=app),
            cwd=self.directory,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stderr
        (line,) = (line for line in done.stderr.splitlines() if "cannot start" in line)
        return line

    def start(self, *options: str, **environ: str) -> Process:
        few_files = ["sh", "-c", f'ulimit -n {FEW_FILES}; exec "$@"', "few-files"]
        with self.log.open("wb") as output:
            self._child = subprocess.Popen(
                [*few_files, *self.argv(*options)],
                cwd=self.directory,
                env={**os.environ, **environ},
                stdout=output,
                stderr=output,
            )
        wait_until(lambda: self.status("/readyz") == 200, "ready", 30)
        return self

    def end(self) -> None:
        if self._child is not None:
            self._child.send_signal(signal.SIGKILL)
            self._child.wait()
            self._child = None

    def status(self, path: str) -> int:
        url = f"http://127.0.0.1:{self.rest}{path}"
        with suppress(urllib.error.HTTPError, OSError), urllib.request.urlopen(url) as answer:
            return int(answer.status)
        return 0

    def said(self, text: str) -> list[str]:
        return [line for line in self.log.read_text().splitlines() if text in line]

    def connect(self, source: str = "127.0.0.1") -> socket.socket:
        """source: of the lines in the log, each address has a few."""
        return socket.create_connection(
            ("127.0.0.1", self.openflow), timeout=20, source_address=(source, 0)
        )


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    one = Process(tmp_path)
    yield one
    one.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    directory = tmp_path_factory.mktemp("running")
    one = Process(directory).start(OS_VXLAN__STORE=f"sqlite://{directory}/made/x.db")
    yield one
    one.end()


def test_what_keeps_it_from_starting_is_one_line(process, running):
    assert "there is no app " in process.refused(app="apps/nope.py")
    assert "Failed to find some config files" in process.refused("--config-file=nope.conf")
    assert "unknown option OS_VXLAN__LERN" in process.refused(OS_VXLAN__LERN="3")
    assert "on 192.0.2.1, port" in process.refused("--ofp-listen-host=192.0.2.1")
    assert "ctl_privkey and ctl_cert go together" in process.refused("--ctl-cert=x")
    assert "of no kind that is known" in process.refused(OS_VXLAN__STORE="what://")
    for option, port in (("ofp-tcp-listen", running.openflow), ("wsapi", running.rest)):
        assert f"cannot start: port {port} is in use" in process.refused(f"--{option}-port={port}")
    assert list(process.directory.glob("*.db")) == []


def test_the_log_says_how_it_started(running):
    (store,) = running.said("store: ")
    assert store.endswith("made/x.db (new, empty)")
    (rest,) = running.said("REST: http")
    assert rest.endswith(f":{running.rest} (no token: open to whoever reaches it)")
    (openflow,) = running.said("OpenFlow: ")
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO OpenFlow: 127.0.0.1:", openflow)


def test_the_log_of_the_next_start_counts_facts_and_names_the_token(process):
    put = urllib.request.Request(
        f"http://127.0.0.1:{process.rest}/v1/hosts/0000000000000011",
        data=b'{"name": "hv-1"}',
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    process.start()
    with urllib.request.urlopen(put) as answer:
        assert answer.status == 201
    process.end()
    process.start(OS_VXLAN__API_TOKEN="secret")
    assert process.said("vxlan-l2.db (1 facts)")
    assert process.said("(wants a token)")


def test_calls_are_not_logged(running):
    before = running.log.read_text()
    assert running.status("/v1/hosts") == 200
    assert running.log.read_text() == before


def test_what_is_no_openflow_costs_one_line(running):
    for sent, line in (
        (b"GET / HTTP/1.1\r\n\r\n", "does not speak OpenFlow"),
        (bytes((1, 0, 0, 8, 0, 0, 0, 1)), "it speaks OpenFlow 1.0 and not 1.3"),
    ):
        before = len(running.log.read_text().splitlines())
        with running.connect() as client:
            client.sendall(sent)
            while client.recv(4096):
                pass
        assert len(running.said(line)) == 1
        assert len(running.log.read_text().splitlines()) == before + 1


def test_idle_connections_do_not_keep_switches_out(running):
    """More of them than the process may have files."""
    idle = [running.connect() for _ in range(FEW_FILES + 24)]
    with running.connect() as switch:
        switch.sendall(HELLO)
        assert switch.recv(2) == HELLO[:2]
    assert running.status("/readyz") == 200
    for each in idle:
        each.close()


def test_who_asks_for_echoes_and_never_reads_is_cut_off(running):
    echo = bytes((4, 2, 0xFF, 0xFF, 0, 0, 0, 1)) + bytes(0xFFFF - 8)
    sent = 0
    with running.connect("127.0.0.2") as client, suppress(ConnectionError):
        while sent < 256 << 20:
            client.sendall(echo)
            sent += len(echo)
    assert sent < 256 << 20
    assert running.status("/readyz") == 200
    wait_until(lambda: bool(running.said("given up: it does not read: ")), "said")


def test_each_step_of_a_host_is_one_line(make_fabric):
    fabric = make_fabric(hosts=2)
    one, two = fabric.lab.hosts

    def said(text: str) -> int:
        return fabric.controller.log.read_text().count(text)

    wait_until(
        lambda: said(f"host {one.dpid} is LIVE") == said(f"host {two.dpid} is LIVE") == 1, ""
    )
    one.vsctl("del-port", "br-tun", "patch-tun")
    degraded = f"host {one.dpid} is DEGRADED: no patch port: "
    wait_until(lambda: said(degraded) == 1, "DEGRADED")
    two.vsctl("del-controller", "br-tun")
    wait_until(lambda: said(f"host {two.dpid} is DISCONNECTED") == 1, "DISCONNECTED")
    assert said("INFO host") == 4  # each connected, and became LIVE
    assert said(degraded) == 1
