"""`python -m topology.lab up|down|list|exec`: a lab to work in by hand."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from topology.lab import netns
from topology.lab.addressing import Addressing
from topology.lab.capture import OVERLAY
from topology.lab.command import environment, run
from topology.lab.errors import LabError
from topology.lab.host import TUNNEL_TYPES
from topology.lab.lab import Lab
from topology.lab.state import DIRECTORY, LabState, load, load_all
from topology.lab.teardown import take_down

_DEFAULT_NAME = "lab"
_TARGET = re.compile(r"(tcp|ssl):([0-9.]+|\[[0-9a-fA-F:.]+\])(:[0-9]+)?")


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0 done, 1 refused or failed, 2 wrong usage."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _up(args: argparse.Namespace) -> int:
    _check(args.hosts, args.subnet, args.controller)
    if load(args.name) is None:
        _need_free(IPv4Network(args.subnet))
    lab = Lab(
        hosts=args.hosts,
        tunnels=args.tunnels,
        name=args.name,
        tunnel_type=args.tunnel_type,
        key_flow=args.key_flow,
        vtep_ofports=args.vtep_ofports,
        vms=args.vms,
        subnet=args.subnet,
        keep=True,
    ).up()
    try:
        if args.seed_flows:
            lab.seed_flows()
        if args.controller:
            lab.set_controller(args.controller)
        lab.warm_underlay()
        _describe(lab, args.controller)
    except BaseException:
        lab.down()
        raise
    return 0


def _check(hosts: int, subnet: str, controller: str | None) -> None:
    """LabError for what cannot be meant."""
    if hosts < 1:
        raise LabError(f"{hosts} hosts are no lab: HOSTS=1 or more")
    try:
        underlay = IPv4Network(subnet)
        last = IPv4Address(Addressing(underlay, underlay).vtep(hosts - 1))
    except ValueError as error:
        raise LabError(f"--subnet {subnet}: {error}; write it as 192.168.33.0/24") from error
    except IndexError:
        last = underlay.broadcast_address
    if last >= underlay.broadcast_address:
        raise LabError(f"--subnet {subnet} has no room for {hosts} hosts, from its 12th address on")
    if controller is not None and not _TARGET.fullmatch(controller):
        raise LabError(f"--controller {controller}: write it as tcp:192.168.33.1:6653")


def _need_free(subnet: IPv4Network) -> None:
    """LabError where this namespace has an address of that subnet: another lab's, for example."""
    for line in run("ip", "-o", "-4", "addr", "show").splitlines():
        _number, link, _inet, address, *_rest = line.split()
        if IPv4Interface(address).network.overlaps(subnet):
            raise LabError(
                f"{subnet} is in use here: {link} has {address}; take that lab down,"
                " or choose another underlay with --subnet (make: ARGS=--subnet=192.168.34.0/24)"
            )


def _describe(lab: Lab, controller: str | None) -> None:
    print(f"lab {lab.name}: {len(lab.hosts)} hosts, underlay on a {lab.underlay.switch} bridge,")
    print(f"this machine is {lab.controller_ip} on it\n")
    print("host  dpid              VTEP             br-tun ports")
    for host in lab.hosts:
        ports = " ".join(f"{number}({name})" for name, number in host.ports.items())
        print(f"{host.name:<5} {host.dpid}  {host.vtep:<15}  {ports}")
    print("\nVM    host  address        MAC")
    for vm in lab.vms:
        print(f"{vm.name:<5} {vm.host.name:<5} {vm.ip:<14} {vm.mac}")
    inside_checkout = os.path.relpath(sys.executable).startswith(".venv")
    bin_dir = ".venv/bin/" if inside_checkout else ""
    python = f"{bin_dir}python3 -m topology.lab"
    target = controller or f"tcp:{lab.controller_ip}:6653"
    print("\nwhat to type next:")
    if controller is None:
        print(f"  {bin_dir}ryu-manager --ofp-listen-host {lab.controller_ip} apps/vxlan_l2.py")
        for host in lab.hosts:
            env = f"OVS_RUNDIR={host.ovs.rundir}"
            print(f"  {env} ovs-vsctl set-controller br-tun {target}")
    if lab.hosts:
        env = f"OVS_RUNDIR={lab.hosts[0].ovs.rundir}"
        print(f"  {env} ovs-ofctl -O OpenFlow13 dump-flows br-tun")
    if len(lab.vms) > 1:
        print(f"  ip netns exec {lab.vms[0].netns} ping -c3 {lab.vms[1].ip}")
    print(f"  ip netns exec {lab.underlay.netns} tcpdump -n -i any -Q in '{OVERLAY}'")
    print(f"  {python} exec --name {lab.name} h1 ovs-vsctl show")
    print("  make lab-down" if lab.name == _DEFAULT_NAME else f"  {python} down --name {lab.name}")


def _down(args: argparse.Namespace) -> int:
    if args.all:
        states = load_all()
    else:
        found = load(args.name)
        states = [] if found is None else [found]
    for state in states:
        take_down(state)
        print(f"lab {state.name} is gone")
    if not states:
        print(f"no lab to take down in {DIRECTORY}")
    return 0


def _list(args: argparse.Namespace) -> int:
    for state in load_all():
        print(state.name, *(f"{name}={node.netns}" for name, node in state.nodes.items()))
    return 0


def _exec(args: argparse.Namespace) -> int:
    state = _existing(args.name)
    if args.node not in state.nodes:
        raise LabError(f"{args.node}: this lab has {', '.join(state.nodes)}")
    node = state.nodes[args.node]
    env = environment({"OVS_RUNDIR": node.rundir} if node.rundir else None)
    argv = netns.argv_in(node.netns, args.command)
    os.execvpe(argv[0], argv, env)


def _existing(name: str) -> LabState:
    state = load(name)
    if state is None:
        raise LabError(f"there is no lab named {name}: make lab-up")
    return state


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m topology.lab", description=__doc__)
    commands = parser.add_subparsers(required=True)

    up = commands.add_parser("up", help="make a lab that stays")
    up.add_argument("--hosts", type=int, default=3)
    up.add_argument("--tunnels", choices=["peer", "flow"], default="peer")
    up.add_argument("--tunnel-type", choices=TUNNEL_TYPES, default="vxlan")
    up.add_argument("--key-flow", action="store_true", help="flows choose the VNI on peer ports")
    up.add_argument("--name", default=_DEFAULT_NAME)
    up.add_argument("--vtep-ofports", type=int, help="number of the first tunnel port")
    up.add_argument("--vms", choices=["bridge", "namespace", "none"], default="bridge")
    up.add_argument("--subnet", default="192.168.33.0/24", help="of the underlay")
    up.add_argument("--controller", help="such as tcp:192.168.33.1:6653")
    up.add_argument("--seed-flows", action="store_true", help="start with the hand-made flows")
    up.set_defaults(run=_up)

    down = commands.add_parser("down", help="take a lab away")
    down.add_argument("--name", default=_DEFAULT_NAME)
    down.add_argument("--all", action="store_true", help="every lab of this machine")
    down.set_defaults(run=_down)

    show = commands.add_parser("list", help="labs, and the namespaces of their hosts and VMs")
    show.set_defaults(run=_list)

    execute = commands.add_parser("exec", help="run a command where a host or VM lives")
    execute.add_argument("--name", default=_DEFAULT_NAME)
    execute.add_argument("node", help="h1, vm1, ...")
    execute.add_argument("command", nargs=argparse.REMAINDER)
    execute.set_defaults(run=_exec)
    return parser


if __name__ == "__main__":
    sys.exit(main())
