"""The controller's REST API: one call, one connection, one answer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from apps.vxlanctl.failures import Failure, Refused, TooOld, Unreachable, WrongUsage

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

PAGE = 1000
Json = dict[str, Any]


def path_of(*parts: object) -> str:
    """``/v1/...`` with each part quoted."""
    return "/v1/" + "/".join(quote(str(part), safe="") for part in parts)


class Api:
    """url: ``http://host:port``, a path before /v1 is kept; errors are Failures."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        timeout_s: float = 30.0,
        cacert: str | None = None,
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise WrongUsage(f"--url {url}: {error}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongUsage(f"--url {url} is not like http://127.0.0.1:8080")
        self.url = url.rstrip("/")
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._base = parts.path.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._cacert = cacert

    def get(self, path: str, **query: object) -> Any:
        return self.call("GET", path, query=query)[1]

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
        content_type: str = "application/json",
        timeout_s: float | None = None,
    ) -> tuple[int, Any]:
        """(HTTP status, decoded JSON). ``body``: bytes go as they are, else as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        with self._open(method, path, data, query, content_type, timeout_s) as reply:
            return reply.status, self._decoded(reply.read())

    def lines(self, path: str, headers: Mapping[str, str] = {}, **query: object) -> Iterator[bytes]:
        """The answer line by line, as it comes; a stream may go silent for as long as a minute."""
        with self._open("GET", path, None, query, "", 60.0, headers) as reply:
            while line := reply.readline():
                yield line

    def pages(self, path: str, **query: object) -> Iterator[Json]:
        """A list of the API, page by page."""
        cursor: dict[str, object] = {}
        while True:
            page = self.get(path, **{"limit": PAGE, **query, **cursor})
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise self._strange()
            yield page
            if not page.get("next"):
                return
            cursor = {"cursor": page["next"]}

    def items(self, path: str, **query: object) -> list[Json]:
        return [item for page in self.pages(path, **query) for item in page["items"]]

    @contextmanager
    def _open(
        self,
        method: str,
        path: str,
        data: bytes | None,
        query: Mapping[str, object] | None,
        content_type: str,
        timeout_s: float | None,
        headers: Mapping[str, str] = {},
    ) -> Iterator[HTTPResponse]:
        from http.client import HTTPException

        pairs = {key: value for key, value in (query or {}).items() if value is not None}
        target = self._base + path + ("?" + urlencode(pairs) if pairs else "")
        given = {"Connection": "close", "Accept": "*/*", **headers}
        if data is not None:
            given["Content-Type"] = content_type
        if self._token is not None:
            given["Authorization"] = f"Bearer {self._token}"
        connection = self._connection(timeout_s or self._timeout_s)
        try:
            connection.request(method, target, data, given)
            reply = connection.getresponse()
            if reply.status >= 400:
                raise self._refused(reply.status, reply.read(), path)
            yield reply
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        finally:
            connection.close()

    def _connection(self, timeout_s: float) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        if not self._secure:
            return HTTPConnection(self._host, self._port, timeout=timeout_s)
        import ssl

        try:
            context = ssl.create_default_context(cafile=self._cacert)
        except OSError as error:
            raise Failure(f"--cacert {self._cacert}: {error.strerror or error}") from error
        return HTTPSConnection(self._host, self._port, timeout=timeout_s, context=context)

    def _decoded(self, raw: bytes) -> Any:
        if not raw:
            return None
        try:
            return json.loads(raw)
        except ValueError as error:
            raise self._strange() from error

    def _strange(self) -> Failure:
        return Failure(
            f"what answers at {self.url} is no vxlan-l2 controller",
            "name the controller's REST address: --url http://HOST:8080, or VXLANCTL_URL",
        )

    def _unreachable(self, error: Exception) -> Unreachable:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            why = "no answer in time"
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return Unreachable(
                f"{self.url} shows a certificate that is not trusted: {_unverified(error)}",
                "name the CA that signed it: --cacert FILE, or VXLANCTL_CACERT",
            )
        return Unreachable(
            f"no controller answers at {self.url}: {why}",
            "start it with `ryu-manager apps/vxlan_l2.py`, or name another:"
            " --url http://HOST:8080, or VXLANCTL_URL",
        )

    def _refused(self, status: int, raw: bytes, path: str) -> Failure:
        try:
            problem = json.loads(raw)
        except ValueError:
            problem = None
        if not isinstance(problem, dict) or "title" not in problem:
            if status in (401, 403, 502, 503, 504):
                problem = {"title": "Error", "detail": raw[:200].decode("utf-8", "replace")}
            else:
                return self._strange()
        if status == 404 and str(problem.get("detail", "")).startswith("there is no '/"):
            return TooOld(path)
        return Refused(status, problem, self._way_out(status))

    def _way_out(self, status: int) -> str:
        if status == 401 and self._token is None:
            return "give the API's token: --token-file FILE, or VXLANCTL_TOKEN"
        if status == 401:
            return "the token that was given is not this controller's: see its api_token"
        if status == 503:
            return "try again in a moment; `vxlanctl status` and the controller's log say more"
        if status >= 500:
            return "the controller's log has the details"
        return ""


def _unverified(error: Exception) -> str:
    return str(getattr(error, "verify_message", "") or error)
