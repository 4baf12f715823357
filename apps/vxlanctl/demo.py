"""vxlanctl demo: the product at work, on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import typer

from apps.vxlanctl.commands import command
from apps.vxlanctl.failures import Failure, WrongUsage
from apps.vxlanctl.session import session

_ROOT = Path(__file__).resolve().parents[2]


def register(app: typer.Typer) -> None:
    """Add the command to the tree."""
    command(app, "demo", ["sudo vxlanctl demo"])(demo)


def demo() -> int:
    """Stand three hosts with real Open vSwitch up, and watch the controller take them over.

    In network namespaces of its own, from a checkout, as root; nothing is left behind.
    """
    if session().json:
        raise WrongUsage("the demo is for people: it has no -o json")
    if not (_ROOT / "contrib" / "takeover.sh").exists():
        raise Failure("the demo needs a checkout of the project", "git clone it, and: make demo")
    if os.geteuid() != 0:
        raise Failure("the demo makes network namespaces, which takes root", "sudo vxlanctl demo")
    for tool, package in (("ovs-vswitchd", "openvswitch-switch"), ("unshare", "util-linux")):
        if shutil.which(tool) is None and not Path("/usr/sbin", tool).exists():
            raise Failure(
                f"{tool} is not installed", f"apt-get install -y {package}, or: make demo"
            )
    isolated = ["unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "demo"]
    argv = [*isolated, sys.executable, "-m", "apps.demo"]
    try:
        return 1 if subprocess.run(argv, cwd=_ROOT, check=False).returncode else 0
    except OSError as error:
        raise Failure(f"the demo cannot start: {error}", "make demo") from error
