"""From facts to tables: the units that a change of the facts touches, and no others.

Every unit is recomputed from the facts as they are now (desired.py, bridges.py) and put in the
place of the one with its key; tables log only what differs.
"""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import TypeAlias

from controller.bridges import (
    Egress,
    base_flows,
    flow_port_flows,
    host_vtep_flows,
    network_flows,
    port_flows,
    probe_flow,
    service_flows,
    vtep_flows,
)
from controller.desired import Recipe, Shape, conversation, ip_recipe, mac_recipe, maker
from controller.floods import SharedFlood, flood_group
from controller.flow import Flow
from controller.learning import Ages
from controller.mending import Mending
from controller.news import LearnedNews
from controller.pipeline import Table
from controller.replica import FIRST_VTEPS, Replica
from controller.tables import FlowTable, Unit
from controller.terms import Timing, UnitFlows, group_id
from controller.wire import encode
from controller.wire.mold import Mold
from topology.model import (
    Change,
    Fact,
    Host,
    LearnedMac,
    MacKey,
    Network,
    Remove,
    Topology,
    Vip,
    Vm,
    Vtep,
)
from topology.types import Dpid, Location, Vni, VtepIp

_Molds: TypeAlias = tuple[Mold, Mold]
_Build: TypeAlias = tuple[int | None, bool, bool]  # a bridge's patch port; has it meters, ND?

MANY_HOSTS = 64
"""A flood group of more hosts is not sent again at each arrival."""


