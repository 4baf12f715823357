"""The API's description, OpenAPI 3.1, made of the routes and of what their handlers say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from inspect import cleandoc
from typing import Any, Final, Protocol

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from controller.api import shapes
from controller.api.bodies import BATCH_MAX_BYTES, ONE_MAX_BYTES
from controller.api.described import (
    EVENT_STREAM,
    JSON,
    PATH,
    WAIT,
    Described,
    Parameter,
    described,
)
from controller.api.paging import LIMIT_DEFAULT, LIMIT_MAX, cursor_pattern
from topology.types import Vni

Node = dict[str, Any]

_PROBLEM: Final = "application/problem+json"
_NAMES: Final = re.compile(r"\{([a-z]+)\}")
_TAGS: Final = {
    "hosts": "Hypervisors: what they should hold, and what they do hold",
    "networks": "VNIs and their policy",
    "vms": "Registered VMs",
    "learned": "MACs that were learned from traffic",
    "vteps": "Foreign VTEPs: tunnel endpoints that do not connect here",
    "vips": "Virtual IPs, shared by several VMs",
    "observability": "What happens, what it saves, and what is wrong",
    "facts": "All facts as a whole",
    "controller": "The controller itself",
}
_ABOUT: Final = """\
Facts in (hosts, networks, VMs), flows out. A write answers when it is durable; its answer says on \
how many of the connected hosts concerned it is confirmed by barrier.

Not here, because programs have no use for them: `/`, the dashboard; `/static/...`, its files; \
`/login` and `/logout`, the forms by which a browser trades the token for a cookie that stands in \
for it with GET only.

A path takes the methods that are listed here (and HEAD \
where GET is); others are answered 405 with `Allow`. Unknown fields and query parameters are \
refused. A PUT may repeat what its path says. Rules that need the facts (a host must be known, a \
gateway must lie in a subnet) are told in the texts, not in the schemas."""

_ERRORS: Final = {
    400: "The query or the body cannot be read",
    401: "No token, or another one",
    403: "A page of another site sent it, or the token may only read",
    404: "No such thing",
    409: "It conflicts with another fact, which the detail names",
    413: "The body is too large: more than {max} bytes",
    415: "The body is of another media type",
    421: "The Host that was asked for is no name of this API",
    422: "An unknown field, a wrong type, or a value that cannot be: errors names each",
    503: "Not ready yet, or the store takes no writes now; nothing was changed",
}


class Routed(Protocol):
    """What is needed of a route."""

    @property
    def path(self) -> str: ...

    @property
    def methods(self) -> Mapping[str, Any]: ...


class _Schemas(GenerateJsonSchema):
    """Without titles, which only repeat the names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def json_schema(self, schema: core_schema.JsonSchema) -> JsonSchemaValue:
        """JSON in a text, which is what is sent in answers too."""
        inner = self.generate_inner(schema["schema"])
        return {"type": "string", "contentMediaType": JSON, "contentSchema": inner}

    def encode_default(self, dft: Any) -> Any:
        return int(dft) if isinstance(dft, Vni) else super().encode_default(dft)


class _Components:
    """The schemas of all bodies and answers, and how each is referred to."""

    def __init__(self, found: Iterable[Described]) -> None:
        wanted: dict[tuple[str, JsonSchemaMode], TypeAdapter[Any]] = {
            (_key(shapes.Problem), "serialization"): TypeAdapter(shapes.Problem)
        }
        for each in found:
            if each.body is not None:
                wanted[_key(each.body), "validation"] = TypeAdapter(each.body)
            if each.answer is not None:
                wanted[_key(each.answer), "serialization"] = TypeAdapter(each.answer)
        refs, defs = TypeAdapter.json_schemas(
            [(key, mode, adapter) for (key, mode), adapter in wanted.items()],
            ref_template="#/components/schemas/{model}",
            schema_generator=_Schemas,
        )
        self._refs: Mapping[Any, Node] = refs
        self.schemas: Node = defs["$defs"]
        for schema in self.schemas.values():
            schema.pop("title", None)

    def body(self, kind: object) -> Node:
        return self._refs[_key(kind), "validation"]

    def answer(self, kind: object) -> Node:
        return self._refs[_key(kind), "serialization"]


def _key(kind: object) -> str:
    return str(kind)


