"""Tell systemd how the controller is (sd_notify(3)): ready, alive, stopping; nothing without it.

The watchdog's word is given by the loop that does all the work: when that hangs, it stays away, and
systemd starts the controller anew. It stays away too when another loop has ended that must not.
Switches keep their flows meanwhile.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping

import eventlet

READY_LOOK_S = 0.05
STATUS_EVERY_S = 5.0

LOG = logging.getLogger("vxlan_l2")


class Notifier:
    """Speaks to the socket that NOTIFY_SOCKET names; without that, silently to nobody.

    watchdog_s: how often systemd wants a word, None if it does not wait for any.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._complained = False
        self.watchdog_s = _watchdog_s(environ) if self._address else None

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def status(self, text: str) -> None:
        """One line that ``systemctl status`` shows."""
        self._send(f"STATUS={text}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=writing down what is under way")

    def beat_for_ever(
        self,
        ready: Callable[[], bool],
        in_short: Callable[[], str],
        ended: Callable[[], list[str]] = list,
    ) -> None:
        """Say READY once it is, then that it is alive; in a greenlet of its own."""
        if not self._address:
            return
        while not ready():
            eventlet.sleep(READY_LOOK_S)
        said = in_short()
        self.ready(said)
        mourned: list[str] = []
        while True:
            dead = ended()
            if dead != mourned:
                LOG.error("ended, and has to be started anew: %s", ", ".join(dead))
                mourned = dead
            if self.watchdog_s is not None and not dead:
                self.alive()
            if (now := in_short()) != said:
                self.status(now)
                said = now
            eventlet.sleep(min(STATUS_EVERY_S, (self.watchdog_s or STATUS_EVERY_S * 2) / 2))

    def _send(self, text: str) -> None:
        if not self._address:
            return
        abstract = self._address.startswith("@")
        address = "\0" + self._address[1:] if abstract else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.sendto(text.encode("utf-8"), address)
        except OSError as error:
            # The next word may come through: who is silent for good is started anew.
            if not self._complained:
                LOG.warning("cannot tell systemd %s: %s", text.partition("\n")[0], error)
            self._complained = True
            return
        self._complained = False


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """WATCHDOG_USEC, if it is meant for this process (sd_watchdog_enabled(3))."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdigit() and int(text) else None
