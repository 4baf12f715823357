"""All commands, as one tree."""

from __future__ import annotations

from apps.vxlanctl import hosts, networks, vips, vms, vteps
from apps.vxlanctl.commands import root

app = root()
for group in (hosts, networks, vms, vteps, vips):
    app.add_typer(group.app)
