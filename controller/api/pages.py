"""The dashboard's files, and the session that a browser gets for the API's token.

A browser's EventSource and its navigation cannot send an Authorization header, so whoever logs in
gets a cookie. It authorizes GET and HEAD only: what changes facts still wants the token itself, and
no page of another site can make a browser write.
"""

from __future__ import annotations

import gzip
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

from webob import Request, Response

from controller.api.access import Guesses, Tokens
from controller.api.bodies import read_bytes
from controller.api.problems import Problem

COOKIE: Final = "vxlan_l2_session"
SESSION_S: Final = 12 * 3600.0
SESSIONS_MAX: Final = 256
"""The oldest session ends when one more begins."""

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

_DIRECTORY: Final = Path(__file__).parent / "static"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_WRONG: Final = b'<p class="notice error" role="alert">That is not this controller\'s token.</p>'
_FORM: Final = "application/x-www-form-urlencoded"
_FORM_MAX_BYTES: Final = 4096
_GZIP_FROM_BYTES: Final = 512


@dataclass(frozen=True, slots=True)
class _File:
    content_type: str
    plain: bytes
    packed: bytes
    etag: str

    @classmethod
    def of(cls, suffix: str, plain: bytes) -> _File:
        packed = gzip.compress(plain, mtime=0)
        digest = hashlib.sha256(plain).hexdigest()[:20]
        return cls(_TYPES[suffix], plain, packed, f'"{digest}"')

    def replaced(self, old: bytes, new: bytes) -> _File:
        """This page with one of its lines as another."""
        return _File.of(".html", self.plain.replace(old, new))


class Sessions:
    """Who has logged in. Ids are random and live in memory: a restart ends all sessions."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._ends_s: OrderedDict[bytes, float] = OrderedDict()  # by hash of the id, oldest first

    @property
    def wanted(self) -> bool:
        """Whether one has to log in at all."""
        return self._tokens.wanted

    def begin(self, token: str, now_s: float) -> str | None:
        """A new session's id, None for a wrong token."""
        if self._tokens.role(token.strip().encode("utf-8", "replace")) is None:
            return None
        session = secrets.token_urlsafe(32)
        self._ends_s[_hashed(session)] = now_s + SESSION_S
        while len(self._ends_s) > SESSIONS_MAX:
            self._ends_s.popitem(last=False)
        return session

    def holds(self, request: Request, now_s: float) -> bool:
        """Whether the request bears the cookie of a session that has not ended."""
        return self._ends_s.get(_hashed(_session_of(request)), 0.0) > now_s

    def end(self, request: Request) -> None:
        self._ends_s.pop(_hashed(_session_of(request)), None)

    def end_all(self) -> None:
        self._ends_s.clear()


def _session_of(request: Request) -> str:
    return request.cookies.get(COOKIE) or ""


def _hashed(session: str) -> bytes:
    """Looked up by its hash, an id's bytes cannot be guessed from how long the look-up takes."""
    return hashlib.sha256(session.encode("utf-8", "replace")).digest()


class Pages:
    """`/`, `/login`, `/logout` and `/static/...`. Static files hold no data and want no token."""

    def __init__(self, sessions: Sessions, guesses: Guesses) -> None:
        self._sessions = sessions
        self._guesses = guesses
        self._files: Mapping[str, _File] = {
            str(path.relative_to(_DIRECTORY)): _File.of(path.suffix, path.read_bytes())
            for path in _DIRECTORY.rglob("*")
            if path.suffix in _TYPES
        }
        self._index, self._login = self._files["index.html"], self._files["login.html"]
        self._login_again = self._login.replaced(b"<!--wrong-->", _WRONG)
        if sessions.wanted:
            self._index = self._index.replaced(b'action="/logout" hidden', b'action="/logout"')

    def serves(self, path: str) -> bool:
        return path in ("/", "/login", "/logout") or path.startswith("/static/")

    def respond(self, request: Request, path: str, *, known: bool, now_s: float) -> Response:
        """known: whether the request bears the token, or the cookie of a session."""
        methods = {"/login": ("POST",), "/logout": ("POST",)}.get(path, ("GET", "HEAD"))
        if request.method not in methods:
            allow = ", ".join(methods)
            raise Problem(405, f"{path} takes {allow}", headers={"Allow": allow})
        if path == "/login":
            return self._log_in(request, now_s)
        if path == "/logout":
            return self._log_out(request)
        if path == "/":
            return _page(request, self._index) if known else _refused(self._login)
        file = self._files.get(path.removeprefix("/static/"))
        if file is None:
            raise Problem(404, f"there is no {path!r}")
        return _page(request, file)

    def _log_in(self, request: Request, now_s: float) -> Response:
        session = self._sessions.begin(_form(request).get("token", [""])[0], now_s)
        if session is None:
            self._guesses.wrong(request.environ.get("REMOTE_ADDR", ""), now_s)
            return _refused(self._login_again)
        return _home(_cookie(request, session, int(SESSION_S)))

    def _log_out(self, request: Request) -> Response:
        self._sessions.end(request)
        return _home(_cookie(request, "", 0))


def _page(request: Request, file: _File) -> Response:
    response = _guarded(Response(content_type=None))
    # Kept, but asked for each time: after an upgrade no browser mixes old modules with new.
    response.headers["Cache-Control"] = "no-cache"
    response.headers["ETag"] = file.etag
    response.headers["Vary"] = "Accept-Encoding, Authorization, Cookie"
    if file.etag in request.headers.get("If-None-Match", ""):
        response.status = 304
        return response
    response.headers["Content-Type"] = file.content_type
    if len(file.plain) >= _GZIP_FROM_BYTES and _takes_gzip(request):
        response.headers["Content-Encoding"] = "gzip"
        response.body = file.packed
    else:
        response.body = file.plain
    return response


def _takes_gzip(request: Request) -> bool:
    named = "Accept-Encoding" in request.headers
    return named and bool(request.accept_encoding.acceptable_offers(["gzip"]))


def _refused(file: _File) -> Response:
    response = _guarded(Response(status=401, body=file.plain, content_type=None))
    response.headers["Content-Type"] = file.content_type
    response.headers["WWW-Authenticate"] = 'Bearer realm="vxlan-l2"'
    return response


def _form(request: Request) -> dict[str, list[str]]:
    if request.content_type != _FORM:
        raise Problem(415, f"this wants Content-Type: {_FORM}")
    text = read_bytes(request, _FORM_MAX_BYTES).decode("utf-8", "replace")
    try:
        return parse_qs(text, max_num_fields=8)
    except ValueError as error:
        raise Problem(400, f"the form cannot be read: {error}") from error


def _home(cookie: str) -> Response:
    response = _guarded(Response(status=303, content_type=None))
    response.headers["Location"] = "/"
    response.headers["Set-Cookie"] = cookie
    return response


def _cookie(request: Request, value: str, age_s: int) -> str:
    # A proxy that ends TLS says so; a client that lies here only keeps its own cookie from itself.
    tls = "https" in (request.scheme, request.headers.get("X-Forwarded-Proto"))
    text = f"{COOKIE}={value}; Max-Age={age_s}; Path=/; HttpOnly; SameSite=Strict"
    return text + "; Secure" if tls else text


def _guarded(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = CSP
    response.headers["X-Frame-Options"] = "DENY"
    return response
