"""What VMs say: frames, who-has in both families, announcements, and a whole ping."""

from __future__ import annotations

from controller.frames import ADVERTISEMENT, ETH_TYPE_RARP, SOLICITATION, Arp, Nd
from controller.journey import IpHeader, Journey, Packet
from tests.fake.stations import BROADCAST, Ping, Station
from topology.types import Ip

ALL_NODES = Ip(0xFF02 << 112 | 1)


def solicited_node(ip: int) -> int:
    """RFC 4291, 2.7.1."""
    return 0xFF02 << 112 | 0x1FF << 24 | ip & 0xFFFFFF


def multicast_mac(group: int) -> int:
    """RFC 2464, 7."""
    return 0x3333 << 32 | group & 0xFFFFFFFF


def solicitation(vm: Station, ip: Ip, *, to: int | None = None, option: bool = True) -> Packet:
    """The packet of a VM that looks for an IPv6 address."""
    destination = solicited_node(ip) if to is None else ip
    nd = Nd(SOLICITATION, vm.ip6, destination, ip, vm.mac if option else 0)
    return Packet.soliciting(nd, vm.mac, multicast_mac(destination) if to is None else to, vm.vlan)


class Voices:
    """Whoever carries a VM's frame (``send``) can have it say all this."""

    def send(self, vm: Station, packet: Packet, *, settle: bool = True) -> Journey:
        raise NotImplementedError

    def unicast(self, vm: Station, to: Station) -> Journey:
        return self.routed(vm, IpHeader(vm.ip, to.ip), to.mac)

    def broadcast(self, vm: Station) -> Journey:
        return self.send(vm, Packet(vm.mac, BROADCAST, vm.vlan))

    def who_has(self, vm: Station, ip: Ip, *, to: int = BROADCAST) -> Journey:
        """An ARP request for ip; RFC 826."""
        return self._arp(vm, Arp(1, vm.mac, vm.ip.low32, 0, ip.low32), to)

    def is_at(self, vm: Station, to: Station) -> Journey:
        """An ARP reply of a VM to another."""
        return self._arp(vm, Arp(2, vm.mac, vm.ip.low32, to.mac, to.ip.low32), to.mac)

    def gratuitous(self, vm: Station, op: int = 1) -> Journey:
        """The VM announces its address; RFC 5227, section 3."""
        return self._arp(vm, Arp(op, vm.mac, vm.ip.low32, 0, vm.ip.low32), BROADCAST)

    def address_probe(self, vm: Station, ip: Ip) -> Journey:
        """The VM asks whether ip is free; RFC 5227, section 2.1.1."""
        return self._arp(vm, Arp(1, vm.mac, 0, 0, ip.low32), BROADCAST)

    def _arp(self, vm: Station, arp: Arp, to: int) -> Journey:
        return self.send(vm, Packet.carrying(arp, to, vm.vlan))

    def rarp(self, vm: Station) -> Journey:
        """What a hypervisor sends for a VM that has come to it."""
        return self.send(vm, Packet(vm.mac, BROADCAST, vm.vlan, ETH_TYPE_RARP))

    def solicit(
        self, vm: Station, ip: Ip, *, to: int | None = None, option: bool = True
    ) -> Journey:
        """A neighbour solicitation for ip, to its solicited-node group unless told otherwise."""
        return self.send(vm, solicitation(vm, ip, to=to, option=option))

    def dad(self, vm: Station, ip: Ip) -> Journey:
        """The VM asks whether ip is free; RFC 4862, 5.4.2."""
        nd = Nd(SOLICITATION, 0, solicited_node(ip), ip, 0)
        return self.send(vm, Packet.soliciting(nd, vm.mac, multicast_mac(nd.destination), vm.vlan))

    def advertise(self, vm: Station, ip: Ip | None = None, to: Station | None = None) -> Journey:
        """An advertisement: unsolicited to all, or the answer to a solicitation."""
        target = vm.ip6 if ip is None else ip
        destination = ALL_NODES if to is None else to.ip6
        nd = Nd(ADVERTISEMENT, target, destination, target, vm.mac, solicited=to is not None)
        eth_dst = multicast_mac(destination) if to is None else to.mac
        return self.send(vm, Packet.soliciting(nd, vm.mac, eth_dst, vm.vlan))

    def routed(self, vm: Station, ip: IpHeader, to: int) -> Journey:
        """An IP packet of a VM."""
        return self.send(vm, Packet.routed(ip, vm.mac, to, vm.vlan))

    def ping(self, a: Station, b: Station) -> Ping:
        """Both have cold ARP caches."""
        ping = Ping()
        asked = self.who_has(a, b.ip)
        ping.journeys.append(asked)
        if b.host in asked.reached and b.host != a.host:
            answer = self.is_at(b, a)
            ping.journeys.append(answer)
            if a.host not in answer.reached:
                return ping
        elif not any(
            reply.answered and reply.packet.arp.sender_mac == b.mac for reply in asked.deliveries
        ):
            return ping
        there, back = self.unicast(a, b), self.unicast(b, a)
        ping.journeys += [there, back]
        ping.ok = b.host in there.reached and a.host in back.reached
        return ping
