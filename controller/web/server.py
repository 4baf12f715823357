"""Takes HTTP connections for ever, with and without TLS."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any, Final, Protocol, TypeAlias

import eventlet
import eventlet.wsgi
from eventlet.semaphore import Semaphore

from controller.api.problems import Problem
from controller.web.connections import Connection, Connections, Phase
from controller.web.protocol import Protocol as Http

LOG: Final = logging.getLogger("vxlan_l2.rest")

SWEEP_EVERY_S: Final = 1.0
PAUSE_S: Final = 0.02
ACCEPTED_AT_ONCE: Final = 64

Application: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Listener(Protocol):
    def accept(self) -> tuple[Any, Any]: ...
    def getsockname(self) -> Any: ...


class Server(eventlet.wsgi.Server):  # type: ignore[misc]
    """tls: an ssl.SSLContext. ended: counts connections that were ended, and requests refused
    before the application saw them, by reason.
    """

    def __init__(
        self, application: Application, most: int, ended: Counter[str], tls: Any = None
    ) -> None:
        secured = {} if tls is None else {"wsgi.url_scheme": "https", "HTTPS": "on"}
        super().__init__(
            None, None, application, log=_Log(), environ=secured, debug=False, keepalive=True
        )
        self.log_x_forwarded_for = False  # whoever sends it may write what he likes
        self.log_output = LOG.isEnabledFor(logging.DEBUG)
        self.capitalize_response_headers = False  # they are; eventlet would do it for each
        self.pipelined = Semaphore(1)
        self._tls = tls
        self._ended = ended
        self._connections = Connections(most, ended)

    def relieve(self) -> bool:
        """Make room, where files have run out; whether somebody had to go."""
        return self._connections.make_room(time.monotonic())

    def serve_for_ever(self, listener: Listener) -> None:
        eventlet.spawn(self._sweep_for_ever)
        for taken in count(1):
            connection = Connection(*listener.accept())
            while self._connections.full:
                made_room = self._connections.make_room(time.monotonic())
                eventlet.sleep(0 if made_room else PAUSE_S)  # those that were hung up on can close
            self._connections.add(connection)
            eventlet.spawn_n(self._serve, connection)
            # One by one, a newcomer would wait for a turn of everybody for each one before him.
            if taken % ACCEPTED_AT_ONCE == 0:
                eventlet.sleep(0)

    def refused(self, address: str, problem: Problem) -> None:
        self._ended[str(problem.status)] += 1
        LOG.debug("%s: %d %s", address, problem.status, problem.detail)

    def _serve(self, connection: Connection) -> None:
        try:
            if self._tls is not None:
                connection.begin(Phase.HANDSHAKE)
                connection.wait()
                connection.socket = self._tls.wrap_socket(
                    connection.socket, server_side=True, do_handshake_on_connect=False
                )
                connection.socket.do_handshake()
            Http(connection, self)
        except OSError as error:
            LOG.debug("%s: %s", connection.address[0], error)
        except Exception:
            LOG.exception("a connection from %s failed", connection.address[0])
        finally:
            self._connections.remove(connection)
            connection.hang_up()
            connection.socket.close()

    def _sweep_for_ever(self) -> None:
        while True:
            eventlet.sleep(SWEEP_EVERY_S)
            try:
                self._connections.sweep(time.monotonic())
            except Exception:
                LOG.exception("the look for slow clients failed; it goes on")


class _Log:
    """Calls are logged with --verbose only; what went wrong in one always."""

    debug = staticmethod(LOG.debug)
    error = staticmethod(LOG.error)

    def info(self, text: str) -> None:
        failed = text.startswith("Traceback") and not _client_left(text)
        LOG.log(logging.ERROR if failed else logging.DEBUG, "%s", text)


def _client_left(traceback: str) -> bool:
    """Whether all that went wrong is that a client went away, or did not read its answer."""
    return (
        traceback.rstrip()
        .rpartition("\n")[2]
        .startswith(("BrokenPipeError", "ConnectionResetError", "TimeoutError: timed out"))
    )
