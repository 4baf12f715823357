"""Other controllers that learn MACs from packet-ins, started beside ours."""

from __future__ import annotations

import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.farm.client import Farm
from bench.farm.fabric import own_processes
from topology.lab import LabError
from topology.lab.command import environment
from topology.lab.controller import free_port

_STARTS_WITHIN_S = 20.0


@dataclass(frozen=True)
class Learner:
    """A controller; ``argv`` of a TCP port it listens on, None where it is not installed."""

    name: str
    argv: Callable[[int], Sequence[str]] | None


def _simple_switch(port: int) -> Sequence[str]:
    manager = Path(sys.executable).parent / "ryu-manager"
    listen = ("--ofp-listen-host=127.0.0.1", f"--ofp-tcp-listen-port={port}")
    return (str(manager), *listen, "ryu.app.simple_switch_13")


def simple_switch() -> Learner:
    """Ryu's learning switch, in the environment of ours."""
    return Learner("Ryu simple_switch_13", _simple_switch)


def testcontroller() -> Learner:
    """Open vSwitch's learning controller, in C."""
    path = shutil.which("ovs-testcontroller", path=environment()["PATH"])
    if path is None:
        return Learner("ovs-testcontroller", None)
    found = path
    return Learner(
        "ovs-testcontroller",
        lambda port: (found, "--protocols=OpenFlow13", f"ptcp:{port}:127.0.0.1"),
    )


@contextmanager
def beside(learner: Learner, switches: int) -> Iterator[Farm]:
    """A farm that is connected to this controller."""
    assert learner.argv is not None
    with own_processes() as (processes, directory), Farm() as farm:
        port = free_port("127.0.0.1")
        log = directory / "log"
        child = processes.start(learner.argv(port), log, {"OVS_RUNDIR": str(directory)})
        until_s = time.monotonic() + _STARTS_WITHIN_S
        while not _listens(port):
            if child.poll() is not None or time.monotonic() > until_s:
                raise LabError(f"{learner.name} does not listen: {log.read_text()[-2000:]}")
            time.sleep(0.05)
        farm.start(port, switches)
        farm.wait_connected()
        farm.wait_quiet(0.3)
        yield farm


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
