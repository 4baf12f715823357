"""Prove install and start on every Python from 3.11 to 3.13 of this machine.

For each: a copy of the source, a fresh virtual environment, `pip install .`, then the literal
`ryu-manager apps/vxlan_l2.py` until GET /healthz answers 200, and `vxlan-l2` the same way from a
directory that has no source, with its pages. Exit status 1 if any fails.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MINORS = (11, 12, 13)
START_LIMIT_S = 30.0
_LEAVE_OUT = shutil.ignore_patterns(
    ".git", ".venv", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)


class Failed(Exception):
    """What went wrong, with the end of the output."""


def candidates(minor: int) -> Iterator[str]:
    name = f"python3.{minor}"
    found = shutil.which(name)
    if found:
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for path in sorted(pyenv.glob(f"3.{minor}*/bin/{name}"), reverse=True):
        yield str(path)
    if sys.version_info[:2] == (3, minor):
        yield sys.executable


def interpreter(minor: int) -> str | None:
    """A Python of that version that runs and can make virtual environments."""
    ask = f"import sys, ensurepip; print(sys.version_info[:2] == (3, {minor}))"
    for path in candidates(minor):
        done = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
        if done.stdout.strip() == "True":
            return path
    return None


def call(argv: list[str], cwd: Path) -> None:
    constraints = str(ROOT / "constraints.txt")
    env = {
        **os.environ,
        "PIP_CONSTRAINT": constraints,
        "PIP_BUILD_CONSTRAINT": constraints,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(f"{' '.join(argv)}: {(done.stdout + done.stderr)[-3000:]}")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def prove(minor: int, python: str, work: Path) -> str:
    source = work / "source"
    shutil.copytree(ROOT, source, ignore=_LEAVE_OUT)
    began_s = time.monotonic()
    call([python, "-m", "venv", str(work / "venv")], work)
    bin_dir = work / "venv" / "bin"
    call([str(bin_dir / "python"), "-m", "pip", "install", "--quiet", "."], source)
    manager = bin_dir / "ryu-manager"
    if "apps.ryu_manager" not in manager.read_text(encoding="utf-8"):
        raise Failed("ryu-manager is Ryu's own, not this project's")
    installed_s = time.monotonic() - began_s
    started_s = start([str(manager)], ["apps/vxlan_l2.py"], source, work, ["/healthz"])
    empty = work / "empty"
    empty.mkdir()
    start([str(bin_dir / "vxlan-l2")], [], empty, work, ["/healthz", "/docs", "/static/docs.css"])
    return (
        f"python 3.{minor}: installed in {installed_s:.0f} s, healthy {started_s:.1f} s after start"
    )


def start(
    command: list[str], apps: list[str], directory: Path, work: Path, paths: list[str]
) -> float:
    """Seconds from the start until all of these answer 200; the process is ended again."""
    rest = free_port()
    listen = ["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", str(free_port())]
    argv = [*command, *listen, "--wsapi-port", str(rest), *apps]
    env = {**os.environ, "OS_VXLAN__STORE": f"sqlite://{work}/state.db"}
    log = work / "controller.log"
    began_s = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(argv, cwd=directory, env=env, stdout=output, stderr=output)
    try:
        while not all(healthy(f"http://127.0.0.1:{rest}{path}") for path in paths):
            gone = child.poll() is not None
            if gone or time.monotonic() - began_s > START_LIMIT_S:
                what = "ended" if gone else f"not healthy after {START_LIMIT_S:g} s"
                raise Failed(f"{command[0]} {what}: {log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        return time.monotonic() - began_s
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def attempt(minor: int, python: str) -> tuple[bool, str]:
    with tempfile.TemporaryDirectory(prefix=f"vxlan-l2-py3{minor}-") as work:
        try:
            return True, prove(minor, python, Path(work))
        except Failed as error:
            return False, f"python 3.{minor}: FAILED: {re.sub(r'^', '  ', str(error), flags=re.M)}"


def main() -> int:
    found = {minor: python for minor in MINORS if (python := interpreter(minor)) is not None}
    if not found:
        print("no Python from 3.11 to 3.13 that can make virtual environments")
        return 1
    for minor in MINORS:
        if minor not in found:
            print(f"python 3.{minor}: not on this machine")
    with ThreadPoolExecutor(max_workers=len(found)) as pool:
        outcomes = list(pool.map(attempt, found.keys(), found.values()))
    for _, text in outcomes:
        print(text)
    passed = sum(ok for ok, _ in outcomes)
    print(f"install and start proven on {passed} of {len(outcomes)} Pythons")
    return 0 if passed == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
