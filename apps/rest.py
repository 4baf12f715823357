"""Our WSGI app in Ryu's web service, beside the routes of other Ryu apps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ryu.app.wsgi import ControllerBase, WSGIApplication
from webob import Request, Response


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
