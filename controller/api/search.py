"""VMs by a part of their name, MAC or IP, and in another order than by key.

There is no index for these: each VM is looked at, and after every few hundred the others get a
turn, so a search costs its caller time and nobody else. Only the best of a page are kept.
"""

from __future__ import annotations

import heapq
import re
import sys
from collections.abc import Callable, Mapping
from operator import gt, lt
from typing import Final, TypeAlias

import eventlet
from webob import Response

from controller.api.answers import answer
from controller.api.call import Call
from controller.api.paging import NO_CURSOR, decode_cursor, encode_cursor, limit_of
from controller.api.problems import invalid
from controller.api.shown import show_vm
from topology.model import NAME_MAX_CHARS, MacKey, Topology, Vm
from topology.sorted_keys import Listing

Place: TypeAlias = tuple[str | int, int, int]
"""Where a VM stands in the order asked for: what it is sorted by, and its key."""

_VMS_AT_ONCE: Final = 256
_LAST: Final = chr(sys.maxunicode)
_IPV4_BEGINS: Final = re.compile(r"[0-9]{1,3}\.[0-9.]*")
_HEX_AND_COLONS: Final = re.compile(r"[0-9a-f]*[:-][0-9a-f:-]*|[0-9a-f]{12}")


def _host_text(topology: Topology, vm: Vm) -> str:
    host = topology.hosts.get(vm.host)
    return str(vm.host) if host is None or host.name is None else host.name.casefold()


_RANKS: Final[Mapping[str, Callable[[Topology, Vm], str | int]]] = {
    "vni": lambda _topology, vm: int(vm.vni),
    "mac": lambda _topology, vm: int(vm.mac),
    "name": lambda _topology, vm: _LAST if vm.name is None else vm.name.casefold(),
    "ip": lambda _topology, vm: int(vm.ips[0]) if vm.ips else -1,
    "host": _host_text,
}
SORTS: Final = (*_RANKS, *(f"-{name}" for name in _RANKS))


def search(call: Call, topology: Topology, keys: Listing[MacKey]) -> Response:
    """One page of those of the keys' VMs that fit ``?q=``, in the order of ``?sort=``."""
    limit = limit_of(call)
    fits, (rank, falling) = _matcher(search_text(call)), _order(call.query("sort"), topology)
    after = _cursor(call)
    pick, precedes = (heapq.nlargest, gt) if falling else (heapq.nsmallest, lt)
    best: list[Place] = []
    bound: Place | None = None  # no place beyond it comes into this page
    total = 0
    at: MacKey | None = None
    while block := keys.after(at, _VMS_AT_ONCE):
        at = block[-1]
        for key in block:
            vm = topology.vms.get(key)
            if vm is None or not fits(vm):
                continue
            total += 1
            place = (rank(vm), int(vm.vni), int(vm.mac))
            if after is not None and not precedes(after, place):
                continue
            if bound is None or precedes(place, bound):
                best.append(place)
        if len(best) > 2 * (limit + 1):
            best = pick(limit + 1, best)
            bound = best[-1]
        eventlet.sleep(0)
    best = pick(limit + 1, best)
    shown = best[:limit]
    found = [topology.vms.get((vni, mac)) for _rank, vni, mac in shown]
    return answer(
        {
            "items": [show_vm(vm) for vm in found if vm is not None],
            "next": encode_cursor(shown[-1]) if len(best) > limit else None,
            "total": total,
        }
    )


def search_text(call: Call) -> str | None:
    """``?q=`` without the spaces around it."""
    q = call.query("q")
    text = None if q is None else q.strip()
    if text is not None and not 0 < len(text) <= NAME_MAX_CHARS:
        raise invalid("q", f"must have 1 to {NAME_MAX_CHARS} characters")
    return text


def _matcher(q: str | None) -> Callable[[Vm], bool]:
    """Whether a VM has this in its name, in its MAC as written, or at the start of an IP."""
    if q is None:
        return lambda _vm: True
    text = q.casefold()
    # Few letters are hexadecimal by chance ("db"): only what looks like an address is sought there.
    mac = text.replace("-", ":") if _HEX_AND_COLONS.fullmatch(text) else None
    if mac and ":" not in mac:
        mac = ":".join(mac[at : at + 2] for at in range(0, 12, 2))
    ip = text if mac or _IPV4_BEGINS.fullmatch(text) else None

    def fits(vm: Vm) -> bool:
        if vm.name is not None and text in vm.name.casefold():
            return True
        if mac is not None and mac in str(vm.mac):
            return True
        return ip is not None and any(str(each).startswith(ip) for each in vm.ips)

    return fits


def _order(sort: str | None, topology: Topology) -> tuple[Callable[[Vm], str | int], bool]:
    """What VMs are sorted by, and whether it falls."""
    sort = "vni" if sort is None else sort
    name = sort.removeprefix("-")
    if sort not in SORTS:
        raise invalid("sort", f"{sort!r} is none of {', '.join(_RANKS)}, or one with - before it")
    rank = _RANKS[name]
    return lambda vm: rank(topology, vm), sort.startswith("-")


def _cursor(call: Call) -> Place | None:
    text = call.query("cursor")
    if text is None:
        return None
    match decode_cursor(text):
        case [str() | int() as rank, int(vni), int(mac)]:
            expected = str if (call.query("sort") or "").strip("-") in ("name", "host") else int
            if type(rank) is expected and bool not in (type(vni), type(mac)):
                return rank, vni, mac
    raise invalid("cursor", NO_CURSOR)
