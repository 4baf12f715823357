"""vxlanctl status, learned, tunnels, ledger: what the controller sees."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from apps.vxlanctl import complete
from apps.vxlanctl.client import Json, path_of
from apps.vxlanctl.commands import command
from apps.vxlanctl.names import hinting, host_names, known_hosts, maybe_vni, network_names, vni
from apps.vxlanctl.options import LIMIT, All, Limit, Network, most
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import Column, as_json, fields, natural, note, out, show_list, table


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    command(app, "status", ["vxlanctl status", "vxlanctl status -o json"])(status)
    command(app, "learned", ["vxlanctl learned", "vxlanctl learned --network blue"])(learned)
    command(app, "tunnels", ["vxlanctl tunnels", "vxlanctl tunnels --state down"])(tunnels)
    command(app, "ledger", ["vxlanctl ledger", "vxlanctl ledger blue --fresh"])(ledger)


def status() -> None:
    """Show what the controller is and has: version, store, hosts, counts."""
    found = api().get("/v1/status")
    if session().json:
        as_json(found)
        return
    pairs: list[tuple[str, object]] = []
    for name, value in found.items():
        if name == "uptime_s":
            pairs.append(("uptime", duration(value)))
        elif name == "store" and isinstance(value, dict):
            pairs.append(("store", value.get("url")))
            size, free = size_text(value.get("bytes")), size_text(value.get("free_bytes"))
            pairs.append(("store size", f"{size}, {free} free"))
        elif isinstance(value, dict):
            words = ", ".join(f"{count} {word}" for word, count in value.items())
            pairs.append((name, words))
        else:
            pairs.append((name.replace("_", " "), value))
    fields(pairs)


def learned(network: Network = None, limit: Limit = LIMIT, everything: All = False) -> None:
    """List the MACs that were learned from frames."""
    names = {} if session().json else host_names()
    columns = (
        Column("MAC", "mac"),
        Column("NETWORK", "vni"),
        Column("WHERE", lambda e: names.get(e.get("host") or "", e.get("host") or e.get("vtep"))),
        Column("IPS", "ips"),
        Column("AGE", lambda entry: duration(entry.get("age_s"))),
        Column("EXPIRES IN", lambda entry: duration(entry.get("expires_in_s"))),
    )
    number = maybe_vni(network)
    show_list(columns, "/v1/learned", "learned MACs", most=most(limit, everything), vni=number)


def mtu_text(tunnel: Json) -> str:
    mtu, needed = tunnel.get("mtu"), tunnel.get("mtu_needed")
    text = "-" if mtu is None else str(mtu)
    return f"{text}, needs {needed}" if tunnel.get("mtu_ok") is False else text


def tunnels(
    host: Annotated[
        str | None,
        typer.Option("--host", "-H", help="Of this host.", autocompletion=complete.hosts),
    ] = None,
    state: Annotated[
        Literal["up", "down", "unknown"] | None, typer.Option(help="In this state.")
    ] = None,
    limit: Limit = LIMIT,
    everything: All = False,
) -> None:
    """List the tunnels as probes find them: up or down, round trip, the largest packet."""
    columns = (
        Column("HOST", _host),
        Column("PEER", _peer),
        Column("VTEP", "vtep"),
        Column("PORT", lambda it: it.get("port_name") or it.get("port")),
        Column("STATE", "state"),
        Column("RTT", lambda it: None if it.get("rtt_ms") is None else f"{it['rtt_ms']:.1f} ms"),
        Column("SEEN", lambda it: ago(it.get("last_seen_s"))),
        Column("LOST", lambda it: f"{it.get('lost', 0)} of {it.get('sent', 0)}"),
        Column("MTU", mtu_text),
    )
    query: dict[str, Any] = {"host": host, "state": state}
    with hinting(host or "", known_hosts):
        order, shown = _by_ends, most(limit, everything)
        show_list(columns, "/v1/tunnels", "tunnels", order=order, most=shown, **query)


def _host(item: Json) -> Any:
    return item.get("host_name") or item.get("host")


def _peer(tunnel: Json) -> Any:
    return tunnel.get("peer_name") or tunnel.get("peer")


def _by_ends(tunnel: Json) -> list[list[tuple[int, str]]]:
    return [natural(_host(tunnel)), natural(_peer(tunnel) or tunnel.get("vtep"))]


LEDGER = (
    Column("NETWORK", lambda item: item.get("name") or item.get("vni")),
    Column("ANSWERED", lambda item: frames(item, "answered")),
    Column("BY CONTROLLER", lambda item: frames(item, "answered_by_controller")),
    Column("SUPPRESSED", lambda item: frames(item, "suppressed")),
    Column("FLOODED", lambda item: frames(item, "flooded")),
    Column("COPIES", lambda item: (item.get("flooded") or {}).get("copies")),
    Column("UNKNOWN", lambda item: frames(item, "unknown_unicast")),
    Column("SAVED", lambda item: size_text((item.get("saved") or {}).get("bytes"))),
)


def frames(item: Json, name: str) -> Any:
    return (item.get(name) or {}).get("frames")


def ledger(
    network: Annotated[
        str | None,
        typer.Argument(metavar="NETWORK", help="VNI or name.", autocompletion=complete.networks),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Ask the switches now; it may take some seconds.")
    ] = False,
) -> None:
    """Show what became of broadcast, and what the overlay saved, in frames.

    Of one network besides: its hosts, and who sends most.
    """
    query = {"fresh": "true" if fresh else None}
    if network is not None:
        with hinting(network, lambda: [str(name) for name in network_names().values()]):
            found = api().get(path_of("ledger", vni(network)), **query)
        _one_ledger(found)
        return
    pages = list(api().pages("/v1/ledger", **query))
    whole = {**pages[0], "items": [item for page in pages for item in page["items"]], "next": None}
    if session().json:
        as_json(whole)
        return
    total = (
        [{"name": "all", **whole["sum"]}] if len(whole["items"]) > 1 and whole.get("sum") else []
    )
    table(LEDGER, [*whole["items"], *total])
    if whole.get("since"):
        note(f"since {whole['since']}, as of {whole.get('as_of')}")


def _one_ledger(found: Json) -> None:
    if session().json:
        as_json(found)
        return
    table(LEDGER, [found])
    hosts = sorted(found.get("hosts") or [], key=lambda item: natural(_host(item)))
    if hosts:
        out()
        table((Column("HOST", _host), *LEDGER[1:]), hosts)
    if found.get("talkers"):
        out()
        table(TALKERS, found["talkers"])


TALKERS = (
    Column("TALKER", lambda item: item.get("name") or item.get("mac")),
    Column("MAC", "mac"),
    Column("HOST", _host),
    Column("FRAMES", "frames"),
    Column("PER S", lambda item: rate(item.get("per_s"))),
)


def rate(value: object) -> str:
    return f"{value:.1f}" if isinstance(value, int | float) else "-"


def duration(seconds: object) -> str:
    """``3 h 5 min``: the two largest units."""
    if not isinstance(seconds, int | float):
        return "-"
    left = int(seconds)
    words: list[str] = []
    for size, word in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size or (size == 1 and not words):
            words.append(f"{left // size} {word}")
        left %= size
    return " ".join(words[:2])


def ago(seconds: object) -> str:
    return f"{duration(seconds)} ago" if isinstance(seconds, int | float) else "never"


def size_text(size: object) -> str:
    """Bytes in decimal units."""
    if not isinstance(size, int | float):
        return "-"
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
