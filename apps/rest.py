"""Our WSGI app in Ryu's web service, beside the routes of other Ryu apps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ryu.app.wsgi import ControllerBase, WSGIApplication
from webob import Request, Response

ROUTES = ("/v1", "/v1/{rest:.*}", "/healthz", "/readyz")


def mount(wsgi: WSGIApplication, api: Callable[..., Any]) -> None:
    """Serve our paths, and whatever no other app serves, from ``api``."""

    class Ours(ControllerBase):
        def __call__(self, request: Request) -> Response:
            return request.get_response(api)

    for number, route in enumerate(ROUTES):
        wsgi.mapper.connect(f"vxlan_l2_{number}", route, controller=Ours, action="any")
