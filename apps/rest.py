"""Our WSGI app in Ryu's web service, beside the routes of other Ryu apps."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ryu.app import wsgi as ryu_wsgi
from ryu.app.wsgi import ControllerBase, WSGIApplication
from webob import Request, Response

from apps import options, renewal
from controller.api.app import Api
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


def keep_up(conf: Any, api: Api, tls: ssl.SSLContext | None) -> None:
    """Take in tokens and certificates that are renewed while we run."""
    ours = conf[options.GROUP]

    def renew_tokens() -> None:
        api.replace_tokens(options.token(conf), options.read_token(conf))

    def renew_certificate() -> None:
        options.api_tls(conf)  # a key that does not fit is refused here, not half taken
        assert tls is not None
        tls.load_cert_chain(ours.api_cert, ours.api_key)

    renewal.keep_up("REST's tokens", (ours.api_token_file, ours.api_read_token_file), renew_tokens)
    if tls is not None:
        renewal.keep_up("REST's certificate", (ours.api_cert, ours.api_key), renew_certificate)


class Serving:
    """The loop that takes REST connections: whether it has ended."""

    ended = False


def serve_on(socket: Any, ended: Counter[str], tls: Any = None) -> Serving:
    """Make Ryu's web service use this socket, which listens already.

    ended: counts connections that were ended, and what was no request, by reason.
    """

    serving = Serving()

    class Service:
        def __init__(self, application: WSGIApplication) -> None:
            self._server = Server(application, connections_max(CLIENTS_MAX), ended, tls)

        def __call__(self) -> None:
            try:
                self._server.serve_for_ever(Patient(socket, self._server.relieve))
            finally:
                serving.ended = True

    ryu_wsgi.WSGIServer = Service
    return serving
