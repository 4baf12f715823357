"""One Open vSwitch of one's own: ovsdb-server and ovs-vswitchd in a namespace and directory."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from topology.lab import netns
from topology.lab.command import run
from topology.lab.errors import LabError
from topology.lab.process import Processes

_SCHEMAS = (
    Path("/usr/share/openvswitch/vswitch.ovsschema"),
    Path("/usr/local/share/openvswitch/vswitch.ovsschema"),
)


def wait_until(done: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    """Poll every 10 ms; LabError naming `what` when time is up."""
    deadline_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline_s:
            raise LabError(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.01)


class OvsInstance:
    """The pair of daemons; rundir is their OVS_RUNDIR, which names them to every ovs- tool."""

    def __init__(self, netns_name: str, rundir: Path, processes: Processes) -> None:
        self.netns = netns_name
        self.rundir = rundir
        self.env = {
            "OVS_RUNDIR": str(rundir),
            "OVS_LOGDIR": str(rundir),
            "OVS_DBDIR": str(rundir),
            "OVS_SYSCONFDIR": str(rundir),
        }
        self._processes = processes
        self._ovsdb: subprocess.Popen[bytes] | None = None
        self._vswitchd: subprocess.Popen[bytes] | None = None
        self._restarts = 0

    def start(self) -> None:
        """Start both daemons on an empty database."""
        self.rundir.mkdir(parents=True)
        schema = next((path for path in _SCHEMAS if path.exists()), None)
        if schema is None:
            raise LabError("vswitch.ovsschema not found: apt-get install -y openvswitch-switch")
        database = self.rundir / "conf.db"
        run("ovsdb-tool", "create", str(database), str(schema))
        self.start_ovsdb()
        self.start_vswitchd()

    def start_ovsdb(self) -> None:
        """Start ovsdb-server on the database that is there, and return when it answers."""
        self._ovsdb = self._daemon(
            "ovsdb-server", f"--remote=punix:{self.rundir}/db.sock", str(self.rundir / "conf.db")
        )
        wait_until((self.rundir / "db.sock").exists, f"ovsdb-server in {self.netns}")
        self.vsctl("--retry", "--no-wait", "init")  # its socket is there before it listens

    def stop_ovsdb(self, how: signal.Signals = signal.SIGKILL) -> None:
        """ovs-vswitchd goes on with what it knows; nothing can be configured."""
        if self._ovsdb is not None:
            self._processes.end(self._ovsdb, how)
            self._ovsdb = None

    def start_vswitchd(self) -> None:
        """Start ovs-vswitchd and return when it has carried out what the database says."""
        self._vswitchd = self._daemon("ovs-vswitchd", f"unix:{self.rundir}/db.sock")
        self._restarts += 1
        self.vsctl("set", "Open_vSwitch", ".", f"external_ids:lab_start={self._restarts}")

    def stop_vswitchd(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._vswitchd is not None:
            self._processes.end(self._vswitchd, how)
            self._vswitchd = None

    def signal_vswitchd(self, what: signal.Signals) -> None:
        """SIGSTOP makes a switch that no longer reads, SIGCONT lets it go on."""
        if self._vswitchd is None:
            raise LabError(f"ovs-vswitchd in {self.netns} does not run")
        self._vswitchd.send_signal(what)

    @property
    def vswitchd_pid(self) -> int | None:
        return None if self._vswitchd is None else self._vswitchd.pid

    def vsctl(self, *args: str, check: bool = True) -> str:
        return run("ovs-vsctl", "--timeout=20", *args, env=self.env, check=check)

    def ofctl(self, *args: str, stdin: str | None = None, check: bool = True) -> str:
        """ovs-ofctl in OpenFlow 1.3 (a later -O in `args` wins)."""
        return run("ovs-ofctl", "-O", "OpenFlow13", *args, env=self.env, stdin=stdin, check=check)

    def appctl(self, *args: str, check: bool = True) -> str:
        return run("ovs-appctl", *args, env=self.env, check=check)

    def _daemon(self, name: str, *args: str) -> subprocess.Popen[bytes]:
        argv = [name, "--pidfile", "-vconsole:off", "-vsyslog:off", "-vfile:info", "--log-file"]
        return self._processes.start(
            netns.argv_in(self.netns, [*argv, *args]), self.rundir / f"{name}.out", self.env
        )
