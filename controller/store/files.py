"""The files of a store that is open, as the next start will find them.

A process goes on writing into a file that was removed or replaced, and nobody will ever read that.
"""

from __future__ import annotations

import os
from typing import Final

from topology.errors import StoreRefused

_PUT_BACK: Final = (
    "put it back, or save the facts with 'vxlanctl export', start the controller anew and import"
    " them"
)


class Files:
    """A database and its write-ahead log, as they are now: both are there and are in use."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._log = f"{path}-wal"
        database, log = os.stat(path), os.stat(self._log)
        self._identity = (database.st_dev, database.st_ino, log.st_dev, log.st_ino)
        self._size_bytes = database.st_size

    def check(self) -> None:
        """StoreRefused when one of them was removed, replaced or cut short by somebody else."""
        try:
            database, log = os.stat(self._path), os.stat(self._log)
        except FileNotFoundError as error:
            raise StoreRefused(
                f"{error.filename} was removed while the controller runs: {_PUT_BACK}"
            ) from error
        if (database.st_dev, database.st_ino, log.st_dev, log.st_ino) != self._identity:
            raise StoreRefused(
                f"{self._path}, or its -wal, is not the file any more that was opened: {_PUT_BACK}"
            )
        # SQLite itself never makes it smaller: nothing here frees pages.
        if database.st_size < self._size_bytes:
            raise StoreRefused(
                f"{self._path} was cut short by another program: save the facts with"
                " 'vxlanctl export', move the file away, start the controller anew and import them"
            )
        self._size_bytes = database.st_size
