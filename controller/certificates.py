"""Which switch a certificate stands for, by the names in it and by what is declared."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from topology.types import Dpid, Fingerprint

_DPID: Final = re.compile(r"(?<![0-9A-Za-z_])[0-9a-fA-F]{16}(?![0-9A-Za-z_])", re.ASCII)
_SHOWN_CHARS: Final = 80


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a switch proved to have the key of. ``names``: its subject's common names, and the DNS
    names and URIs among its alternative ones (RFC 5280, 4.1.2.6 and 4.2.1.6).
    """

    fingerprint: Fingerprint
    names: tuple[str, ...] = ()

    @property
    def dpids(self) -> frozenset[Dpid]:
        """The datapath ids that it names: each 16 hex digits that are a whole word of a name."""
        return frozenset(Dpid.parse(word) for name in self.names for word in _DPID.findall(name))

    def __str__(self) -> str:
        called = self.names[0] if self.names else "without a name"
        return f"{self.fingerprint} ({ascii(called)[1:-1][:_SHOWN_CHARS]})"


def objection(
    dpid: int, presented: Certificate | None, bound: Fingerprint | None, *, must_bind: bool
) -> str | None:
    """Why whoever presented this may not be this switch; None if it may.

    ``bound`` is the one certificate that is declared for it; ``must_bind``: one that neither names
    it nor is declared does not do.
    """
    host = Dpid(dpid)
    if presented is None:
        if bound is not None:
            return f"it presents no certificate, and host {host} is bound to {bound}"
        if must_bind:
            return f"it presents no certificate, and bind_certificates wants one of host {host}"
        return None
    named = presented.dpids
    if named and host not in named:
        theirs = ", ".join(sorted(map(str, named)))
        return f"it says it is {host}, and its certificate {presented} is of {theirs}"
    if bound is not None and presented.fingerprint != bound:
        return f"it presents {presented}, and host {host} is bound to {bound}"
    if must_bind and bound is None and not named:
        return (
            f"its certificate {presented} names no dpid, and is not bound to host {host}:"
            f" vxlanctl host declare {host} --certificate {presented.fingerprint}"
        )
    return None
