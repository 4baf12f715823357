"""Files that may be replaced while the controller runs: tokens, certificates and keys."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import NoReturn

import eventlet

from topology.errors import VxlanError

LOG = logging.getLogger("vxlan_l2")

LOOK_EVERY_S = 5.0


def keep_up(what: str, files: Iterable[str | None], load: Callable[[], None]) -> None:
    """Load again whenever one of the files is another; what cannot be loaded changes nothing."""
    watched = [file for file in files if file is not None]
    if watched:
        eventlet.spawn(_keep_up, what, watched, load)


def _keep_up(what: str, files: list[str], load: Callable[[], None]) -> NoReturn:
    seen = _looks(files)
    while True:
        eventlet.sleep(LOOK_EVERY_S)
        now = _looks(files)
        if now == seen:
            continue
        seen = now
        try:
            load()
            LOG.info("%s: renewed from %s", what, ", ".join(files))
        except (VxlanError, OSError, ValueError) as error:
            LOG.error("%s: not renewed, the old stays: %s", what, error)


def _looks(files: list[str]) -> list[tuple[int, int] | None]:
    """Inode and time of change of each; None where there is none."""
    looks: list[tuple[int, int] | None] = []
    for file in files:
        try:
            found = os.stat(file)
        except OSError:
            looks.append(None)
        else:
            looks.append((found.st_ino, found.st_mtime_ns))
    return looks
