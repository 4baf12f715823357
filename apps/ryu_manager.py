"""The ``ryu-manager`` command, made to run on today's Python and eventlet.

Ryu 4.34 reads ``eventlet.wsgi.ALREADY_HANDLED``, which newer eventlet does not have. It must be a
list: Ryu returns it as a response body, and an object that cannot be iterated would end each
websocket with a 500.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path


def main() -> None:
    """Patch, then hand over to Ryu's own main, with the same arguments."""
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    import eventlet

    eventlet.monkey_patch()
    import eventlet.wsgi

    if not hasattr(eventlet.wsgi, "ALREADY_HANDLED"):
        eventlet.wsgi.ALREADY_HANDLED = []
    root = str(Path(__file__).resolve().parent.parent)
    if root not in sys.path:
        sys.path.insert(0, root)
    from ryu.cmd.manager import main as ryu_main

    sys.exit(ryu_main())


if __name__ == "__main__":
    main()