def build(routes: Iterable[Routed], version: str, *, secured: bool) -> Node:
    """The whole document; ``secured`` if the API wants a token."""
    routes = tuple(routes)
    found = [
        (route, method, handler, said)
        for route in routes
        for method, handler in route.methods.items()
        if (said := described(handler)) is not None
    ]
    components = _Components(said for *_rest, said in found)
    paths: dict[str, Node] = {}
    streams: dict[str, Node] = {}
    for route, method, handler, said in found:
        operation = _operation(route, handler, said, components, secured)
        _add_links(operation, route, method, said, routes)
        there = streams if EVENT_STREAM in said.media_types else paths
        there.setdefault(route.path, {})[method.lower()] = operation
    document: Node = {
        "openapi": "3.1.0",
        "info": {"title": "vxlan-l2", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [
            {"name": name, "description": text}
            for name, text in _TAGS.items()
            if any(said.tag == name for *_rest, said in found)
        ],
        "paths": paths,
        "x-streams": streams,
        "components": {"schemas": dict(sorted(components.schemas.items()))},
    }
    if secured:
        document["components"]["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "the option api_token"}
        }
        document["security"] = [{"token": []}]
    return document


def _operation(
    route: Routed, handler: Any, said: Described, components: _Components, secured: bool
) -> Node:
    summary, _, text = cleandoc(handler.__doc__ or "").partition("\n")
    operation: Node = {
        "operationId": operation_id(handler),
        "tags": [said.tag],
        "summary": summary.rstrip("."),
    }
    if text.strip():
        operation["description"] = re.sub(r"(?<!\n)\n(?!\n)", " ", text.strip())
    parameters = list(_parameters(route, said))
    if parameters:
        operation["parameters"] = parameters
    if said.body is not None or said.bodies:
        content: Node = {}
        if said.body is not None:
            content[JSON] = {"schema": components.body(said.body)}
        for media_type, what in said.bodies.items():
            content[media_type] = {"schema": {"description": what}}
        operation["requestBody"] = {"required": True, "content": content}
    operation["responses"] = _responses(route, said, components, secured)
    if secured and said.public:
        operation["security"] = []
    return operation


def operation_id(handler: Any) -> str:
    """``vms_create``: the resource and what is done to it."""
    module: str = handler.__module__.rpartition(".")[2].removeprefix("resources_")
    name: str = handler.__name__.strip("_")
    return name if module == "app" else f"{module}_{name}"


def _parameters(route: Routed, said: Described) -> Iterator[Node]:
    for name in _NAMES.findall(route.path):
        yield _parameter(said.path.get(name, PATH.get(name)), "path")
    yield from (_parameter(each, "query") for each in said.query)
    if said.paged:
        limit = {
            "type": "integer",
            "minimum": 1,
            "maximum": LIMIT_MAX,
            "default": LIMIT_DEFAULT,
        }
        yield _parameter(Parameter("limit", limit, "items of a page", example=100), "query")
        cursor = {
            "type": "string",
            "pattern": cursor_pattern(said.paged, searched=said.searched),
        }
        yield _parameter(Parameter("cursor", cursor, "next of the page before"), "query")
    if said.writes:
        yield _parameter(WAIT, "query")


def _parameter(one: Parameter | None, where: str) -> Node:
    assert one is not None, "a part of a path that nobody describes: described.PATH"
    node: Node = {"name": one.name, "in": where, "description": one.description}
    if where == "path" or one.required:
        node["required"] = True
    node["schema"] = dict(one.schema)
    if one.example is not None:
        node["example"] = one.example
    return node


def _responses(route: Routed, said: Described, components: _Components, secured: bool) -> Node:
    answer = _answer(said, components)
    responses: Node = {"200": {"description": "Done" if said.writes else "Found", **answer}}
    if said.creates:
        responses["200"]["description"] = "Changed, or there already and equal"
        responses["201"] = {"description": "Created", **answer}
        if not said.bodies:
            responses["201"]["headers"] = {
                "Location": {
                    "required": True,
                    "description": "its path",
                    "schema": {"type": "string", "pattern": "^/v1/"},
                }
            }
    if said.writes:
        responses["202"] = {
            "description": "Durable, but not confirmed everywhere within ?wait= seconds",
            **answer,
        }
    for status in sorted(_statuses(route, said, secured)):
        text = _ERRORS[status].format(max=BATCH_MAX_BYTES if said.bodies else ONE_MAX_BYTES)
        responses[str(status)] = {
            "description": text,
            "content": {_PROBLEM: {"schema": components.answer(shapes.Problem)}},
        }
    return responses


def _answer(said: Described, components: _Components) -> Node:
    schema: Node = {"type": "string"}
    if said.answer is not None:
        schema = components.answer(said.answer)
    if said.paged and "items" not in getattr(said.answer, "__annotations__", {}):
        schema = _page_of(schema, cursor_pattern(said.paged, searched=said.searched))
    return {"content": {media_type: {"schema": schema} for media_type in said.media_types}}


def _page_of(item: Node, cursors: str) -> Node:
    return {
        "type": "object",
        "required": ["items", "next", "total"],
        "properties": {
            "items": {"type": "array", "items": item},
            "next": {
                "anyOf": [{"type": "string", "pattern": cursors}, {"type": "null"}],
                "description": "cursor of the next page, null on the last",
            },
            "total": {"type": "integer", "minimum": 0},
        },
    }


def _statuses(route: Routed, said: Described, secured: bool) -> set[int]:
    found = set(said.errors)
    if said.public:
        return found
    found |= {400, 403, 421, 422, 503}
    if secured:
        found.add(401)
    if "{" in route.path:
        found.add(404)
    if said.body is not None or said.bodies:
        found |= {413, 415}
    if said.writes:
        found.add(409)
    return found


def _add_links(
    operation: Node, route: Routed, method: str, said: Described, routes: Iterable[Routed]
) -> None:
    """Where one may go with what this operation made: to read, change and delete it."""
    links = dict(_links(route, method, said, routes))
    if links:
        for status in ("200", "201", "202"):
            if status in operation["responses"]:
                operation["responses"][status]["links"] = links


def _links(
    route: Routed, method: str, said: Described, routes: Iterable[Routed]
) -> Iterator[tuple[str, Node]]:
    fields = getattr(said.answer, "__annotations__", {})
    for target in routes:
        names = _NAMES.findall(target.path)
        if method == "PUT" and target.path.startswith(route.path):
            values = {name: f"$request.path.{name}" for name in names}
        elif method == "POST" and names and _NAMES.sub("", target.path).rstrip("/") == route.path:
            values = {name: f"$response.body#/{name}" for name in names if name in fields}
        else:
            continue
        for handler in target.methods.values():
            if len(values) == len(names) and described(handler) is not None:
                name = operation_id(handler)
                yield name, {"operationId": name, "parameters": values}
