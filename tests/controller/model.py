"""A simple model of the facts: what users wrote, what the API must have answered, who spoke where.

It is told what is asked of the API, says which status that must have, and holds what is so then.
What VMs announce is under way for a while, so places and holders are sets of what may be, until a
quiet point tells which it became.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from controller.frames import Arp
from controller.journey import Packet
from topology.model import IpKey, MacKey, Network, Topology, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Location, Mac, Vni, VtepIp

OK, CREATED, UNKNOWN, CONFLICT, INVALID = 200, 201, 404, 409, 422


@dataclass
class Model:
    """``hosts``: those that connected or were declared, with their names; ``fresh``: just now."""

    hosts: dict[Dpid, str | None] = field(default_factory=dict)
    networks: dict[Vni, Network] = field(default_factory=lambda: {Vni(0): Network(Vni(0))})
    vms: dict[MacKey, Vm] = field(default_factory=dict)
    fresh: set[Dpid] = field(default_factory=set)
    vips: dict[IpKey, Vip] = field(default_factory=dict)
    vteps: dict[VtepIp, Vtep] = field(default_factory=dict)
    moved: dict[MacKey, set[Location]] = field(default_factory=dict)
    claimed: dict[IpKey, set[Mac | None]] = field(default_factory=dict)
    spoke: dict[MacKey, set[Location]] = field(default_factory=dict)
    followed: set[Vni] = field(default_factory=set)  # networks that followed moves lately

    # What users write

    def put_network(self, network: Network) -> int:
        there = self.networks.get(network.vni)
        if there == network:
            return OK
        if network.hosts != "all" and not set(network.hosts) <= self.hosts.keys():
            return INVALID
        if any(
            other.vlan == network.vlan
            for other in self.networks.values()
            if other.vni != network.vni
        ):
            return CONFLICT
        self.networks[network.vni] = network
        if network.follow_moves:
            self.followed.add(network.vni)
        return CREATED if there is None else OK

    def delete_network(self, vni: Vni) -> int:
        if vni not in self.networks:
            return UNKNOWN
        named = (key[0] == vni for key in (*self.vms, *self.vips))
        if vni == 0 or any(named) or any(vni in vtep.vnis for vtep in self.vteps.values()):
            return CONFLICT
        del self.networks[vni]
        return OK

    def post_vm(self, vm: Vm) -> int:
        there = self.vms.get(vm.key)
        if self._where(vm.host) is None:
            return INVALID
        if there is not None:
            return OK if there == vm else CONFLICT
        return self.put_vm(vm)

    def put_vm(self, vm: Vm) -> int:
        there = self.vms.get(vm.key)
        if self._where(vm.host) is None:
            return INVALID
        if there == vm and vm.key not in self.moved:
            return OK
        if vm.vni not in self.networks or vm.vni not in self._where(vm.host):
            return INVALID
        if any(self._is_anothers(vm, ip) for ip in vm.ips):
            return CONFLICT
        self.vms[vm.key] = vm
        if vm.key in self.moved:
            self.moved[vm.key].add(vm.host)
        return CREATED if there is None else OK

    def _where(self, place: Location) -> Iterable[Vni] | None:
        """The networks that a VM at this place may be in; None where there is no such place."""
        if not isinstance(place, Foreign):
            return self.networks if place in self.hosts else None
        vtep = self.vteps.get(place.vtep)
        return None if vtep is None else vtep.vnis

    def _is_anothers(self, vm: Vm, ip: Ip) -> bool:
        owners = {
            other.key for other in self.vms.values() if other.vni == vm.vni and ip in other.ips
        }
        return (vm.vni, ip) in self.vips or bool(owners - {vm.key})

    def post_vms(self, vms: list[Vm]) -> int:
        """A batch, all or nothing; 0 where the model does not say what is wrong with it first."""
        trial = replace(self, vms=dict(self.vms), moved=dict(self.moved))
        if any(trial.post_vm(vm) not in (OK, CREATED) for vm in vms):
            return 0
        created = trial.vms.keys() != self.vms.keys()
        self.vms = trial.vms
        return CREATED if created else OK

    def delete_vm(self, key: MacKey) -> int:
        self.moved.pop(key, None)
        return UNKNOWN if self.vms.pop(key, None) is None else OK

    def put_vip(self, vip: Vip) -> int:
        there = self.vips.get(vip.key)
        if there is not None:
            vip = replace(vip, holder=there.holder)
        if there == vip:
            return OK
        if vip.vni not in self.networks:
            return INVALID
        if any(other.vni == vip.vni and vip.ip in other.ips for other in self.vms.values()):
            return CONFLICT
        self.vips[vip.key] = vip
        if vip.key in self.claimed:
            self.claimed[vip.key].add(vip.holder)
        return CREATED if there is None else OK

    def delete_vip(self, key: IpKey) -> int:
        self.claimed.pop(key, None)
        return UNKNOWN if self.vips.pop(key, None) is None else OK

    def put_vtep(self, vtep: Vtep) -> int:
        there = self.vteps.get(vtep.ip)
        if not set(vtep.vnis) <= self.networks.keys():
            return INVALID
        behind = {vm.vni for vm in self.vms.values() if vm.host == vtep.location}
        if not behind <= set(vtep.vnis):
            return CONFLICT
        self.vteps[vtep.ip] = vtep
        return CREATED if there is None else OK

    def delete_vtep(self, ip: VtepIp) -> int:
        if ip not in self.vteps:
            return UNKNOWN
        if any(vm.host == Foreign.at(ip) for vm in self.vms.values()):
            return CONFLICT
        del self.vteps[ip]
        return OK

    def put_host(self, dpid: Dpid, name: str | None) -> int:
        if name is not None and any(
            other == name for at, other in self.hosts.items() if at != dpid
        ):
            return CONFLICT
        created = dpid not in self.hosts
        self.fresh.discard(dpid)
        self.hosts[dpid] = name
        return CREATED if created else OK

    def delete_host(self, dpid: Dpid, *, connected: bool) -> int:
        if dpid not in self.hosts:
            return UNKNOWN
        pinned = any(
            network.hosts != "all" and dpid in network.hosts for network in self.networks.values()
        )
        if connected or pinned or any(vm.host == dpid for vm in self.vms.values()):
            return CONFLICT
        del self.hosts[dpid]
        self.fresh.discard(dpid)
        return OK

    # What is seen

    def seen(self, dpid: int) -> None:
        """A host connected: it is known from then on."""
        if dpid not in self.hosts:
            self.hosts[Dpid(dpid)] = None
            self.fresh.add(Dpid(dpid))

    def heard(self, place: Location, packet: Packet) -> None:
        """A frame came from behind a place: where that may lead."""
        mac = Mac(packet.eth_src)
        for vni in self.networks:
            self.spoke.setdefault((vni, mac), set()).add(place)
        for (vni, of), vm in self.vms.items():
            if of == mac and vni in self.followed:
                self.moved.setdefault((vni, of), {vm.host}).add(place)
        for ip in _claims(packet):
            for vip in self.vips.values():
                if vip.ip == ip and mac in vip.macs:
                    self.claimed.setdefault(vip.key, {vip.holder}).add(mac)

    def forgot(self, facts: Topology) -> None:
        """The controller was killed: that it saw a host may not have come to be stored."""
        for dpid in self.fresh - facts.hosts.keys():
            del self.hosts[dpid]
        self.fresh.clear()

    def is_open(self, key: MacKey) -> bool:
        """Whether a VM may be at several places."""
        return key in self.moved

    # Quiet points

    def compare(self, facts: Topology) -> None:
        """The facts are what the model says; from now on it says which of what may be is so."""
        assert facts.networks == self.networks
        assert facts.vteps == self.vteps
        assert {host.dpid: host.name for host in facts.hosts.values()} == self.hosts
        assert facts.vms.keys() == self.vms.keys()
        for key, vm in facts.vms.items():
            places = self.moved.get(key, {self.vms[key].host})
            assert vm.host in places, f"{vm} should be at one of {sorted(places)}"
            assert replace(vm, host=self.vms[key].host) == self.vms[key]
        assert facts.vips.keys() == self.vips.keys()
        for key, vip in facts.vips.items():
            holders = self.claimed.get(key, {self.vips[key].holder})
            assert vip.holder in holders, f"{vip} should be held by one of {holders}"
            assert replace(vip, holder=None) == replace(self.vips[key], holder=None)
        for key, entry in facts.learned.items():
            assert key not in facts.vms
            assert entry.host in self.spoke.get(key, ()), f"{entry} never spoke there"
        self.vms, self.vips = dict(facts.vms), dict(facts.vips)
        self.moved.clear()
        self.claimed.clear()
        self.fresh.clear()
        self.followed = {vni for vni, network in self.networks.items() if network.follow_moves}


def _claims(packet: Packet) -> list[Ip]:
    """The addresses that a frame may say are its sender's."""
    if isinstance(packet.arp, Arp):
        return [Ip.v4(packet.arp.sender_ip)]
    if packet.nd is not None:
        return [Ip(packet.nd.source), Ip(packet.nd.target)]
    return []
