"""A real DHCP client (busybox udhcpc) in a namespace, and what it was given."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from topology.lab import netns
from topology.lab.command import environment, run
from topology.lab.errors import LabError

#: what udhcpc runs at every event: only the lease is wanted, nothing of the machine is set
_SCRIPT = """\
#!/bin/sh
[ "$1" != bound ] || env > "$LEASE"
"""


@dataclass(frozen=True, slots=True)
class DhcpResult:
    """A lease; what the server did not say is None, or empty.

    options: everything, by udhcpc's own names.
    """

    ip: str
    prefix_bits: int
    router: str | None
    dns: tuple[str, ...]
    mtu_bytes: int | None
    lease_s: int | None
    server_id: str | None
    options: Mapping[str, str]


def run_client(
    netns_name: str, link: str, directory: Path, timeout_s: float, more: Iterable[str] = ()
) -> DhcpResult:
    """Ask for a lease on the link; LabError if there is none in time."""
    lease = directory / f"{netns_name}.lease"
    script = directory / f"{netns_name}.udhcpc"
    script.write_text(_SCRIPT, encoding="ascii")
    script.chmod(0o755)
    lease.unlink(missing_ok=True)
    # A bare environment: what the script then finds in it is the lease.
    argv = ["env", "-i", f"PATH={environment()['PATH']}", f"LEASE={lease}"]
    argv += ["busybox", "udhcpc", "-i", link, "-s", str(script), "-O", "mtu", "-n", "-q", "-f"]
    argv += ["-T", "1", "-t", str(math.ceil(timeout_s)), *more]
    run(*netns.argv_in(netns_name, argv), check=False, timeout_s=timeout_s + 10)
    if not lease.exists():
        raise LabError(f"no lease within {timeout_s:g} s on {link} in {netns_name}")
    return read_lease(lease.read_text(encoding="utf-8", errors="replace"))


def read_lease(text: str) -> DhcpResult:
    """Read the environment that udhcpc gives its script: NAME=value lines."""
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    options = {name: value for name, value in found.items() if name[:1].islower()}
    return DhcpResult(
        ip=options["ip"],
        prefix_bits=_prefix_bits(options),
        router=options["router"].split()[0] if "router" in options else None,
        dns=tuple(options.get("dns", "").split()),
        mtu_bytes=_number(options.get("mtu")),
        lease_s=_number(options.get("lease")),
        server_id=options.get("serverid"),
        options=options,
    )


def _prefix_bits(options: Mapping[str, str]) -> int:
    return IPv4Network(f"0.0.0.0/{options['subnet']}").prefixlen if "subnet" in options else 32


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
