"""The proofs at the size of a release: random histories, messages, packets, calls and kills.

    python -m tests.prove [name...]      all of them: an hour or two on two cores

VXLAN_SEED=n plays the same again; without it each run is another, and says which. Exit status 1 if
any of them fails. Each proof's own test says how a single failure is repeated.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Proof:
    """``variable`` tells its test how many."""

    name: str
    test: str
    variable: str
    size: int
    what: str

    def environment(self, seed: int) -> dict[str, str]:
        return {"VXLAN_SEED": str(seed), self.variable: str(self.size)}

    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--timeout=0",
            self.test,
        ]


FUZZ, CONTROLLER = "tests/fuzz/test_", "tests/controller/test_"
PROOFS = (
    Proof("frames", f"{FUZZ}frames.py", "VXLAN_FUZZ_FRAMES", 60_000, "OpenFlow messages"),
    Proof("payloads", f"{FUZZ}payloads.py", "VXLAN_FUZZ_PAYLOADS", 1_000_000, "packets of VMs"),
    Proof("calls", f"{FUZZ}calls.py", "VXLAN_FUZZ_CALLS", 10_000, "REST calls"),
    Proof("kills", "tests/store/test_kills.py", "VXLAN_KILL_ROUNDS", 100, "rounds of kill -9"),
    Proof("power", "tests/store/test_power.py", "VXLAN_KILL_ROUNDS", 100, "rounds of power cuts"),
    Proof("flips", "tests/store/test_flips.py", "VXLAN_KILL_ROUNDS", 100, "rounds of flips"),
    Proof("arrivals", "tests/apps/test_front.py", "VXLAN_RECONNECTS", 500, "switches at once"),
    Proof("outages", "tests/ovs/test_outages.py", "VXLAN_STOP_S", 60, "s of SIGSTOP"),
    Proof("machine", f"{CONTROLLER}machine.py", "VXLAN_MACHINE_RUNS", 2_000, "histories"),
    Proof("worlds", f"{CONTROLLER}properties.py", "VXLAN_PROPERTY_WORLDS", 2_000, "worlds"),
)


def main() -> int:
    wanted = sys.argv[1:] or [proof.name for proof in PROOFS]
    unknown = set(wanted) - {proof.name for proof in PROOFS}
    if unknown:
        print(f"no such proof: {', '.join(sorted(unknown))}")
        return 2
    seed = int(os.environ.get("VXLAN_SEED") or secrets.randbelow(2**31))
    print(f"seed {seed}", flush=True)
    summary, failed = [], False
    for proof in PROOFS:
        if proof.name not in wanted:
            continue
        environment = proof.environment(seed)
        began_s = time.monotonic()
        print(f"== {proof.name}: {proof.size:,} {proof.what}", flush=True)
        status = subprocess.call(proof.command(), env={**os.environ, **environment})
        took_s = time.monotonic() - began_s
        line = f"{proof.name:<10} {proof.size:>9,} {proof.what:<20} {took_s:>7.0f} s"
        summary.append(f"{line}  {'failed' if status else 'holds'}")
        if status:
            failed = True
            again = " ".join(f"{name}={value}" for name, value in environment.items())
            print(f"again: {again} make test ARGS={proof.test}", flush=True)
    print(f"seed {seed}", *summary, sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