class Derivation:
    """The facts, the tables that follow from them, and who is to be woken for it.

    ``replicas`` are the connected switches, by dpid. ``woken`` collects those that have something
    to be sent; ``spread`` adds to them the followers of the shared tables that moved.
    """

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.topology = Topology()
        self.tables: dict[int, FlowTable] = {0: FlowTable()}
        self.replicas: dict[int, Replica] = {}
        self.ages = Ages(timing.learn_s)
        self.learned_news = LearnedNews()
        self.mending = Mending()
        self.woken: set[int] = set()
        self._moved: set[int] = set()  # shared tables
        self._joined: dict[int, set[int]] = {}  # network -> hosts that carry it now, or no longer
        self._floods_due: set[int] = set()
        self._floods: dict[tuple[int, int], SharedFlood] = {}  # (VNI, flow-based port)
        self._vtep_tables: dict[tuple[int, ...], int] = {}  # flow-based ports -> table
        self._vtep_keys = itertools.count(FIRST_VTEPS, -1)
        self.next_rev = 0  # of tables that take the place of others: no receipt mixes them up
        self._molds: dict[int, dict[Shape, _Molds]] = {}
        self._network_units: dict[int, dict[_Build, Unit]] = {}
        self._old_molds: dict[int, dict[Shape, _Molds]] = {}

        self._changed: dict[type[Fact], Callable[[Fact | None, Fact | None], None]] = {
            Vm: self._vm_changed,
            LearnedMac: self._learned_changed,
            Network: self._network_changed,
            Host: self._host_changed,
            Vtep: self._vtep_changed,
            Vip: self._vip_changed,
        }

    def drop(self, replica: Replica) -> None:
        """A switch's connection is over."""
        replica.leave()
        del self.replicas[replica.dpid]
        self._outlive(replica.private)

    def _outlive(self, table: FlowTable) -> None:
        """Whatever takes this table's place begins beyond its revisions."""
        self.next_rev = max(self.next_rev, table.rev + 1)

    def spread(self, *, floods_of_all: bool = True) -> None:
        """Bring what follows from the last changes to the switches that it concerns.

        Without ``floods_of_all`` large flood groups wait: when many hosts connect one after
        another, each would change the group of every other.
        """
        while self._joined:
            vni, changed = self._joined.popitem()
            try:
                self._spread_membership(vni, changed)
            except Exception:
                network = self.topology.networks.get(vni, Network(Vni(vni)))
                self.mending.failed(network, network, traceback.format_exc())
        for vni in list(self._floods_due):
            followers = self._cursors(vni)
            if floods_of_all or len(followers) <= MANY_HOSTS:
                self._floods_due.discard(vni)
                for dpid in followers:
                    self._refresh_flood(self.replicas[dpid], vni)
        for vni in self._moved:
            table = self.tables.get(vni)
            if table is not None:
                self.woken.update(table.cursors)
                for dpid in table.cursors:
                    self.replicas[dpid].moved_on(vni)
        self._moved.clear()

    def _spread_membership(self, vni: int, changed: set[int]) -> None:
        self._floods_due.discard(vni)
        self._forget_floods(vni)
        self._refresh_carriers(vni, changed)
        for dpid in self._cursors(vni) - changed:
            self._refresh_flood(self.replicas[dpid], vni)

    def apply_stored(self, change: Change) -> None:
        """Take a change that is stored: the fact counts, even where a fault of ours keeps what
        follows from it out of the tables. ``mend`` tries that again.
        """
        before, after = self.topology.apply(change)
        fact = before if after is None else after
        if before == after or fact is None:
            return
        try:
            self._changed[type(fact)](before, after)
        except Exception:
            self.mending.failed(before, after, traceback.format_exc())

    def mend(self, now_s: float) -> None:
        """Try again what could not be derived."""
        for before, after in self.mending.due(now_s):
            known = before if before is not None else after
            assert known is not None
            now = self.topology.fact(type(known), known.key)
            try:
                self._changed[type(known)](known, now)
                for vm in (before, after, now):
                    if isinstance(vm, Vm) and isinstance(vm.host, Dpid):
                        self._joined.setdefault(vm.vni, set()).add(int(vm.host))
            except Exception:
                continue  # told already; it is tried again, less and less often
            self.mending.done(known)

    def apply(self, change: Change) -> None:
        """Take one change of the facts, and put what follows from it into the tables."""
        before, after = self.topology.apply(change)
        if before == after:
            return
        fact = before if after is None else after
        assert fact is not None
        self._changed[type(fact)](before, after)

    def _vm_changed(self, before: Fact | None, after: Fact | None) -> None:
        topology = self.topology
        vms = [fact for fact in (before, after) if isinstance(fact, Vm)]
        vni, mac = key = vms[0].key
        if after is not None and key in topology.learned:
            self.apply(Remove(LearnedMac, key))
        self._touch_mac(vni, mac)
        ips: Iterable[int] = vms[0].ips
        if len(vms) > 1:
            ips = {*vms[0].ips, *vms[1].ips}
        self._touch_ips(vni, ips)
        if topology.vips:
            self._touch_ips(vni, {vip.ip for vip in topology.vips_of(vni, mac)}.difference(ips))
        for vm in vms:
            self._refresh_service_at(vm.host, vni, mac)
        moved = len(vms) > 1 and vms[0].host != vms[1].host
        if before is None or moved:
            self._may_change_membership(vni, vms[-1].host, edge=1)
        if after is None or moved:
            self._may_change_membership(vni, vms[0].host, edge=0)

    def _may_change_membership(self, vni: int, place: Location, *, edge: int) -> None:
        """A VM came (edge 1) or went (0): a host's first or last one changes what it carries."""
        topology = self.topology
        if topology.vms_of_network_on(vni, place) != edge or not isinstance(place, Dpid):
            return
        if not topology.carries_anyway(place, vni):
            self._joined.setdefault(vni, set()).add(int(place))

    def _vip_changed(self, before: Fact | None, after: Fact | None) -> None:
        vips = [fact for fact in (before, after) if isinstance(fact, Vip)]
        vni, ip = vips[0].key
        self._touch_ips(vni, {ip})
        for mac in {mac for vip in vips for mac in vip.macs}:
            self._touch_mac(vni, mac)
            vm = self.topology.vms.get((vni, mac))
            if vm is not None:
                self._refresh_service_at(vm.host, vni, mac)

    def _vtep_changed(self, before: Fact | None, after: Fact | None) -> None:
        vtep = before if after is None else after
        assert isinstance(vtep, Vtep)
        place = vtep.location
        for key in (*self.topology.vms_on(place), *self.topology.learned_on(place)):
            self._touch_mac(*key)
            self._touch_ips(key[0], self._ips_of([key]))
        if vtep.ip not in self.topology.vteps:
            for key in list(self.topology.learned_on(place)):
                self.apply(Remove(LearnedMac, key))
        self._floods.clear()
        for replica in self.replicas.values():
            self.refresh_bridge(replica)

    def _learned_changed(self, before: Fact | None, after: Fact | None) -> None:
        assert before is None or isinstance(before, LearnedMac)
        assert after is None or isinstance(after, LearnedMac)
        self.learned_news.changed(before, after)
        if before is None and after is not None and not after.ips:
            self._touch_mac(after.vni, after.mac)
            self.ages.note(after)
            return
        facts = [fact for fact in (before, after) if fact is not None]
        vni, mac = facts[0].key
        renew = len(facts) == 2 and facts[0].host == facts[1].host
        renew = renew and facts[1].seen_s > facts[0].seen_s
        self._touch_mac(vni, mac, renew=renew)
        self._touch_ips(vni, {int(ip) for fact in facts for ip, _seen_s in fact.ips}, renew=renew)
        if after is not None:
            self.ages.note(after)

    def _network_changed(self, before: Fact | None, after: Fact | None) -> None:
        network = before if after is None else after
        assert isinstance(network, Network)
        vni = int(network.vni)
        self._old_molds[vni] = self._molds.pop(vni, {})
        if vni in self.topology.networks:
            if vni not in self.tables:
                self.tables[vni] = FlowTable(self.next_rev)
            keys: set[MacKey] = {*self.topology.vms_in(vni), *self.topology.learned_in(vni)}
            for key in keys:
                self._touch_mac(*key)
            vips = {ip for _vni, ip in self.topology.vips_in(vni)}
            self._touch_ips(vni, self._ips_of(keys) | vips)
        del self._old_molds[vni]
        self._network_units.pop(vni, None)
        self._forget_floods(vni)
        self._refresh_carriers(vni, {*self.topology.members(vni), *self._cursors(vni)})
        for key in self.topology.vms_in(vni):
            self._refresh_service_at(self.topology.vms[key].host, *key)
        if vni not in self.topology.networks:
            gone = self.tables.pop(vni, None)
            if gone is not None:
                self._outlive(gone)
            for key in list(self.topology.learned_in(vni)):
                self.apply(Remove(LearnedMac, key))

    def _ips_of(self, keys: Iterable[MacKey]) -> set[int]:
        ips: set[int] = set()
        for key in keys:
            vm = self.topology.vms.get(key)
            learned = self.topology.learned.get(key)
            ips.update(vm.ips if vm is not None else ())
            ips.update(ip for ip, _seen_s in (learned.ips if learned is not None else ()))
        return ips

    def _host_changed(self, was: Fact | None, now: Fact | None) -> None:
        dpid = next(fact.dpid for fact in (was, now) if isinstance(fact, Host))
        before, after = (fact.vtep if isinstance(fact, Host) else None for fact in (was, now))
        vtep_moved = before != after or was is None or now is None
        if vtep_moved:
            for key in (*self.topology.vms_on(dpid), *self.topology.learned_on(dpid)):
                self._touch_mac(*key)
            moved = {vtep for vtep in (before, after) if vtep is not None}
            for vtep in moved:
                self._refresh_host_vtep(vtep)
            for vni in self.topology.networks_on(dpid):
                self._forget_floods(vni)
                self._floods_due.add(vni)
            for replica in self.replicas.values():
                if replica.dpid == dpid:
                    continue
                if not replica.egress.plain:
                    if self._concerns(moved, replica):
                        self._refresh_vteps(replica, moved)
                    continue
                for vtep in moved & self.topology.vteps.keys():
                    self._refresh_vtep(replica, vtep)
                    self.woken.add(replica.dpid)
        own = self.replicas.get(dpid)
        if own is not None:
            self.refresh_bridge(own)

    def _cursors(self, vni: int) -> AbstractSet[int]:
        """The dpids of the switches that follow a network's table."""
        table = self.tables.get(vni)
        return frozenset() if table is None else table.cursors.keys()

    def _touch_mac(self, vni: int, mac: int, *, renew: bool = False) -> None:
        network = self.topology.networks.get(vni)
        recipe = None if network is None else mac_recipe(self.topology, network, mac)
        self._put(vni, network, ("mac", mac), recipe, renew=renew)

    def _touch_ips(self, vni: int, ips: Iterable[int], *, renew: bool = False) -> None:
        network = self.topology.networks.get(vni)
        for ip in ips:
            recipe = None if network is None else ip_recipe(self.topology, network, ip)
            self._put(vni, network, ("ip", ip), recipe, renew=renew)

    def _put(
        self,
        vni: int,
        network: Network | None,
        key: tuple[str, int],
        recipe: Recipe | None,
        *,
        renew: bool,
    ) -> None:
        table = self.tables.get(vni)
        if table is None:
            return
        unit: Unit | None = None
        if network is not None and network.mode == "reactive":
            self._revise(network, key, recipe)
            if recipe is not None:
                unit = Unit.of(_without_conversations(recipe.flows(network, self.timing)))
        elif network is not None and recipe is not None:
            unit = self._cast(network, recipe)
        if table.put(key, unit, renew=renew):
            self._moved.add(vni)

    def _cast(self, network: Network, recipe: Recipe) -> Unit:
        """The unit's bytes, poured into the mold of its shape."""
        owner, shape, values = recipe
        molds = self._molds.get(network.vni)
        if molds is None:
            molds = self._molds[network.vni] = {}
        pair = molds.get(shape)
        if pair is None:
            pair = molds[shape] = self._mold(network, recipe)
        remote, local = pair
        if not local:
            return Unit(owner, remote.pour(values))
        return Unit(owner, remote.pour(values), b"".join(values), local)

    def _mold(self, network: Network, recipe: Recipe) -> _Molds:
        """The remote and the local mold of a shape; the same as before where they are equal."""
        make = maker(network, self.timing, recipe.shape)
        widths = tuple(map(len, recipe.values))
        pair = (
            Mold(lambda *values: make(*values)[0], *widths),
            Mold(lambda *values: make(*values)[1], *widths),
        )
        old = self._old_molds.get(network.vni, {}).get(recipe.shape)
        return old if old == pair and old is not None else pair

    def _followers(self, vni: int) -> list[Replica]:
        """The connected switches that follow a network's table."""
        return [self.replicas[dpid] for dpid in self._cursors(vni)]

    # Conversations of reactive networks

    def converse(self, replica: Replica, vni: int, what: str, value: int) -> bool:
        """Have a host hold the flows towards a MAC or IP; False if nothing is known of it."""
        network = self.topology.networks.get(vni)
        if network is None or network.mode != "reactive" or vni not in replica.tables:
            return False
        recipe = mac_recipe if what == "mac" else ip_recipe
        flows = self._conversation(replica, network, recipe(self.topology, network, value))
        if not flows:
            return False
        replica.converse((vni, what, value), flows)
        self.woken.add(replica.dpid)
        return True

    def _revise(self, network: Network, key: tuple[str, int], recipe: Recipe | None) -> None:
        """What is known of a MAC or IP changed: the conversations with it follow."""
        talk = (int(network.vni), *key)
        for replica in self._followers(network.vni):
            if replica.talks(talk):
                replica.revise(talk, self._conversation(replica, network, recipe))
                self.woken.add(replica.dpid)

    def _conversation(
        self, replica: Replica, network: Network, recipe: Recipe | None
    ) -> tuple[Flow, ...]:
        if recipe is None:
            return ()
        return conversation(recipe.flows(network, self.timing), replica.dpid)

    # A bridge's private table

    def refresh_bridge(self, replica: Replica) -> None:
        """Recompute all that is this bridge's own."""
        bridge = replica.bridge
        egress = replica.egress = Egress.of(self.topology, bridge)
        private = replica.private
        private.put("base", _base_unit(bridge.meters))
        private.put("ports", Unit.private(port_flows(self.topology, bridge, egress)))
        private.put("flow port", Unit.private(flow_port_flows(egress)))
        self._follow_vteps(replica)
        vteps = {vtep.ip for vtep in self.topology.vteps.values()} | set(map(VtepIp, egress.peers))
        known = {key[1] for key in private.units if isinstance(key, tuple) and key[0] == "vtep"}
        for vtep in vteps | known:
            self._refresh_vtep(replica, vtep)
        followed = {vni for vni in replica.tables if vni >= 0}
        for vni in {*self.topology.networks_on(replica.dpid), *followed}:
            self._refresh_network(replica, vni)
        for key in self._served_on(replica):
            self._refresh_service(replica, *key)
        self.woken.add(replica.dpid)

    def _served_on(self, replica: Replica) -> set[MacKey]:
        """The VMs on a host that may have flows of their own there, or have some."""
        topology = self.topology
        served = {
            key[1:] for key in replica.private.units if isinstance(key, tuple) and key[0] == "vm"
        }
        if topology.vips or any(network.dhcp for network in topology.networks.values()):
            served |= set(topology.vms_on(replica.dpid))
        return served

    def _concerns(self, moved: set[VtepIp], replica: Replica) -> bool:
        """Whether it matters to a bridge's ports which hosts are at these VTEPs.

        When many hosts come at once, each would otherwise have every other one computed anew.
        """
        return bool(moved) and (
            bool(self.topology.vteps)
            or not moved.isdisjoint(replica.egress.remotes)
            or any(("vtep", vtep) in replica.private.units for vtep in moved)
        )

    def _refresh_vteps(self, replica: Replica, vteps: set[VtepIp]) -> None:
        egress = replica.egress = Egress.of(self.topology, replica.bridge)
        if replica.private.put("flow port", Unit.private(flow_port_flows(egress))):
            self.refresh_bridge(replica)
            return
        self._follow_vteps(replica)
        flows = port_flows(self.topology, replica.bridge, egress)
        replica.private.put("ports", Unit.private(flows))
        # Which port leads to a foreign VTEP follows from where the others lead.
        for vtep in vteps | {VtepIp(vtep) for vtep in self.topology.vteps}:
            self._refresh_vtep(replica, vtep)
        for vni in [vni for vni in replica.tables if vni >= 0]:
            self._refresh_network(replica, vni)

    def _refresh_vtep(self, replica: Replica, vtep: VtepIp) -> None:
        host = self.topology.host_at(vtep)
        unit = None
        if host is None or host.dpid != replica.dpid:
            unit = Unit.private(vtep_flows(self.topology, replica.bridge, replica.egress, vtep))
        replica.private.put(("vtep", vtep), unit)

    def _follow_vteps(self, replica: Replica) -> None:
        """The hosts that may send through flow-based ports: one table for those ports' numbers."""
        ports = tuple(replica.egress.flow_ports)
        key = None
        if ports:
            key = self._vtep_tables.get(ports)
            if key is None:
                key = self._vtep_tables[ports] = next(self._vtep_keys)
        for other in [vni for vni in replica.tables if vni <= FIRST_VTEPS and vni != key]:
            replica.unfollow(other)
        self._drop_unused_vtep_tables(key)
        if key is None:
            return
        table = self.tables.get(key)
        if table is None:
            table = self.tables[key] = FlowTable()
            for host in self.topology.hosts.values():
                if host.vtep is not None:
                    self._put_host_vtep(table, ports, host.vtep)
        replica.follow(key, table)

    def _drop_unused_vtep_tables(self, wanted: int | None) -> None:
        for ports, key in list(self._vtep_tables.items()):
            if key != wanted and not self._cursors(key):
                del self._vtep_tables[ports], self.tables[key]
                self._floods.clear()

    def _refresh_host_vtep(self, vtep: VtepIp) -> None:
        for ports, key in self._vtep_tables.items():
            self._put_host_vtep(self.tables[key], ports, vtep)
            self._moved.add(key)

    def _put_host_vtep(self, table: FlowTable, ports: tuple[int, ...], vtep: VtepIp) -> None:
        host = self.topology.host_at(vtep)
        unit = None
        if host is not None:
            unit = Unit.of(UnitFlows(host.dpid, host_vtep_flows(vtep, ports)))
        table.put(("vtep", vtep), unit)

    def _refresh_carriers(self, vni: int, dpids: AbstractSet[int]) -> None:
        """These hosts carry a network now, or no longer, or it has changed."""
        for dpid in dpids & self.replicas.keys():
            self._refresh_network(self.replicas[dpid], vni)
            self._refresh_foreign(self.replicas[dpid], vni)

    def _refresh_foreign(self, replica: Replica, vni: int) -> None:
        for vtep in self.topology.foreign_in(vni):
            self._refresh_vtep(replica, vtep)

    def _refresh_service_at(self, place: Location, vni: int, mac: int) -> None:
        replica = self.replicas.get(place)
        if replica is not None:
            self._refresh_service(replica, vni, mac)

    def _refresh_service(self, replica: Replica, vni: int, mac: int) -> None:
        network = self.topology.networks.get(vni)
        vm = self.topology.vms.get((vni, mac))
        unit = None
        if network is not None and vm is not None and vm.host == replica.dpid:
            unit = Unit.private(service_flows(self.topology, replica.bridge, network, vm))
        if replica.private.put(("vm", vni, mac), unit):
            self.woken.add(replica.dpid)

    def _refresh_network(self, replica: Replica, vni: int) -> None:
        network = self.topology.networks.get(vni)
        private = replica.private
        if network is None or not self.topology.is_member(replica.dpid, vni):
            private.put(("net", vni), None)
            private.put_group(group_id(vni), None)
            replica.unfollow(vni)
            self._end_conversations(replica, vni)
        else:
            private.put(("net", vni), self._network_unit(replica, network))
            self._refresh_flood(replica, vni)
            replica.follow(vni, self.tables[vni])
            if network.mode == "proactive":
                self._end_conversations(replica, vni)
        self.woken.add(replica.dpid)

    def _network_unit(self, replica: Replica, network: Network) -> Unit:
        """A network's own flows on a bridge: the same on all that have one flow-based port."""
        bridge, egress = replica.bridge, replica.egress
        if not egress.plain:
            return Unit.private(network_flows(bridge, egress, network))
        units = self._network_units.setdefault(int(network.vni), {})
        key = (bridge.patch_port, bridge.meters, bridge.nd)
        unit = units.get(key)
        if unit is None:
            unit = units[key] = Unit.private(network_flows(bridge, egress, network))
        return unit

    def _refresh_flood(self, replica: Replica, vni: int) -> None:
        network = self.topology.networks.get(vni)
        if network is not None and self.topology.is_member(replica.dpid, vni):
            replica.private.put_group(group_id(vni), self._buckets(replica, network))
            self.woken.add(replica.dpid)

    def _buckets(self, replica: Replica, network: Network) -> bytes:
        egress = replica.egress
        if egress.flow_port is None or not egress.plain:
            group = flood_group(self.topology, replica.bridge, egress, network)
            return encode.encode_buckets(group)
        key = (int(network.vni), egress.flow_port)
        shared = self._floods.get(key)
        if shared is None:
            shared = self._floods[key] = SharedFlood(self.topology, network, egress.flow_port)
        host = self.topology.hosts.get(replica.dpid)
        return shared.without(None if host is None else host.vtep)

    def _forget_floods(self, vni: int) -> None:
        for port in {ports[0] for ports in self._vtep_tables}:
            self._floods.pop((vni, port), None)

    def _end_conversations(self, replica: Replica, vni: int) -> None:
        for key in replica.conversations(vni):
            replica.hang_up(key)


def _without_conversations(flows: UnitFlows) -> UnitFlows:
    """What every host of a reactive network holds of a fact: not how to reach it."""
    heard = tuple(flow for flow in flows.remote if flow.table == Table.FROM_TUNNEL)
    return UnitFlows(flows.owner, heard, flows.local)


@lru_cache(maxsize=2)
def _base_unit(metered: bool) -> Unit:
    return Unit.private((*base_flows(metered), probe_flow(metered)))
