"""What the store held when a process was killed, noted where that process could still write it.

A write-ahead log that lost its end, by a bit that flips or because it was removed, looks like a
clean earlier state: SQLite takes back what follows. So the seal (schema.py) is noted beside the
store before and after each commit. Notes are not synced: they hold within one boot of the machine,
where what was written before a kill is there after it, and count for nothing after another one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from controller.store.lockfile import LockFile
from topology.errors import StoreRefused

Seal: TypeAlias = tuple[int, int]
"""How many facts, and the sum of their CRCs."""

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class Marks:
    """The notes of one store, in its lock file."""

    def __init__(self, lock: LockFile) -> None:
        self._lock = lock
        self._boot = ""
        with suppress(OSError):
            self._boot = _BOOT_ID.read_text("ascii").strip()

    def check(self, found: Seal) -> None:
        """StoreRefused when this is none of the states in which the last process may have left."""
        boot, *states = self._lock.mark.split() or [""]
        if not self._boot or boot != self._boot or _text(found) in states:
            return
        raise StoreRefused(
            "facts that were acknowledged are missing: its write-ahead log is damaged or gone. If"
            f" it was replaced by a backup on purpose, remove {self._lock.path} and start again"
        )

    def note(self, *states: Seal) -> None:
        """From now on one of these is what has to be found. OSError where that cannot be noted."""
        self._lock.mark = " ".join((self._boot or "unknown", *map(_text, states)))

    def forget(self) -> None:
        """The store was closed in order: its own checksums hold everything."""
        with suppress(OSError):
            self._lock.mark = ""


def _text(state: Seal) -> str:
    return f"{state[0]}:{state[1]:08x}"
