"""Completion of values in the shell: asked of the API, fast or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import typer

from apps.vxlanctl.client import Api, Json
from apps.vxlanctl.session import session

_PATIENCE_S = 0.7
_MOST = 200


def _completer(
    path: str, names: Callable[[Json], list[tuple[str, str]]]
) -> Callable[[typer.Context, str], list[tuple[str, str]]]:
    def complete(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
        try:
            found = list(_known(ctx, path, names))
        except Exception:  # whatever it is, a shell that completes is no place to say so
            return []
        return [pair for pair in found if pair[0].startswith(incomplete)]

    return complete


def _known(
    ctx: typer.Context, path: str, names: Callable[[Json], list[tuple[str, str]]]
) -> Iterator[tuple[str, str]]:
    at: typer.Context | None = ctx
    while at is not None:
        for name in ("url", "token_file", "cacert"):
            if at.params.get(name):
                session().told.setdefault(name, at.params[name])
        at = at.parent  # type: ignore[assignment]
    api = Api(session().url, session().token, _PATIENCE_S, session().cacert)
    for item in api.get(path, limit=_MOST)["items"]:
        yield from names(item)


def _host(item: Json) -> list[tuple[str, str]]:
    return [(item.get("name") or item["dpid"], f"{item.get('vtep')} {item.get('state')}")]


def _network(item: Json) -> list[tuple[str, str]]:
    return [(item.get("name") or str(item["vni"]), f"VNI {item['vni']}")]


def _vm(item: Json) -> list[tuple[str, str]]:
    return [(item.get("name") or item["mac"], f"network {item['vni']}")]


hosts = _completer("/v1/hosts", _host)
networks = _completer("/v1/networks", _network)
vms = _completer("/v1/vms", _vm)
vteps = _completer("/v1/vteps", lambda item: [(item["vtep"], item.get("name") or "")])
vips = _completer("/v1/vips", lambda item: [(item["ip"], item.get("name") or "")])
