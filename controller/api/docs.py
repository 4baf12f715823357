"""/docs: the API's description as a page that needs no script, made of the document itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final
from urllib.parse import urlencode

from webob import Response

from controller.api.described import EVENT_STREAM

Node = Mapping[str, Any]

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_PATTERN_MAX_CHARS: Final = 60
_REF: Final = "#/components/schemas/"


def page(document: Node) -> Response:
    """The page, with an anchor for each operation and each schema."""
    html = "".join(_page(document))
    response = Response(body=html.encode("utf-8"), content_type="text/html", charset="utf-8")
    response.headers["Content-Security-Policy"] = CSP
    return response


def _page(document: Node) -> Iterator[str]:
    info = document["info"]
    title = f"{escape(info['title'])} {escape(info['version'])}: REST API"
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f'<title>{title}</title><link rel="stylesheet" href="/static/docs.css"></head><body>'
    yield from _contents(document)
    yield f"<main><h1>{title}</h1>"
    yield from (f"<p>{_text(each)}</p>" for each in info["description"].split("\n\n"))
    yield '<p>The same for programs: <a href="/openapi.json">/openapi.json</a> (OpenAPI 3.1).</p>'
    for tag in document["tags"]:
        yield f'<h2 id="{tag["name"]}">{escape(tag["description"])}</h2>'
        for path, method, operation in _operations(document, tag["name"]):
            yield from _operation(document, path, method, operation)
    yield '<h2 id="schemas">Schemas</h2>'
    for name, schema in document["components"]["schemas"].items():
        yield from _schema_section(name, schema)
    yield "</main></body></html>"


def _contents(document: Node) -> Iterator[str]:
    yield '<nav aria-label="Contents"><ul>'
    for tag in document["tags"]:
        yield f'<li><a href="#{tag["name"]}">{tag["name"]}</a><ul>'
        for path, method, operation in _operations(document, tag["name"]):
            anchor = operation["operationId"]
            yield f'<li><a href="#{anchor}"><b>{method}</b> {escape(path)}</a></li>'
        yield "</ul></li>"
    yield '<li><a href="#schemas">schemas</a></li></ul></nav>'


def _operations(document: Node, tag: str) -> Iterator[tuple[str, str, Node]]:
    for path, methods in {**document["paths"], **document["x-streams"]}.items():
        for method, operation in methods.items():
            if operation["tags"] == [tag]:
                yield path, method.upper(), operation


def _operation(document: Node, path: str, method: str, operation: Node) -> Iterator[str]:
    anchor = operation["operationId"]
    yield f'<section id="{anchor}"><h3><a href="#{anchor}"><b>{method}</b> {escape(path)}</a></h3>'
    yield f"<p>{_text(operation['summary'])}.</p>"
    if "description" in operation:
        yield from (f"<p>{_text(each)}</p>" for each in operation["description"].split("\n\n"))
    if operation.get("parameters"):
        yield f"<table><caption>Parameters</caption>{_head('name', 'in', 'type', 'what')}"
        for one in operation["parameters"]:
            yield _row(
                f"<code>{one['name']}</code>",
                one["in"],
                _type(one["schema"]),
                "; ".join(_parameter_notes(one)),
            )
        yield "</table>"
    if "requestBody" in operation:
        yield "<p>Body: "
        yield ", ".join(
            f"<code>{media}</code> {_type(each['schema'])}"
            for media, each in operation["requestBody"]["content"].items()
        )
        yield "</p>"
    yield f"<table><caption>Answers</caption>{_head('status', 'when', 'type')}"
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        types = ", ".join(
            _type(each["schema"])
            if media.endswith(("/json", "+json"))
            else _of_media(media, each["schema"])
            for media, each in content.items()
        )
        yield _row(f"<code>{status}</code>", _text(response["description"]), types)
    yield "</table>"
    yield f"<pre><code>{escape(curl(document, path, method, operation))}</code></pre></section>"


def _of_media(media: str, schema: Node) -> str:
    what = f" of {_type(schema)}" if "$ref" in schema else ""
    return f"<code>{media}</code>{what}"


def _parameter_notes(one: Node) -> Iterator[str]:
    yield from _notes(one)
    if one.get("required") and one["in"] == "query":
        yield "required"
    if "example" in one:
        yield f"such as <code>{escape(str(one['example']))}</code>"


def _notes(described: Node) -> Iterator[str]:
    """What is to be known of a field or parameter beside its type."""
    schema = described["schema"]
    if "description" in described:
        yield _text(described["description"])
    if "default" in schema:
        yield f"default <code>{escape(json.dumps(schema['default']))}</code>"
    if "examples" in schema:
        shown = ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["examples"])
        yield f"such as {shown}"


def curl(document: Node, path: str, method: str, operation: Node) -> str:
    """A call of this operation that one can paste into a shell, with the examples' values."""
    for one in operation.get("parameters", ()):
        if one["in"] == "path":
            path = path.replace(f"{{{one['name']}}}", str(one["example"]))
    words = ["curl"] + ([] if method == "GET" else ["-X", method])
    if EVENT_STREAM in operation["responses"]["200"]["content"]:
        words.append("-N")
    if "security" in document and operation.get("security") != []:
        words += ["-H", "'Authorization: Bearer TOKEN'"]
    asked = [one for one in operation.get("parameters", ()) if one["in"] == "query"]
    question = any(one.get("required") for one in asked)
    query = urlencode(
        [(one["name"], one["example"]) for one in asked if question and "example" in one]
    )
    url = f"http://127.0.0.1:8080{path}"
    words.append(f"'{url}?{query}'" if query else url)
    if "requestBody" in operation:
        media, content = next(iter(operation["requestBody"]["content"].items()))
        body = json.dumps(example(document, content["schema"]))
        words += ["-H", f"'Content-Type: {media}'", "-d", f"'{body}'"]
    return " ".join(words)


