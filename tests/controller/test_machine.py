"""Users, VMs, switches, disks and processes do as they please; at each quiet point all is as it is
to be.

What this adds to the histories (test_histories.py) and the worlds (test_properties.py): the whole
controller but its sockets runs here (REST, committer, store file: tests/fake/controlled.py), the
facts are held against a model of their own (model.py), the store against the facts, and each frame
of the properties is sent through the flows that switches really hold after all that.

VXLAN_MACHINE_RUNS=2000 plays that many histories instead of what CI affords, VXLAN_SEED=n others.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from controller.api.shown import show_network
from controller.bridges import METERS
from controller.events import Effects
from controller.frames import Arp
from controller.journey import Journey, Packet, Punt, SimulationError
from controller.pipeline import ND_RESPONDER_KINDS, cookie_kind
from controller.replica import State
from controller.simulator import SimulatedFabric
from controller.wire import encode
from controller.wire.decode import Updated
from tests.api.conftest import Client
from tests.controller.model import Model
from tests.controller.test_properties import PROPERTIES, check_all, registered_facts_stay, send
from tests.controller.worlds import (
    BROADCAST,
    FOREIGN,
    UNDECLARED,
    V4,
    V6,
    VLANS,
    VM_MACS,
    VNIS,
    Chance,
    World,
    a_packet,
    some_network,
)
from tests.fake import frames
from tests.fake.controlled import ControlledFabric
from tests.fake.fabric import PATCH
from tests.fake.switch import FakeSwitch
from topology.model import Put, Topology, Vip, Vm, Vtep
from topology.types import Dpid, Foreign, Ip, Location, Mac, Vni, VtepIp

RUNS = int(os.environ.get("VXLAN_MACHINE_RUNS", "12"))
SEED = os.environ.get("VXLAN_SEED")
STEPS = 25

QUIET_S = 700.0
"""Within this, all is mended: a refused flow is offered again after 320 s at most."""
FRAMES = 8
"""That are followed at each quiet point."""
HELD = tuple(holds for holds in PROPERTIES if holds is not registered_facts_stay)
"""Here announcements do move what is registered, where the network's policy says so."""
STRANGER, MOVER = 0x5254000FF000, Mac(0x5254000FE000)
OTHER_BRIDGE = 0x10

hosts = st.integers(0, 2)
vnis = st.sampled_from(VNIS)
macs = st.sampled_from(VM_MACS)
seeds = st.integers(0, 2**32 - 1)
places = st.integers(0, 6)
vms = {"mac": macs, "vni": vnis, "place": places, "addresses": st.integers(0, 3)}


class Installed(World):
    """The fabric as it is: what the properties look at, with the flows that switches hold."""

    def __init__(self, fabric: ControlledFabric) -> None:
        switches = {Dpid(dpid): switch for dpid, switch in fabric.switches.items()}
        remotes = {
            (dpid, port): fabric.remotes[dpid][name]
            for dpid, switch in switches.items()
            for port, name in switch.ports.items()
            if name in fabric.remotes[dpid]
        }
        super().__init__(
            fabric.engine,
            {dpid: VtepIp(switch.vtep) for dpid, switch in switches.items()},
            remotes,
            {
                place
                for place in remotes
                if (place[0], self._name(fabric, *place)) in fabric.keyless
            },
        )
        self._installed = fabric

    @staticmethod
    def _name(fabric: ControlledFabric, dpid: Dpid, port: int) -> str:
        return fabric.switches[dpid].ports[port]

    def name_of(self, dpid: Dpid, port: int) -> str:
        return self._name(self._installed, dpid, port)

    def fabric(self) -> SimulatedFabric:
        return self._installed.forwarding()

    def answer(self, punts: Sequence[Punt]) -> tuple[list[Journey], list[Effects]]:
        for punt in punts:
            self._installed.now_s += 1.0
            self._installed.packet_in(punt.dpid, frames.packet_in(punt))
            self._installed.settle()
        return list(self.emitted()), []

    def emitted(self) -> Iterator[Journey]:
        emitted, self._installed.emitted = self._installed.emitted, []
        yield from emitted


