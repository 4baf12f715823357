"""vxlanctl against the real controller, and against one that says what a test wants it to say."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from apps.vxlanctl import main
from topology.lab.command import environment
from topology.lab.controller import free_port

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "a-token-of-the-tests"
HV1, HV2 = "0000000000000011", "0000000000000012"


@dataclass
class Ended:
    """A run of vxlanctl: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Ctl = Callable[..., Ended]


@pytest.fixture
def ctl(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Ctl:
    """ctl("vm", "list") -> how it ended. No traceback may ever be seen."""
    for name in ("VXLANCTL_URL", "VXLANCTL_TOKEN", "VXLANCTL_TOKEN_FILE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)

    def run(*argv: str) -> Ended:
        capfdbinary.readouterr()
        status = main([str(arg) for arg in argv])
        sys.stdout.flush()
        out, err = (text.decode() for text in capfdbinary.readouterr())
        assert "Traceback" not in out + err
        assert status in (0, 1, 2)
        if status == 2:
            assert err or "Usage:" in out
        return Ended(status, out, err)

    return run


@pytest.fixture(scope="session")
def controller_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real controller, without any switch; its store is empty at first."""
    directory = tmp_path_factory.mktemp("controller")
    rest, openflow = free_port("127.0.0.1"), free_port("127.0.0.1")
    argv = [Path(sys.executable).parent / "ryu-manager", "--ofp-listen-host=127.0.0.1"]
    argv += [f"--ofp-tcp-listen-port={openflow}", f"--wsapi-port={rest}", ROOT / "apps/vxlan_l2.py"]
    store = {"OS_VXLAN__STORE": f"sqlite://{directory}/state.db", "OS_VXLAN__API_TOKEN": TOKEN}
    url = f"http://127.0.0.1:{rest}"
    with (directory / "log").open("wb") as log:
        child = subprocess.Popen(argv, env=environment(store), stdout=log, stderr=log)
    try:
        while not _ready(url):
            assert child.poll() is None, (directory / "log").read_text()
            time.sleep(0.05)
        yield url
    finally:
        child.terminate()
        child.wait(10)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/readyz", timeout=5) as reply:
            return reply.status == 200
    except OSError:
        return False


@pytest.fixture
def empty(controller_url: str, ctl: Ctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ctl:
    """The real controller, with no facts at all."""
    monkeypatch.setenv("VXLANCTL_URL", controller_url)
    monkeypatch.setenv("VXLANCTL_TOKEN", TOKEN)
    nothing = tmp_path / "nothing.ndjson"
    nothing.write_text('{"kind": "vxlan-l2", "version": 1}\n')
    assert ctl("import", nothing, "--mode", "replace").status == 0
    return ctl


@pytest.fixture
def there(empty: Ctl) -> Ctl:
    """Two hosts, a network with two VMs, and one in network 0 with the name of another."""
    for argv in (
        ("host", "declare", HV1, "--name", "hv-1", "--vtep", "192.168.33.11"),
        ("host", "declare", HV2, "--name", "hv-2", "--vtep", "192.168.33.12"),
        ("network", "set", "100", "--name", "blue", "--vlan", "10"),
        (
            "vm",
            "add",
            "52:54:00:00:00:01",
            "-H",
            "hv-1",
            "-n",
            "blue",
            "--ip",
            "10.1.1.1",
            "--name",
            "web-1",
        ),
        ("vm", "add", "52:54:00:00:00:02", "-H", "hv-2", "-n", "blue", "--name", "web-2"),
        ("vm", "add", "52:54:00:00:00:01", "-H", "hv-1", "--ip", "10.1.1.1", "--name", "db"),
    ):
        assert empty(*argv).status == 0
    return empty


class Told:
    """A controller of whom a test says what it answers, by path; and what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                told.asked.append(self.path)
                told.headers.append(dict(self.headers))
                answer = told.answers.get(path)
                if callable(answer):
                    answer = answer()
                if answer is None:
                    detail = f"there is no {path!r}"
                    problem = {"title": "Not Found", "status": 404, "detail": detail}
                    self._send(404, json.dumps(problem).encode(), "application/problem+json")
                elif isinstance(answer, bytes):
                    self._send(200, answer, "text/event-stream")
                else:
                    self._send(200, json.dumps(answer).encode(), "application/json")

            do_POST = do_PUT = do_GET

            def _send(self, status: int, body: bytes, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Told]:
    """A controller that answers as the test says."""
    one = Told()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv("VXLANCTL_URL", one.url)
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()
