"""Files of many things: YAML, CSV, NDJSON, JSON; each with the line it begins at."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from apps.vxlanctl.failures import Failure, WrongUsage

FORMATS = {".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
FORMATS |= {".json": "json"}


@dataclass
class Row:
    """One thing of a file. Lines count from 1."""

    line: int
    fields: dict[str, Any]
    lines: dict[str, int] = field(default_factory=dict)

    def line_of(self, name: str) -> int:
        return self.lines.get(name.partition("[")[0], self.line)


def read(file: str, form: str | None) -> list[Row]:
    """The rows of a file; a Failure that names its line where it cannot be read."""
    form = form or next((kind for end, kind in FORMATS.items() if file.lower().endswith(end)), None)
    if form is None:
        raise WrongUsage(f"{file}: say --format yaml, csv, ndjson or json")
    text = _text(file)
    return list(_READERS[form](file, text))


def _text(file: str) -> str:
    try:
        if file == "-":
            raw = sys.stdin.buffer.read()
        else:
            with open(file, "rb") as opened:
                raw = opened.read()
    except OSError as error:
        raise Failure(f"{file}: {error.strerror or error}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Failure(f"{file}:{line}: not UTF-8") from error


def _ndjson(file: str, text: str) -> Iterator[Row]:
    for number, line in enumerate(io.StringIO(text), start=1):
        if line.strip():
            try:
                yield _row(file, number, json.loads(line))
            except ValueError as error:
                raise Failure(f"{file}:{number}: no JSON: {error}") from error


def _json(file: str, text: str) -> Iterator[Row]:
    decoder = json.JSONDecoder()
    at, line, counted = _space(text, 0), 1, 0
    try:
        if text[at : at + 1] != "[":
            raise json.JSONDecodeError("an array of VMs is wanted", text, at)
        at = _space(text, at + 1)
        while text[at : at + 1] != "]":
            line, counted = line + text.count("\n", counted, at), at
            item, end = decoder.raw_decode(text, at)
            yield _row(file, line, item)
            at = _space(text, end)
            if text[at : at + 1] == ",":
                at = _space(text, at + 1)
            elif text[at : at + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' delimiter", text, at)
        if text[at + 1 :].strip():
            raise json.JSONDecodeError("Extra data", text, at + 1)
    except (json.JSONDecodeError, RecursionError) as error:
        place = getattr(error, "lineno", line)
        raise Failure(f"{file}:{place}: no JSON: {getattr(error, 'msg', error)}") from error


def _space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _csv(file: str, text: str) -> Iterator[Row]:
    import csv

    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
        for found in reader:
            number = reader.line_num
            if None in found:
                raise Failure(f"{file}:{number}: has more fields than the first line names")
            given = {name.strip(): value for name, value in found.items() if value is not None}
            yield Row(number, given)
    except csv.Error as error:
        raise Failure(f"{file}:{reader.line_num}: no CSV: {error}") from error


def _yaml(file: str, text: str) -> Iterator[Row]:
    import yaml

    # Every scalar as it is written: YAML 1.1 would read 52:54:00:00:00:01 as a number of base 60.
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
    try:
        root = yaml.compose(text, Loader=loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise Failure(f"{file}{where}: no YAML: {problem}") from error
    if root is None:
        return
    if isinstance(root, yaml.MappingNode):
        named = {key.value: value for key, value in root.value}
        root = named.get("vms", root)
    if not isinstance(root, yaml.SequenceNode):
        raise Failure(
            f"{file}:{root.start_mark.line + 1}: a list of VMs is wanted, or vms: with one"
        )
    for node in root.value:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.MappingNode):
            raise Failure(f"{file}:{line}: must have fields, such as mac and host")
        fields = {key.value: _plain(value) for key, value in node.value}
        lines = {key.value: key.start_mark.line + 1 for key, _value in node.value}
        yield Row(line, fields, lines)


def _plain(node: Any) -> Any:
    if isinstance(node.value, list):
        return [str(getattr(part, "value", part)) for part in node.value]
    return None if node.value in ("null", "~") and node.style is None else node.value


def _row(file: str, line: int, item: object) -> Row:
    if not isinstance(item, dict):
        raise Failure(f'{file}:{line}: must be an object, such as {{"mac": ..., "host": ...}}')
    return Row(line, item)


_READERS = {"yaml": _yaml, "csv": _csv, "ndjson": _ndjson, "json": _json}
