"""What the tests reach of topology/ and controller/, lines and branches.

    python -m tests.covered

Exit status 1 under LEAST_PERCENT, or when a test fails. The pages are in .coverage.d/html.

Measured are the tests that cost little beside what they reach: the unit tests, the controllers that
tests/apps starts, and the lab's own tests. On Python 3.11 measuring makes them four times slower:
what plays thousands of random histories, and what has deadlines on real switches, is left out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests import side_by_side

LEAST_PERCENT = 92
DATA = Path(".coverage.d")
REPEATING = (
    "tests/controller/test_catching_up.py",
    "tests/controller/test_histories.py",
    "tests/controller/test_path_independence.py",
    "tests/controller/test_properties.py",
    "tests/wire/test_trace.py",
)
WITHOUT = (
    "tests/apps/vxlanctl/test_words.py::test_it_imports_nothing_that_is_slow",
    "tests/apps/test_advisories.py::test_ryus_own_parser_hangs_on_each_but_odd_matches",
)
"""What is about imports and time, which measuring changes."""

PARTS = {
    "labs": ("tests/lab",),
    "apps": (*side_by_side.DIRECTORIES["apps"], *(f"--deselect={test}" for test in WITHOUT)),
    "rest": (*side_by_side.PARTS["rest"], *(f"--ignore={path}" for path in REPEATING)),
}


def main() -> int:
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir()
    failed = side_by_side.run(PARTS, ("-m", "coverage", "run", "-m", "pytest"))
    coverage = (sys.executable, "-m", "coverage")
    subprocess.run([*coverage, "combine", "--quiet"], check=True)
    subprocess.run([*coverage, "html", "--quiet"], check=True)
    status = subprocess.call([*coverage, "report", "--sort=cover", f"--fail-under={LEAST_PERCENT}"])
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed or status else 0


if __name__ == "__main__":
    sys.exit(main())
