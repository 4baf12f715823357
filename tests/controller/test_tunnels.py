"""Tunnels are up, down or unknown; how far away, and how wide: from probes and barriers alone."""

from __future__ import annotations

from collections import Counter

import pytest

from controller.bridges import METERS
from controller.pipeline import PROBE_METER
from controller.service import TunnelSummary
from controller.tunnel_views import summary_of
from controller.tunnels import (
    DOWN_AFTER,
    PEERS_MAX,
    PROBES_PER_S,
    SMALL_BYTES,
    TUNNELS_MAX,
    Peer,
    Tunnels,
    TunnelState,
    around,
    peers_of_each,
)
from tests.fake import FakeFabric
from topology.types import VtepIp

UP, DOWN, UNKNOWN = TunnelState.UP, TunnelState.DOWN, TunnelState.UNKNOWN
STEP_S = 0.05


def vtep(dpid):
    return VtepIp(VtepIp.v4(0x0A000000 | dpid))


class World:
    """Hosts whose probes and barriers travel as told, on a clock of its own.

    ``wide``: the largest packet that comes through from one host to another. ``out_s``, ``back_s``:
    what a host's session takes either way. ``mute``: sessions that neither hear nor say anything.
    """

    def __init__(self, hosts, mtu=1450, tunnel_s=0.002):
        self.tunnels = Tunnels()
        self.now_s = 100.0
        self.mtu = mtu
        self.tunnel_s = tunnel_s
        self.dpids = list(range(1, hosts + 1))
        self.wide = {}
        self.out_s = dict.fromkeys(self.dpids, 0.001)
        self.back_s = dict.fromkeys(self.dpids, 0.001)
        self.mute = set()
        self.portless = set()
        self.under_way = []
        self.probes = []  # (when, from, to, size)
        self.changed = []
        self.short = []
        for dpid in self.dpids:
            self.tunnels.connected(dpid)

    def peers(self, dpid):
        most = peers_of_each(len(self.dpids))
        for peer in around(self.dpids, dpid, most):
            port = None if (dpid, peer) in self.portless else 5
            yield Peer(peer, vtep(peer), port, self.mtu)

    def turn(self, dpid):
        if self.tunnels.is_stale(dpid, self.now_s):
            self.tunnels.plan(dpid, self.peers(dpid), self.now_s)
        turn = self.tunnels.turn(dpid, self.now_s)
        for size, tunnels in turn.probes.items():
            for tunnel in tunnels:
                assert tunnel.peer.port is not None
                self.probe(dpid, tunnel.peer.dpid, size)
        for asked in turn.ask:
            xid = self.tunnels.barrier(asked, self.now_s)
            if asked not in self.mute:
                there_s = self.now_s + self.out_s[asked] + self.back_s[asked]
                self.under_way.append((there_s, "barrier", asked, xid, None))
        self.changed += [(dpid, tunnel.peer.dpid, tunnel.state) for tunnel in turn.changed]
        self.short += [(dpid, tunnel.peer.dpid) for tunnel in turn.short]

    def probe(self, dpid, peer, size):
        self.probes.append((self.now_s, dpid, peer, size))
        connected = self.tunnels.state_of(self.tunnels.between(dpid, peer)) is not None
        if connected and size <= self.wide.get((dpid, peer), 9000) and peer not in self.mute:
            at_s = self.now_s + self.out_s[dpid] + self.tunnel_s + self.back_s[peer]
            self.under_way.append((at_s, "probe", dpid, peer, (size, self.now_s)))

    def run(self, seconds):
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self.now_s += STEP_S
            due = sorted(one for one in self.under_way if one[0] <= self.now_s)
            self.under_way = [one for one in self.under_way if one[0] > self.now_s]
            for at_s, what, one, other, more in due:
                if what == "barrier":
                    self.tunnels.answered(one, other, at_s)
                    continue
                size, sent_s = more
                risen = self.tunnels.arrived(one, other, size, sent_s, at_s)
                if risen is not None:
                    self.changed.append((one, other, risen.state))
            for dpid in self.dpids:
                if self.tunnels.due(dpid, self.now_s):
                    self.turn(dpid)
        return self

    def cut(self, dpid, peer):
        self.wide[dpid, peer] = 0

    def tunnel(self, dpid, peer):
        return self.tunnels.between(dpid, peer)

    def states(self):
        return {
            (dpid, tunnel.peer.dpid): self.tunnels.state_of(tunnel)
            for dpid in self.dpids
            for tunnel in self.tunnels.of(dpid)
        }


