"""Our WSGI app in Ryu's web service, beside the routes of other Ryu apps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ryu.app import wsgi as ryu_wsgi
from ryu.app.wsgi import ControllerBase, WSGIApplication
from webob import Request, Response

from controller.openflow.listen import Patient, connections_max
from controller.web.server import Server

CLIENTS_MAX = 1024


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


def serve_on(socket: Any, ended: Counter[str], tls: Any = None) -> None:
    """Make Ryu's web service use this socket, which listens already.

    ended: counts connections that were ended, and what was no request, by reason.
    """

    class Service:
        def __init__(self, application: WSGIApplication) -> None:
            self._server = Server(application, connections_max(CLIENTS_MAX), ended, tls)

        def __call__(self) -> None:
            self._server.serve_for_ever(Patient(socket, self._server.relieve))

    ryu_wsgi.WSGIServer = Service
