"""vxlanctl: the command line. Talks REST, and imports nothing of the controller."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; 0 done, 1 refused or unhealthy, 2 wrong usage, 130 interrupted."""
    try:
        from apps.vxlanctl.run import run

        return run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return 130
