"""Facts as a user reads them."""

from __future__ import annotations

from controller.api import shapes
from controller.service import FlowView, HostStatus
from topology.model import Host, LearnedMac, Network, Topology, Vip, Vm, Vtep
from topology.types import Dpid, Foreign


def show_vm(vm: Vm) -> shapes.Vm:
    return {
        "mac": str(vm.mac),
        "vni": int(vm.vni),
        "host": str(vm.host),
        "ips": [str(ip) for ip in vm.ips],
        "name": vm.name,
        "respond": vm.respond,
    }


def show_network(network: Network) -> shapes.Network:
    return {
        "vni": int(network.vni),
        "name": network.name,
        "vlan": None if network.vlan is None else int(network.vlan),
        "unknown_unicast": network.unknown_unicast,
        "arp_responder": network.arp_responder,
        "learning": network.learning,
        "port_security": network.port_security,
        "subnets": [str(subnet) for subnet in network.subnets],
        "unknown_arp": network.unknown_arp,
        "multicast": network.multicast,
        "quiet": network.quiet,
        "mode": network.mode,
        "hosts": "all" if network.hosts == "all" else [str(dpid) for dpid in network.hosts],
        "follow_moves": network.follow_moves,
        "dhcp": network.dhcp,
        "gateway": None if network.gateway is None else str(network.gateway),
        "dns": [str(ip) for ip in network.dns],
        "mtu": network.mtu_bytes,
        "lease_s": network.lease_s,
    }


def show_host(host: Host, status: HostStatus, vms: int) -> shapes.Host:
    return {
        "dpid": str(host.dpid),
        "name": host.name,
        "vtep": None if host.vtep is None else str(host.vtep),
        "connected": status.connected,
        "state": status.state,
        "reason": status.reason,
        "address": status.address,
        "certificate": None if host.certificate is None else str(host.certificate),
        "certificate_seen": None if status.certificate is None else str(status.certificate),
        "tunnel_ports": [
            {"port": port.port, "name": port.name, "remote": port.remote}
            for port in status.tunnel_ports
        ],
        "vms": vms,
        "flows": status.flows,
        "nd_responder": status.nd_responder,
        "flow_monitor": status.flow_monitor,
        "shed": status.shed,
    }


def show_learned(entry: LearnedMac, now_s: float, timeout_s: float) -> shapes.LearnedMac:
    age_s = max(0.0, now_s - entry.seen_s)
    shown: shapes.LearnedMac = {
        "vni": int(entry.vni),
        "mac": str(entry.mac),
        "ips": [str(ip) for ip, _seen_s in sorted(entry.ips)],
        "generation": entry.generation,
        "age_s": round(age_s, 3),
        "expires_in_s": round(max(0.0, timeout_s - age_s), 3),
    }
    shown["vtep" if isinstance(entry.host, Foreign) else "host"] = str(entry.host)
    return shown


def show_vtep(vtep: Vtep, vms: int, learned: int) -> shapes.Vtep:
    return {
        "vtep": str(vtep.ip),
        "name": vtep.name,
        "vnis": [int(vni) for vni in vtep.vnis],
        "learning": vtep.learning,
        "vms": vms,
        "learned": learned,
    }


def show_vip(vip: Vip) -> shapes.Vip:
    return {
        "vni": int(vip.vni),
        "ip": str(vip.ip),
        "macs": [str(mac) for mac in vip.macs],
        "name": vip.name,
        "holder": None if vip.holder is None else str(vip.holder),
    }


def show_flow(flow: FlowView) -> shapes.Flow:
    return {
        "cookie": flow.cookie,
        "table": flow.table,
        "priority": flow.priority,
        "match": flow.match,
        "actions": flow.actions,
        "why": flow.why,
    }


def show_place(topology: Topology, dpid: int) -> shapes.NamedHost:
    host = topology.hosts.get(Dpid(dpid))
    return {"host": str(Dpid(dpid)), "host_name": None if host is None else host.name}
