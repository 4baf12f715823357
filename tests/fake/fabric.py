"""Hosts, an engine, a store and a clock, joined by queues instead of sockets."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable

from controller.bridges import METERS
from controller.certificates import Certificate
from controller.engine import Engine, Settings
from controller.events import (
    Committed,
    Connected,
    Continue,
    Drift,
    Effects,
    Event,
    Lost,
    PacketsIn,
    Received,
    Tick,
)
from controller.happenings import Happening
from controller.journey import Journey, Packet
from controller.pipeline import SOURCE_KINDS, Kind, cookie_kind
from controller.replica import Replica
from controller.service import Applied, Ticket
from controller.simulator import SimulatedFabric
from controller.wire import encode
from controller.wire.decode import PacketIn
from tests.fake import frames
from tests.fake.front import as_value
from tests.fake.stations import Station
from tests.fake.switch import FakeSwitch
from tests.fake.voices import Voices
from topology.draft import Draft
from topology.model import Fact, Host, LearnedMac, Network, Put, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Location, Mac, Vlan, Vni, VtepIp

PATCH, FIRST_TUNNEL = 1, 5


class FakeFabric(Voices):
    """``hosts`` switches, wired by a port for each peer or by one flow-based port."""

    def __init__(
        self, hosts: int = 3, tunnels: str = "peer", settings: Settings | None = None
    ) -> None:
        self.settings = settings or Settings()
        self.now_s = 1000.0
        self.store: dict[tuple[type, object], Fact] = {}
        self.switches: dict[int, FakeSwitch] = {}
        self.remotes: dict[int, dict[str, int | str]] = {}  # dpid -> port name -> VTEP or "flow"
        self.keyless: set[tuple[int, str]] = set()  # (dpid, port name) of ports without key=flow
        self.strangers: set[VtepIp] = set()  # endpoints in the underlay that are no host's
        self.log: list[str] = []
        self.drifted: list[Drift] = []
        self.happened: list[Happening] = []
        self.emitted: list[Journey] = []  # what became of the controller's packet-outs
        self._epochs = itertools.count(1)
        self._connected: dict[int, int] = {}  # dpid -> epoch
        self._awake: set[int] = set()
        self._down: dict[int, deque[bytes]] = {}
        self._up: dict[int, deque[bytes]] = {}
        self._remember: set[tuple[object, ...]] = set()
        self._again = False
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
        return self._turn()

    def _turn(self) -> bool:
        """What the controller does by itself, if anything is left."""
        if self._remember:
            self._store_seen(self._remember.pop())
            return True
        if self._again:
            self._handle(Continue())
            return True
        return False

    def _store_seen(self, fact: tuple[object, ...]) -> None:
        """As controller.runtime does."""
        match fact:
            case ("host", dpid):
                self.commit(lambda draft: draft.remember_host(dpid))
            case ("vm", key, place):
                self.commit(lambda draft: draft.move_vm(key, place))
            case ("vip", key):
                vip = self.engine.topology.vips.get(key)
                if vip is not None and vip.holder is not None:
                    self.commit(lambda draft: draft.hold_vip(key, vip.holder))

    def pull(self, dpid: int) -> bool:
        """The sender of a switch asks for what is to be sent."""
        replica = self.engine.replicas.get(dpid)
        if replica is None or self._connected.get(dpid) != replica.epoch:
            return False
        stream = self._due(replica)
        if not stream:
            return False
        self._awake.add(dpid)
        while stream:
            size = int.from_bytes(stream[2:4], "big")
            assert size >= 8
            self._down[dpid].append(stream[:size])
            stream = stream[size:]
        return True

    def _due(self, replica: Replica) -> bytes:
        return b"".join(replica.pull())

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
            if any(punt.kind is not Kind.PROBE_IN for punt in journey.punts) or journey.deliveries:
                self.emitted.append(journey)
            self._travelled(journey)
        return True

    def deliver_up(self, dpid: int) -> bool:
        """The controller reads one message."""
        queue = self._up.get(dpid)
        if queue is not None:
            unasked = self.switches[dpid].unasked
            queue.extend(unasked)
            unasked.clear()
        if not queue:
            return False
        value = as_value(queue.popleft())
        if value is not None:
            self._handle(Received(dpid, self._connected[dpid], value))
        return True

    def tick(self) -> None:
        for dpid, switch in self.switches.items():
            said = switch.expire(self.now_s)
            if dpid in self._connected:
                self._up[dpid].extend(said)
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
        self._again = effects.again
        self._remember |= {("host", dpid) for dpid in effects.remember}
        self._remember |= {("vip", key) for key in effects.holders}
        self._remember |= {("vm", key, place) for key, place in effects.moves.items()}
        self.log += effects.log
        self.drifted += effects.drifted
        self.happened += effects.happened
        for dpid in effects.close:
            self.disconnect(dpid)

    # Hosts

    @property
    def connected(self) -> set[int]:
        return set(self._connected)

    def connect(
        self, dpid: int, address: int | None = None, certificate: Certificate | None = None
    ) -> None:
        """The switch connects, from its VTEP unless told otherwise."""
        switch = self.switches[dpid]
        self.disconnect(dpid, tell=False)
        epoch = next(self._epochs)
        self._connected[dpid] = epoch
        self._down[dpid], self._up[dpid] = deque(), deque()
        seen = VtepIp(switch.vtep if address is None else address)
        ports = dict(switch.ports)
        self._handle(Connected(dpid, epoch, f"{seen}:40000", seen, ports, certificate))

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

    def packets_in(self, dpid: int, packets: list[PacketIn]) -> None:
        """Packet-ins that come together, past the switch and its meters."""
        self._handle(PacketsIn(dpid, self._connected[dpid], packets))

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
        """Register a VM, or move it to where it is now; it has one address unless told."""
        ips = more.pop("ips", (vm.ip,))
        fact = Vm(vm.mac, Vni(vm.vni), _place(vm.host), tuple(ips), **more)
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

    def vip(self, ip: Ip, *vms: Station) -> None:
        """Let these VMs share an address."""
        fact = Vip(Vni(vms[0].vni), ip, tuple(vm.mac for vm in vms))
        self.commit(lambda draft: draft.set_vip(fact))
        self.settle()

    def holder(self, vni: int, ip: Ip) -> Mac | None:
        return self.engine.topology.vips[vni, ip].holder

    def vtep(self, ip: VtepIp, vnis: Iterable[int], **more: object) -> Foreign:
        """Declare a foreign VTEP."""
        self.strangers.add(ip)
        fact = Vtep(ip, tuple(map(Vni, vnis)), **more)
        self.commit(lambda draft: draft.set_vtep(fact))
        self.settle()
        return fact.location

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
                elif end in self.strangers:
                    wires[dpid, number] = Foreign.at(end)
        return wires

    def forwarding(self) -> SimulatedFabric:
        """What the switches hold now, as the simulator sees it."""
        bridges = [switch.bridge() for switch in self.switches.values()]
        keyless = {
            (dpid, number)
            for dpid, switch in self.switches.items()
            for number, name in switch.ports.items()
            if (dpid, name) in self.keyless
        }
        return SimulatedFabric(bridges, self.wiring(), keyless, self.strangers)

    def _travelled(self, journey: Journey) -> None:
        """Flows count what passed them, and the controller gets its copies."""
        passed: dict[int, Counter[int]] = {}
        for hop in journey.hops:
            if hop.cookie is not None:
                passed.setdefault(hop.dpid, Counter())[hop.cookie] += 1
        for dpid, cookies in passed.items():
            self.switches[dpid].hit(cookies, self.now_s)
        for punt in journey.punts:
            if punt.dpid in self._connected:
                self._up[punt.dpid].append(frames.packet_in(punt))

    def send(self, vm: Station, packet: Packet, *, settle: bool = True) -> Journey:
        """A VM's frame, as br-int hands it to br-tun."""
        journey = self.forwarding().send(vm.host, packet)
        self._travelled(journey)
        if settle:
            self.settle()
        return journey

    def arrive(
        self, dpid: int, vtep: VtepIp, vni: int, packet: Packet, *, settle: bool = True
    ) -> Journey:
        """A frame that some endpoint of the underlay sends to a host, in a VNI of its choice."""
        self.strangers.add(vtep)
        journey = self.forwarding().arrive(dpid, vtep, vni, packet)
        self._travelled(journey)
        if settle:
            self.settle()
        return journey

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


def _place(number: int) -> Location:
    return Foreign(number) if number > Dpid.MAX else Dpid(number)
