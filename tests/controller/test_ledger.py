"""The ledger agrees with what becomes of frames, whatever happens to the flows that count them."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from controller import counting
from controller.journey import Journey, Packet
from controller.ledger import HISTORY, INTERVAL_S, TALKERS_MAX, Ledger, Tally, tally
from controller.pipeline import Kind, cookie_kind
from tests.fake import FakeFabric
from tests.fake.stations import BROADCAST
from topology.types import Ip, Mac, Subnet

SUBNETS = (Subnet.parse("10.1.1.0/24"), Subnet.parse("fd00::/64"))
STRANGER = 0x525400FFFFFF
GROUP = 0x01005E010101
UNKNOWN, UNKNOWN_6 = Ip.parse("10.1.1.77"), Ip.parse("fd00::77")
ENCAPSULATION = 50
POLICIES = list(
    product(
        ("flood", "drop"),
        ("flood", "drop"),
        ("flood", "drop"),
        (False, True),
        ("proactive", "reactive"),
    )
)


class Underlay:
    """Counts the copies of BUM frames that cross the underlay, one by one, as a capture would."""

    def __init__(self, fabric: FakeFabric) -> None:
        self._fabric = fabric
        self.copies = 0

    def saw(self, journey: Journey) -> None:
        """A frame's journey, and those of the controller's packet-outs that came of it."""
        emitted, self._fabric.emitted = self._fabric.emitted, []
        for one in (journey, *emitted):
            for copy in one.copies:
                to = copy.packet.eth_dst
                self.copies += to == STRANGER or bool(to >> 40 & 1)


def count_now(fabric: FakeFabric) -> None:
    told: list[int] = []
    asked = fabric.connected
    fabric._take(fabric.engine.request_counters(asked, told.append, fabric.now_s))
    fabric.settle()
    assert sorted(told) == sorted(asked)


def counted(fabric: FakeFabric, vni: int = 0) -> Tally:
    """What the ledger says of a network now."""
    count_now(fabric)
    book = fabric.engine.counting.ledger.books.get(vni)
    return Tally() if book is None else book.total.now()


def world(**policy):
    fabric = FakeFabric(3, "flow").connect_all()
    fabric.network(0, subnets=SUBNETS, **policy)
    a, b = fabric.vm(0), fabric.vm(1)
    for vm in (a, b):
        fabric.register(vm, ips=(vm.ip, vm.ip6))
    return fabric, a, b


@pytest.mark.parametrize("policy", POLICIES, ids=lambda chosen: "-".join(map(str, chosen)))
def test_copies_are_what_crosses_the_underlay(policy):
    names = ("unknown_unicast", "unknown_arp", "multicast", "quiet", "mode")
    fabric, a, b = world(**dict(zip(names, policy, strict=True)))
    underlay = Underlay(fabric)
    for _ in range(2):
        for journey in (
            lambda: fabric.send(a, Packet(a.mac, STRANGER)),
            lambda: fabric.send(a, Packet(a.mac, GROUP)),
            lambda: fabric.broadcast(b),
            lambda: fabric.who_has(a, b.ip),
            lambda: fabric.who_has(a, a.ip),
            lambda: fabric.who_has(b, UNKNOWN),
            lambda: fabric.address_probe(a, UNKNOWN),
            lambda: fabric.gratuitous(a),
            lambda: fabric.solicit(a, b.ip6),
            lambda: fabric.solicit(a, b.ip6, option=False),
            lambda: fabric.solicit(a, UNKNOWN_6),
            lambda: fabric.dad(a, UNKNOWN_6),
            lambda: fabric.advertise(a),
            lambda: fabric.unicast(a, b),
        ):
            underlay.saw(journey())

    now = counted(fabric)

    assert now.copies == underlay.copies
    assert counted(fabric) == now


def test_what_is_answered_or_dropped_is_saved():
    fabric, a, b = world(unknown_unicast="drop")
    neighbour = fabric.vm(0)
    fabric.register(neighbour)
    for _ in range(3):
        fabric.who_has(a, b.ip)
        fabric.solicit(a, b.ip6)
    fabric.who_has(a, neighbour.ip)
    fabric.send(a, Packet(a.mac, STRANGER))
    now = counted(fabric)

    assert (now.answered, now.suppressed, now.unknown_unicast) == (6, 2, 1)
    vteps = len(fabric.switches) - 1  # every host carries network 0
    assert now.saved_copies == 8 * vteps
    assert (
        now.saved_bytes == (now.answered_bytes + now.suppressed_bytes + 8 * ENCAPSULATION) * vteps
    )


def test_unknown_unicast_is_told_apart_by_network():
    fabric, a, _b = world()
    fabric.network(100, vlan=10)
    c, d = fabric.vm(0, 100, 10), fabric.vm(2, 100, 10)
    for vm in (c, d):
        fabric.register(vm)
    for vm, times in ((a, 2), (c, 3)):
        for _ in range(times):
            fabric.send(vm, Packet(vm.mac, STRANGER, vm.vlan))
        fabric.broadcast(vm)

    assert (counted(fabric).unknown_unicast, counted(fabric).flooded) == (2, 3)
    assert (counted(fabric, 100).unknown_unicast, counted(fabric, 100).flooded) == (3, 4)


def test_a_restarted_switch_counts_from_zero_again():
    fabric, a, b = world()
    for _ in range(5):
        fabric.broadcast(a)
    assert counted(fabric).flooded == 5

    fabric.restart_switch(a.host)
    fabric.connect(a.host)
    fabric.advance(4.0)
    for _ in range(7):  # more than before: no counter looks as if it had gone down
        fabric.broadcast(a)

    assert counted(fabric).flooded == 12
    fabric.who_has(a, b.ip)
    assert counted(fabric).answered == 1


def test_flows_that_stay_lose_nothing_while_their_switch_is_away():
    fabric, a, _b = world()
    fabric.broadcast(a)
    assert counted(fabric).flooded == 1
    fabric.disconnect(a.host)
    fabric.broadcast(a)
    fabric.broadcast(a)
    fabric.connect(a.host)
    fabric.advance(4.0)

    assert counted(fabric).flooded == 3


def test_a_new_controller_counts_what_comes_after_it():
    fabric, a, b = world()
    for _ in range(4):
        fabric.broadcast(a)
        fabric.who_has(a, b.ip)
    fabric.restart_controller()
    fabric.connect_all()
    assert counted(fabric) == Tally()
    fabric.broadcast(a)
    fabric.who_has(a, b.ip)

    assert (counted(fabric).flooded, counted(fabric).answered) == (1, 1)


def test_what_takes_a_flows_place_does_not_count_its_frames_again():
    fabric, a, b = world()
    for _ in range(3):
        fabric.who_has(a, b.ip)
        fabric.send(a, Packet(a.mac, STRANGER))
    before = counted(fabric)
    assert (before.answered, before.unknown_unicast) == (3, 3)

    # The same address has another MAC, the VM comes to the asker's host, a policy changes.
    fabric.unregister(b)
    other = fabric.vm(1)
    fabric.register(other, ips=(b.ip,))
    fabric.network(0, subnets=SUBNETS, unknown_unicast="drop")

    assert counted(fabric) == before
    fabric.who_has(a, b.ip)
    fabric.send(a, Packet(a.mac, STRANGER))
    now = counted(fabric)
    assert (now.answered, now.suppressed, now.flooded) == (4, 1, before.flooded)


def test_a_flow_that_ends_tells_what_it_counted():
    fabric, a, _b = world(multicast="drop")
    count_now(fabric)
    for _ in range(6):
        fabric.send(a, Packet(a.mac, GROUP))
    fabric.network(0, subnets=SUBNETS, multicast="flood")

    assert counted(fabric).suppressed == 6


def test_talkers_are_who_sends_to_many():
    fabric, a, b = world()
    fabric.network(0, subnets=SUBNETS)
    for _ in range(5):
        fabric.broadcast(a)
    fabric.who_has(b, a.ip)
    fabric.unicast(b, a)
    count_now(fabric)
    book = fabric.engine.counting.ledger.books[0]

    assert {key: talker.frames for key, talker in book.talkers.items()} == {
        (a.mac, a.host): 5,
        (b.mac, b.host): 1,
    }


def test_forged_frames_are_suppressed_and_save_nothing():
    fabric = FakeFabric(3, "flow").connect_all()
    fabric.network(0, port_security=True, subnets=SUBNETS)
    a, b = fabric.vm(0), fabric.vm(1)
    for vm in (a, b):
        fabric.register(vm)
    fabric.send(a, Packet(Mac(STRANGER), BROADCAST))
    fabric.send(a, Packet(Mac(STRANGER), b.mac))
    now = counted(fabric)

    assert (now.suppressed, now.saved_copies, now.saved_bytes) == (2, 0, 0)


def test_counters_come_in_by_themselves_and_are_told_every_ten_seconds():
    fabric, a, b = world()
    happened = []
    engine, take = fabric.engine, fabric._take

    def taken(effects):
        happened.extend(effects.happened)
        take(effects)

    fabric._take = taken
    fabric.advance(2 * INTERVAL_S)
    fabric.who_has(a, b.ip)
    fabric.broadcast(a)
    fabric.advance(3 * INTERVAL_S)
    fabric.advance(3 * INTERVAL_S)

    told = [one.data for one in happened if one.kind == "suppressed"]
    assert told == [
        {
            "vni": 0,
            "name": None,
            "answered": 1,
            "suppressed": 0,
            "flooded": 1,
            "saved_bytes": 2 * (60 + ENCAPSULATION),
        }
    ]
    ledger = engine.counting.ledger
    history = ledger.history(ledger.books[0])
    assert [sample.answered for sample in history if sample.answered] == [1]
    gaps = {round(b.ended_s - a.ended_s, 6) for a, b in pairwise(history)}
    assert gaps == {INTERVAL_S}
    assert ledger.books[0].rates.answered == 0.0


def test_a_deleted_network_leaves_its_part_of_the_sum():
    fabric, _a, _b = world()
    fabric.network(100, vlan=10)
    c, d = fabric.vm(0, 100, 10), fabric.vm(2, 100, 10)
    for vm in (c, d):
        fabric.register(vm)
    fabric.broadcast(c)
    assert counted(fabric, 100).flooded == 1
    for vm in (c, d):
        fabric.unregister(vm)
    fabric.commit(lambda draft: draft.remove_network(100))
    fabric.advance(2 * INTERVAL_S)

    ledger = fabric.engine.counting.ledger
    assert 100 not in ledger.books
    assert ledger.sum.total.now().flooded == 1


def test_who_waits_hears_of_a_switch_that_goes_away():
    fabric, *_vms = world()
    fabric.switches[1].mute = True
    told: list[int] = []
    fabric._take(fabric.engine.request_counters([1], told.append, fabric.now_s))
    fabric.settle()
    assert told == []
    fabric.disconnect(1)

    assert told == [1]


def test_many_switches_are_asked_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(counting, "AT_ONCE", 2)
    fabric = FakeFabric(6, "flow").connect_all()
    fabric.advance(3 * INTERVAL_S)

    assert fabric.engine.counting.read_s(fabric.connected, fabric.now_s) > fabric.now_s - 12
    count_now(fabric)
    assert fabric.engine.counting.read_s(fabric.connected, fabric.now_s) == fabric.now_s


def test_memory_is_bounded():
    ledger = Ledger()
    ledger.turn(0.0, {7})
    for number in range(3 * TALKERS_MAX):
        ledger.talked(7, 1, Mac(0x020000000000 + number), 1000 if number < 5 else 1, 60)
    for turn in range(2 * HISTORY):
        ledger.count(7, 1, tally(Kind.NETWORK_FLOOD, 1, 60, 2, floods=True))
        ledger.turn((turn + 1) * INTERVAL_S, {7})
    book = ledger.books[7]

    assert len(book.talkers) <= TALKERS_MAX
    assert sum(talker.frames >= 1000 for talker in book.talkers.values()) == 5
    assert len(ledger.history(book)) == len(list(book.samples())) == HISTORY


def test_every_kind_of_the_tables_that_count_is_accounted_for():
    """Whatever is added to FLOOD belongs to some column, or is known to belong to none."""
    fabric, *_vms = world()
    kinds = {
        cookie_kind(entry.cookie)
        for entry in fabric.switches[1].flows.values()
        if entry.table == counting.Table.FLOOD
    }

    assert kinds - counting.COUNTED == {Kind.TABLE_MISS}


def test_an_audit_that_finds_a_few_flows_gone_counts_nothing_twice():
    fabric, a, _b = world()
    for _ in range(5):
        fabric.send(a, Packet(a.mac, BROADCAST))
    before = counted(fabric)
    switch = fabric.switches[1]
    assert switch.delete(lambda entry: entry.cookie == counting.FLOOD_MISS) == 1
    fabric.advance(25)

    fabric.assert_in_sync()
    assert counted(fabric) == before
