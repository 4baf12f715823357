"""Hosts, an engine, a store and a clock, joined by queues instead of sockets."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable

from controller.bridges import METERS
from controller.engine import Engine, Settings
from controller.events import (
    Committed,
    Connected,
    Effects,
    Event,
    Lost,
    Received,
    Tick,
)
from controller.frames import Arp
from controller.journey import Journey, Packet
from controller.pipeline import SOURCE_KINDS, Kind, cookie_kind
from controller.replica import Replica
from controller.service import Applied, Ticket
from controller.simulator import SimulatedFabric
from controller.wire import encode
from tests.fake import frames
from tests.fake.front import as_value
from tests.fake.stations import BROADCAST, Ping, Station
from tests.fake.switch import FakeSwitch
from topology.draft import Draft
from topology.model import Fact, Host, LearnedMac, Network, Put, Vm
from topology.types import Dpid, Ip, Mac, Vlan, Vni, VtepIp

PATCH, FIRST_TUNNEL = 1, 5


class FakeFabric:
    """``hosts`` switches, wired by a port for each peer or by one flow-based port."""

    def __init__(
        self, hosts: int = 3, tunnels: str = "peer", settings: Settings | None = None
    ) -> None:
        self.settings = settings or Settings()
        self.now_s = 1000.0
        self.store: dict[tuple[type, object], Fact] = {}
        self.switches: dict[int, FakeSwitch] = {}
        self.remotes: dict[int, dict[str, int | str]] = {}  # dpid -> port name -> VTEP or "flow"
        self.log: list[str] = []
        self._epochs = itertools.count(1)
        self._connected: dict[int, int] = {}  # dpid -> epoch
        self._awake: set[int] = set()
        self._down: dict[int, deque[bytes]] = {}
        self._up: dict[int, deque[bytes]] = {}
        self._remember: set[int] = set()
        self._stations = itertools.count(1)
        self.engine = self._new_engine()
        vteps = [VtepIp(Ip.parse(f"192.168.33.{12 + index}")) for index in range(hosts)]
        for index, vtep in enumerate(vteps):
            dpid = index + 1
            peers: list[int | str] = [peer for peer in vteps if peer != vtep]
            ends = peers if tunnels == "peer" else ["flow"]
            names = {f"vxlan{number}": end for number, end in enumerate(ends)}
            ports = {FIRST_TUNNEL + number: name for number, name in enumerate(names)}
            self.remotes[dpid] = names
            self.switches[dpid] = FakeSwitch(dpid, vtep, {PATCH: "patch-tun", **ports})

    def _new_engine(self) -> Engine:
        return Engine(self.settings, secret=b"fake" * 8)

    # Time and messages

    def settle(self, limit: int = 200_000) -> None:
        """Run until nobody has anything to say."""
        for _ in range(limit):
            if not self.step():
                return
        raise AssertionError("the fabric does not come to rest")

    def step(self) -> bool:
        """One thing that is due, if any: a pull, a message down, a message up, a fact to store."""
        while self._awake:
            dpid = self._awake.pop()
            if self.pull(dpid):
                return True
        for dpid in self._down:
            if self.deliver_down(dpid) or self.deliver_up(dpid):
                return True
        if self._remember:
            dpid = self._remember.pop()
            self.commit(lambda draft: draft.remember_host(dpid))
            return True
        return False

    def pull(self, dpid: int) -> bool:
        """The sender of a switch asks for what is to be sent."""
        replica = self.engine.replicas.get(dpid)
        if replica is None or self._connected.get(dpid) != replica.epoch:
            return False
        stream = b"".join(replica.pull())
        if not stream:
            return False
        self._awake.add(dpid)
        while stream:
            size = int.from_bytes(stream[2:4], "big")
            assert size >= 8
            self._down[dpid].append(stream[:size])
            stream = stream[size:]
        return True

    def deliver_down(self, dpid: int) -> bool:
        """The switch reads one message."""
        queue = self._down.get(dpid)
        if not queue:
            return False
        switch = self.switches[dpid]
        self._up[dpid].extend(switch.receive(queue.popleft(), self.now_s))
        while switch.packet_outs:
            actions, frame = switch.packet_outs.pop()
            journey = self.forwarding().emit(dpid, actions, frames.from_bytes(frame))
            self._punt(journey)
        return True

    def deliver_up(self, dpid: int) -> bool:
        """The controller reads one message."""
        queue = self._up.get(dpid)
        if not queue:
            return False
        value = as_value(queue.popleft())
        if value is not None:
            self._handle(Received(dpid, self._connected[dpid], value))
        return True

    def tick(self) -> None:
        for switch in self.switches.values():
            switch.expire(self.now_s)
        self._handle(Tick())

    def advance(self, seconds: float, step_s: float = 0.1) -> None:
        """Let time pass, with everything that comes of it."""
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s = min(end_s, self.now_s + step_s)
            self.tick()
            self.settle()

    def _handle(self, event: Event) -> None:
        self._take(self.engine.handle(event, self.now_s))

    def _take(self, effects: Effects) -> None:
        self._awake |= effects.wake
        self._remember |= effects.remember
        self.log += effects.log

    # Hosts

    @property
    def connected(self) -> set[int]:
        return set(self._connected)

    def connect(self, dpid: int, address: int | None = None) -> None:
        """The switch connects, from its VTEP unless told otherwise."""
        switch = self.switches[dpid]
        self.disconnect(dpid, tell=False)
        epoch = next(self._epochs)
        self._connected[dpid] = epoch
        self._down[dpid], self._up[dpid] = deque(), deque()
        seen = VtepIp(switch.vtep if address is None else address)
        self._handle(Connected(dpid, epoch, f"{seen}:40000", seen, dict(switch.ports)))

    def connect_all(self) -> FakeFabric:
        """Every host connects; then three seconds pass: probes and the first audits are over."""
        for dpid in self.switches:
            self.connect(dpid)
        self.settle()
        self.advance(4.0)
        return self

    def disconnect(self, dpid: int, *, tell: bool = True) -> None:
        """The connection is lost with all that was under way in it."""
        epoch = self._connected.pop(dpid, None)
        self.switches[dpid].hang_up()
        self._down.pop(dpid, None)
        self._up.pop(dpid, None)
        if epoch is not None and tell:
            self._handle(Lost(dpid, epoch))

    def restart_switch(self, dpid: int) -> None:
        """ovs-vswitchd is killed and started again; it has not connected yet."""
        self.switches[dpid].restart()
        self.disconnect(dpid)

    def restart_controller(self) -> None:
        """kill -9 and start: facts come from the store, switches keep their flows."""
        for dpid in self.switches:
            self.disconnect(dpid, tell=False)
        self._awake.clear()
        self._remember.clear()
        self.engine = self._new_engine()
        self.engine.load(self.store.values())

    def set_port(self, dpid: int, number: int, name: str | None) -> None:
        """A port is added, or removed when name is None; the switch says so if it is connected."""
        ports = self.switches[dpid].ports
        old = ports.pop(number, None)
        if name is not None:
            ports[number] = name
        self.switches[dpid].changed()
        if dpid in self._connected:
            described = number.to_bytes(4, "big") + bytes(12) + (name or old or "").encode()
            reason = b"\x01" if name is None else b"\x00"
            body = reason + bytes(7) + described.ljust(64, b"\0")
            self._up[dpid].append(encode.message(encode.PORT_STATUS, 0, body))

    def replica(self, dpid: int) -> Replica:
        return self.engine.replicas[dpid]

    # Facts

    def commit(self, plan: Callable[[Draft], object]) -> Ticket:
        """Store and apply what the plan wants, as the API does."""
        draft = Draft(self.engine.topology)
        plan(draft)
        for change in draft.changes:
            if isinstance(change, Put):
                self.store[type(change.fact), change.fact.key] = change.fact
            else:
                self.store.pop((change.kind, change.key), None)
        self._handle(Committed(tuple(draft.changes)))
        return self.engine.ticket(draft.wanted)

    def register(self, vm: Station, **more: object) -> Ticket:
        """Register a VM, or move it to where it is now."""
        fact = Vm(vm.mac, Vni(vm.vni), Dpid(vm.host), (vm.ip,), **more)
        ticket = self.commit(lambda draft: draft.set_vm(fact))
        self.settle()
        return ticket

    def unregister(self, vm: Station) -> None:
        self.commit(lambda draft: draft.remove_vm((vm.vni, vm.mac)))
        self.settle()

    def declare(self, **host: object) -> None:
        self.commit(lambda draft: draft.set_host(Host(**host)))
        self.settle()

    def network(self, vni: int, vlan: int | None = None, **policy: object) -> None:
        """Make or change a network."""
        fact = Network(Vni(vni), None, None if vlan is None else Vlan(vlan), **policy)
        self.commit(lambda draft: draft.set_network(fact))
        self.settle()

    def applied(self, ticket: Ticket) -> Applied:
        return self.engine.applied(ticket)

    def learned(self, vm: Station) -> LearnedMac | None:
        return self.engine.topology.learned.get((vm.vni, vm.mac))

    # Packets

    def vm(self, index: int, vni: int = 0, vlan: int | None = None) -> Station:
        """A new VM on the host of this index, known to nobody yet."""
        number = next(self._stations)
        mac, ip = Mac(0x525400000000 | number), Ip.v4(0x0A010100 | number + 1)
        return Station(index + 1, mac, ip, vni, vlan)

    def wiring(self) -> dict[tuple[int, int], int | str]:
        """Where each tunnel port of each switch leads."""
        at = {switch.vtep: dpid for dpid, switch in self.switches.items()}
        wires: dict[tuple[int, int], int | str] = {}
        for dpid, switch in self.switches.items():
            for number, name in switch.ports.items():
                end = self.remotes[dpid].get(name)
                if end == "flow":
                    wires[dpid, number] = "flow"
                elif end in at:
                    wires[dpid, number] = at[end]
        return wires

    def forwarding(self) -> SimulatedFabric:
        """What the switches hold now, as the simulator sees it."""
        bridges = [switch.bridge() for switch in self.switches.values()]
        return SimulatedFabric(bridges, self.wiring())

    def _punt(self, journey: Journey) -> None:
        for punt in journey.punts:
            if punt.dpid in self._connected:
                self._up[punt.dpid].append(frames.packet_in(punt))

    def send(self, vm: Station, packet: Packet, *, settle: bool = True) -> Journey:
        """A VM's frame, as br-int hands it to br-tun."""
        journey = self.forwarding().send(vm.host, packet)
        self._punt(journey)
        if settle:
            self.settle()
        return journey

    def unicast(self, vm: Station, to: Station) -> Journey:
        return self.send(vm, Packet(vm.mac, to.mac, vm.vlan))

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

    # Proof

    def assert_in_sync(self, *, refused: frozenset[Kind] = frozenset()) -> None:
        """Every switch holds what it should, flows, groups and meters; but for refused kinds.

        A learned source may have timed out: its next frame is to be copied again.
        """
        for dpid, switch in self.switches.items():
            replica = self.replica(dpid)
            desired = replica.desired()
            missing = [
                hex(cookie)
                for cookie in desired.keys() - switch.cookies.keys()
                if cookie_kind(cookie) not in SOURCE_KINDS | refused
            ]
            extra = [hex(cookie) for cookie in switch.cookies.keys() - desired.keys()]
            assert (missing, extra) == ([], []), f"host {dpid}: {missing=} {extra=}"
            assert bool(replica.rejected) == bool(refused and replica.rejected), f"host {dpid}"
            assert all(desired[cookie] == add for cookie, add in switch.cookies.items())
            assert not replica.bridge.meters or len(switch.meters) == len(METERS), (
                f"host {dpid}: meters"
            )
            assert switch.groups == replica.private.groups, f"host {dpid}: groups"
