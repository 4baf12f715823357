"""Who is meant by a name, a MAC or an IP in a question such as "why does A not reach B"."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from topology.errors import InvalidValue, NotFound
from topology.model import LearnedMac, Topology, Vm
from topology.types import Foreign, Ip, Location, Mac, Vni

BROADCAST_NAME = "broadcast"
_NAMES_LOOKED_AT = 20_000


@dataclass(frozen=True, slots=True)
class Station:
    """A VM or learned MAC; or only an address, of which nothing is known.

    ``ip`` is the address that was asked for, or None: then any of ``ips``.
    """

    vni: Vni
    mac: Mac | None
    place: Location | None
    ips: tuple[Ip, ...] = ()
    name: str | None = None
    registered: bool = False
    ip: Ip | None = None

    @property
    def is_known(self) -> bool:
        return self.place is not None

    def address(self, *, v4: bool) -> Ip | None:
        """The asked address, else the first one of this family."""
        wanted = (self.ip,) if self.ip is not None else self.ips
        return next((ip for ip in wanted if ip.is_v4 == v4), None)

    def __str__(self) -> str:
        if self.name:
            return self.name
        return str(self.ip if self.mac is None else self.mac)


def find_source(topology: Topology, ref: str, vni: Vni | None) -> Station:
    """Who sends: must be known. NotFound names those that are near."""
    found = _find(topology, ref, vni, "src")
    if found is None:
        raise NotFound(_unknown(topology, ref, vni, "src"))
    return found


def find_destination(topology: Topology, ref: str, vni: Vni) -> Station:
    """Who is to get it: known, or any MAC or IP address in the sender's network."""
    found = _find(topology, ref, vni, "dst")
    if found is not None:
        return found
    mac, ip = _mac(ref), _ip(ref)
    if mac is not None:
        return Station(vni, mac, None)
    if ip is not None:
        return Station(vni, None, None, ip=ip)
    elsewhere = _find_everywhere(topology, ref)
    if len(elsewhere) == 1:
        return elsewhere[0]
    raise NotFound(_unknown(topology, ref, vni, "dst"))


def _find(topology: Topology, ref: str, vni: Vni | None, field: str) -> Station | None:
    if not ref:
        raise InvalidValue(field, "is empty: a VM's name, MAC or IP is wanted")
    if vni is not None and vni not in topology.networks:
        raise NotFound(f"vni: there is no network {vni}")
    found = _find_everywhere(topology, ref) if vni is None else list(_in(topology, vni, ref))
    if len(found) > 1:
        places = ", ".join(f"VNI {one.vni} {one.mac}" for one in found[:5])
        raise InvalidValue(field, f"{ref!r} is ambiguous: {places}; say vni, or the MAC")
    return found[0] if found else None


def _find_everywhere(topology: Topology, ref: str) -> list[Station]:
    mac, ip = _mac(ref), _ip(ref)
    if mac is None and ip is None:
        return [_of_vm(topology.vms[key]) for key in topology.vms_named(ref)]
    return [one for vni in topology.networks for one in _in(topology, Vni(vni), ref)]


def _in(topology: Topology, vni: Vni, ref: str) -> Iterable[Station]:
    """Who has this name, MAC or IP in a network."""
    mac, ip = _mac(ref), _ip(ref)
    if mac is not None:
        vm, learned = topology.vms.get((vni, mac)), topology.learned.get((vni, mac))
        found = _of_vm(vm) if vm else _of_learned(learned) if learned else None
        return [found] if found else []
    if ip is not None:
        vip = topology.vips.get((vni, ip))
        if vip is not None and vip.holder is not None:
            return [_at(one, ip) for one in _in(topology, vni, str(vip.holder))]
        vm, learned = topology.vm_with_ip(vni, ip), topology.learned_with_ip(vni, ip)
        found = _of_vm(vm, ip) if vm else _of_learned(learned, ip) if learned else None
        return [found] if found else []
    return [_of_vm(topology.vms[key]) for key in topology.vms_named(ref) if key[0] == vni]


def _at(station: Station, ip: Ip) -> Station:
    return Station(
        station.vni, station.mac, station.place, station.ips, station.name, station.registered, ip
    )


def _of_vm(vm: Vm, ip: Ip | None = None) -> Station:
    return Station(vm.vni, vm.mac, vm.host, vm.ips, vm.name, registered=True, ip=ip)


def _of_learned(entry: LearnedMac, ip: Ip | None = None) -> Station:
    latest = sorted(entry.ips, key=lambda spoken: -spoken[1])
    ips = tuple(known for known, _seen_s in latest)
    return Station(entry.vni, entry.mac, entry.host, ips, ip=ip)


def _mac(ref: str) -> Mac | None:
    try:
        return Mac.parse(ref)
    except InvalidValue:
        return None


def _ip(ref: str) -> Ip | None:
    try:
        return Ip.parse(ref)
    except InvalidValue:
        return None


def _unknown(topology: Topology, ref: str, vni: Vni | None, field: str) -> str:
    where = "" if vni is None else f" in network {vni}"
    text = f"{field}: no VM or learned MAC is known as {ref!r}{where}"
    if _mac(ref) is not None or _ip(ref) is not None:
        return f"{text}: it is not registered, and has not been heard of within the learn timeout"
    names = [
        vm.name for _n, vm in zip(range(_NAMES_LOOKED_AT), topology.vms.values(), strict=False)
    ]
    near = get_close_matches(ref, [name for name in names if name], 3)
    return f"{text}; is it {' or '.join(near)}?" if near else text


def place_name(topology: Topology, place: Location | None) -> str:
    """A host by name if it has one; a foreign VTEP by name or address."""
    if place is None:
        return "an unknown place"
    if isinstance(place, Foreign):
        vtep = topology.vtep_of(place)
        there = None if vtep is None else topology.vteps.get(vtep)
        return f"VTEP {there.name or there.ip}" if there else f"VTEP {place}"
    host = topology.hosts.get(place)
    return host.name or str(place) if host else str(place)
