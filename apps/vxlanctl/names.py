"""What people call things: names, MACs in any usual spelling, addresses, VNIs."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from apps.vxlanctl.client import Json, path_of
from apps.vxlanctl.failures import Failure, Refused, near
from apps.vxlanctl.session import api

_OCTETS = re.compile(r"[0-9a-f]{1,2}([:-])[0-9a-f]{1,2}(?:\1[0-9a-f]{1,2}){4}", re.IGNORECASE)
_DOTTED = re.compile(r"[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}", re.IGNORECASE)
_BARE = re.compile(r"[0-9a-f]{12}", re.IGNORECASE)
_VNI_MAX_DIGITS = 8
_NEAR_OF = 2000


def as_mac(text: str) -> str | None:
    """``52:54:00:00:00:01``, also of 52-54-.., 5254.0000.0001, 525400000001; None if none."""
    text = text.strip()
    found = _OCTETS.fullmatch(text)
    if found:
        return ":".join(part.zfill(2) for part in text.lower().split(found[1]))
    if _DOTTED.fullmatch(text) or _BARE.fullmatch(text):
        digits = text.lower().replace(".", "")
        return ":".join(digits[at : at + 2] for at in range(0, 12, 2))
    return None


def mac(text: str) -> str:
    """The usual spelling; what is no MAC goes on as it is: the API says what is wrong with it."""
    return as_mac(text) or text


def is_ip(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def vni(ref: str) -> int:
    """A network by VNI or name."""
    ref = ref.strip()
    if ref.isascii() and ref.isdigit() and len(ref) <= _VNI_MAX_DIGITS:
        return int(ref)
    names: list[str] = []
    for page in api().pages("/v1/networks"):
        for network in page["items"]:
            if network.get("name") == ref:
                return int(network["vni"])
            names.append(network.get("name") or "")
    hint = near(ref, names) or "`vxlanctl network list` names those that are"
    raise Failure(f"no network is named {ref!r}", hint)


def maybe_vni(ref: str | None) -> int | None:
    return None if ref is None else vni(ref)


def network_names() -> dict[int, str]:
    """VNI -> name, of those that have one."""
    found = api().items("/v1/networks")
    return {network["vni"]: network["name"] for network in found if network.get("name")}


def host_names() -> dict[str, str]:
    """dpid -> name, of the hosts that have one."""
    return {host["dpid"]: host["name"] for host in api().items("/v1/hosts") if host.get("name")}


def known_hosts() -> list[str]:
    hosts = api().items("/v1/hosts")
    return [name for host in hosts for name in (host.get("name"), host["dpid"]) if name]


def known_places() -> list[str]:
    vteps = api().items("/v1/vteps")
    return known_hosts() + [name for v in vteps for name in (v.get("name"), v["vtep"]) if name]


@contextmanager
def hinting(ref: str, known: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Where the API knows no such thing, say which ones it knows that are spelled like it."""
    try:
        yield
    except Refused as refused:
        wrong = {str(error.get("field")) for error in refused.problem.get("errors") or ()}
        if refused.status == 404 or (refused.status == 422 and "host" in wrong):
            refused.way_out = near(ref, known()) or refused.way_out
        raise


def find_vm(ref: str, network: str | None) -> Json:
    """The one registered VM of this name, MAC or IP."""
    found = {}
    wanted = maybe_vni(network)
    for by, value in (("name", ref), ("mac", as_mac(ref)), ("ip", ref if is_ip(ref) else None)):
        if value is not None:
            for vm in api().items("/v1/vms", vni=wanted, **{by: value}):
                found[vm["vni"], vm["mac"]] = vm
    if len(found) > 1:
        lines = [
            f"  {vm['name'] or '-'}  {vm['mac']}  network {vm['vni']}  on {vm['host']}"
            for vm in list(found.values())[:20]
        ]
        hint = "say its MAC, and --network where that is in several"
        raise Failure(f"{ref!r} could be any of {len(found)} VMs:", hint, lines)
    if not found:
        where = "" if wanted is None else f" in network {wanted}"
        first = next(api().pages("/v1/vms", limit=_NEAR_OF, vni=wanted))["items"]
        names = [name for vm in first for name in (vm["name"], vm["mac"], *vm["ips"]) if name]
        hint = near(ref, names) or "`vxlanctl vm list` shows those that are"
        raise Failure(f"no VM{where} has the name, MAC or IP {ref!r}", hint)
    return next(iter(found.values()))


def path_of_vm(vm: Json) -> str:
    return path_of("vms", vm["vni"], vm["mac"])


def vm_text(vm: Json) -> str:
    return f"{vm['name']} ({vm['mac']})" if vm.get("name") else str(vm["mac"])
