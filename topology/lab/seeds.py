"""The hand-made flows of the seeds: flood, and learn() from what comes back."""

from __future__ import annotations

from collections.abc import Mapping

_LEARN = (
    "learn(table=20,hard_timeout=300,priority=1,NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],"
    "load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],{remember}output:NXM_OF_IN_PORT[])"
)
_REMEMBER_VTEP = "load:NXM_NX_TUN_IPV4_SRC[]->NXM_NX_TUN_IPV4_DST[],"


def seed_flows(patch: int, tunnels: Mapping[int, str | None], peers: list[str]) -> list[str]:
    """Flows in ovs-ofctl syntax.

    `tunnels`: tunnel port number -> its remote_ip, or None for a flow-based port, which then
    floods to every address in `peers` and remembers the VTEP beside the port.
    """
    flow_based = any(remote is None for remote in tunnels.values())
    classify = [f"table=0,priority=1,in_port={port} actions=resubmit(,2)" for port in tunnels]
    flood = ",".join(
        f"output:{port}"
        if remote is not None
        else ",".join(f"set_field:{peer}->tun_dst,output:{port}" for peer in peers)
        for port, remote in tunnels.items()
    )
    learn = _LEARN.format(remember=_REMEMBER_VTEP if flow_based else "")
    return [
        f"table=0,priority=1,in_port={patch} actions=resubmit(,1)",
        *classify,
        "table=0,priority=0,actions=drop",
        "table=1,priority=0,dl_dst=00:00:00:00:00:00/01:00:00:00:00:00,actions=resubmit(,20)",
        "table=1,priority=0,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,actions=resubmit(,21)",
        f"table=2,priority=0,actions={learn},output:{patch}",
        "table=20,priority=0,actions=resubmit(,21)",
        f"table=21,priority=0,actions={flood or 'drop'}",
    ]
