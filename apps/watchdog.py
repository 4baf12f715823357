"""``vxlan-l2-watchdog``: keeps the controller running where no systemd does.

    vxlan-l2-watchdog --url http://127.0.0.1:8080 -- vxlan-l2 --config-file /etc/vxlan-l2.conf

It starts the command, asks GET /healthz every few seconds, and starts the command anew when that
was not answered several times in a row, or when the command ended. Switches keep their flows
meanwhile. A command that does not stay up is started less and less often. SIGTERM ends both, in
order.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence

LOG = logging.getLogger("vxlan-l2-watchdog")

PAUSE_S, PAUSE_MAX_S = 1.0, 60.0
STEADY_S = 60.0
"""Who was well for so long has a clean slate."""
LOOK_S = 0.2
DUMP_S = 2.0

_ENDS = {signal.SIGTERM, signal.SIGINT}
_WATCHED = {*_ENDS, signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1


class Ended(Exception):
    """The watchdog itself was told to end."""


class Watchdog:
    """One command, kept alive. ``ask`` answers None when all is well, else what is wrong."""

    def __init__(
        self, command: Sequence[str], ask: Callable[[], str | None], options: argparse.Namespace
    ) -> None:
        self._command = list(command)
        self._ask = ask
        self._options = options
        self._pause_s = PAUSE_S

    def run(self) -> int:
        """Go on until a signal says otherwise; the exit status."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        while True:
            try:
                child = self._start()
            except OSError as error:
                LOG.error("cannot start %s: %s", self._command[0], error)
                return 1
            try:
                reason = self._watch(child)
                LOG.error("%s", reason)
                self._end(child)
                LOG.info("starting it anew in %.0f s", self._pause_s)
                self._sleep(self._pause_s)
            except Ended:
                LOG.info("ending it: told to")
                self._end(child)
                return 0
            self._pause_s = min(PAUSE_MAX_S, self._pause_s * 2)

    def _start(self) -> subprocess.Popen[bytes]:
        # What hung is told by Python itself, line by line, when it is aborted.
        environ = {"PYTHONFAULTHANDLER": "1", **os.environ}
        child = subprocess.Popen(
            self._command,
            env=environ,
            preexec_fn=_in_the_child,  # noqa: PLW1509 - there are no other threads
        )
        LOG.info("started %s, process %d", self._command[0], child.pid)
        return child

    def _watch(self, child: subprocess.Popen[bytes]) -> str:
        """Return why it has to be started anew."""
        options = self._options
        well_since_s = None
        misses, must_answer_s = 0, time.monotonic() + options.start_timeout
        while True:
            self._sleep(LOOK_S if well_since_s is None else options.interval, child)
            if child.poll() is not None:
                return f"it ended by itself, {_how(child.returncode)}"
            trouble = self._ask()
            now_s = time.monotonic()
            if trouble is None:
                if well_since_s is None:
                    LOG.info("it is alive")
                    well_since_s = now_s
                elif now_s - well_since_s > STEADY_S:
                    self._pause_s = PAUSE_S
                misses = 0
            elif well_since_s is None:
                if now_s > must_answer_s:
                    return f"it is not alive {options.start_timeout:g} s after its start: {trouble}"
            else:
                misses += 1
                LOG.warning("miss %d of %d: %s", misses, options.misses, trouble)
                if misses >= options.misses:
                    return f"it does not answer any more: {trouble}"

    def _sleep(self, for_s: float, child: subprocess.Popen[bytes] | None = None) -> None:
        """Sleep, at most until the child ends; Ended when the watchdog is to."""
        until_s = time.monotonic() + for_s
        while (left_s := until_s - time.monotonic()) > 0:
            got = signal.sigtimedwait(_WATCHED, left_s)
            if got is not None and got.si_signo in _ENDS:
                raise Ended
            if child is not None and child.poll() is not None:
                return

    def _end(self, child: subprocess.Popen[bytes]) -> None:
        """In order if it can; else have it tell where it hangs, and kill it."""
        for number, patience_s in (
            (signal.SIGTERM, self._options.stop_timeout),
            (signal.SIGABRT, DUMP_S),
            (signal.SIGKILL, None),
        ):
            if child.poll() is not None:
                return
            if number is not signal.SIGTERM:
                LOG.warning("process %d is still there: %s", child.pid, number.name)
            child.send_signal(number)
            try:
                child.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue


def _in_the_child() -> None:
    """It hears signals again, and does not outlive the watchdog unwatched."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _how(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    return f"by {signal.Signals(-status).name}"


def asker(url: str, timeout_s: float, ca: str | None) -> Callable[[], str | None]:
    """Asks /healthz there, past any proxy."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if url.startswith("https:"):
        context = ssl.create_default_context(cafile=ca)
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)

    def ask() -> str | None:
        try:
            with opener.open(f"{url.rstrip('/')}/healthz", timeout=timeout_s):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return f"{error.code}: {_detail(error.read(4096))}"
        except (OSError, ValueError) as error:
            return f"no answer to GET /healthz: {getattr(error, 'reason', None) or error}"

    return ask


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:200]


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="vxlan-l2-watchdog",
        description="Start the controller, and start it anew when it hangs or ends.",
        usage="%(prog)s [options] -- COMMAND [ARGUMENT...]",
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8080", help="its REST address (default: %(default)s)")
    add("--ca", metavar="FILE", help="certificates that an https URL is checked with")
    add("--interval", type=_seconds, default=5.0, help="seconds between two questions (5)")
    add("--timeout", type=_seconds, default=5.0, help="seconds in which it has to answer (5)")
    add("--misses", type=int, default=3, help="so many misses in a row are a hang (3)")
    add("--start-timeout", type=_seconds, default=120.0, help="seconds that a start may take (120)")
    add("--stop-timeout", type=_seconds, default=20.0, help="seconds that an end may take (20)")
    add("command", nargs="+", metavar="COMMAND", help="what starts the controller")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 86400:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    """The command; ends with status 0 when told to, 1 when the command cannot be started."""
    options = _options(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s watchdog: %(message)s"
    )
    ask = asker(options.url, options.timeout, options.ca)
    sys.exit(Watchdog(options.command, ask, options).run())


if __name__ == "__main__":
    main()