def test_tunnels_between_connected_hosts_come_up_at_once():
    world = World(3).run(0.2)

    assert set(world.states().values()) == {UP}
    assert len(world.states()) == 6
    assert world.changed == [], "that it comes up at first is no news"


def test_a_cut_tunnel_is_down_within_some_seconds_and_only_that_one():
    world = World(3).run(10)
    world.cut(1, 2)
    cut_s = world.now_s
    while not world.changed:
        world.run(STEP_S)

    assert world.changed == [(1, 2, DOWN)]
    assert world.now_s - cut_s < 7
    assert [pair for pair, state in world.states().items() if state is not UP] == [(1, 2)]
    tunnel = world.tunnel(1, 2)
    assert tunnel.lost == tunnel.missed == DOWN_AFTER


def test_it_is_up_again_with_the_first_probe_that_comes_through():
    world = World(2).run(5)
    world.cut(1, 2)
    world.run(10)
    del world.wide[1, 2]
    world.run(4)

    assert world.changed == [(1, 2, DOWN), (1, 2, UP)]


def test_one_lost_probe_is_no_alarm():
    world = World(2).run(5)
    world.cut(1, 2)
    sent = world.tunnel(1, 2).sent
    while world.tunnel(1, 2).sent == sent:
        world.run(STEP_S)
    del world.wide[1, 2]
    world.run(5)

    assert world.changed == []
    assert world.tunnel(1, 2).lost == 1
    assert world.tunnel(1, 2).missed == 0


def test_a_receiver_whose_session_says_nothing_proves_nothing():
    """Its switch, or this process, is busy: what it heard may be waiting to be read."""
    world = World(2).run(5)
    world.mute.add(2)
    world.run(20)

    assert world.states()[1, 2] is UP
    assert world.tunnel(1, 2).lost == 0

    world.mute.clear()
    world.run(10)
    assert world.states()[1, 2] is UP or world.tunnel(1, 2).lost


def test_a_far_host_that_is_not_connected_is_unknown_not_down():
    world = World(3).run(5)
    world.tunnels.lost(2)
    world.dpids.remove(2)
    world.run(20)

    assert world.tunnel(1, 2) is None, "it is no peer any more"
    assert world.changed == []
    assert set(world.states().values()) == {UP}


def test_a_tunnel_to_a_host_that_just_went_is_told_as_unknown():
    world = World(2).run(5)
    tunnel = world.tunnel(1, 2)
    world.tunnels.lost(2)

    assert world.tunnels.state_of(tunnel) is UNKNOWN
    assert world.tunnels.round_trip_s(1, 2) is None


def test_without_a_port_that_leads_there_it_is_down():
    world = World(2).run(5)
    world.portless.add((1, 2))
    world.tunnels.replan([1])
    world.run(4)

    assert world.changed == [(1, 2, DOWN)]
    assert world.states()[2, 1] is UP


def test_a_probe_that_arrives_when_its_port_is_gone_brings_nothing_up():
    world = World(2, mtu=1450, tunnel_s=0.9).run(8)
    assert world.states()[1, 2] is UP
    world.under_way = [one for one in world.under_way if one[1] == "barrier"]
    world.probe(1, 2, SMALL_BYTES)
    world.portless.add((1, 2))
    world.tunnels.replan([1])
    world.tunnels.refresh(world.now_s)
    world.run(4)

    assert world.states()[1, 2] is DOWN
    assert not any(tunnel.sizing for tunnel in world.tunnels.of(1))


def test_a_summary_says_how_many_are_up_and_how_far_the_farthest_is():
    world = World(4, tunnel_s=0.002).run(5)
    world.cut(1, 3)
    world.tunnels.lost(4)
    world.run(12)

    found = summary_of(world.tunnels, 1)
    assert (found.up, found.down, found.unknown) == (1, 1, 1)
    assert found.slowest_s == world.tunnels.round_trip_s(1, 2)
    assert summary_of(world.tunnels, 9) == TunnelSummary()


