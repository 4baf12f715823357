"""From facts to tables: the units that a change of the facts touches, and no others.

Every unit is recomputed from the facts as they are now (desired.py, bridges.py) and put in the
place of the one with its key; tables log only what differs.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.bridges import (
    Egress,
    base_flows,
    flood_group,
    flow_port_flows,
    network_flows,
    port_flows,
    probe_flow,
    vtep_flows,
)
from controller.desired import Timing, group_id, ip_unit, mac_unit
from controller.learning import Ages
from controller.replica import PRIVATE, Replica
from controller.tables import FlowTable, Unit
from controller.wire import encode
from topology.model import (
    Change,
    Delta,
    Host,
    LearnedMac,
    MacKey,
    Network,
    Remove,
    Topology,
    Vm,
)
from topology.types import VtepIp


class Derivation:
    """The facts, the tables that follow from them, and who is to be woken for it.

    ``replicas`` are the connected switches, by dpid; ``woken`` collects those whose tables moved.
    """

    def __init__(self, timing: Timing) -> None:
        self.timing = timing
        self.topology = Topology()
        self.tables: dict[int, FlowTable] = {0: FlowTable()}
        self.replicas: dict[int, Replica] = {}
        self.ages = Ages(timing.learn_s)
        self.woken: set[int] = set()

    def apply(self, change: Change) -> None:
        """Take one change of the facts, and put what follows from it into the tables."""
        delta = self.topology.apply(change)
        if delta.before == delta.after:
            return
        for fact in (delta.after, delta.before):
            match fact:
                case Vm():
                    self._vm_changed(delta)
                case LearnedMac():
                    self._learned_changed(delta)
                case Network():
                    self._network_changed(fact.vni)
                case Host():
                    self._host_changed(delta, fact.dpid)
                case _:
                    continue
            return

    def _vm_changed(self, delta: Delta) -> None:
        vms = [fact for fact in (delta.before, delta.after) if isinstance(fact, Vm)]
        vni, mac = vms[0].key
        if delta.after is not None and (vni, mac) in self.topology.learned:
            self.apply(Remove(LearnedMac, (vni, mac)))
        hosts = {int(vm.host) for vm in vms}
        self._touch_mac(vni, mac)
        self._touch_ips(vni, {int(ip) for vm in vms for ip in vm.ips})
        network = self.topology.networks.get(vni)
        if network is not None and not network.everywhere:
            self._membership_changed(vni, hosts)

    def _learned_changed(self, delta: Delta) -> None:
        facts = [fact for fact in (delta.before, delta.after) if isinstance(fact, LearnedMac)]
        vni, mac = facts[0].key
        renew = len(facts) == 2 and facts[0].host == facts[1].host
        renew = renew and facts[1].seen_s > facts[0].seen_s
        self._touch_mac(vni, mac, renew=renew)
        self._touch_ips(vni, {int(ip) for fact in facts for ip, _seen_s in fact.ips}, renew=renew)
        if isinstance(delta.after, LearnedMac):
            self.ages.note(delta.after)

    def _network_changed(self, vni: int) -> None:
        if vni in self.topology.networks:
            self.tables.setdefault(vni, FlowTable())
            keys: set[MacKey] = {*self.topology.vms_in(vni), *self.topology.learned_in(vni)}
            for key in keys:
                self._touch_mac(*key)
            self._touch_ips(vni, self._ips_of(keys))
        for replica in self.replicas.values():
            self._refresh_network(replica, vni)
        if vni not in self.topology.networks:
            self.tables.pop(vni, None)

    def _ips_of(self, keys: Iterable[MacKey]) -> set[int]:
        ips: set[int] = set()
        for key in keys:
            vm = self.topology.vms.get(key)
            learned = self.topology.learned.get(key)
            ips.update(vm.ips if vm is not None else ())
            ips.update(ip for ip, _seen_s in (learned.ips if learned is not None else ()))
        return ips

    def _host_changed(self, delta: Delta, dpid: int) -> None:
        before, after = (
            fact.vtep if isinstance(fact, Host) else None for fact in (delta.before, delta.after)
        )
        vtep_moved = before != after or delta.before is None or delta.after is None
        if vtep_moved:
            for key in (*self.topology.vms_on(dpid), *self.topology.learned_on(dpid)):
                self._touch_mac(*key)
        own = self.replicas.get(dpid)
        if own is not None:
            self.refresh_bridge(own)
        if not vtep_moved:
            return
        for replica in self.replicas.values():
            if replica is not own:
                self._refresh_vteps(replica, {v for v in (before, after) if v is not None})

    def _membership_changed(self, vni: int, dpids: Iterable[int]) -> None:
        changed = set(dpids)
        for dpid, replica in self.replicas.items():
            if dpid in changed or vni in replica.tables:
                self._refresh_network(replica, vni)

    def _touch_mac(self, vni: int, mac: int, *, renew: bool = False) -> None:
        flows = mac_unit(self.topology, vni, mac, self.timing)
        unit = None if flows is None else Unit.of(flows)
        self._put(vni, ("mac", mac), unit, renew=renew)

    def _touch_ips(self, vni: int, ips: Iterable[int], *, renew: bool = False) -> None:
        for ip in ips:
            flows = ip_unit(self.topology, vni, ip, self.timing)
            unit = None if flows is None else Unit.of(flows)
            self._put(vni, ("ip", ip), unit, renew=renew)

    def _put(self, vni: int, key: tuple[str, int], unit: Unit | None, *, renew: bool) -> None:
        table = self.tables.get(vni)
        if table is not None and table.put(key, unit, renew=renew):
            for dpid, replica in self.replicas.items():
                if vni in replica.tables:
                    self.woken.add(dpid)

    # A bridge's private table

    def refresh_bridge(self, replica: Replica) -> None:
        """Recompute all that is this bridge's own."""
        bridge = replica.bridge
        egress = Egress.of(self.topology, bridge)
        private = replica.private
        private.put("base", Unit.private((*base_flows(), probe_flow(bridge.meters))))
        private.put("ports", Unit.private(port_flows(bridge, egress)))
        private.put("flow port", Unit.private(flow_port_flows(egress)))
        vteps = {host.vtep for host in self.topology.hosts.values() if host.vtep is not None}
        known = {key[1] for key in private.units if isinstance(key, tuple) and key[0] == "vtep"}
        for vtep in vteps | known:
            self._refresh_vtep(replica, egress, vtep)
        for vni in {*self.topology.networks, *replica.tables} - {PRIVATE}:
            self._refresh_network(replica, vni, egress)
        self.woken.add(replica.dpid)

    def _refresh_vteps(self, replica: Replica, vteps: set[VtepIp]) -> None:
        egress = Egress.of(self.topology, replica.bridge)
        replica.private.put("ports", Unit.private(port_flows(replica.bridge, egress)))
        for vtep in vteps:
            self._refresh_vtep(replica, egress, vtep)
        for vni in set(replica.tables) - {PRIVATE}:
            self._refresh_network(replica, vni, egress)

    def _refresh_vtep(self, replica: Replica, egress: Egress, vtep: VtepIp) -> None:
        host = self.topology.host_at(vtep)
        unit = None
        if host is not None and host.dpid != replica.dpid:
            unit = Unit.private(vtep_flows(replica.bridge, egress, vtep))
        replica.private.put(("vtep", vtep), unit)

    def _refresh_network(self, replica: Replica, vni: int, egress: Egress | None = None) -> None:
        network = self.topology.networks.get(vni)
        private = replica.private
        if network is None or not self.topology.is_member(replica.dpid, vni):
            private.put(("net", vni), None)
            private.put_group(group_id(vni), None)
            replica.unfollow(vni)
        else:
            egress = egress or Egress.of(self.topology, replica.bridge)
            flows = network_flows(replica.bridge, egress, network)
            private.put(("net", vni), Unit.private(flows))
            group = flood_group(self.topology, replica.bridge, egress, network)
            private.put_group(group.group_id, encode.encode_buckets(group))
            replica.follow(vni, self.tables[vni])
        self.woken.add(replica.dpid)
