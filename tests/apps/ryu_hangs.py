"""Which of the messages on standard input, hex a line, Ryu's own parser never gets done with.

    python -m tests.apps.ryu_hangs < messages.hex

Prints "hangs" or "ends" for each.
"""

from __future__ import annotations

import logging
import signal
import sys
from types import FrameType

import eventlet
import eventlet.wsgi

eventlet.wsgi.ALREADY_HANDLED = []

from ryu.ofproto import (  # noqa: E402
    ofproto_parser,
    ofproto_protocol,
    ofproto_v1_3_parser,  # noqa: F401
    ofproto_v1_4_parser,  # noqa: F401
    ofproto_v1_5_parser,  # noqa: F401
)

CPU_S = 0.03
"""Of its own time: whatever is not done by then takes a hundred times what it should."""


class NeverDoneError(BaseException):
    """Ryu catches everything else, and that too: so it is noted."""


def main() -> None:
    logging.disable()
    rung: list[bool] = []

    def ring(_signal: int, _frame: FrameType | None) -> None:
        rung.append(True)
        raise NeverDoneError

    signal.signal(signal.SIGVTALRM, ring)
    for line in sys.stdin:
        message = bytes.fromhex(line)
        datapath = ofproto_protocol.ProtocolDesc(version=message[0])
        rung.clear()
        signal.setitimer(signal.ITIMER_VIRTUAL, CPU_S)
        try:
            ofproto_parser.msg(datapath, *ofproto_parser.header(message), message)
        except (NeverDoneError, Exception):  # it stumbles over some, as it should
            pass
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        print("hangs" if rung else "ends")


if __name__ == "__main__":
    main()
