"""vxlanctl host script: the commands that prepare a host, for a shell or for ifupdown."""

from __future__ import annotations

import re
import socket
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import typer

from apps.vxlanctl import complete
from apps.vxlanctl.client import Json, path_of
from apps.vxlanctl.commands import command
from apps.vxlanctl.failures import Failure, Refused, WrongUsage
from apps.vxlanctl.hostscript import Host, ifupdown, shell
from apps.vxlanctl.names import hinting, is_ip, known_hosts
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import as_json

_OPENFLOW_PORT = 6653
_WORD = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def register(app: typer.Typer) -> None:
    """Add the command to ``host``."""
    command(
        app,
        "script",
        [
            "vxlanctl host script --new --controller 192.0.2.1 | ssh root@compute-4 sh",
            "vxlanctl host script compute-1 --controller 192.0.2.1 --tunnel peer",
            "vxlanctl host script --new --controller 192.0.2.1 --vtep 192.168.33.14 --type geneve",
            "vxlanctl host script compute-1 --controller 192.0.2.1 --ifupdown",
        ],
    )(script)


def script(
    name: Annotated[
        str | None,
        typer.Argument(metavar="HOST", help="A known host.", autocompletion=complete.hosts),
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="A host that is not known yet.")] = False,
    controller: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Where the controller listens: 192.0.2.1, tcp:192.0.2.1:6653, ssl:...",
        ),
    ] = None,
    vtep: Annotated[
        str | None,
        typer.Option(help="The host's underlay address, where it is not the one it connects from."),
    ] = None,
    tunnel: Annotated[
        Literal["flow", "peer"],
        typer.Option(help="One port for all peers, or a port for each."),
    ] = "flow",
    kind: Annotated[Literal["vxlan", "geneve", "gre"], typer.Option("--type")] = "vxlan",
    peer: Annotated[
        list[str] | None,
        typer.Option(metavar="IP", help="A VTEP besides those the controller knows."),
    ] = None,
    datapath: Annotated[
        Literal["system", "netdev"], typer.Option(help="netdev: in user space, as with DPDK.")
    ] = "system",
    as_ifupdown: Annotated[
        bool,
        typer.Option("--ifupdown/--shell", help="Stanzas of /etc/network/interfaces, or commands."),
    ] = False,
) -> None:
    """Print what prepares a host: bridges, patch ports, tunnel ports, the controller last.

    It may be run again and again: it changes only what is not so yet.
    """
    if (name is None) != new:
        raise WrongUsage("say one of them: a HOST that is known, or --new")
    there = _known(name) if name is not None else {}
    own = vtep or there.get("vtep")
    peers = _peers(own, peer or [], new=new) if tunnel == "peer" else []
    if tunnel == "peer" and not peers:
        raise Failure("no other VTEP is known, so there is nothing to lead a port to", "say --peer")
    for address in [*peers, *([vtep] if vtep else [])]:
        if not is_ip(address) or ":" in address:
            raise WrongUsage(f"{address} is no IPv4 address: the underlay is IPv4")
    host = Host(
        name=_word(there.get("name")),
        vtep=vtep,
        controller=_target(controller),
        kind=kind,
        peers=tuple(peers),
        datapath=datapath,
    )
    text = ifupdown(host) if as_ifupdown else shell(host)
    if session().json:
        as_json({"host": name, "form": "ifupdown" if as_ifupdown else "shell", "script": text})
    else:
        print(text, end="")


def _known(name: str) -> Json:
    with hinting(name, known_hosts):
        try:
            found: Json = api().get(path_of("hosts", name))
        except Refused as refused:
            refused.way_out = "for one that is not known yet: vxlanctl host script --new"
            raise
    return found


def _word(name: Any) -> str | None:
    """A name as it may stand in a script; another is left out."""
    return name if isinstance(name, str) and _WORD.fullmatch(name) else None


def _peers(own: str | None, more: list[str], *, new: bool) -> list[str]:
    """Every VTEP but the host's own, each once; without a controller those that were said."""
    known: list[str] = []
    try:
        for path in ("/v1/hosts", "/v1/vteps"):
            known += [item["vtep"] for item in api().items(path) if item.get("vtep")]
    except Failure:
        if not (new and more):
            raise
    return [vtep for vtep in dict.fromkeys([*known, *more]) if vtep != own]


def _target(text: str | None) -> str:
    """``tcp:ADDRESS:PORT`` as ovs-vsctl wants it."""
    if text is None:
        host = urlsplit(session().url).hostname or ""
        if host == "localhost" or host.startswith("127.") or host == "::1":
            raise WrongUsage("say where hosts reach the controller: --controller ADDRESS")
        if not is_ip(host):
            host = _resolved(host)
        return f"tcp:{_bracketed(host)}:{_openflow_port()}"
    method, rest = "tcp", text
    if text.startswith(("tcp:", "ssl:")):
        method, rest = text[:3], text[4:]
    if is_ip(rest):
        return f"{method}:{_bracketed(rest)}:{_openflow_port()}"
    address, colon, port = rest.rpartition(":")
    bare = address.removeprefix("[").removesuffix("]")
    numeric = port.isascii() and port.isdigit() and 0 < int(port) < 65536
    if not colon or not is_ip(bare) or not numeric:
        raise WrongUsage(f"--controller {text}: an address, or tcp:ADDRESS:PORT")
    return f"{method}:{_bracketed(bare)}:{port}"


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _resolved(name: str) -> str:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Failure(f"{name}: {error.strerror or error}", "say --controller ADDRESS") from error
    return str(found[0][4][0])


def _openflow_port() -> int:
    """Where the controller says that it listens; 6653, OpenFlow's own, where it cannot be asked."""
    try:
        told = str(api().get("/v1/status").get("openflow"))
        return int(told.rpartition(":")[2])
    except (Failure, ValueError, AttributeError):
        return _OPENFLOW_PORT
