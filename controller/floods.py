"""Flood groups: where a network's broadcasts go from one host."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate

from controller.bridges import Bridge, Egress
from controller.flow import Action, Bucket, Field, FloodGroup, Output, PopVlan, SetField
from controller.terms import group_id
from controller.wire.encode import encode_actions, encode_buckets
from topology.model import Network, Topology
from topology.types import VtepIp


def flood_group(topology: Topology, bridge: Bridge, egress: Egress, network: Network) -> FloodGroup:
    """One bucket for each VTEP of the network, and unproven ports while they are trusted."""
    ways: dict[tuple[Action, ...], None] = {}
    own = topology.hosts.get(bridge.dpid)
    for vtep in _vteps_of(topology, bridge, network):
        if own is not None and vtep == own.vtep:
            continue
        port = egress.peers.get(vtep)
        if port is not None:
            if egress.carries(port, network.vni):
                # What leads to a foreign VTEP was not probed: it may be flow-based.
                to = (SetField(Field.TUN_DST, vtep.low32),) if vtep in topology.vteps else ()
                ways[*to, Output(port)] = None
        elif egress.flow_port is not None and egress.carries(egress.flow_port, network.vni):
            ways[SetField(Field.TUN_DST, vtep.low32), Output(egress.flow_port)] = None
    reached = egress.flow_port is not None and (ways or not egress.presumed)
    if network.vni == 0 and bridge.trusting and not reached:
        for port in egress.unproven:
            ways[Output(port),] = None
    # An untagged network's buckets pop too, which does nothing: groups change before flows do, and
    # a network that is on a VLAN until then must not send its tag.
    buckets = (Bucket((PopVlan(), *way)) for way in sorted(ways, key=encode_actions))
    return FloodGroup(group_id(network.vni), tuple(buckets))


def _vteps_of(topology: Topology, bridge: Bridge, network: Network) -> Iterator[VtepIp]:
    """The VTEPs of a network's other hosts, and its foreign ones."""
    yield from (vtep for dpid, vtep in _member_vteps(topology, network) if dpid != bridge.dpid)
    yield from topology.foreign_in(network.vni)


def _member_vteps(topology: Topology, network: Network) -> Iterator[tuple[int, VtepIp]]:
    for dpid in topology.members(network.vni):
        host = topology.hosts.get(dpid)
        vtep = None if host is None else host.vtep
        if vtep is not None:
            yield dpid, vtep


class SharedFlood:
    """A network's flood group for all hosts that have one flow-based port, on the same number.

    They differ in their own bucket only, which each leaves out: as flood_group says, bucket by
    bucket.
    """

    __slots__ = ("_joined", "_spans")

    def __init__(self, topology: Topology, network: Network, flow_port: int) -> None:
        vteps = {vtep for _dpid, vtep in _member_vteps(topology, network)}
        buckets = [
            (vtep, _bucket(vtep, flow_port))
            for vtep in sorted(vteps | set(topology.foreign_in(network.vni)))
        ]
        ends = list(accumulate(len(bucket) for _vtep, bucket in buckets))
        self._joined = b"".join([bucket for _vtep, bucket in buckets])
        self._spans = {
            vtep: (end - len(bucket), end)
            for (vtep, bucket), end in zip(buckets, ends, strict=True)
        }

    def without(self, vtep: VtepIp | None) -> bytes:
        """The buckets for the host at this VTEP."""
        start, end = self._spans.get(vtep, (0, 0)) if vtep is not None else (0, 0)
        return self._joined[:start] + self._joined[end:]


@lru_cache(maxsize=4096)
def _bucket(vtep: VtepIp, flow_port: int) -> bytes:
    actions = (PopVlan(), SetField(Field.TUN_DST, vtep.low32), Output(flow_port))
    return encode_buckets(FloodGroup(0, (Bucket(actions),)))