def test_a_port_that_goes_while_sizes_are_tried_is_asked_no_more():
    world = World(3)
    world.wide[1, 2] = world.wide[2, 1] = 1400
    world.run(1)
    assert world.tunnel(1, 2).sizing is not None, "it is under way"
    sizes = len(world.probes)
    world.portless.add((1, 2))
    world.tunnels.replan([1])

    world.run(60)

    assert world.tunnel(1, 2).state is DOWN
    late = [probe for probe in world.probes[sizes:] if probe[1:3] == (1, 2)]
    assert late == []


def test_a_late_probe_does_not_have_sizes_tried_where_no_port_leads(monkeypatch):
    """A VTEP is declared anew, no port leads there, and probes to the old one are under way."""
    world = World(2)
    world.turn(1)
    moved = [Peer(2, vtep(9), None, 1450)]
    monkeypatch.setattr(world, "peers", {1: moved, 2: []}.get)
    world.tunnels.replan()
    world.turn(1)
    before = len(world.probes)

    world.run(10)

    assert world.probes[before:] == []


@pytest.mark.parametrize(("out_s", "back_s"), [(0.001, 0.001), (0.04, 0.001), (0.001, 0.09)])
def test_the_round_trip_is_the_tunnels_not_the_sessions(out_s, back_s):
    """However long a session takes, and however unlike its two ways are."""
    world = World(2, tunnel_s=0.0035)
    world.out_s[1], world.back_s[1] = out_s, back_s
    world.run(20)

    assert world.tunnels.round_trip_s(1, 2) == pytest.approx(0.007, abs=1e-6)
    assert world.tunnels.round_trip_s(2, 1) == pytest.approx(0.007, abs=1e-6)


# Sizes


def test_what_networks_need_comes_through():
    world = World(2).run(1)

    assert world.tunnel(1, 2).mtu_bytes == 1450
    assert world.tunnel(1, 2).mtu_ok
    assert Counter(size for _at, dpid, _to, size in world.probes if dpid == 1)[1450] == 1


@pytest.mark.parametrize("wide", [1449, 1400, 1350, 576, SMALL_BYTES])
def test_the_largest_that_comes_through_is_found(wide):
    world = World(2)
    world.wide[1, 2] = wide
    world.run(60)

    tunnel = world.tunnel(1, 2)
    assert (tunnel.mtu_bytes, tunnel.mtu_ok) == (wide, False)
    assert world.short == [(1, 2)]
    assert world.tunnel(2, 1).mtu_ok
    tried = [size for _at, dpid, _to, size in world.probes if dpid == 1 and size != SMALL_BYTES]
    assert len(tried) <= 24, "twice a size that is lost, and halving"


def test_an_mtu_that_shrinks_and_grows_again_is_noticed():
    world = World(2).run(5)
    world.wide[1, 2] = 1350
    world.tunnels.refresh(world.now_s)
    world.run(4)
    assert world.tunnel(1, 2).mtu_ok is False
    assert world.tunnel(1, 2).mtu_bytes is None, "nothing larger than a small probe is known yet"

    world.run(100)
    assert world.tunnel(1, 2).mtu_bytes == 1350

    del world.wide[1, 2]
    world.run(100)
    assert (world.tunnel(1, 2).mtu_bytes, world.tunnel(1, 2).mtu_ok) == (1450, True)
    assert world.changed == []


def test_a_tunnel_that_carries_nothing_has_no_mtu_trouble():
    world = World(2).run(5)
    world.cut(1, 2)
    world.tunnels.refresh(world.now_s)
    world.run(100)

    assert world.states()[1, 2] is DOWN
    assert world.short == []


def test_a_network_that_wants_more_is_tried_anew():
    world = World(2).run(5)
    world.mtu = 8950
    world.run(5)

    assert world.tunnel(1, 2).mtu_bytes == 8950
    world.mtu, world.wide[1, 2] = 9500, 9000
    world.run(60)
    assert (world.tunnel(1, 2).mtu_bytes, world.tunnel(1, 2).mtu_ok) == (9000, False)


