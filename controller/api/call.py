"""One request, read and checked: its path, query and body."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from webob import Request

from controller.api import bodies, items
from controller.api.problems import Problem, invalid
from controller.api.turns import Turns
from controller.service import Service
from topology.errors import InvalidValue
from topology.types import Dpid, Ip, Mac, Vni, VtepIp

WAIT_MAX_S: Final = 60.0

LARGE: Final = Turns(4, "batches or imports of over 1 MiB")

_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_VNI: Final = re.compile(r"0|[1-9][0-9]{0,7}", re.ASCII)
_FULL_DPID: Final = re.compile(r"[0-9a-fA-F]{16}")
_QUERY_MAX_FIELDS: Final = 32


class Call:
    """What a handler gets. ``path`` holds the variable parts of the route by name."""

    def __init__(self, service: Service, request: Request, path: Mapping[str, str]) -> None:
        self.service = service
        self.path = path
        self._request = request
        self._has_turn = False
        self._query = _parse_query(request.environ.get("QUERY_STRING", ""))

    @property
    def environ(self) -> dict[str, Any]:
        """What the server knows of the request (PEP 3333), and reads again afterwards."""
        return self._request.environ

    @property
    def is_head(self) -> bool:
        return bool(self._request.method == "HEAD")

    def header(self, name: str) -> str | None:
        value: str | None = self._request.headers.get(name)
        return value

    # Query

    def allow_query(self, *names: str) -> None:
        """Refuse parameters that the route does not know: a mistyped filter must not answer all."""
        for name in self._query:
            if name not in names:
                raise invalid(name, "unknown query parameter")

    def query(self, name: str) -> str | None:
        return self._query.get(name)

    def query_vni(self, name: str = "vni") -> Vni | None:
        text = self.query(name)
        return None if text is None else parse_vni(text, name)

    def query_choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of these words; the first where the query has none."""
        text = self.query(name)
        if text is None:
            return choices[0]
        if text not in choices:
            raise invalid(name, f"{text!r} is not {' or '.join(choices)}")
        return text

    def query_flag(self, name: str) -> bool:
        """Whether the query says true; without it, or with false, no."""
        return self.query_choice(name, ("false", "true")) == "true"

    def query_seconds(self, name: str, max_s: float) -> float | None:
        """A number of seconds, None where the query has none."""
        text = self.query(name)
        if text is None:
            return None
        seconds = float(text) if _NUMBER.fullmatch(text) else math.inf
        if not 0 <= seconds <= max_s:
            raise invalid(name, f"{text!r} is not a number of seconds from 0 to {max_s:.0f}")
        return seconds

    def wait_s(self) -> float | None:
        """``?wait=`` in seconds, None without it."""
        return self.query_seconds("wait", WAIT_MAX_S)

    def allow_only_wait(self) -> None:
        """Check a write's query before anything is changed."""
        self.allow_query("wait")
        self.wait_s()

    @property
    def accept(self) -> str:
        """What the client would have, as it says."""
        return str(self._request.headers.get("Accept", ""))

    # Path

    def path_vni(self) -> Vni:
        return parse_vni(self.path["vni"])

    def path_mac(self) -> Mac:
        return Mac.parse(self.path["mac"])

    def path_ip(self) -> Ip:
        return Ip.parse(self.path["ip"])

    def path_vtep(self) -> VtepIp:
        return VtepIp.parse(self.path["ip"], "ip")

    def path_dpid(self) -> Dpid | None:
        """The host of the path if it is written as a full dpid, 16 hex digits."""
        text = self.path["host"]
        return Dpid.parse(text) if _FULL_DPID.fullmatch(text) else None

    # Body

    def body(self) -> object:
        return bodies.read_object(self._request)

    def items(self) -> Iterator[object]:
        """The items of a batch; while there are many, some calls at a time have them."""
        return items.read_items(self._request, self._take_turn)

    def _take_turn(self) -> None:
        LARGE.take()
        self._has_turn = True

    def end(self) -> None:
        """It is answered."""
        if self._has_turn:
            LARGE.give_back()
            self._has_turn = False


def parse_vni(text: str, field: str = "vni") -> Vni:
    """A VNI in decimal digits, as paths and queries have it."""
    if not _VNI.fullmatch(text) or int(text) > Vni.MAX:
        raise InvalidValue(field, f"{text!r} is not {Vni.WHAT}")
    return Vni(int(text))


def _parse_query(text: str) -> dict[str, str]:
    try:
        # The server hands the query over as it came: ASCII, or bytes read as Latin-1.
        raw = text.encode("latin-1").decode("utf-8")
        pairs = parse_qsl(
            raw, keep_blank_values=True, errors="strict", max_num_fields=_QUERY_MAX_FIELDS
        )
    except ValueError as error:
        raise Problem(400, f"the query cannot be read: {error}") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise invalid(name, "is there twice")
        found[name] = value
    return found
