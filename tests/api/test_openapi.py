"""Every endpoint says what it takes and answers, and what it says holds."""

from __future__ import annotations

import re
from typing import Any

import jsonschema_rs
import pytest
from webob import Request

from controller.api import docs
from controller.api.app import ROUTES, Api
from controller.api.described import described
from controller.api.openapi import operation_id

SECRET = "s3cret"


@pytest.fixture
def document(client: Any) -> Any:
    return client.get("/openapi.json").json_body


def operations(document: Any) -> Any:
    for path, methods in {**document["paths"], **document["x-streams"]}.items():
        for method, operation in methods.items():
            yield path, method.upper(), operation


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.path)
def test_every_handler_is_described(route: Any) -> None:
    for method, handler in route.methods.items():
        said = described(handler)
        where = f"{method} {route.path}: {handler.__module__}.{handler.__name__}"
        assert said is not None, f"{where} wants @Described(...): CONTRIBUTING.md, A new endpoint"
        assert handler.__doc__, f"{where} wants a docstring: it is the summary"
        assert said.writes == (method != "GET"), f"{where}: does it write?"


def test_every_route_is_there_once(client: Any, document: Any) -> None:
    said = {(path, method) for path, method, _operation in operations(document)}
    assert said == {(r.path, method) for r in client._api.routes for method in r.methods}
    ids = [operation["operationId"] for *_rest, operation in operations(document)]
    assert len(ids) == len(set(ids))
    assert {tag["name"] for tag in document["tags"]} == {
        tag for *_rest, operation in operations(document) for tag in operation["tags"]
    }


def test_no_reference_leads_nowhere(document: Any) -> None:
    text = str(document)
    for kind, name in re.findall(r"#/components/(\w+)/(\w+)", text):
        assert name in document["components"][kind]
    ids = {operation["operationId"] for *_rest, operation in operations(document)}
    for *_rest, operation in operations(document):
        for response in operation["responses"].values():
            assert {link["operationId"] for link in response.get("links", {}).values()} <= ids


def test_only_what_is_described_may_be_asked(client: Any, document: Any) -> None:
    """Each query parameter that is described is known to the handler, and no other."""
    for path, method, operation in operations(document):
        if method == "GET" and path not in ("/healthz", "/readyz"):
            where = re.sub(r"\{\w+\}", "1", path)
            named = [p["name"] for p in operation.get("parameters", ()) if p["in"] == "query"]
            for name in [*named, "nonsense"]:
                answer = client.get(f"{where}?{name}=x")
                errors = answer.json_body.get("errors", []) if answer.status_int == 422 else []
                refused = {"field": name, "reason": "unknown query parameter"} in errors
                assert refused == (name == "nonsense"), (where, name)


def test_schemas_are_schemas(document: Any) -> None:
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({**schema, "components": document["components"]})


def test_examples_fit_their_schemas(document: Any) -> None:
    for *_rest, operation in operations(document):
        for one in operation.get("parameters", ()):
            if "example" in one:
                jsonschema_rs.validate(one["schema"], one["example"])


def test_what_the_page_has_for_the_shell_is_taken(client: Any, document: Any) -> None:
    """The bodies of its examples, by a controller that knows the host that they name."""
    assert client.put("/v1/hosts/0000000000000099", {"name": "compute-1"}).status_int == 201
    for path, method, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body is not None:
            said = docs.example(document, body["schema"])
            where = path
            for one in (one for one in operation["parameters"] if one["in"] == "path"):
                where = where.replace(f"{{{one['name']}}}", str(one["example"]))
            answer = client(method, where, said)
            assert answer.status_int in (200, 201, 409), (where, said, answer.text)


def test_a_token_is_wanted_where_it_is_said(fabric: Any, client: Any) -> None:
    assert "securitySchemes" not in client.get("/openapi.json").json_body["components"]
    api = Api(fabric, "1", SECRET)
    assert Request.blank("/openapi.json").get_response(api).status_int == 401
    assert Request.blank("/docs").get_response(api).status_int == 401
    request = Request.blank("/openapi.json", headers={"Authorization": f"Bearer {SECRET}"})
    document = request.get_response(api).json_body
    for path, method, operation in operations(document):
        public = operation.get("security") == []
        assert public == ("401" not in operation["responses"])
        where = re.sub(r"\{\w+\}", "1", path)
        status = Request.blank(where, method=method).get_response(api).status_int
        assert (status == 401) is not public, path


def test_the_page_has_every_operation_and_needs_no_script(client: Any, document: Any) -> None:
    page = client.get("/docs")
    assert page.content_type == "text/html"
    assert not re.search(r"<script|\bon[a-z]+=|style=", page.text)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    anchors = set(re.findall(r' id="([^"]+)"', page.text))
    assert set(re.findall(r'href="#([^"]+)"', page.text)) <= anchors
    assert {operation["operationId"] for *_rest, operation in operations(document)} <= anchors
    assert set(re.findall(r'(?:href|src)="([^#"]+)"', page.text)) == {
        "/static/docs.css",
        "/openapi.json",
    }
    style = client.get("/static/docs.css")
    assert style.content_type == "text/css"
    assert "url(" not in style.text


def test_names_of_operations_are_those_of_their_handlers() -> None:
    names = {operation_id(handler) for route in ROUTES for handler in route.methods.values()}
    assert {"vms_create", "batch_create", "hosts_diff", "networks_put"} <= names
