"""Hosts with real Open vSwitch on one machine, as the seeds draw them.

    from topology.lab import Lab

    with Lab(hosts=3, tunnels="peer", vtep_ofports=5) as lab:
        lab.seed_flows()
        lab.warm_underlay()
        with lab.capture() as cap:
            assert lab.vms[0].ping(lab.vms[1].ip).ok
        print(len(cap.arp_requests()), "broadcast ARP requests on the underlay")

Needs root, Open vSwitch, iproute2, ethtool, ping, tcpdump and busybox; of Open vSwitch no kernel
module.
"""

from topology.lab.capture import Capture
from topology.lab.controller import Controller
from topology.lab.dhcp import DhcpResult
from topology.lab.dissect import Frame
from topology.lab.errors import LabError
from topology.lab.fabric import Fabric
from topology.lab.host import LabHost
from topology.lab.kernel_vtep import KernelVtep
from topology.lab.lab import Lab
from topology.lab.ping import Ping, PingResult
from topology.lab.rest import Answer, RestClient
from topology.lab.station import Station
from topology.lab.vm import VmNs

__all__ = [
    "Answer",
    "Capture",
    "Controller",
    "DhcpResult",
    "Fabric",
    "Frame",
    "KernelVtep",
    "Lab",
    "LabError",
    "LabHost",
    "Ping",
    "PingResult",
    "RestClient",
    "Station",
    "VmNs",
]