def example(document: Node, schema: Node) -> Any:
    """A value that fits: its own example, or made of those of what it holds; None if there is none.

    Of an object are named what it requires, and what has an example.
    """
    schema = _resolved(document, schema)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return example(document, schema[key][0])
    if "examples" in schema:
        return schema["examples"][0]
    if "const" in schema:
        return schema["const"]
    if schema.get("type") == "array":
        one = example(document, schema["items"])
        first = [example(document, each) for each in schema.get("prefixItems", ())]
        return None if one is None and not first else [*first, one]
    if schema.get("type") == "object":
        required = schema.get("required", ())
        found = {
            name: example(document, each)
            for name, each in schema["properties"].items()
            if not each.get("readOnly")
        }
        return {name: one for name, one in found.items() if one is not None or name in required}
    return None


def _resolved(document: Node, schema: Node) -> Node:
    reference: str = schema.get("$ref", "")
    if not reference:
        return schema
    found: Node = document["components"]["schemas"][reference.removeprefix(_REF)]
    return found


def _schema_section(name: str, schema: Node) -> Iterator[str]:
    yield f'<section id="schema-{name}"><h3><a href="#schema-{name}">{name}</a></h3>'
    if "description" in schema:
        yield f"<p>{_text(schema['description'])}</p>"
    if "properties" not in schema:
        yield f"<p>{_type(schema)}</p></section>"
        return
    required = schema.get("required", ())
    yield f"<table>{_head('field', 'type', 'what')}"
    for field, each in schema["properties"].items():
        notes = list(_notes({"schema": each, **each}))
        if field not in required and "default" not in each:
            notes.append("optional")
        yield _row(f"<code>{escape(field)}</code>", _type(each), "; ".join(notes))
    yield "</table></section>"


def _type(schema: Node) -> str:
    """A schema in a few words, with a link where it has a name."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return f'<a href="#schema-{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(each) for each in schema[key])
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(each))}</code>" for each in schema["enum"])
    kind = schema.get("type", "")
    if "contentSchema" in schema:
        return f"JSON of {_type(schema['contentSchema'])}"
    if kind == "array":
        first = [_type(each) for each in schema.get("prefixItems", ())]
        return f"list of {', then '.join([*first, _type(schema['items'])])}"
    if "properties" in schema:
        fields = ", ".join(
            f"<code>{name}</code>: {_type(each)}" for name, each in schema["properties"].items()
        )
        return f"{{{fields}}}"
    limits = [
        f"{schema['minimum']} to {schema['maximum']}"
        if "maximum" in schema and "minimum" in schema
        else f"at least {schema['minimum']}"
        if "minimum" in schema
        else ""
    ]
    if "maxLength" in schema:
        limits.append(f"{schema.get('minLength', 0)} to {schema['maxLength']} characters")
    if len(schema.get("pattern", "")) in range(1, _PATTERN_MAX_CHARS):
        limits.append(f"<code>{escape(schema['pattern'])}</code>")
    return " ".join([kind, *filter(None, limits)]) or _text(schema.get("description", "anything"))


def _head(*cells: str) -> str:
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in cells)
    return f"<thead><tr>{columns}</tr></thead>"


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _text(text: str) -> str:
    """Text whose code is in backquotes, as HTML."""
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escape(text))
