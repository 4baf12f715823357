"""The stand-alone watchdog starts a controller anew that hangs or ended; switches forward on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.farm import Farm
from tests.apps.process import BIN, ROOT, Running, free_port

WATCHDOG = (sys.executable, "-m", "apps.watchdog")
QUICK = ("--interval=0.2", "--timeout=0.5", "--misses=2", "--start-timeout=60", "--stop-timeout=1")
HV = "0000fa0000000001"  # the farm's first

SPINNER = """
import os
from ryu.base import app_manager
from ryu.lib import hub

class Spinner(app_manager.RyuApp):
    def start(self):
        super().start()
        hub.spawn(self.wait)

    def wait(self):
        while not os.path.exists("spin"):
            hub.sleep(0.05)
        os.unlink("spin")
        while True:
            pass
"""


@contextmanager
def watched(directory: Path, options: tuple[str, ...], *command: str) -> Iterator[Running]:
    """A watchdog over a command; ``child`` is the watchdog, the log is of both."""
    rest_port, openflow_port = free_port(), free_port()
    log = directory / "watchdog.log"
    listen = (
        "--ofp-listen-host=127.0.0.1",
        f"--ofp-tcp-listen-port={openflow_port}",
        f"--wsapi-port={rest_port}",
    )
    more = listen if "ryu-manager" in command[0] else ()
    url = f"http://127.0.0.1:{rest_port}"
    with log.open("ab") as output:
        child = subprocess.Popen(
            [*WATCHDOG, f"--url={url}", *options, "--", *command[:1], *more, *command[1:]],
            cwd=directory,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "OS_VXLAN__STORE": f"sqlite://{directory}/state.db",
            },
            stdout=output,
            stderr=output,
        )
    one = Running(child, url, openflow_port, log)
    try:
        yield one
    finally:
        child.terminate()
        try:
            child.wait(20)
        finally:
            child.kill()
            child.wait()


def _pids(one: Running) -> list[int]:
    return [int(pid) for pid in re.findall(r"started .*, process (\d+)", one.log)]


def _wait_until(true: Callable[[], object], one: Running, what: str) -> None:
    deadline_s = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline_s, f"{what}:\n{one.log}"
        time.sleep(0.05)


def _is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_controller_that_hangs_is_started_anew(tmp_path: Path) -> None:
    (tmp_path / "spinner.py").write_text(SPINNER)
    command = (str(BIN / "ryu-manager"), str(ROOT / "apps" / "vxlan_l2.py"), "spinner.py")
    with watched(tmp_path, QUICK, *command) as one, Farm() as switches:
        _wait_until(lambda: "it is alive" in one.log, one, "alive")
        assert one("PUT", f"/v1/hosts/{HV}", {"name": "hv-1", "vtep": "192.0.2.1"}).status == 201
        assert one("POST", "/v1/vms", {"mac": "52:54:00:00:00:01", "host": HV}).status == 201
        switches.start(one.openflow_port, switches=1)
        switches.wait_connected()
        _wait_until(lambda: one("GET", f"/v1/hosts/{HV}").body["state"] == "LIVE", one, "live")
        held = switches.held()
        switches.mark()
        for number, hang in enumerate((_stop, _spin), start=2):
            hang(tmp_path, _pids(one)[-1])
            _wait_until(lambda n=number: len(_pids(one)) == n, one, "started anew")
            _wait_until(lambda n=number: one.log.count("it is alive") == n, one, "alive again")
            assert [vm["mac"] for vm in one("GET", "/v1/vms").body["items"]] == [
                "52:54:00:00:00:01"
            ]
            _wait_until(lambda: one("GET", f"/v1/hosts/{HV}").body["state"] == "LIVE", one, "live")
        assert switches.held() == held
        assert switches.counters().deletes == 0, switches.counters()
        assert "it does not answer any more: no answer to GET /healthz" in one.log
        assert 'spinner.py", line' in one.log  # where it hung
        last = _pids(one)[-1]
        one.child.terminate()
        assert one.child.wait(20) == 0
        assert not _is_there(last)


def _stop(_directory: Path, pid: int) -> None:
    os.kill(pid, signal.SIGSTOP)


def _spin(directory: Path, _pid: int) -> None:
    (directory / "spin").touch()


def test_a_command_that_does_not_stay_up_is_started_less_and_less_often(tmp_path: Path) -> None:
    with watched(tmp_path, QUICK, sys.executable, "-c", "raise SystemExit(3)") as one:
        _wait_until(lambda: "starting it anew in 4 s" in one.log, one, "third")
        pauses = re.findall(r"starting it anew in (\d+) s", one.log)
        assert pauses == ["1", "2", "4"]
        assert one.log.count("it ended by itself, exit status 3") == 3
        one.child.terminate()
        assert one.child.wait(20) == 0


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    with watched(tmp_path, QUICK, "no-such-command") as one:
        assert one.child.wait(20) == 1
        assert "cannot start no-such-command" in one.log


def test_nobody_runs_on_unwatched(tmp_path: Path) -> None:
    """The watchdog is killed: its controller ends, so that another can be started."""
    with watched(tmp_path, QUICK, sys.executable, "-c", "import time; time.sleep(60)") as one:
        _wait_until(lambda: _pids(one), one, "started")
        (pid,) = _pids(one)
        one.child.kill()
        _wait_until(lambda: not _is_there(pid), one, "ended")


def test_it_needs_no_eventlet() -> None:
    script = "import apps.watchdog, sys; assert 'eventlet' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
