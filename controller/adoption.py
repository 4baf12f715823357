"""What a restarted controller learns back from the flows that its switches still hold."""

from __future__ import annotations

from collections.abc import Iterable

from controller import learning
from controller.derivation import Derivation
from controller.flow import Field
from controller.packets import PacketIns
from controller.pipeline import SOURCE_KINDS, Table, cookie_kind
from controller.replica import Replica
from controller.sources import learned_binding, learned_source
from controller.wire import decode, encode
from topology.model import MacKey
from topology.types import Ip, Location, Mac, Vlan


class Adoption:
    """Takes in the flows of soft facts that nobody here knows of any more."""

    def __init__(self, derivation: Derivation, packets: PacketIns) -> None:
        self._derivation = derivation
        self._topology = derivation.topology
        self._packets = packets

    def adopt(self, replica: Replica, left: Iterable[decode.FlowEntry], now_s: float) -> None:
        """Learn back, from its own flows, what a host had taught before this controller started.

        And take the conversations of reactive networks up again that it was holding.
        """
        heard: dict[tuple[MacKey, Location], tuple[float, dict[Ip, float]]] = {}
        talks: list[tuple[int, str, int]] = []
        for entry in left:
            if cookie_kind(entry.cookie) is None or not entry.raw:
                continue
            fields = decode.entry_match(entry)
            if cookie_kind(entry.cookie) in SOURCE_KINDS:
                self._recall(replica, entry, fields, heard, now_s)
            elif entry.idle_timeout_s:
                talks += _conversation_of(entry, fields)
        for ((vni, mac), place), (seen_s, ips) in heard.items():
            known = learning.recall(self._topology, vni, mac, place, seen_s, ips)
            if known is not None:
                self._packets.remember(known)
        for talk in talks:
            self._derivation.converse(replica, *talk)

    def _recall(
        self,
        replica: Replica,
        entry: decode.FlowEntry,
        fields: dict[Field, int],
        heard: dict[tuple[MacKey, Location], tuple[float, dict[Ip, float]]],
        now_s: float,
    ) -> None:
        vni, place = self._vni_on(fields.get(Field.VLAN_VID, 0) & 0xFFF), replica.dpid
        where: Location = place
        if Field.TUN_SRC in fields:
            vtep = self._topology.vteps.get(Ip.v4(fields[Field.TUN_SRC]))
            if vtep is None:
                return
            vni, where = fields.get(Field.TUN_ID), vtep.location
        mac = fields.get(Field.ETH_SRC, 0)
        if vni is None or not Mac(mac).is_station:
            return
        spoken = [Ip(fields[name]) for name in (Field.IPV6_SRC, Field.ND_TARGET) if name in fields]
        if Field.ARP_SPA in fields:
            spoken.append(Ip.v4(fields[Field.ARP_SPA]))
        if where == place and not self._is_current(vni, mac, spoken, entry.cookie):
            return
        seen_s = now_s - entry.duration_s
        best_s, ips = heard.setdefault(((vni, mac), where), (seen_s, {}))
        ips.update(dict.fromkeys(spoken, seen_s))
        heard[(vni, mac), where] = (max(best_s, seen_s), ips)

    def _is_current(self, vni: int, mac: int, ips: list[Ip], cookie: int) -> bool:
        """Whether a learned source's flow is as it would be now: not of another network's time.

        It matches on a local VLAN, which may carry another network since.
        """
        network = self._topology.networks[vni]
        flows = learned_source(network, mac, self._derivation.timing)
        for ip in ips:
            flows += learned_binding(network, mac, ip, self._derivation.timing)
        return any(encode.cookie_of(encode.encode_flow(flow)) == cookie for flow in flows)

    def _vni_on(self, vlan: int) -> int | None:
        wanted = Vlan(vlan) if vlan else None
        for network in self._topology.networks.values():
            if network.vlan == wanted:
                return network.vni
        return None


def _conversation_of(
    entry: decode.FlowEntry, fields: dict[Field, int]
) -> list[tuple[int, str, int]]:
    """Which conversation a flow of a dump belongs to."""
    vni = fields.get(Field.TUN_ID, -1)
    if entry.table == Table.UNICAST and Field.ETH_DST in fields:
        return [(vni, "mac", fields[Field.ETH_DST])]
    if entry.table == Table.FLOOD and Field.ARP_TPA in fields:
        return [(vni, "ip", Ip.v4(fields[Field.ARP_TPA]))]
    if entry.table in (Table.FLOOD, Table.ND_REPLY) and Field.ND_TARGET in fields:
        return [(vni, "ip", fields[Field.ND_TARGET])]
    return []
