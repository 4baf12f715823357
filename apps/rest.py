"""Our WSGI app in Ryu's web service, beside the routes of other Ryu apps."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import eventlet.wsgi
from ryu.app import wsgi as ryu_wsgi
from ryu.app.wsgi import ControllerBase, WSGIApplication
from webob import Request, Response

from controller.openflow.listen import Patient, connections_max

LOG = logging.getLogger("vxlan_l2.rest")

CLIENTS_MAX = 1024
IDLE_S = 60.0


class _Verbatim(Response):
    """A response as it was made: webob's own would rewrite Location with the client's Host."""

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        start_response(self.status, self.headerlist)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else self.app_iter


def mount(wsgi: WSGIApplication, api: Callable[..., Any]) -> None:
    """Let ``api`` answer whatever no other app of this process serves."""

    class Ours(ControllerBase):
        def __call__(self, request: Request) -> Response:
            request.ResponseClass = _Verbatim
            return request.get_response(api)

    match_others = wsgi._match

    def match(request: Request) -> dict[str, Any]:
        return match_others(request) or {"controller": Ours, "action": "any"}

    wsgi._match = match


class _Log:
    """Calls are logged with --verbose only; what went wrong in one always."""

    debug = staticmethod(LOG.debug)
    error = staticmethod(LOG.error)

    def info(self, text: str) -> None:
        failed = text.startswith("Traceback") and not _client_left(text)
        LOG.log(logging.ERROR if failed else logging.DEBUG, "%s", text)


class _Protocol(eventlet.wsgi.HttpProtocol):
    """Who speaks no HTTP, such as TLS, is told in the log too, not past it on standard error."""

    def log_message(self, form: str, *args: Any) -> None:
        LOG.debug("%s: %a", self.client_address[0], form % args)


def _client_left(traceback: str) -> bool:
    """Whether all that went wrong is that a client went away, or did not read its answer."""
    return (
        traceback.rstrip()
        .rpartition("\n")[2]
        .startswith(("BrokenPipeError", "ConnectionResetError", "TimeoutError: timed out"))
    )


class Serving:
    """The loop that takes REST connections: whether it has ended."""

    ended = False


def serve_on(socket: Any) -> Serving:
    """Make Ryu's web service use this socket, which listens already."""
    serving = Serving()

    class Server:
        def __init__(self, application: WSGIApplication) -> None:
            self._application = application

        def __call__(self) -> None:
            try:
                self._serve()
            finally:
                serving.ended = True

        def _serve(self) -> None:
            eventlet.wsgi.server(
                Patient(socket),
                self._answer,
                log=_Log(),
                protocol=_Protocol,
                max_size=connections_max(CLIENTS_MAX),
                socket_timeout=IDLE_S,
                debug=False,
            )

        def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ.get("HTTP_UPGRADE", "").lower() == "websocket":
                environ["eventlet.input"].get_socket().settimeout(None)
            return self._application(environ, start_response)

    ryu_wsgi.WSGIServer = Server
    return serving
