"""What pip-audit knows of the packages that are installed, less what audited.txt has a reason for.

    python -m tests.audit

Exit status 1 for an advisory without one. Where no vulnerability database can be reached, or one
that does not even know of Ryu 4.34's, nothing can be said: a line says that, and the status is 0.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

AUDITED = Path(__file__).parents[1] / "audited.txt"
PROBE = "ryu==4.34"
"""Whoever knows of no advisory about it knows nothing."""
PROBE_LIMIT_S, LIMIT_S = 20, 300
WAIT_S = "3"


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        probe = Path(directory) / "requirements.txt"
        probe.write_text(f"{PROBE}\n")
        known = _ask(["-r", str(probe), "--no-deps", "--disable-pip"], PROBE_LIMIT_S)
    if known is None or not any(package.get("vulns") for package in known):
        print("pip-audit: no vulnerability database can be reached; nothing was audited")
        return 0
    found = _ask(["--skip-editable"], LIMIT_S)
    if found is None:
        print("pip-audit: the vulnerability database does not answer; nothing was audited")
        return 0
    reasons = reasons_in(AUDITED.read_text(encoding="utf-8"))
    open_ones = without_reason(found, reasons)
    for line in open_ones:
        print(f"pip-audit: {line}")
    audited = sum("vulns" in package for package in found)
    print(f"pip-audit: {audited} packages, {len(open_ones)} advisories without a reason")
    return 1 if open_ones else 0


def _ask(arguments: list[str], limit_s: float) -> list[dict[str, Any]] | None:
    """The packages and what is known of them; None where nobody answers in time."""
    command = [sys.executable, "-m", "pip_audit", *arguments]
    more = ["--format", "json", "--progress-spinner", "off", "--timeout", WAIT_S]
    try:
        done = subprocess.run(
            [*command, *more], capture_output=True, text=True, timeout=limit_s, check=False
        )
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None
    return packages


def reasons_in(text: str) -> dict[str, str]:
    """Advisory -> why it is harmless."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split(maxsplit=1) for line in lines)


def without_reason(packages: list[dict[str, Any]], reasons: dict[str, str]) -> list[str]:
    """What is known of packages, as pip-audit tells it, and has no reason."""
    return [
        f"{package['name']} {package['version']}: {vulnerability['id']}"
        f" ({', '.join(vulnerability['aliases'])}), fixed in {vulnerability['fix_versions']}"
        for package in packages
        for vulnerability in package.get("vulns", ())
        if not {vulnerability["id"], *vulnerability["aliases"]} & reasons.keys()
    ]


if __name__ == "__main__":
    sys.exit(main())
