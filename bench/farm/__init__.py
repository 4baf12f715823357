"""A farm of fake OpenFlow 1.3 switches: up to 1,000 in one process of their own.

    with Farm() as farm:
        farm.start(port, switches=100)
        farm.wait_connected()
        farm.storm(vni=100, each=50)

It speaks what vxlan-l2 needs of a switch: handshake, ports, echo, barriers, flow-mods alone and in
bundles, groups, meters, dumps; and it sends packet-ins. It forwards nothing, no timeout runs, and
it takes every flow-mod for good.
"""

from bench.farm.client import Counters, Farm, FarmError, Storm

__all__ = ["Counters", "Farm", "FarmError", "Storm"]
