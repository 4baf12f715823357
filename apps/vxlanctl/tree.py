"""All commands, as one tree."""

from __future__ import annotations

from apps.vxlanctl import (
    ask,
    backup,
    demo,
    health,
    hosts,
    live,
    networks,
    seen,
    top,
    vips,
    vms,
    vteps,
)
from apps.vxlanctl.commands import root

app = root()
for group in (hosts, networks, vms, vteps, vips):
    app.add_typer(group.app)
for module in (seen, ask, health, live, top, backup, demo):
    module.register(app)
