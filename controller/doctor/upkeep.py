"""The controller itself: its store, its limits, names."""

from __future__ import annotations

from controller.doctor.evidence import Evidence
from controller.doctor.findings import RECENT_S, Findings, ago, error, named, warning

FREE_MIN_BYTES, FREE_LOW_BYTES = 16 << 20, 256 << 20
NEAR_LIMIT = 0.9


@named("learned-limit")
def learned_limit(evidence: Evidence) -> Findings:
    """Learned MACs are far from their limits."""
    topology = evidence.topology
    of_host, of_network = evidence.learn_limits
    counts = [
        (host.called, len(topology.learned_on(host.dpid)), of_host, "learn_limit_host")
        for host in evidence.connected
    ]
    counts += [
        (evidence.network(vni), len(topology.learned_in(vni)), of_network, "learn_limit_network")
        for vni in topology.networks
    ]
    for what, count, limit, option in counts:
        if count >= limit * NEAR_LIMIT:
            yield warning(
                what,
                f"{count} MACs are learned on {what}; at {limit} the stalest are forgotten"
                f" (option {option})",
                "many VMs that are not registered, or one that makes MACs up",
                "vxlanctl learned",
            )


@named("packet-ins")
def packet_ins(evidence: Evidence) -> Findings:
    """No host shows the controller more frames than are taken of one host."""
    for host in evidence.connected:
        if host.shed is None or evidence.now_s - host.shed[0] > RECENT_S:
            continue
        last_s, count, who = host.shed
        yield warning(
            host.called,
            f"{host.called} sent too many packet-ins, the last {ago(evidence.now_s - last_s)} ago:"
            f" {count} were shed so far, {who}",
            "a VM there floods, or makes MACs up, or there is a loop behind br-int; new MACs of"
            " that host are learned late, those known and all other hosts' are not concerned",
            "ovs-appctl fdb/show br-int; ovs-vsctl --columns=name,statistics list interface",
        )


@named("names")
def names(evidence: Evidence) -> Findings:
    """Every name means one thing."""
    topology = evidence.topology
    for host in evidence.hosts:
        same = [] if host.name is None else topology.hosts_named(host.name)
        if len(same) > 1 and same[0].dpid == host.dpid:
            others = ", ".join(str(one.dpid) for one in same[1:])
            yield warning(
                host.name,
                f"{host.name!r} is the name of {host.dpid} and of {others}",
                "where the name is used, the first of them is meant",
                f"vxlanctl host declare {same[1].dpid} --name {host.name}-2",
            )


@named("store")
def store(evidence: Evidence) -> Findings:
    """The store takes writes, and there is room."""
    store, free = evidence.store, evidence.store.free_bytes
    if store.trouble is not None:
        yield error(
            None, "the last write was refused by the store", store.trouble, "df -h && df -i"
        )
    if store.stalled_s is not None:
        yield error(
            None,
            f"a write has not come back from the store for {store.stalled_s:.0f} s",
            f"the disk of {store.described} hangs; what is written meanwhile is refused",
            "dmesg | tail -n 30",
        )
    if free is not None and free < FREE_LOW_BYTES:
        make = error if free < FREE_MIN_BYTES else warning
        yield make(
            None,
            f"{free >> 20} MiB are left where the store is",
            f"{store.described} shares a nearly full file system; without room writes are refused",
            "df -h",
        )
