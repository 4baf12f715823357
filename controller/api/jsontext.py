"""JSON of answers."""

from __future__ import annotations

import json


def encode_json(value: object) -> bytes:
    """One line of JSON in UTF-8; a lone surrogate, which UTF-8 lacks, becomes its JSON escape."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace") + b"\n"