class Machine(RuleBasedStateMachine):
    """Everything that may happen, and what is so when it is over."""

    @initialize(wires=st.sampled_from(["peer", "flow"]))
    def begin(self, wires: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="machine-"))
        self.wires = wires
        self.fabric = ControlledFabric(self.directory, 3, wires)
        self.fabric.strangers |= {*FOREIGN, UNDECLARED}
        self.model = Model()
        self.client = Client(self.fabric.api)
        self.tampered = False
        self.strangers = 0
        for dpid in self.fabric.switches:
            self.model.seen(dpid)
        self.fabric.connect_all()
        self.drifts = dict(self.fabric.engine.drifts)

    def teardown(self) -> None:
        if hasattr(self, "fabric"):
            try:
                if sys.exc_info()[0] is None:
                    self.quiet()
            finally:
                self.fabric.kill()
                shutil.rmtree(self.directory)

    def dpid(self, index: int) -> int:
        return list(self.fabric.switches)[index]

    def switch(self, index: int) -> FakeSwitch:
        return self.fabric.switches[self.dpid(index)]

    def place(self, index: int) -> Location:
        """A host, mostly; a foreign VTEP, or a host that nobody knows."""
        there = [*sorted(self.model.hosts), *map(Foreign.at, FOREIGN), Dpid(99)]
        return there[index % len(there)]

    # Users

    def write(self, method: str, path: str, body: object, status: int) -> None:
        response = self.client(method, path, body)
        assert response.status_int == status, f"{method} {path} {body}: {response.text}"

    @rule(vni=vnis, vlan=st.sampled_from(VLANS), source=seeds, usual=st.booleans())
    def change_network(self, vni: Vni, vlan: int | None, source: int, usual: bool) -> None:
        if usual:
            vlan = VLANS[VNIS.index(vni)]
        network = some_network(Chance(Random(source)), vni, vlan)
        self.write(
            "PUT", f"/v1/networks/{vni}", show_network(network), self.model.put_network(network)
        )

    @rule(vni=vnis)
    def remove_network(self, vni: Vni) -> None:
        self.write("DELETE", f"/v1/networks/{vni}", None, self.model.delete_network(vni))

    def vm(self, mac: Mac, vni: Vni, place: int, addresses: int) -> Vm:
        index = VM_MACS.index(mac)
        ips = ((V4[index], V6[index % len(V6)]), (V4[index],), (V4[-1],), ())[addresses]
        return Vm(mac, vni, self.place(place), ips)

    @rule(**vms)
    def register(self, mac: Mac, vni: Vni, place: int, addresses: int) -> None:
        vm = self.vm(mac, vni, place, addresses)
        if self.model.is_open(vm.key):
            self.fabric.settle()
            self.model.compare(self.fabric.engine.topology)
        self.write("POST", "/v1/vms", body_of(vm), self.model.post_vm(vm))

    @rule(**vms)
    def put_or_move(self, mac: Mac, vni: Vni, place: int, addresses: int) -> None:
        vm = self.vm(mac, vni, place, addresses)
        self.write("PUT", f"/v1/vms/{vni}/{mac}", body_of(vm), self.model.put_vm(vm))

    @rule(many=st.lists(st.fixed_dictionaries(vms), min_size=1, max_size=4))
    def register_many(self, many: list[dict[str, int]]) -> None:
        wanted = {(each["vni"], each["mac"]): self.vm(**each) for each in many}
        self.fabric.settle()
        self.model.compare(self.fabric.engine.topology)
        status = self.model.post_vms(list(wanted.values()))
        response = self.client.post("/v1/vms/batch", [body_of(vm) for vm in wanted.values()])
        assert response.status_int == status if status else response.status_int in (409, 422)

    @rule(mac=macs, vni=vnis)
    def unregister(self, mac: Mac, vni: Vni) -> None:
        self.write("DELETE", f"/v1/vms/{vni}/{mac}", None, self.model.delete_vm((vni, mac)))

    @rule(
        vni=vnis,
        ip=st.sampled_from((*V4[-2:], V6[-1])),
        among=st.lists(macs, min_size=1, max_size=2),
    )
    def share(self, vni: Vni, ip: Ip, among: list[Mac]) -> None:
        vip = Vip(vni, ip, tuple(among))
        body = {"macs": [str(mac) for mac in among]}
        self.write("PUT", f"/v1/vips/{vni}/{ip}", body, self.model.put_vip(vip))

    @rule(vni=vnis, ip=st.sampled_from((*V4[-2:], V6[-1])))
    def share_no_more(self, vni: Vni, ip: Ip) -> None:
        self.write("DELETE", f"/v1/vips/{vni}/{ip}", None, self.model.delete_vip((vni, ip)))

    @rule(ip=st.sampled_from(FOREIGN), carried=st.lists(vnis, unique=True), learning=st.booleans())
    def declare_vtep(self, ip: VtepIp, carried: list[Vni], learning: bool) -> None:
        body = {"vnis": carried, "learning": learning}
        vtep = Vtep(ip, tuple(carried), learning=learning)
        self.write("PUT", f"/v1/vteps/{ip}", body, self.model.put_vtep(vtep))

    @rule(ip=st.sampled_from(FOREIGN))
    def forget_vtep(self, ip: VtepIp) -> None:
        self.write("DELETE", f"/v1/vteps/{ip}", None, self.model.delete_vtep(ip))

    @rule(place=places, name=st.sampled_from([None, "hv-a", "hv-b"]))
    def name_host(self, place: int, name: str | None) -> None:
        dpid = sorted(self.model.hosts)[place % len(self.model.hosts)]
        self.fabric.settle()
        self.write("PUT", f"/v1/hosts/{dpid}", {"name": name}, self.model.put_host(dpid, name))

    @rule(place=places)
    def forget_host(self, place: int) -> None:
        dpid = sorted(self.model.hosts)[place % len(self.model.hosts)]
        self.fabric.settle()
        status = self.model.delete_host(dpid, connected=dpid in self.fabric.connected)
        self.write("DELETE", f"/v1/hosts/{dpid}", None, status)

    # Disks and processes

    @rule(**vms)
    def write_to_a_full_disk(self, mac: Mac, vni: Vni, place: int, addresses: int) -> None:
        vm = self.vm(mac, vni, place, addresses)
        self.fabric.settle()
        self.model.compare(self.fabric.engine.topology)
        trial = replace(self.model, vms=dict(self.model.vms))
        status = trial.put_vm(vm)
        self.fabric.disk.trouble = "full"
        if trial.vms != self.model.vms:
            status = 503
        response = self.client.put(f"/v1/vms/{vni}/{mac}", body_of(vm))
        self.fabric.disk.trouble = None
        assert response.status_int in (status, 503)
        self.model.compare(self.fabric.engine.topology)

    @rule(**vms, when=st.sampled_from(["before", "after"]))
    def power_cut(self, mac: Mac, vni: Vni, place: int, addresses: int, when: str) -> None:
        """In the middle of a write, which nobody is told of."""
        vm = self.vm(mac, vni, place, addresses)
        self.fabric.disk.trouble = when
        self.fabric.ask("PUT", f"/v1/vms/{vni}/{mac}", body_of(vm))
        if when == "after":
            self.model.put_vm(vm)
        self.restart_controller()

    @rule()
    def restart_controller(self) -> None:
        self.fabric.restart_controller()
        self.client = Client(self.fabric.api)
        self.drifts = dict(self.fabric.engine.drifts)
        self.model.forgot(self.fabric.engine.topology)

    # Switches

    @rule(host=hosts)
    def disconnect(self, host: int) -> None:
        self.fabric.disconnect(self.dpid(host))

    @rule(host=hosts)
    def connect(self, host: int) -> None:
        self.model.seen(self.dpid(host))
        self.fabric.connect(self.dpid(host))

    @rule(host=hosts)
    def restart_switch(self, host: int) -> None:
        self.fabric.restart_switch(self.dpid(host))

    @rule(host=hosts)
    def make_bridge_anew(self, host: int) -> None:
        """The same machine with another datapath id."""
        old = self.dpid(host)
        self.fabric.replace_switch(old, old ^ OTHER_BRIDGE)

    @rule(host=hosts)
    def change_address(self, host: int) -> None:
        """A host gets another underlay address, where no tunnel port names it."""
        if self.wires == "flow":
            dpid = self.dpid(host)
            self.fabric.disconnect(dpid)
            self.fabric.switches[dpid].vtep = VtepIp(
                VtepIp.v4(self.switch(host).vtep & 0xFFFFFFFF ^ 0x20)
            )
            self.connect(host)

    @rule(host=hosts, which=st.integers(0, 2))
    def renumber_port(self, host: int, which: int) -> None:
        ports = self.switch(host).ports
        number = sorted(ports)[which % len(ports)]
        name = ports[number]
        self.fabric.set_port(self.dpid(host), number, None)
        self.fabric.set_port(self.dpid(host), max((*ports, PATCH)) + 3, name)

    @rule(host=hosts, which=st.integers(0, 2))
    def remove_port(self, host: int, which: int) -> None:
        ports = self.switch(host).ports
        if ports:
            self.fabric.set_port(self.dpid(host), sorted(ports)[which % len(ports)], None)

    @rule(host=hosts)
    def add_missing_ports(self, host: int) -> None:
        ports = self.switch(host).ports
        for name in ("patch-tun", *self.fabric.remotes[self.dpid(host)]):
            if name not in ports.values():
                self.fabric.set_port(self.dpid(host), max((*ports, PATCH)) + 3, name)

    @rule(host=hosts, which=st.integers(0, 1))
    def rename_port(self, host: int, which: int) -> None:
        remotes, ports = self.fabric.remotes[self.dpid(host)], self.switch(host).ports
        tunnels = sorted(number for number, name in ports.items() if name in remotes)
        if which < len(tunnels):
            number = tunnels[which]
            old = ports[number]
            new = old.removesuffix("b") if old.endswith("b") else f"{old}b"
            self.fabric.set_port(self.dpid(host), number, None)
            remotes[new] = remotes.pop(old)
            self.fabric.set_port(self.dpid(host), number, new)

    # Trouble at switches

    @rule(host=hosts, every=st.integers(2, 5), told=st.booleans())
    def delete_flows(self, host: int, every: int, told: bool) -> None:
        self.tampered = True
        switch = self.switch(host)
        for entry in list(switch.flows.values()):
            if entry.cookie % every == 0:
                if told:
                    switch.tampered(entry.add, Updated.DELETED)
                else:
                    switch.delete(lambda each, gone=entry: each is gone)

    @rule(host=hosts, every=st.integers(2, 5))
    def rename_flows(self, host: int, every: int) -> None:
        """Somebody's own flows take the place of some of ours."""
        self.tampered = True
        for entry in list(self.switch(host).flows.values()):
            if entry.cookie % every == 0:
                self.switch(host).install(named(entry.add, 0x1234), self.fabric.now_s)

    @rule(host=hosts, every=st.integers(2, 5))
    def disarm_flows(self, host: int, every: int) -> None:
        """Flows of ours drop what they match: only a flow monitor tells, an audit goes by names."""
        switch = self.switch(host)
        self.fabric.settle()
        if switch.monitor is None or switch.monitor_paused or switch.refuse is not None:
            return
        self.tampered = True
        for entry in list(switch.flows.values()):
            if entry.cookie % every == 0:
                switch.tampered(disarmed(entry.add), Updated.MODIFIED)
        self.fabric.settle()
        self.fabric.advance(3.0, step_s=1.0)

    @rule(host=hosts)
    def spoil_groups_and_meters(self, host: int) -> None:
        self.tampered = True
        switch = self.switch(host)
        for group_id in list(switch.groups)[::2]:
            switch.groups[group_id] = b""
        switch.groups[0x777] = b""
        for meter_id in list(switch.meters)[::2]:
            del switch.meters[meter_id]
        switch.changed()

    @rule(host=hosts, every=st.integers(2, 4))
    def refuse_flows(self, host: int, every: int) -> None:
        """The switch takes only some of what is added from now on."""

        def refuse(mod: bytes) -> tuple[int, int] | None:
            kind = cookie_kind(encode.cookie_of(mod))
            if mod[25] != encode.ADD or kind in ND_RESPONDER_KINDS:
                return None
            return (5, 1) if encode.cookie_of(mod) % every == 0 else None

        self.tampered = True
        self.switch(host).refuse = refuse

    @rule(host=hosts, port=st.sampled_from(["vxlan0", "vxlan1"]))
    def lose_keys(self, host: int, port: str) -> None:
        self.fabric.keyless ^= {(self.dpid(host), port)}

    # Time and traffic

    @rule(seconds=st.sampled_from([0.3, 2.0, 21.0, 210.0]))
    def wait(self, seconds: float) -> None:
        self.fabric.advance(seconds, step_s=0.3 if seconds < 5 else 3.0)

    @rule(steps=st.integers(1, 40))
    def a_little_happens(self, steps: int) -> None:
        for _ in range(steps):
            self.fabric.step()

    @rule(source=seeds, many=st.integers(1, 6))
    def traffic(self, source: int, many: int) -> None:
        """Frames of all kinds, forged ones among them, while other things are under way."""
        chance = Chance(Random(source))
        world = Installed(self.fabric)
        if not world.connected:
            return
        for _ in range(many):
            sent = a_packet(world, chance)
            self.model.heard(sent.dpid if sent.vtep is None else Foreign.at(sent.vtep), sent.packet)
            try:
                if sent.vtep is None:
                    journey = self.fabric.forwarding().send(sent.dpid, sent.packet)
                else:
                    journey = self.fabric.forwarding().arrive(
                        sent.dpid, sent.vtep, sent.vni, sent.packet
                    )
            except SimulationError:
                assert self.tampered
                continue
            self.fabric.travelled(journey)

    # Quiet points

    @rule()
    def quiet(self) -> None:
        """Everything that was broken is whole again, and all have had their say."""
        fabric = self.fabric
        fabric.keyless.clear()
        for index, (dpid, switch) in enumerate(list(fabric.switches.items())):
            switch.refuse = None
            self.add_missing_ports(index)
            if dpid not in fabric.connected:
                self.connect(index)
        fabric.settle()
        end_s = fabric.now_s + QUIET_S
        while fabric.now_s < end_s and not self.is_in_sync():
            fabric.advance(3.0, step_s=1.0)
        self.check()
        if self.tampered:
            self.drifts, self.tampered = dict(fabric.engine.drifts), False
        self.follow_frames(self.strangers)
        self.see_a_stranger()
        self.see_a_move()
        fabric.advance(25.0, step_s=1.0)
        self.check()
        assert fabric.engine.drifts == self.drifts, "drift where nobody changed a switch"

    def is_in_sync(self) -> bool:
        try:
            self.check_switches()
        except AssertionError:
            return False
        return True

    def check(self) -> None:
        facts = self.fabric.engine.topology
        self.check_switches()
        self.model.compare(facts)
        restarted = Topology()
        for fact in self.fabric.stored():
            restarted.apply(Put(fact))
        assert durable(restarted) == durable(facts)

    def check_switches(self) -> None:
        fabric = self.fabric
        fabric.assert_in_sync()
        meters = {meter.meter_id: encode.meter_mod(encode.ADD, meter) for meter in METERS}
        for dpid, switch in fabric.switches.items():
            assert fabric.replica(dpid).state is State.LIVE
            assert switch.meters == {
                meter_id: whole[10:12] + whole[16:] for meter_id, whole in meters.items()
            }

    def follow_frames(self, source: int) -> None:
        """What becomes of a frame is what the facts say, on the flows that switches hold."""
        chance = Chance(Random(f"{source}/{len(self.model.vms)}"))
        for _ in range(FRAMES):
            world = Installed(self.fabric)
            sent = a_packet(world, chance)
            self.model.heard(sent.dpid if sent.vtep is None else Foreign.at(sent.vtep), sent.packet)
            check_all(send(world, sent), Counter(), HELD)

    def see_a_stranger(self) -> None:
        """Somebody new speaks, and is learned if the network learns."""
        self.strangers += 1
        mac, dpid = Mac(STRANGER + self.strangers), self.dpid(self.strangers % 3)
        for network in self.model.networks.values():
            if not self.fabric.engine.topology.is_member(dpid, network.vni):
                continue
            arp = Arp(1, mac, 0x0A630000 + self.strangers, 0, 0x0A630001)
            packet = Packet.carrying(arp, BROADCAST, network.vlan)
            self.model.heard(Dpid(dpid), packet)
            self.fabric.travelled(self.fabric.forwarding().send(dpid, packet))
            self.fabric.settle()
            there = self.fabric.engine.topology.learned.get((network.vni, mac))
            learns = network.learning and not network.port_security
            assert (there is not None and there.host == dpid) == learns, f"{network} {there}"

    def see_a_move(self) -> None:
        """A VM that says it is on another host is there, where the network follows moves."""
        network = self.model.networks[Vni(0)]
        if network.port_security:
            return
        vni, (here, there) = Vni(0), list(self.fabric.switches)[:2]
        following = replace(network, follow_moves=True)
        self.write(
            "PUT", "/v1/networks/0", show_network(following), self.model.put_network(following)
        )
        vm = Vm(MOVER, vni, Dpid(here))
        self.write("POST", "/v1/vms", body_of(vm), self.model.post_vm(vm))
        self.fabric.settle()
        packet = Packet.carrying(Arp(1, MOVER, 0x0A630002, 0, 0x0A630002), BROADCAST, network.vlan)
        self.model.heard(Dpid(there), packet)
        self.fabric.travelled(self.fabric.forwarding().send(there, packet))
        self.fabric.settle()
        assert self.fabric.engine.topology.vms[vm.key].host == there
        assert replace(vm, host=Dpid(there)) in self.fabric.stored()
        self.write("DELETE", f"/v1/vms/0/{MOVER}", None, self.model.delete_vm(vm.key))
        self.write("PUT", "/v1/networks/0", show_network(network), self.model.put_network(network))
        self.fabric.settle()


def durable(facts: Topology) -> tuple[dict, ...]:
    return facts.hosts, facts.networks, facts.vteps, facts.vms, facts.vips


def body_of(vm: Vm) -> dict[str, object]:
    return {
        "mac": str(vm.mac),
        "vni": vm.vni,
        "host": str(vm.host),
        "ips": [str(ip) for ip in vm.ips],
    }


def disarmed(add: bytes) -> bytes:
    """The same flow without its instructions."""
    end = 48 + int.from_bytes(add[50:52], "big")
    end += -end % 8
    return add[:2] + end.to_bytes(2, "big") + add[4:end]


def named(add: bytes, cookie: int) -> bytes:
    return add[:8] + cookie.to_bytes(8, "big") + add[16:]


@pytest.mark.timeout(600 + 20 * RUNS)
def test_after_anything_all_is_as_it_should_be():
    machine = Machine if SEED is None else seed(int(SEED))(Machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=SEED is None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
