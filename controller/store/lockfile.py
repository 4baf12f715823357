"""One process at a time on one store: an flock on a file beside it, gone with the process.

The file's first line names the process. Behind it is a mark of the process's own, which outlives it
when it is killed.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from typing import Final

from topology.errors import StoreRefused

_HEAD_BYTES: Final = 16
_MARK_BYTES: Final = 256


class LockFile:
    """Held from ``acquire`` to ``release``, or until the process ends, however it ends."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock at once, or raise StoreRefused naming the process that has it."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreRefused(f"cannot write {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, _HEAD_BYTES, 0).decode("ascii", "replace").strip()
            os.close(fd)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise StoreRefused(f"cannot lock {self.path}: {error.strerror}") from error
            raise StoreRefused(
                f"another process{f' ({holder})' if holder else ''} uses this store:"
                f" it holds {self.path}; stop it, or give this one a store of its own"
            ) from error
        self._fd = fd
        with suppress(OSError):  # only for the other's message; on a full disk the lock holds
            head = f"{os.getpid()}\n"
            os.pwrite(fd, f"{head:<{_HEAD_BYTES}}".encode("ascii"), 0)

    @property
    def mark(self) -> str:
        """What was noted last, by this process or by one that was killed."""
        if self._fd is None:
            return ""
        return os.pread(self._fd, _MARK_BYTES, _HEAD_BYTES).decode("ascii", "replace").strip()

    @mark.setter
    def mark(self, text: str) -> None:
        if self._fd is not None:
            os.pwrite(self._fd, f"{text:<{_MARK_BYTES - 1}}\n".encode("ascii"), _HEAD_BYTES)

    def renew(self) -> None:
        """Take the lock again if its file was removed; StoreRefused when another process has it."""
        if self._fd is None:
            raise RuntimeError("the lock is not held")
        mine = os.fstat(self._fd)
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            there = None
        if there is not None and (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
            return
        old = self._fd
        self.acquire()
        os.close(old)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
