"""All tests, in four parts at a time: those with switches or processes mostly wait.

Each part has a network namespace of its own; its lines begin with its name.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from threading import Thread
from typing import IO

ASKING = [
    f"tests/ovs/test_{name}.py" for name in ("why", "doctor", "tunnels", "mtu", "host_script")
]
"""Of the tests on real switches, those that would make their part the longest."""

DIRECTORIES = {
    "ovs": ("tests/ovs",),
    "labs": ("tests/lab", "tests/bench", "tests/ui"),
    "apps": ("tests/apps",),
}
FAULTS = [
    f"tests/ovs/test_{name}.py"
    for name in ("outages", "switch_faults", "restored_flows", "control_channel", "floods", "tls")
]
"""More of them, which go where there is time left."""

PARTS = {
    "ovs": (*DIRECTORIES["ovs"], *(f"--ignore={path}" for path in (*ASKING, *FAULTS))),
    "labs": (*DIRECTORIES["labs"], *ASKING),
    "apps": (*DIRECTORIES["apps"], *FAULTS),
    "rest": ("tests", *(f"--ignore={path}" for part in DIRECTORIES.values() for path in part)),
}
ISOLATED = ("unshare", "--net", "--", "sh", "-c", 'ip link set lo up && exec "$@"', "isolated")


def main() -> int:
    failed = run(PARTS, ("-m", "pytest"))
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return 1 if failed else 0


def run(parts: Mapping[str, Sequence[str]], pytest_by: Sequence[str]) -> list[str]:
    """Run parts at a time, pytest started by these arguments of Python; the names that failed."""
    running = []
    for name, arguments in parts.items():
        pytest = (
            sys.executable,
            "-u",
            *pytest_by,
            "-q",
            "--durations=12",
            "-o",
            f"cache_dir=.pytest_cache/{name}",
        )
        child = subprocess.Popen(
            [*ISOLATED, *pytest, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert child.stdout is not None
        reader = Thread(target=_show, args=(name, child.stdout))
        reader.start()
        running.append((name, child, reader))
    failed = []
    for name, child, reader in running:
        reader.join()
        if child.wait():
            failed.append(name)
    return failed


def _show(name: str, lines: IO[str]) -> None:
    for line in lines:
        print(f"{name} | {line}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
