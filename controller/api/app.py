"""The REST API as a WSGI application: an explicit table of routes, and every error as a problem."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from webob import Request, Response

from controller.api import (
    docs,
    openapi,
    resources_batch,
    resources_doctor,
    resources_events,
    resources_facts,
    resources_hosts,
    resources_learned,
    resources_ledger,
    resources_metrics,
    resources_networks,
    resources_status,
    resources_trace,
    resources_tunnels,
    resources_vips,
    resources_vms,
    resources_vteps,
    shapes,
)
from controller.api.access import Guesses, Role, Tokens
from controller.api.answers import answer
from controller.api.call import Call
from controller.api.described import Described, described
from controller.api.origins import Origins
from controller.api.pages import Pages, Sessions
from controller.api.problems import GUARD, Problem, problem_of, problem_response
from controller.service import Service
from topology.errors import VxlanError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_LOG: Final = logging.getLogger(__name__)

_FOR_PROBES: Final = ("/healthz", "/readyz")
"""Asked by load balancers under any name; they tell nothing."""
_WRITES: Final = frozenset({"POST", "PUT", "DELETE"})

Handler: TypeAlias = Callable[[Call], Response]


@dataclass(frozen=True, slots=True)
class Route:
    """A path, whose parts in braces are variable, and what each method does there."""

    path: str
    methods: Mapping[str, Handler]
    parts: tuple[str, ...] = field(init=False)
    public: bool = field(init=False)
    """Whether it wants no token, and is answered before the controller is ready."""

    def __post_init__(self) -> None:
        said = [described(handler) for handler in self.methods.values()]
        object.__setattr__(self, "parts", tuple(self.path.split("/")))
        object.__setattr__(self, "public", any(each is not None and each.public for each in said))

    def match(self, parts: list[str]) -> dict[str, str] | None:
        """The variable parts by name, None when the path is another; none may be empty."""
        if len(self.parts) != len(parts):
            return None
        found: dict[str, str] = {}
        for wanted, part in zip(self.parts, parts, strict=True):
            if wanted.startswith("{") and part:
                found[wanted[1:-1]] = part
            elif wanted != part:
                return None
        return found

    @property
    def allow(self) -> str:
        heads = ["HEAD"] if "GET" in self.methods else []
        return ", ".join([*self.methods, *heads])


ROUTES: Final = (
    Route("/v1/hosts", {"GET": resources_hosts.index}),
    Route(
        "/v1/hosts/{host}",
        {
            "GET": resources_hosts.show,
            "PUT": resources_hosts.put,
            "DELETE": resources_hosts.delete,
        },
    ),
    Route("/v1/hosts/{host}/flows", {"GET": resources_hosts.flows}),
    Route("/v1/hosts/{host}/diff", {"GET": resources_hosts.diff}),
    Route("/v1/networks", {"GET": resources_networks.index}),
    Route(
        "/v1/networks/{vni}",
        {
            "GET": resources_networks.show,
            "PUT": resources_networks.put,
            "DELETE": resources_networks.delete,
        },
    ),
    Route("/v1/vms", {"GET": resources_vms.index, "POST": resources_vms.create}),
    Route("/v1/vms/batch", {"POST": resources_batch.create}),
    Route(
        "/v1/vms/{vni}/{mac}",
        {"GET": resources_vms.show, "PUT": resources_vms.put, "DELETE": resources_vms.delete},
    ),
    Route("/v1/vteps", {"GET": resources_vteps.index}),
    Route(
        "/v1/vteps/{ip}",
        {"GET": resources_vteps.show, "PUT": resources_vteps.put, "DELETE": resources_vteps.delete},
    ),
    Route("/v1/vips", {"GET": resources_vips.index}),
    Route(
        "/v1/vips/{vni}/{ip}",
        {"GET": resources_vips.show, "PUT": resources_vips.put, "DELETE": resources_vips.delete},
    ),
    Route("/v1/trace", {"GET": resources_trace.trace}),
    Route("/v1/why", {"GET": resources_trace.why}),
    Route("/v1/learned", {"GET": resources_learned.index}),
    Route("/v1/tunnels", {"GET": resources_tunnels.index}),
    Route("/v1/events", {"GET": resources_events.index}),
    Route("/v1/status", {"GET": resources_status.show}),
    Route("/v1/doctor", {"GET": resources_doctor.index}),
    Route("/metrics", {"GET": resources_metrics.show}),
    Route("/v1/ledger", {"GET": resources_ledger.index}),
    Route("/v1/ledger/{vni}", {"GET": resources_ledger.show}),
    Route("/v1/export", {"GET": resources_facts.export}),
    Route("/v1/import", {"POST": resources_facts.load}),
)


class Api:
    """Serves the running controller over HTTP; with a token, to those who know it.

    read_token: for those who may only read. names: of this API, beyond those that it always has.
    Calls may switch greenlets, and never block others, as far as the service does not.
    """

    def __init__(
        self,
        service: Service,
        version: str,
        token: str | None = None,
        *,
        read_token: str | None = None,
        names: Iterable[str] = (),
    ) -> None:
        self._service = service
        self._version = version
        self._tokens = Tokens(token, read_token)
        self._guesses = Guesses()
        self._origins = Origins(names)
        self._sessions = Sessions(self._tokens)
        self._pages = Pages(self._sessions, self._guesses)
        self.routes: Final = (
            *ROUTES,
            Route("/healthz", {"GET": self._healthz}),
            Route("/readyz", {"GET": self._readyz}),
            Route("/openapi.json", {"GET": self._openapi}),
            Route("/docs", {"GET": self._docs}),
        )

    def replace_tokens(self, token: str | None, read_token: str | None) -> None:
        """From now on these are wanted; who logged in with others has to again."""
        self._tokens.replace(token, read_token)
        self._sessions.end_all()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began_s = time.monotonic()
        response = self._respond(Request(environ))
        took_s = time.monotonic() - began_s
        self._service.measures().requested(environ["REQUEST_METHOD"], response.status_int, took_s)
        for name, value in GUARD:
            response.headers.setdefault(name, value)
        # Not response(environ, start_response): that makes Location absolute, out of what the
        # client wrote as Host, which behind a proxy is not where the API is.
        start_response(response.status, response.headerlist)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else response.app_iter

    def _respond(self, request: Request) -> Response:
        try:
            return self._route(request)
        except Problem as problem:
            return problem_response(problem)
        except VxlanError as error:
            return problem_response(problem_of(error))
        except Exception:
            _LOG.exception("%s %r failed", request.method, request.environ.get("PATH_INFO"))
            return problem_response(Problem(500, "the controller's log has the details"))

    def _route(self, request: Request) -> Response:
        path = _path(request)
        if path not in _FOR_PROBES:
            self._origins.check(request.environ)
        if self._pages.serves(path):
            return self._page(request, path)
        parts = path.split("/")
        route, found = next(
            ((each, found) for each in self.routes if (found := each.match(parts)) is not None),
            (None, {}),
        )
        if route is None or not route.public:
            self._authorize(request)
        if route is None:
            raise Problem(404, f"there is no {path!r}")
        handler = _handler(route, request)
        if not route.public:
            self._check_ready()
        call = Call(self._service, request, found)
        try:
            return handler(call)
        finally:
            call.end()

    def _page(self, request: Request, path: str) -> Response:
        now_s = time.monotonic()
        known = self._role(request) is not None or self._sessions.holds(request, now_s)
        return self._pages.respond(request, path, known=known, now_s=now_s)

    @Described("controller", shapes.Health, public=True, errors=(503,))
    def _healthz(self, _call: Call) -> Response:
        """Whether the process is alive: every loop that must go on for ever does."""
        if ended := self._service.ended():
            raise Problem(
                503, f"ended, and has to be started anew: {', '.join(ended)}", title="Not alive"
            )
        return answer({"status": "alive", "version": self._version})

    @Described("controller", shapes.Health, public=True, errors=(503,))
    def _readyz(self, _call: Call) -> Response:
        """Whether the store is loaded and switches can connect."""
        self._check_ready()
        return answer({"status": "ready", "version": self._version})

    @cached_property
    def _document(self) -> openapi.Node:
        return openapi.build(self.routes, self._version, secured=self._tokens.wanted)

    @Described("controller", dict[str, Any])
    def _openapi(self, call: Call) -> Response:
        """This description."""
        call.allow_query()
        return answer(self._document)

    @Described("controller", media_types=("text/html",))
    def _docs(self, call: Call) -> Response:
        """This description, for people."""
        call.allow_query()
        return docs.page(self._document)

    def _check_ready(self) -> None:
        if not self._service.ready():
            raise Problem(
                503,
                "the controller is starting: its store is not loaded, or it does not listen yet",
                title="Not ready",
                headers={"Retry-After": "1"},
            )

    def _authorize(self, request: Request) -> None:
        role = self._role(request)
        if role is Role.READ and request.method in _WRITES:
            raise Problem(403, "this token may read, and change nothing")
        if role is not None:
            return
        now_s = time.monotonic()
        if request.method in ("GET", "HEAD") and self._sessions.holds(request, now_s):
            return
        challenge = 'Bearer realm="vxlan-l2"'
        if request.environ.get("HTTP_AUTHORIZATION"):
            self._guesses.wrong(request.environ.get("REMOTE_ADDR", ""), now_s)
            challenge += ', error="invalid_token"'
        raise Problem(
            401,
            "this wants the header 'Authorization: Bearer TOKEN' with the API's token",
            headers={"WWW-Authenticate": challenge},
        )

    def _role(self, request: Request) -> Role | None:
        """What the bearer of the request's token may; everything, where none is wanted."""
        if not self._tokens.wanted:
            return Role.FULL
        header = request.environ.get("HTTP_AUTHORIZATION", "").encode("latin-1", "replace")
        scheme, _, given = header.partition(b" ")
        return self._tokens.role(given.strip()) if scheme.lower() == b"bearer" else None


def _path(request: Request) -> str:
    """The path as text. The server hands it over as bytes read as Latin-1 (PEP 3333)."""
    raw: str = request.environ.get("PATH_INFO", "")
    try:
        return raw.encode("latin-1").decode("utf-8")
    except ValueError as error:
        raise Problem(404, f"there is no {raw!r}") from error


def _handler(route: Route, request: Request) -> Handler:
    method = "GET" if request.method == "HEAD" else request.method
    handler = route.methods.get(method)
    if handler is None:
        raise Problem(405, f"{route.path} takes {route.allow}", headers={"Allow": route.allow})
    return handler
