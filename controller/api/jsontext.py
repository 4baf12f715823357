"""JSON of answers."""

from __future__ import annotations

import json
from typing import Final

_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def encode_json(value: object) -> bytes:
    """One line of JSON in UTF-8; a lone surrogate, which UTF-8 lacks, becomes its JSON escape."""
    return _ENCODER.encode(value).encode("utf-8", "backslashreplace") + b"\n"
