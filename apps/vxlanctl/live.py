"""vxlanctl events and top: what happens, as it happens."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Any

import typer

from apps.vxlanctl.client import Json
from apps.vxlanctl.commands import command
from apps.vxlanctl.failures import Failure, Refused, Unreachable
from apps.vxlanctl.names import host_names, maybe_vni
from apps.vxlanctl.options import Network
from apps.vxlanctl.session import api, session
from apps.vxlanctl.show import cell, note, paint

_RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)


def register(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    command(
        app,
        "events",
        [
            "vxlanctl events",
            "vxlanctl events --types drift,host -o json",
            "vxlanctl events --network blue --count 10",
        ],
    )(events)


def events(
    types: Annotated[
        str | None, typer.Option(metavar="TYPES", help="Of these types, separated by commas.")
    ] = None,
    network: Network = None,
    after: Annotated[
        str | None, typer.Option(metavar="ID", help="What came after this one.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
) -> None:
    """Show what happens, as it happens, until Ctrl-C. With -o json one object a line."""
    query: dict[str, Any] = {"types": types, "vni": maybe_vni(network)}
    names: dict[str, str] = {}
    if sys.stdout.isatty() and not session().json:
        note("what happens from now on; Ctrl-C ends it")
    for number, event in enumerate(follow(query, after, say=_say), start=1):
        if session().json:
            print(json.dumps(event, ensure_ascii=False), flush=True)
        else:
            _learn_names(event, names)
            print(_line(event, names), flush=True)
        if number == count:
            return


def _say(text: str) -> None:
    if not session().json:
        note(text)


def follow(
    query: dict[str, Any], after: str | None = None, say: Callable[[str], None] = lambda _text: None
) -> Iterator[Json]:
    """Events with their type and id; where the connection drops, it goes on where it was."""
    tries, heard = 0, False
    while True:
        try:
            headers = {"Accept": "text/event-stream"}
            if after is not None:
                headers["Last-Event-ID"] = after
            for event in read_events(api().lines("/v1/events", headers, **query)):
                if tries:
                    say("connected again")
                tries, heard = 0, True
                after = event.get("id") or after
                yield event
            raise Unreachable("the controller ended the connection")
        except (Unreachable, Refused) as gone:
            starting = isinstance(gone, Refused) and gone.status == HTTPStatus.SERVICE_UNAVAILABLE
            if not heard or not (starting or isinstance(gone, Unreachable)):
                raise
            if tries == 0:
                say(f"{gone.what}; trying again")
            time.sleep(_RETRY_S[min(tries, len(_RETRY_S) - 1)])
            tries += 1


def read_events(lines: Iterator[bytes]) -> Iterator[Json]:
    """Server-sent events (WHATWG HTML, 9.2.6), each with its type and id beside its data."""
    found: dict[str, str] = {}
    data: list[str] = []
    for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name in ("event", "id"):
                found[name] = value
            continue
        if data:
            yield {"type": found.get("event", "message"), "id": found.get("id"), **_data(data)}
        found.pop("event", None)
        data = []


def _data(lines: list[str]) -> Json:
    text = "\n".join(lines)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Failure(f"the controller sent an event that is no JSON: {text[:80]}") from error
    return value if isinstance(value, dict) else {"data": value}


_STYLES = {"drift": "red", "host": "cyan", "moved": "yellow", "tunnel": "yellow", "reset": "red"}


def _learn_names(event: Json, names: dict[str, str]) -> None:
    """Where an event tells of a host by its dpid alone, ask who that is."""
    if event.get("host") and event.get("host_name"):
        names[event["host"]] = event["host_name"]
    told = (event.get(field) for field in _PLACES)
    if any(place and place not in names for place in told) and not event.get("host_name"):
        with suppress(Failure):
            names.update(host_names())


_PLACES = ("host", "from", "to", "peer")


def _line(event: Json, names: dict[str, str]) -> str:
    event = event | {
        field: names.get(event[field], event[field])
        for field in _PLACES
        if isinstance(event.get(field), str)
    }
    at = cell(event.get("at")).replace("T", " ").removesuffix("Z")
    kind = str(event["type"])
    return f"{at}  {paint(kind.ljust(12), _STYLES.get(kind, ''))} {sentence(event)}"


def sentence(event: Json) -> str:
    """An event for a person; one of a type that is not known here, as its fields."""
    told = {name: cell(value) for name, value in event.items()}
    host = cell(event.get("host_name") or event.get("host"))
    match event["type"]:
        case "host":
            reason = f": {told['reason']}" if event.get("reason") else ""
            return f"{host} is {told.get('state')}{reason}"
        case "vm":
            who = cell(event.get("name") or event.get("mac"))
            return f"{who} in network {told.get('vni')} on {host} is {told.get('action')}"
        case "drift":
            mended = "mended" if event.get("mended") else "not mended"
            counts = f"{told.get('missing')} flows missing, {told.get('extra')} extra"
            return f"{host}: {counts}; {mended} (seen by {told.get('seen_by')})"
        case "moved":
            who = cell(event.get("name") or event.get("mac"))
            way = f"from {told.get('from')} to {told.get('to')}"
            return f"{who} in network {told.get('vni')} moved {way}, told by {told.get('by')}"
        case "suppressed":
            counts = ", ".join(
                f"{event.get(n, 0)} {n}" for n in ("answered", "suppressed", "flooded")
            )
            return f"network {cell(event.get('name') or event.get('vni'))}: {counts}"
        case "vms" | "learned_many":
            skipped = ("type", "id", "at", "vni")
            counts = ", ".join(f"{event[n]} {n}" for n in event if n not in skipped)
            return f"{'MACs learned' if event['type'] == 'learned_many' else 'VMs'}: {counts}"
        case "tunnel":
            rtt = f", {told['rtt_ms']} ms" if event.get("rtt_ms") is not None else ""
            return f"{host} to {told.get('vtep')} is {told.get('state')}{rtt}"
        case "learned":
            where = cell(event.get("host_name") or event.get("host") or event.get("vtep"))
            return (
                f"{told.get('mac')} in network {told.get('vni')} at {where}: {told.get('action')}"
            )
        case _:
            skipped = ("type", "id", "at")
            return ", ".join(f"{name} {told[name]}" for name in told if name not in skipped)


def ends_with_q() -> bool:
    """Whether somebody pressed q."""
    import select

    if not sys.stdin.isatty():
        return False
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(ready) and sys.stdin.read(1) in ("q", "Q")
