"""OVN on this machine: its central and a chassis on each host of a lab, as processes of our own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from bench.world import manage
from topology.lab import Lab, LabHost, netns
from topology.lab.command import environment, run
from topology.lab.controller import free_port
from topology.lab.ovs import wait_until

_TOOLS = ("ovn-northd", "ovn-controller", "ovn-nbctl", "ovn-sbctl")
_SWITCH = "sw0"
_TIMEOUT_S = 180
_FIRST_IP = int(IPv4Address("10.1.16.1"))
_FIRST_MAC = 0x5254_9000_0000
#: so many ports' commands go on one command line
_PORTS_MAX = 10_000

ABSENT = "OVN is not installed (make bench unpacks it): measured without it"


def present() -> bool:
    return all(shutil.which(tool, path=environment()["PATH"]) for tool in _TOOLS)


@contextmanager
def ovn(hosts: int, *, monitor_all: bool = False) -> Iterator[Ovn]:
    """OVN with one logical switch, and a VM with a namespace and a port of it on each host."""
    with Lab(hosts, "flow", vms="namespace", vm_subnet="10.1.0.0/16", ipv6=False) as lab:
        manage(lab)
        one = Ovn(lab)
        one.start(monitor_all)
        yield one


class Ovn:
    """ports: how many there are beside the lab's VMs.

    These have no interface on any host, which spares OVN their claims.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self._directory = lab.hosts[0].ovs.rundir.parent / "ovn"
        self._schemas = Path(_which("ovn-northd")).resolve().parents[1] / "share" / "ovn"
        names = ("OVN_RUNDIR", "OVN_LOGDIR", "OVN_DBDIR", "OVS_RUNDIR", "OVS_LOGDIR")
        self._env = {name: str(self._directory) for name in names}
        self._controllers: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = 0

    def start(self, monitor_all: bool) -> None:
        """Return when every chassis is there and its VMs are bound."""
        self._directory.mkdir()
        port = free_port(self.lab.controller_ip)
        self._database("nb")
        self._database("sb", f"--remote=ptcp:{port}:{self.lab.controller_ip}")
        databases = [f"--ovnnb-db={self._socket('nb')}", f"--ovnsb-db={self._socket('sb')}"]
        self._daemon("ovn-northd", *databases)
        daemon = run(
            *("ovn-nbctl", "--detach", "--pidfile", f"--db={self._socket('nb')}"), env=self._env
        )
        self._env["OVN_NB_DAEMON"] = daemon.strip()
        self.lab.processes.adopt(int((self._directory / "ovn-nbctl.pid").read_text("ascii")))
        self.nbctl("ls-add", _SWITCH)
        for host in self.lab.hosts:
            host.vsctl(
                *("del-br", "br-tun", "--", "del-port", "patch-int"),
                *("--", "set", "bridge", "br-int", "fail_mode=secure"),
                *("other_config:disable-in-band=true", "--", "set", "Open_vSwitch", "."),
                *(f"external_ids:system-id={host.name}", "external_ids:ovn-encap-type=geneve"),
                f"external_ids:ovn-encap-ip={host.vtep}",
                "external_ids:ovn-bridge-datapath-type=netdev",
                f'external_ids:ovn-remote="tcp:{self.lab.controller_ip}:{port}"',
                f"external_ids:ovn-monitor-all={str(monitor_all).lower()}",
            )
            self.start_controller(host)
        for vm in self.lab.vms:
            self.nbctl(*_port(vm.name, vm.mac, vm.ip))
            vm.host.vsctl("set", "interface", vm.port, f"external_ids:iface-id={vm.name}")
        for vm in self.lab.vms:
            self.nbctl("wait-until", "Logical_Switch_Port", vm.name, "up=true")
        self.nbctl("--wait=hv", "sync")

    def start_controller(self, host: LabHost) -> None:
        """Start ovn-controller on that host."""
        directory = self._directory / host.name
        directory.mkdir(exist_ok=True)
        own = {"OVN_RUNDIR": str(directory), "OVN_LOGDIR": str(directory)}
        argv = [_which("ovn-controller"), f"unix:{host.ovs.rundir}/db.sock", "-vconsole:off"]
        self._controllers[host.name] = self.lab.processes.start(
            netns.argv_in(host.netns, [*argv, "--log-file", "-vsyslog:off"]),
            directory / "ovn-controller.out",
            {**host.ovs.env, **own},
        )

    def kill_controller(self, host: LabHost) -> None:
        """kill -9, as the controller beside it is."""
        self.lab.processes.end(self._controllers.pop(host.name))

    def nbctl(self, *args: str) -> str:
        """ovn-nbctl by way of its daemon, which holds the database's contents already."""
        return run("ovn-nbctl", *args, env=self._env, timeout_s=_TIMEOUT_S)

    def add_ports(self, count: int) -> None:
        """That many ports with addresses, in one transaction, until every chassis has them."""
        if count > _PORTS_MAX:
            raise ValueError(f"{count} ports do not fit on a command line")
        words: list[str] = []
        for index in range(self.ports, self.ports + count):
            mac = (_FIRST_MAC + index).to_bytes(6, "big").hex(":")
            words += ["--", *_port(f"p{index}", mac, str(IPv4Address(_FIRST_IP + index)))]
        self.ports += count
        self.nbctl("--wait=hv", *words)

    def remove_ports(self, count: int) -> None:
        """Take the last ports away again."""
        gone = range(self.ports - count, self.ports)
        self.ports -= count
        self.nbctl("--wait=hv", *(word for at in gone for word in ("--", "lsp-del", f"p{at}")))

    # -- its parts -------------------------------------------------------------------------

    def _socket(self, name: str) -> str:
        return f"unix:{self._directory}/ovn{name}_db.sock"

    def _database(self, name: str, *more: str) -> None:
        file = self._directory / f"ovn{name}.db"
        run("ovsdb-tool", "create", str(file), str(self._schemas / f"ovn-{name}.ovsschema"))
        own = [f"--unixctl={self._directory}/ovn{name}.ctl", f"--pidfile={file}.pid"]
        log = f"--log-file={file}.log"
        self._daemon("ovsdb-server", f"--remote=p{self._socket(name)}", *more, *own, log, str(file))
        wait_until((self._directory / f"ovn{name}_db.sock").exists, f"OVN's {name} database")
        run(f"ovn-{name}ctl", f"--db={self._socket(name)}", "init", env=self._env)

    def _daemon(self, name: str, *args: str) -> None:
        argv: Sequence[str] = [_which(name), "-vconsole:off", "-vsyslog:off", *args]
        self.lab.processes.start(argv, self._directory / f"{name}.out", self._env)


def _port(name: str, mac: str, ip: str) -> list[str]:
    return ["lsp-add", _SWITCH, name, "--", "lsp-set-addresses", name, f"{mac} {ip}"]


def _which(tool: str) -> str:
    found = shutil.which(tool, path=environment()["PATH"])
    if found is None:
        raise FileNotFoundError(tool)
    return found