# Bounds


def test_however_many_hosts_there_are_tunnels_and_probes_are_bounded():
    for hosts in (2, 3, 60, 128, 129, 500, 1000, 5000):
        each = peers_of_each(hosts)
        watched = hosts * min(each, hosts - 1)
        assert watched <= max(TUNNELS_MAX, 2 * hosts)
        assert each <= PEERS_MAX


def test_up_to_128_hosts_the_mesh_is_whole_and_who_watches_whom_is_mutual():
    for hosts in (2, 5, 128, 300):
        dpids = list(range(hosts))
        each = peers_of_each(hosts)
        watched = {(dpid, peer) for dpid in dpids for peer in around(dpids, dpid, each)}
        assert watched == {(peer, dpid) for dpid, peer in watched}
        assert all(dpid != peer for dpid, peer in watched)
        if hosts <= 128:
            assert len(watched) == hosts * (hosts - 1)


def test_a_hundred_hosts_that_come_at_once_stay_under_every_receivers_meter():
    """More than the meter lets through would be lost, and look like tunnels that are."""
    world = World(100).run(40)

    meter = next(meter for meter in METERS if meter.meter_id == PROBE_METER)
    received = Counter((int(at_s), peer) for at_s, _dpid, peer, _size in world.probes)
    for dpid in world.dpids:
        tokens = float(meter.burst_packets)
        for second in range(100, 141):
            tokens = min(meter.burst_packets, tokens + meter.rate_pps) - received[second, dpid]
            assert tokens >= 0
    steady = [at_s for at_s, *_rest in world.probes if at_s >= 130]
    assert len(steady) <= 10 * (PROBES_PER_S + 100)
    assert set(world.states().values()) == {UP}
    assert all(tunnel.mtu_ok for dpid in world.dpids for tunnel in world.tunnels.of(dpid))


# In the engine


@pytest.mark.parametrize("tunnels", ["peer", "flow"])
def test_the_engine_watches_every_pair(tunnels):
    fabric = FakeFabric(3, tunnels).connect_all()
    fabric.advance(4)

    watch = fabric.engine.tunnels
    for dpid in fabric.switches:
        assert {tunnel.peer.dpid for tunnel in watch.of(dpid)} == fabric.switches.keys() - {dpid}
        assert all(tunnel.state is UP and tunnel.mtu_ok for tunnel in watch.of(dpid))


def test_the_engine_sees_a_removed_port_and_its_return():
    fabric = FakeFabric(3).connect_all()
    fabric.advance(4)
    name = fabric.switches[1].ports[5]
    fabric.set_port(1, 5, None)
    fabric.advance(12)

    (gone,) = [tunnel for tunnel in fabric.engine.tunnels.of(1) if tunnel.state is DOWN]
    assert gone.peer.port is None

    fabric.set_port(1, 5, name)
    fabric.advance(12)
    assert all(tunnel.state is UP for tunnel in fabric.engine.tunnels.of(1))


def test_the_engine_forgets_what_a_lost_session_told():
    fabric = FakeFabric(2).connect_all()
    fabric.advance(4)
    fabric.disconnect(2)
    fabric.advance(4)

    assert list(fabric.engine.tunnels.of(2)) == []
    (tunnel,) = fabric.engine.tunnels.of(1)
    assert fabric.engine.tunnels.state_of(tunnel) is UNKNOWN


def test_what_networks_need_is_the_largest_mtu_that_both_carry():
    fabric = FakeFabric(3).connect_all()
    fabric.network(100, 10, mtu_bytes=1400)
    fabric.network(200, 20, mtu_bytes=1380)
    for index, vni in ((0, 100), (1, 100), (1, 200), (2, 200)):
        fabric.register(fabric.vm(index, vni, 10 if vni == 100 else 20))
    fabric.advance(8)

    def needed(dpid, peer):
        return fabric.engine.tunnels.between(dpid, peer).peer.mtu_bytes

    assert (needed(1, 2), needed(2, 1)) == (1400, 1400)
    assert needed(2, 3) == 1380
    assert needed(1, 3) == 0, "they share network 0 only, and nobody is in it"
