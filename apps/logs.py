"""The log's lines: text for people, or JSON for programs, one object a line."""

from __future__ import annotations

import json
import logging
import re
import time

_HOST = re.compile(r"\b(?:host|switch) ([0-9a-f]{16})\b")
_PEER = re.compile(r"\b(?:from|at) ((?:\d{1,3}\.){3}\d{1,3}|[0-9a-f:]*:[0-9a-f:]*[0-9a-f])")
_MARKS = ("host", "peer")


class JsonLines(logging.Formatter):
    """time (RFC 3339, UTC, milliseconds), level, logger, message; host (dpid) and peer (address)
    where they are known; exception, the traceback, where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, object] = {
            "time": f"{seconds}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        for mark, pattern in zip(_MARKS, (_HOST, _PEER), strict=True):
            found = pattern.search(message)
            value = getattr(record, mark, found and found[1])
            if value is not None:
                line[mark] = str(value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def formatter(log_format: str) -> logging.Formatter:
    """For the option log_format: "json", or "text" for time and level before each line."""
    if log_format == "json":
        return JsonLines()
    return logging.Formatter("%(asctime)s %(levelname)s %(message)s")
