"""Run one command and give back what it printed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping

from topology.lab.errors import LabError

#: command -> Debian package that brings it
NEEDED = {
    "ovs-vswitchd": "openvswitch-switch",
    "ovsdb-server": "openvswitch-switch",
    "ovs-vsctl": "openvswitch-switch",
    "ip": "iproute2",
    "ethtool": "ethtool",
    "ping": "iputils-ping",
    "tcpdump": "tcpdump",
    "busybox": "busybox",
}
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment in the C locale, with the sbin directories on PATH, plus `extra`."""
    env = {**os.environ, "LC_ALL": "C", **(extra or {})}
    env["PATH"] = f"{env.get('PATH', '/usr/bin:/bin')}:{_SBIN}"
    return env


def require_tools() -> None:
    """Raise LabError, naming the command to type, unless root and every tool are there."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces: run it as root")
    path = environment()["PATH"]
    packages = {pkg for tool, pkg in NEEDED.items() if shutil.which(tool, path=path) is None}
    if packages:
        raise LabError(f"missing system packages: apt-get install -y {' '.join(sorted(packages))}")


def run(
    *argv: str,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    check: bool = True,
    timeout_s: float = 30.0,
) -> str:
    """Standard output of the command; LabError if it fails (unless check=False) or hangs."""
    try:
        done = subprocess.run(
            argv,
            env=environment(env),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end after {timeout_s:g} s: {shlex.join(argv)}") from error
    except FileNotFoundError as error:
        raise LabError(f"command not found: {argv[0]}") from error
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise LabError(f"{shlex.join(argv)}: exit status {done.returncode}: {said}")
    return done.stdout
