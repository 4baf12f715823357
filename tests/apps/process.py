"""The controller as its users have it: a process, asked over HTTP."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
START_LIMIT_S = 60.0


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any


@dataclass
class Running:
    """url: of its REST; log: what it wrote so far, as text."""

    child: subprocess.Popen[bytes]
    url: str
    openflow_port: int
    log_file: Path
    token: str | None = None
    tls: ssl.SSLContext | None = None

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def __call__(self, method: str, path: str, body: object = None) -> Answer:
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30, context=self.tls) as response:
                return Answer(response.status, _json(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _json(error.read()))

    def stop(self) -> int:
        """End it as systemd does; its exit status."""
        self.child.terminate()
        return self.child.wait(30)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode("utf-8", "replace")


@contextmanager
def running(
    directory: Path, options: Mapping[str, object] | None = None, **how: Any
) -> Iterator[Running]:
    """Start it as ``launch`` does, wait until /readyz says yes, and end it again."""
    with launched(directory, options, **how) as one:
        _wait_ready(one)
        yield one


@contextmanager
def launched(
    directory: Path, options: Mapping[str, object] | None = None, **how: Any
) -> Iterator[Running]:
    """Start it as ``launch`` does, and end it again, however far it came."""
    one = launch(directory, options, **how)
    try:
        yield one
    finally:
        if one.child.poll() is None:
            one.child.terminate()
        try:
            one.child.wait(15)
        except subprocess.TimeoutExpired:
            one.child.kill()
            one.child.wait()


def launch(
    directory: Path,
    options: Mapping[str, object] | None = None,
    *,
    argv: Sequence[str] = (str(BIN / "ryu-manager"), str(ROOT / "apps" / "vxlan_l2.py")),
    more: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Running:
    """Start it on free ports; whoever calls this ends it.

    options: of the group [vxlan]; more: arguments; token: one that REST calls must present;
    tls: whom to trust, where REST has a certificate.
    """
    rest_port, openflow_port = free_port(), free_port()
    values: dict[str, object] = {"store": "sqlite://", **(options or {})}
    if token is not None:
        values["api_token"] = token
    environ = {
        **os.environ,
        **{f"OS_VXLAN__{name.upper()}": str(value) for name, value in values.items()},
        **(env or {}),
    }
    listen = ["--ofp-listen-host=127.0.0.1"]
    listen += [f"--ofp-{kind}-listen-port={openflow_port}" for kind in ("tcp", "ssl")]
    log = directory / "controller.log"
    with log.open("ab") as output:
        child = subprocess.Popen(
            [argv[0], *more, *listen, f"--wsapi-port={rest_port}", *argv[1:]],
            cwd=directory,
            env=environ,
            stdout=output,
            stderr=output,
        )
    scheme = "http" if tls is None else "https"
    return Running(child, f"{scheme}://127.0.0.1:{rest_port}", openflow_port, log, token, tls)


def _wait_ready(one: Running) -> None:
    deadline_s = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline_s:
        assert one.child.poll() is None, f"the controller ended:\n{one.log}"
        try:
            if one("GET", "/readyz").status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"not ready:\n{one.log}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
