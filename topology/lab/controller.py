"""The real controller as a process beside a lab: started, paused, killed and started again."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from topology.lab.errors import LabError
from topology.lab.process import Processes
from topology.lab.rest import RestClient

_ROOT = Path(__file__).resolve().parents[2]
_APP = _ROOT / "apps" / "vxlan_l2.py"
_TLS = ("ctl_privkey", "ctl_cert", "ca_certs")


class Controller:
    """`ryu-manager apps/vxlan_l2.py`, listening for switches on `ip`, for REST on loopback.

    directory: where its store and log are; both outlive kill() and start(), as the ports do.
    options: of the group [vxlan], such as {"learn_timeout": 6}; and of Ryu's, ctl_privkey, ctl_cert
    and ca_certs, with which it is TLS that it listens for. app: what runs at the next start.
    """

    def __init__(
        self,
        processes: Processes,
        directory: Path,
        ip: str,
        options: Mapping[str, object] | None = None,
    ) -> None:
        self.log = directory / "controller.log"
        self.store = directory / "state.db"
        self.ip = ip
        self.openflow_port = free_port(ip)
        rest_port = free_port("127.0.0.1")
        values = {"store": f"sqlite://{self.store}", **(options or {})}
        tls = {name: values.pop(name) for name in _TLS if name in values}
        self.target = f"{'ssl' if tls else 'tcp'}:{ip}:{self.openflow_port}"
        self.rest = RestClient(f"http://127.0.0.1:{rest_port}")
        self._processes = processes
        self._child: subprocess.Popen[bytes] | None = None
        # Beside the interpreter, where `make install` puts it; not resolved: that is the venv.
        self._argv = [str(Path(sys.executable).parent / "ryu-manager")]
        self._argv += [f"--ofp-listen-host={ip}"]
        self._argv += [f"--ofp-{'ssl' if tls else 'tcp'}-listen-port={self.openflow_port}"]
        self._argv += [f"--wsapi-port={rest_port}"]
        self.app = _APP
        self._env = {f"OS_VXLAN__{name.upper()}": str(value) for name, value in values.items()}
        self._env |= {f"OS_DEFAULT__{name.upper()}": str(value) for name, value in tls.items()}

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    def start(self, ready_within_s: float = 30.0) -> float:
        """Start and wait until /readyz says yes; gives the seconds that took."""
        if self._child is not None:
            raise LabError("the controller runs already")
        began_s = time.monotonic()
        child = self.begin()
        while not self.ready():
            if child.poll() is not None:
                self._child = None
                raise LabError(f"the controller ended:\n{self.log_tail()}")
            if time.monotonic() - began_s > ready_within_s:
                raise LabError(f"not ready within {ready_within_s:g} s:\n{self.log_tail()}")
            time.sleep(0.02)
        return time.monotonic() - began_s

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it and do not wait; kill() ends it at any time."""
        self._child = self._processes.start([*self._argv, str(self.app)], self.log, self._env)
        return self._child

    def ready(self) -> bool:
        """Whether its store is loaded and it listens."""
        try:
            return self.rest.get("/readyz").status == 200
        except OSError:
            return False

    def kill(self) -> None:
        """kill -9: it has no time to say anything."""
        self._end(signal.SIGKILL)

    def stop(self) -> int | None:
        """End it politely; gives its exit status."""
        return self._end(signal.SIGTERM)

    def pause(self) -> None:
        """It keeps its connections and answers nothing, until resume()."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def log_tail(self, lines: int = 60) -> str:
        if not self.log.exists():
            return "(no log)"
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def _signal(self, what: signal.Signals) -> None:
        if self._child is None:
            raise LabError("the controller does not run")
        self._child.send_signal(what)

    def _end(self, how: signal.Signals) -> int | None:
        child, self._child = self._child, None
        return None if child is None else self._processes.end(child, how)


def free_port(ip: str) -> int:
    """A TCP port of that address which nobody listens on now."""
    with socket.create_server((ip, 0)) as server:
        port: int = server.getsockname()[1]
        return port
