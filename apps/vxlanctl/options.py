"""Options and arguments that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from apps.vxlanctl import complete

HostArgument = Annotated[
    str,
    typer.Argument(
        metavar="HOST", help="dpid, name or VTEP address.", autocompletion=complete.hosts
    ),
]
NetworkArgument = Annotated[
    str,
    typer.Argument(metavar="NETWORK", help="VNI or name.", autocompletion=complete.networks),
]
VmArgument = Annotated[
    str,
    typer.Argument(
        metavar="VM", help="Name, MAC in any usual spelling, or IP.", autocompletion=complete.vms
    ),
]
Network = Annotated[
    str | None,
    typer.Option(
        "--network",
        "-n",
        "--vni",
        help="VNI or name of a network.",
        autocompletion=complete.networks,
    ),
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="So many at most.")]
All = Annotated[bool, typer.Option("--all", help="All of them, however many.")]

LIMIT = 1000


def most(limit: int, everything: bool) -> int | None:
    """How many items a list may show; None: all."""
    from apps.vxlanctl.session import session

    return None if everything or (session().json and limit == LIMIT) else limit
