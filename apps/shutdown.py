"""An end on SIGTERM as on Ctrl-C: what is being written is finished first."""

from __future__ import annotations

import signal
from typing import Any

import greenlet
from eventlet import hubs


def end_politely() -> None:
    """Let SIGTERM end Ryu's main greenlet, which closes the apps; to be called from that one."""
    main = greenlet.getcurrent()

    def end(_number: int, _frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        hubs.get_hub().schedule_call_global(0, main.throw, KeyboardInterrupt)

    signal.signal(signal.SIGTERM, end)
