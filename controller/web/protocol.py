"""One connection's requests, each read strictly and answered by the application."""

from __future__ import annotations

import io
import socket as sockets
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import unquote

import eventlet
import eventlet.wsgi
from webob import Response

from controller.api.problems import GUARD, Problem, problem_response
from controller.web.body import Body
from controller.web.connections import Connection, Phase
from controller.web.head import Head, read_head
from controller.web.wire import Wire

BUFFER_BYTES: Final = 1 << 14
FEW_BYTES: Final = 1 << 16
"""What is left of a body is read up to here, so that the connection can stay."""
LINGER_MAX_BYTES: Final = 128 << 20
"""So much of a refused body is taken and dropped, for clients that send before they read."""


class _Fields(dict[str, str]):
    """Header fields as eventlet.wsgi asks for them, by names in any letters."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Protocol(eventlet.wsgi.HttpProtocol):  # type: ignore[misc]
    """eventlet's answers, our reading: its own has no deadline, nor a limit on a chunk's line."""

    def __init__(self, connection: Connection, server: Any) -> None:
        self._known = connection
        self._head: Head | None = None
        self._body: Body | None = None
        self._unread = False
        state = [connection.address, connection.socket, eventlet.wsgi.STATE_IDLE]
        super().__init__(state, server)

    def setup(self) -> None:
        self.connection = self.request
        with suppress(OSError, AttributeError):  # no 40 ms for clients that send head, then body
            self.connection.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_QUICKACK, True)
        self.rfile = io.BufferedReader(Wire(self._known), BUFFER_BYTES)
        self.wfile = io.BufferedWriter(Wire(self._known), BUFFER_BYTES)

    def handle_one_request(self) -> None:
        self.close_connection = 1
        self._head = self._body = None
        known = self._known
        try:
            known.begin(Phase.IDLE)
            if not self.rfile.peek(1):
                return
            if known.moved_bytes == 0:  # it was sent before the last answer was read
                with self.server.pipelined:
                    eventlet.sleep(0)  # one such request at a time: who waits for answers is first
            known.begin(Phase.HEAD)
            self._head = read_head(self.rfile.readline)
            if self._head is None:
                return
            known.begin(Phase.BODY)
            self._adopt(self._head)
            self.environ = self.get_environ()
            self.application = self._answer
            self.handle_one_response()
        except Problem as problem:
            self._refuse(problem)
        except OSError:
            self.close_connection = 1
        if not self.close_connection:
            eventlet.sleep(0)  # requests that are sent at once are no reason to forget all others

    def _adopt(self, head: Head) -> None:
        """What handle_one_response wants to know."""
        self.command, self.path, self.request_version = head.method, head.target, head.version
        self.requestline = f"{head.method} {head.target} {head.version}"
        self.headers = _Fields(head.by_name)
        self.close_connection = 0 if head.keeps_alive else 1
        go_on = self._go_on if head.expects_continue else None
        self._body = Body(self.rfile, head.length, self.connection, go_on)

    def _go_on(self) -> None:
        self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.wfile.flush()

    def get_environ(self) -> dict[str, Any]:
        """As PEP 3333 and eventlet.wsgi have it."""
        head = self._head
        assert head is not None
        environ: dict[str, Any] = self.server.get_environ()
        name, port = self.connection.getsockname()[:2]
        environ |= {
            "REQUEST_METHOD": head.method,
            "SCRIPT_NAME": "",
            "RAW_PATH_INFO": head.path,
            "PATH_INFO": unquote(head.path, encoding="latin-1"),
            "QUERY_STRING": head.query,
            "CONTENT_TYPE": head.by_name.get("content-type", ""),
            "SERVER_PROTOCOL": head.version,
            "SERVER_NAME": name,
            "SERVER_PORT": str(port),
            "REMOTE_ADDR": self.client_address[0],
            "REMOTE_PORT": str(self.client_address[1]),
            "GATEWAY_INTERFACE": "CGI/1.1",
            "headers_raw": head.fields,
            "wsgi.input": self._body,
            "eventlet.input": self._body,
            "eventlet.posthooks": [],
            "eventlet.set_idle": lambda: self._known.begin(Phase.ANSWER),
        }
        if head.length is None:
            environ["wsgi.input_terminated"] = True
        elif "content-length" in head.by_name:
            environ["CONTENT_LENGTH"] = str(head.length)
        for field, value in head.by_name.items():
            # Not those with an underscore, which would look like others with a hyphen.
            if "_" not in field and field not in ("content-type", "content-length"):
                environ["HTTP_" + field.replace("-", "_").upper()] = value
        return environ

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The application's answer, or what is wrong with the body, wherever it was read."""

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            body = self._body
            assert body is not None
            kept = [(name, value) for name, value in headers if name.lower() != "connection"]
            if len(kept) < len(headers) or body.much_left(FEW_BYTES):
                self.close_connection = 1
            self._known.begin(Phase.ANSWER)
            return start_response(status, kept, exc_info)

        try:
            answer: Iterable[bytes] = self.server.app(environ, start)
        except Problem as problem:
            response = problem_response(problem)
            self.close_connection = 1
            start(response.status, response.headerlist)
            return [response.body]
        return answer

    def _refuse(self, problem: Problem) -> None:
        """Answer what is no request, and hang up."""
        self.close_connection = 1
        self._unread = True
        self.server.refused(self.client_address[0], problem)
        if self._body is not None and self._body.headers_sent:
            return
        response: Response = problem_response(problem)
        self._known.begin(Phase.ANSWER)
        lines = [f"HTTP/1.1 {response.status}"]
        lines += [f"{name}: {value}" for name, value in (*response.headerlist, *GUARD)]
        head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
        with suppress(OSError):
            self.wfile.write(head + response.body)
            self.wfile.flush()

    def finish(self) -> None:
        with suppress(OSError, ValueError, Problem):
            self.wfile.flush()
            if self._unread or (self._body is not None and not self._body.ended):
                self._linger()
        # Not close(): that would try once more to write what could not be written.
        self.wfile.raw.close()
        self.rfile.raw.close()

    def _linger(self) -> None:
        """Take what the client still sends: closed at once, it might not get to read the answer."""
        known = self._known
        known.begin(Phase.LINGER)
        known.end_answer()
        left_bytes = LINGER_MAX_BYTES
        while left_bytes > 0 and (some := self.rfile.read1(FEW_BYTES)):
            left_bytes -= len(some)
            eventlet.sleep(0)
