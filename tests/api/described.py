"""Answers held against what the API's own description says of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import jsonschema_rs
from webob import Response

from controller.api import openapi
from controller.api.app import Api


def check(api: Api, method: str, path: str, response: Response) -> None:
    """Fails where an answer is none that its operation describes, down to members not named.

    path: as WSGI has it, bytes read as Latin-1.
    """
    parts = path.encode("latin-1").decode("utf-8", "replace").split("/")
    route = next((each for each in api.routes if each.match(parts) is not None), None)
    if route is None or method not in route.methods:
        assert response.status_int in (401, 404, 405) or path.startswith("/static/"), response.text
        return
    operation = _operations()[route.path][method.lower()]
    said = operation["responses"].get(str(response.status_int))
    assert said is not None, f"{method} {route.path} does not say that it can be {response.status}"
    content = said["content"].get(response.content_type)
    assert content is not None, f"{method} {route.path} does not say {response.content_type}"
    for name, header in said.get("headers", {}).items():
        assert name in response.headers or not header.get("required"), f"{name} is missing"
    if response.content_type.endswith(("/json", "+json")):
        _validator(route.path, method, response.status_int).validate(response.json_body)


@lru_cache
def _document() -> dict[str, Any]:
    document = openapi.build(Api(cast(Any, None), "1").routes, "1", secured=True)
    _close(document["components"]["schemas"])
    _close(document["paths"])
    _close(document["x-streams"])
    return document


def _operations() -> dict[str, Any]:
    return {**_document()["paths"], **_document()["x-streams"]}


@lru_cache
def _validator(path: str, method: str, status: int) -> Any:
    (content,) = _operations()[path][method.lower()]["responses"][str(status)]["content"].values()
    return jsonschema_rs.Draft202012Validator(
        {**content["schema"], "components": _document()["components"]}
    )


def _close(node: Any) -> None:
    """Let no object have members that are not described."""
    if isinstance(node, dict):
        if "properties" in node and node.get("type") == "object":
            node.setdefault("additionalProperties", False)
        for each in node.values():
            _close(each)
    elif isinstance(node, list):
        for each in node:
            _close(each)
