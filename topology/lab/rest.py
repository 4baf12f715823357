"""A small client of the controller's REST interface: one call, one answer, nothing hidden."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

# Proxies of the environment are for other places than this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Answer:
    """status: HTTP's; headers: by lower-case name; body: decoded JSON, or text."""

    status: int
    headers: dict[str, str]
    body: Any

    def __getitem__(self, key: str) -> Any:
        return self.body[key]


class RestClient:
    """url: the controller's, such as http://127.0.0.1:8080. Errors are answers; OSError is not."""

    def __init__(self, url: str, timeout_s: float = 20.0) -> None:
        self.url = url
        self._timeout_s = timeout_s

    def get(self, path: str) -> Answer:
        return self.call("GET", path)

    def post(self, path: str, body: object) -> Answer:
        return self.call("POST", path, body)

    def put(self, path: str, body: object) -> Answer:
        return self.call("PUT", path, body)

    def delete(self, path: str) -> Answer:
        return self.call("DELETE", path)

    def items(self, path: str) -> list[dict[str, Any]]:
        """A list of the interface, its pages joined."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            mark = "&" if "?" in path else "?"
            answer = self.get(path + (f"{mark}cursor={cursor}" if cursor else ""))
            if answer.status != 200:
                raise ValueError(f"GET {path}: {answer.status} {answer.body}")
            found.extend(answer["items"])
            cursor = answer["next"]
            if not cursor:
                return found

    def call(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Answer:
        """`body`: bytes are sent as they are, None is no body, all else is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        if data is not None:
            request.add_header("Content-Type", content_type)
        try:
            with _OPENER.open(request, timeout=self._timeout_s) as reply:
                return _answer(reply.status, dict(reply.headers), reply.read())
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, dict(error.headers), error.read())


def _answer(status: int, headers: dict[str, str], raw: bytes) -> Answer:
    lower = {name.lower(): value for name, value in headers.items()}
    text = raw.decode("utf-8", errors="replace")
    is_json = "json" in lower.get("content-type", "") and text
    return Answer(status, lower, json.loads(text) if is_json else text)
