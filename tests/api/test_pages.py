"""The dashboard's files and the session of a browser."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote_plus

import pytest
from webob import Request, Response

from controller.api import pages
from controller.api.app import Api

TOKEN = "s3cret-ünïcode&=+"
FORM = "application/x-www-form-urlencoded"

Ask = Callable[..., Response]


def asker(api: Api) -> Ask:
    def ask(path: str, method: str = "GET", body: str = "", **headers: str) -> Response:
        request = Request.blank(path, method=method)
        if method == "POST":
            request.body, request.content_type = body.encode(), FORM
        for name, value in headers.items():
            request.headers[name.replace("_", "-")] = value
        response = request.get_response(api)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        return response

    return ask


@pytest.fixture
def ask(fabric: Any) -> Ask:
    return asker(Api(fabric, "1.2.3", TOKEN))


def log_in(ask: Ask, token: str = TOKEN, **headers: str) -> str:
    response = ask("/login", "POST", f"token={quote_plus(token)}", **headers)
    assert (response.status_int, response.headers["Location"]) == (303, "/")
    return response.headers["Set-Cookie"]


def value(cookie: str) -> str:
    return cookie.partition(";")[0]


def test_without_a_token_everybody_sees_the_page(fabric: Any) -> None:
    ask = asker(Api(fabric, "1"))
    page = ask("/")
    assert (page.status_int, page.content_type) == (200, "text/html")
    assert 'action="/logout" hidden' in page.text
    assert ask("/login", "POST", "token=").status_int == 303


def test_all_that_the_page_names_is_served_to_everybody(ask: Ask, fabric: Any) -> None:
    asked, wanted = set(), {"/static/app.css", "/static/main.js", "/static/theme.js"}
    page = asker(Api(fabric, "1"))("/").text
    assert wanted <= set(re.findall(r'(?:href|src)="([^"]+)"', page))
    while wanted - asked:
        path = min(wanted - asked)
        response = ask(path)
        assert response.status_int == 200, path
        asked.add(path)
        here = path.rpartition("/")[0]
        for name in re.findall(r'from "\./([^"]+)"', response.text):
            wanted.add(f"{here}/{name}")
        for name in re.findall(r'from "\.\./([^"]+)"', response.text):
            wanted.add(f"{here.rpartition('/')[0]}/{name}")
    assert len(asked) > 15


def test_files_are_typed_guarded_packed_and_kept(ask: Ask) -> None:
    plain = ask("/static/main.js")
    assert plain.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert plain.headers["Cache-Control"] == "no-cache"
    policy = plain.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    packed = ask("/static/main.js", Accept_Encoding="br, gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    again = ask("/static/main.js", If_None_Match=plain.headers["ETag"])
    assert (again.status_int, again.body) == (304, b"")
    assert ask("/static/main.js", If_None_Match='"other"').status_int == 200
    head = ask("/static/main.js", "HEAD")
    assert (head.status_int, head.body) == (200, b"")


@pytest.mark.parametrize(
    "path", ["/static/", "/static/none.js", "/static/../pages.py", "/static/%2e%2e/pages.py"]
)
def test_nothing_else_is_served(ask: Ask, path: str) -> None:
    assert ask(path).status_int == 404


def test_no_page_has_script_or_style_in_it(ask: Ask, fabric: Any) -> None:
    for page in (ask("/").text, asker(Api(fabric, "1"))("/").text):
        assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=|https?://", page)


def test_log_in_and_look(ask: Ask) -> None:
    page = ask("/")
    assert (page.status_int, page.content_type) == (401, "text/html")
    assert page.headers["WWW-Authenticate"].startswith("Bearer")
    assert "not this controller's token" not in page.text
    cookie = log_in(ask)
    for attribute in ("HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"):
        assert attribute in cookie
    assert "Secure" not in cookie
    assert TOKEN not in cookie
    shown = ask("/", Cookie=value(cookie))
    assert shown.status_int == 200
    assert 'action="/logout">' in shown.text
    assert ask("/v1/hosts", Cookie=value(cookie)).status_int == 200
    assert ask("/v1/hosts", "HEAD", Cookie=value(cookie)).status_int == 200


def test_the_cookie_changes_nothing(ask: Ask, fabric: Any) -> None:
    cookie = value(log_in(ask))
    assert ask("/v1/vms", "POST", "{}", Cookie=cookie).status_int == 401
    for method in ("PUT", "DELETE"):
        assert ask("/v1/networks/100", method, Cookie=cookie).status_int == 401
    assert fabric.commits == 0


@pytest.mark.parametrize("body", ["", "token=", "token=wrong", "token=%FF", f"other={TOKEN}"])
def test_a_wrong_token_is_told_so(ask: Ask, body: str) -> None:
    response = ask("/login", "POST", body)
    assert response.status_int == 401
    assert "not this controller's token" in response.text
    assert "Set-Cookie" not in response.headers


@pytest.mark.parametrize("cookie", ["", "x", "=", f"{pages.COOKIE}=", f"{pages.COOKIE}=guessed"])
def test_another_cookie_is_none(ask: Ask, cookie: str) -> None:
    assert ask("/", Cookie=cookie).status_int == 401
    assert ask("/v1/hosts", Cookie=cookie).status_int == 401


def test_log_out(ask: Ask) -> None:
    cookie = value(log_in(ask))
    response = ask("/logout", "POST", Cookie=cookie)
    assert (response.status_int, response.headers["Location"]) == (303, "/")
    assert "Max-Age=0" in response.headers["Set-Cookie"]
    assert ask("/", Cookie=cookie).status_int == 401


def test_sessions_end_after_half_a_day(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [1000.0]
    monkeypatch.setattr("controller.api.app.time.monotonic", lambda: now_s[0])
    cookie = value(log_in(ask))
    now_s[0] += pages.SESSION_S - 1
    assert ask("/v1/hosts", Cookie=cookie).status_int == 200
    now_s[0] += 2
    assert ask("/v1/hosts", Cookie=cookie).status_int == 401


def test_sessions_are_bounded(ask: Ask) -> None:
    first = value(log_in(ask))
    second = value(log_in(ask))
    for _ in range(pages.SESSIONS_MAX - 1):
        log_in(ask)
    assert ask("/", Cookie=first).status_int == 401
    assert ask("/", Cookie=second).status_int == 200


def test_behind_tls_the_cookie_is_secure(ask: Ask) -> None:
    assert "; Secure" in log_in(ask, X_Forwarded_Proto="https")


def test_what_is_no_login(ask: Ask, fabric: Any) -> None:
    assert ask("/login").status_int == 405
    assert ask("/", "POST").status_int == 405
    assert ask("/static/main.js", "DELETE").headers["Allow"] == "GET, HEAD"
    assert ask("/login", "POST", "token=" + "x" * 5000).status_int == 413
    assert ask("/login", "POST", "&".join("a=1" for _ in range(50))).status_int == 400
    request = Request.blank("/login", method="POST", body=b"{}", content_type="application/json")
    assert request.get_response(Api(fabric, "1", TOKEN)).status_int == 415
