"""Which names this API answers to, and which pages may make a browser call it.

A browser is made to call names that another site's DNS points here (DNS rebinding), and sends what
another site's page makes it send. Neither can forge Host, Origin or Sec-Fetch-Site.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from controller.api.problems import Problem

_HOST: Final = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:\[\]/@]+))(?::[0-9]{1,5})?")
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


class Origins:
    """names: accepted in Host beyond IP addresses, localhost and the machine's own name."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        own = socket.gethostname().lower()
        self._asked_for = frozenset(name.lower().rstrip(".") for name in names)
        self._names = self._asked_for | {"localhost", own, own.partition(".")[0]}

    def check(self, environ: Mapping[str, Any]) -> None:
        """Problem for a name that is not this API's, and for what another site's page sends."""
        host = environ.get("HTTP_HOST")
        if host is not None and not self._is_ours(_name(host)):
            raise Problem(
                421,
                f"{host[:100]!r} is no name of this API; if it is meant to be, add it to api_hosts"
                " under [vxlan] in the controller's configuration",
            )
        if environ["REQUEST_METHOD"] in _SAFE:
            if environ.get("HTTP_SEC_FETCH_SITE") == "cross-site" and (
                environ.get("HTTP_SEC_FETCH_MODE") != "navigate"
            ):
                raise _cross_site("another site")
            return
        origin = environ.get("HTTP_ORIGIN")
        if origin is not None and not self._is_same(origin, host):
            raise _cross_site(f"{origin[:100]!r}")
        if environ.get("HTTP_SEC_FETCH_SITE", "none") not in ("none", "same-origin"):
            raise _cross_site("another site")

    def _is_ours(self, name: str | None) -> bool:
        return name is not None and (name in self._names or _is_address(name))

    def _is_same(self, origin: str, host: str | None) -> bool:
        """A proxy may not hand on the Host that the browser saw: then api_hosts names it."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        if parts.scheme not in ("http", "https"):
            return False
        return parts.netloc.lower() == (host or "").lower() or (
            _name(parts.netloc) in self._asked_for
        )


def _name(host: str) -> str | None:
    """The name or address of a Host header."""
    found = _HOST.fullmatch(host)
    return None if found is None else (found[1] or found[2]).lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _cross_site(who: str) -> Problem:
    return Problem(403, f"a page of {who} made the browser send this", title="Cross-site request")
