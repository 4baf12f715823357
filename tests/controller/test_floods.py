"""Whoever floods costs the controller little, and others nothing: budgets, shares, bounds."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from controller.budget import BURST, RATE_PER_S, SHARE_BURST, Buckets, Budget, Senders
from controller.engine import Settings
from controller.learning import MAX_MACS_PER_IP, SETTLED_S, Limits
from controller.moves import PASTS_MAX, PLACE_BURST, PLACE_PER_S, Moves, Verdict
from controller.pipeline import Kind
from controller.sightings import SIGHTINGS_MAX
from tests.fake import FakeFabric
from tests.fake.storm import Storm, arp, mac_bytes, plain
from topology.types import Ip, Mac

RED = 100


@pytest.fixture
def fabric():
    fabric = FakeFabric(4, "flow").connect_all()
    fabric.network(RED, 10, hosts="all")
    return fabric


@pytest.fixture
def storm(fabric):
    return Storm(fabric)


def learned_at(fabric, dpid):
    return {mac for (_vni, mac) in fabric.engine.topology.learned_on(dpid)}


def mods(fabric, dpid):
    return fabric.switches[dpid].flow_mods


def budget(fabric, dpid):
    return fabric.engine.budgets.known(dpid)


# -- what one host may send ------------------------------------------------------------------------


def test_a_host_within_its_budget_loses_nothing(fabric, storm):
    storm.new_macs(1, range(Limits().per_place))

    assert len(learned_at(fabric, 1)) == Limits().per_place < BURST
    assert budget(fabric, 1).shed == 0


def test_what_is_over_the_budget_is_shed_counted_and_said_once(fabric, storm):
    for second in range(5):
        for turn in range(10):
            first = (second * 10 + turn) * 1000
            storm.new_macs(1, range(first, first + 1000))
        fabric.advance(1)

    taken = BURST + SHARE_BURST + 5 * (RATE_PER_S + SHARE_BURST)
    assert 50_000 - taken <= budget(fabric, 1).shed <= 50_000
    assert fabric.engine.budgets.shed == budget(fabric, 1).shed
    said = [line for line in fabric.log if "packet-ins" in line]
    assert len(said) == 1
    assert "from many MACs" in said[0]


def test_a_storm_is_over_when_it_is_over(fabric, storm):
    for turn in range(10):
        storm.new_macs(1, range(turn * 1000, turn * 1000 + 1000))
    fabric.advance(60, step_s=5)
    before = budget(fabric, 1).shed
    storm.new_macs(1, range(20_000, 20_100))

    assert budget(fabric, 1).shed == before
    assert mac_int(1, 20_050) in learned_at(fabric, 1)


def mac_int(host, number):
    return int.from_bytes(mac_bytes(host, number), "big")


def test_another_hosts_new_macs_are_learned_meanwhile(fabric, storm):
    for turn in range(20):
        storm.new_macs(1, range(turn * 1000, turn * 1000 + 1000))
        storm.new_macs(2, [turn])
    fabric.settle()

    assert len(learned_at(fabric, 2)) == 20
    assert budget(fabric, 2).shed == 0
    assert fabric.unicast(fabric.vm(2), replace(fabric.vm(1), mac=Mac(mac_int(2, 7)))).reached == [
        2
    ]


def test_who_comes_back_has_the_budget_that_was_left(fabric, storm):
    for turn in range(4):
        storm.new_macs(1, range(turn * 1000, turn * 1000 + 1000))
    shed = budget(fabric, 1).shed
    fabric.connect(1)
    fabric.settle()
    storm.new_macs(1, range(5000, 6000))

    assert budget(fabric, 1).shed > shed + 800


def test_a_noisy_vm_is_named_and_a_quiet_one_of_its_host_still_learned(fabric, storm):
    """A MAC that nothing is learned from, such as a registered one of another host."""
    noisy = fabric.vm(1)
    fabric.register(noisy)
    frame = plain(noisy.mac.to_bytes(6, "big"))
    for turn in range(20):
        quiet = [plain(mac_bytes(1, turn))]
        storm.send(1, storm.packets(1, [frame] * 500 + quiet + [frame] * 500))
        fabric.advance(0.1)

    # One quiet MAC in 256 shares the noisy one's cell, by a hash that is another in each process.
    missed = {mac_int(1, turn) for turn in range(20)} ^ learned_at(fabric, 1)
    assert len(missed) <= 2
    assert str(noisy.mac) in next(line for line in fabric.log if "packet-ins" in line)
    assert str(noisy.mac) in doctors_word(fabric)


def doctors_word(fabric):
    from controller import doctor
    from controller.sessions import Sessions

    store = doctor.StoreEvidence("memory")
    sessions = Sessions(fabric.now_s)
    evidence = doctor.gather(fabric.engine, sessions, store, [], "tcp:10.0.0.1:6653", fabric.now_s)
    (found,) = doctor.results("packet-ins", evidence)
    assert found.status == "warning"
    return found.summary


def test_a_flood_of_unknown_sources_takes_no_share_of_what_is_asked(fabric, storm):
    fabric.network(RED, 10, hosts="all", dhcp=True, subnets=(subnet(),))
    a = fabric.vm(0, RED, 10)
    fabric.register(a)
    for turn in range(10):
        storm.new_macs(1, range(turn * 1000, turn * 1000 + 1000), RED)
    fabric.emitted.clear()
    asked = storm.packets(1, [discover(a)], Kind.DHCP_REQUEST, RED)
    storm.send(1, asked)
    fabric.settle()

    assert len(fabric.emitted) == 1


def subnet():
    from topology.types import Subnet

    return Subnet.parse("10.1.1.0/24")


def discover(vm):
    """A DHCPDISCOVER as a client sends it (RFC 2131, 4.4.1)."""
    from struct import pack

    from controller.frames import checksum

    mac = vm.mac.to_bytes(6, "big")
    head = pack("!BBBBIHHIIII", 1, 1, 6, 0, 7, 0, 0, 0, 0, 0, 0)
    message = head + pack("!16s64s128s", mac, b"", b"") + bytes.fromhex("63825363350101ff")
    udp = pack("!HHHH", 68, 67, 8 + len(message), 0) + message
    head = pack("!BBHHHBBHII", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, 0, 0xFFFFFFFF)
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    tag = b"\x81\0" + vm.vlan.to_bytes(2, "big")
    return b"\xff" * 6 + mac + tag + b"\x08\0" + head + udp


def test_top_senders_in_little_memory():
    senders, chance = Senders(), random.Random(1)
    for number in range(10_000):
        senders.note(0, 0x525400000001 if number % 2 else chance.randrange(1 << 40))
    top = senders.top()
    assert top is not None
    assert (top.mac, round(top.part, 1)) == (0x525400000001, 0.5)

    crowd = Senders()
    for _ in range(10_000):
        crowd.note(5, chance.randrange(1 << 40))
    assert crowd.top() is None
    assert crowd.network() == 5


def test_a_budget_never_lets_more_than_its_rate_through():
    chance = random.Random(2)
    one, now_s, taken, sent = Budget(0.0), 0.0, 0, 0
    from controller.wire.decode import PacketIn

    while now_s < 20:
        batch = [
            PacketIn(0x7600 << 48 | chance.randrange(60) << 48, 1, 0, 0, 0, chance.randbytes(20))
            for _ in range(chance.randrange(400))
        ]
        sent += len(batch)
        taken += len(one.admit(batch, now_s))
        now_s += chance.random() / 50
    most = BURST + 20 * RATE_PER_S + 6 * (SHARE_BURST + 20 * 50)
    assert 20 * RATE_PER_S <= taken <= most
    assert one.shed == sent - taken


# -- a million MACs --------------------------------------------------------------------------------


def test_a_flood_of_macs_takes_nothing_from_anybody_else():
    """The network is full with what other hosts taught; the flood has its own place only."""
    limits = Limits(per_place=128, per_network=256)
    fabric = FakeFabric(4, "flow", Settings(limits=limits)).connect_all()
    storm = Storm(fabric)
    for dpid in (1, 2):
        storm.new_macs(dpid, range(128))
    storm.new_macs(3, range(5))
    theirs = {dpid: learned_at(fabric, dpid) for dpid in (1, 2)}
    for turn in range(100):
        storm.new_macs(4, range(turn * 100, turn * 100 + 100))
        fabric.advance(0.5)

    assert {dpid: learned_at(fabric, dpid) for dpid in (1, 2)} == theirs
    assert all(map(len, theirs.values()))
    assert len(fabric.engine.topology.learned) <= limits.per_network + 4 * limits.floor


def test_who_was_known_before_a_flood_of_its_own_host_stays_known(fabric, storm):
    """Neighbours on the host of who floods; they speak again when their flows want renewal."""
    old = [mac_int(1, number) for number in range(100)]
    storm.new_macs(1, range(100))
    fabric.advance(5)
    for turn in range(40):
        storm.new_macs(1, range(1000 + turn * 500, 1500 + turn * 500))
        fabric.advance(3, step_s=3)

    assert set(old) <= learned_at(fabric, 1)
    assert len(learned_at(fabric, 1)) == 2048
    fabric.assert_in_sync()


def test_who_is_new_in_a_flood_and_goes_on_speaking_is_no_newcomer_for_ever():
    limits = Limits(per_place=64, per_network=1024)
    fabric = FakeFabric(2, "flow", Settings(limits=limits)).connect_all()
    storm = Storm(fabric)
    storm.new_macs(1, range(60))
    fabric.advance(SETTLED_S + 1)
    storm.new_macs(1, [59])
    for turn in range(3):
        storm.new_macs(1, range(1000 + turn * 50, 1050 + turn * 50))
        fabric.advance(1)

    assert mac_int(1, 59) in learned_at(fabric, 1)


def test_a_flood_of_macs_is_few_flow_mods(fabric, storm):
    """What each host is sent is bounded by what a place may teach, not by what it sends."""
    before = mods(fabric, 2)
    seconds = 30
    for turn in range(seconds):
        storm.new_macs(1, range(turn * 5000, turn * 5000 + 5000))
        fabric.advance(1, step_s=1)

    taught = 2048 + 51.2 * seconds
    assert mods(fabric, 2) - before <= 2 * taught * 1.1
    assert budget(fabric, 1).shed >= seconds * 5000 - taught - 100
    fabric.assert_in_sync()


@pytest.mark.parametrize("wait_s", [0.0, 0.02])
def test_all_that_packets_make_grow_is_bounded(wait_s):
    """Hostile in every way at once: MACs, addresses, moves, strays, contradictions."""
    limits = Limits(per_place=256, per_network=512)
    fabric = FakeFabric(3, "flow", Settings(limits=limits)).connect_all()
    fabric.network(RED, 10, hosts="all", follow_moves=True)
    vms = [fabric.vm(index % 3, RED, 10) for index in range(12)]
    for vm in vms:
        fabric.register(vm)
    storm, chance = Storm(fabric), random.Random(3)
    kinds = [Kind.LOCAL_UNKNOWN, Kind.LOCAL_ARP, Kind.LOCAL_ND, Kind.LOCAL_STRAY]
    for _turn in range(150):
        dpid = chance.randrange(1, 4)
        frames = []
        for _ in range(20):
            known = vms[0].mac.to_bytes(6, "big")
            mac = chance.choice([chance.randbytes(6), mac_bytes(0, chance.randrange(500)), known])
            frames.append(
                chance.choice([plain(mac), arp(mac, 0x0A000000 | chance.randrange(1 << 12))])
            )
        storm.send(dpid, storm.packets(dpid, frames, chance.choice(kinds), chance.choice((0, RED))))
        fabric.advance(wait_s)
    fabric.settle()

    engine, packets = fabric.engine, fabric.engine.packets
    learned = engine.topology.learned
    assert len(learned) <= 2 * 512
    assert all(len(engine.topology.learned_on(dpid)) <= 256 for dpid in (1, 2, 3))
    assert all(len(entry.ips) <= 16 for entry in learned.values())
    assert len(list(packets.sightings.since(0.0))) <= SIGHTINGS_MAX
    assert len(packets.newcomers) <= 3 * 2 * 256
    assert {vm.host for vm in engine.topology.vms.values()} <= {1, 2, 3}
    assert len(engine.topology.vms) == len(vms)
    fabric.advance(200, step_s=10)
    fabric.assert_in_sync()


def test_an_address_that_many_macs_claim_is_some_of_theirs(fabric, storm):
    ip = 0x0A010199
    for number in range(100):
        storm.send(1, storm.packets(1, [arp(mac_bytes(1, number), ip)], Kind.LOCAL_ARP))
        fabric.advance(0.1)
    claimants = [
        entry.mac
        for entry in fabric.engine.topology.learned.values()
        if Ip.v4(ip) in dict(entry.ips)
    ]

    assert sorted(claimants) == [mac_int(1, n) for n in range(100 - MAX_MACS_PER_IP, 100)]
    fabric.settle()
    (answer,) = fabric.who_has(fabric.vm(1), Ip.v4(ip)).deliveries
    assert answer.packet.arp.sender_mac == mac_int(1, 99)
    fabric.assert_in_sync()


# -- a thousand moves ------------------------------------------------------------------------------


def announce(storm, dpid, macs, vni=0):
    frames = [arp(mac, 0x0A020000 | int.from_bytes(mac[3:], "big") & 0xFFFF) for mac in macs]
    storm.send(dpid, storm.packets(dpid, frames, Kind.LOCAL_ARP, vni))


def test_a_loop_between_two_hosts_is_damped(fabric, storm):
    """A thousand MACs change places each second, for 20 seconds."""
    macs = [mac_bytes(0, number) for number in range(1000)]
    announce(storm, 1, macs)
    fabric.advance(1)
    before, log = mods(fabric, 3), len(fabric.log)
    for turn in range(20):
        announce(storm, 2 - turn % 2, macs)
        fabric.advance(1, step_s=0.5)

    moved = PLACE_BURST + 20 * PLACE_PER_S
    repeated = 2 * (2048 + 20 * 51.2)
    assert mods(fabric, 3) - before <= 3 * (moved + repeated)
    assert fabric.engine.packets.moves.refused > 5_000
    assert len(fabric.log) - log <= 2 * 11 + 2
    told = [one for one in fabric.happened if one.kind == "moved"]
    assert len(told) <= 21 * 50
    fabric.assert_in_sync()


def test_registered_vms_in_a_loop_are_few_writes(fabric, storm):
    fabric.network(RED, 10, hosts="all", follow_moves=True)
    vms = [replace(fabric.vm(0, RED, 10), ip=Ip.v4(0x0A030000 | n)) for n in range(1, 601)]
    from topology.model import Vm
    from topology.types import Dpid, Vni

    facts = [Vm(vm.mac, Vni(RED), Dpid(1), (vm.ip,)) for vm in vms]
    fabric.commit(lambda draft: [draft.set_vm(fact) for fact in facts])
    fabric.settle()
    writes = []
    commit = fabric.commit
    fabric.commit = lambda plan: writes.append(1) or commit(plan)
    for turn in range(20):
        for vm in vms:
            frame = arp(vm.mac.to_bytes(6, "big"), vm.ip.low32)
            dpid = 1 + (turn + 1) % 2
            storm.send(dpid, storm.packets(dpid, [frame], Kind.LOCAL_ARP, RED))
        fabric.settle()
        fabric.advance(1, step_s=0.5)

    assert len(writes) <= PLACE_BURST + 20 * PLACE_PER_S
    sighted = list(fabric.engine.packets.sightings.since(0.0))
    assert len(sighted) > 100, "who is not followed is at least seen there"
    fabric.assert_in_sync()


def test_two_hundred_vms_migrate_at_once(fabric, storm):
    macs = [mac_bytes(0, number) for number in range(200)]
    announce(storm, 1, macs)
    fabric.advance(2)
    announce(storm, 2, macs)
    fabric.settle()

    assert len(learned_at(fabric, 2)) == 200
    assert not learned_at(fabric, 1)
    fabric.assert_in_sync()


def test_who_was_not_followed_is_when_it_is_heard_again(fabric, storm):
    macs = [mac_bytes(0, number) for number in range(700)]
    announce(storm, 1, macs)
    fabric.advance(2)
    announce(storm, 2, macs)
    assert len(learned_at(fabric, 1)) == 700 - PLACE_BURST
    fabric.advance(5)
    announce(storm, 2, macs)

    assert not learned_at(fabric, 1)
    fabric.settle()
    fabric.assert_in_sync()


def test_one_place_that_loops_does_not_keep_others_from_moving():
    moves = Moves()
    for number in range(2000):
        moves.ask(number, 1, 2, 0.0)
    assert moves.ask("late", 1, 2, 0.0) is Verdict.MANY
    assert moves.ask("other", 3, 4, 0.0) is Verdict.MOVE


def test_what_is_known_of_moves_is_bounded():
    moves = Moves()
    for number in range(PASTS_MAX + 500):
        moves.ask(number, 1, 2, 0.0)
    assert len(moves._pasts) == PASTS_MAX


def test_buckets_that_are_full_again_are_forgotten():
    buckets = Buckets(10, 5)
    for number in range(100):
        buckets.take((number, 0), number / 50)
    buckets.forget(3.0)
    assert 0 < len(buckets) < 100
    buckets.forget(10.0)
    assert len(buckets) == 0
