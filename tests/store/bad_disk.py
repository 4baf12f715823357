"""A disk that fails when it is told to, and remembers what reached it: a FUSE file system.

One directory of files in memory, served by a process of its own through /dev/fuse (the kernel's
include/uapi/linux/fuse.h, version 7.31). Errors come from the kernel, as a real disk's would: the
process that uses it is the unchanged one. Everything that changes a file is logged in order, with
the syncs between, so that a power failure at any of these points can be played (power.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import pickle
import stat
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import pytest

ROOT = Path(__file__).resolve().parents[2]

Op: TypeAlias = tuple[Any, ...]
"""("create", name, inode), ("write", inode, offset, bytes), ("truncate", inode, size),
("rename", old, new), ("unlink", name), ("fsync", inode), ("fsyncdir",), ("mark", text)."""

_IN = struct.Struct("<IIQQIIIHH")
_OUT = struct.Struct("<IiQ")
_ATTR = struct.Struct("<6Q10I")
_ENTRY = struct.Struct("<4Q2I")
_SETATTR = struct.Struct("<IIQQQQQQIIIIIIII")
ROOT_ID = 1
MOST_BYTES = 128 * 1024
FOREVER_S = 3600
_SIZE_IS_SET, _MODE_IS_SET = 8, 1


class _Refused(Exception):
    """A request that is answered with an errno."""


@dataclass
class _File:
    id: int
    mode: int
    data: bytearray = field(default_factory=bytearray)


class Server:
    """The file system itself, in its own process."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._names: dict[str, _File] = {}
        self._files: dict[int, _File] = {}
        self._next = ROOT_ID + 1
        self._lock = threading.Lock()
        self._faults: dict[str, int] = {}
        self._suffix = ""
        self._room_bytes: int | None = None
        self._held: list[int] | None = None
        self.log: list[Op] = []
        self._answers: dict[int, Callable[[int, bytes], bytes | None]] = {
            1: self._lookup,
            3: self._getattr,
            4: self._setattr,
            10: self._unlink,
            12: lambda node, body: self._rename(body[8:]),
            14: lambda node, body: struct.pack("<QII", 0, 0, 0),
            15: self._read,
            16: self._write,
            17: self._statfs,
            18: lambda node, body: b"",
            20: self._fsync,
            26: self._init,
            27: lambda node, body: struct.pack("<QII", 0, 0, 0),
            28: self._readdir,
            29: lambda node, body: b"",
            30: self._fsyncdir,
            35: self._create,
            45: lambda node, body: self._rename(body[16:]),
        }

    def serve(self) -> None:
        while True:
            try:
                request = os.read(self._fd, MOST_BYTES + 4096)
            except InterruptedError:
                continue
            except OSError:
                return  # unmounted
            _size, code, unique, node, *_rest = _IN.unpack_from(request)
            if code in (2, 42, 36):  # FORGET, BATCH_FORGET, INTERRUPT want no answer
                continue
            with self._lock:
                if code == 20 and self._held is not None:
                    self._held.append(unique)
                    continue
                self._reply(unique, *self._answer(code, node, request[_IN.size :]))

    def _answer(self, code: int, node: int, body: bytes) -> tuple[int, bytes]:
        answer = self._answers.get(code)
        if answer is None:
            return errno.ENOSYS, b""
        try:
            return 0, answer(node, body) or b""
        except _Refused as refused:
            return refused.args[0], b""

    def _reply(self, unique: int, error: int, body: bytes) -> None:
        with contextlib.suppress(OSError):  # the caller was killed meanwhile
            os.write(self._fd, _OUT.pack(_OUT.size + len(body), -error, unique) + body)

    def command(self, wanted: dict[str, Any]) -> Any:
        """What the test says: faults, marks, or the log."""
        with self._lock:
            if "faults" in wanted:
                self._faults, self._suffix = wanted["faults"], wanted["suffix"]
                self._room_bytes = wanted["room_bytes"]
            if "hang" in wanted:
                held, self._held = self._held or [], [] if wanted["hang"] else None
                for unique in held:
                    self._reply(unique, 0, b"")
            if "mark" in wanted:
                self.log.append(("mark", wanted["mark"]))
            if "log" in wanted:
                Path(wanted["log"]).write_bytes(pickle.dumps(self.log))
        return "done"

    def _check(self, what: str, name: str) -> None:
        error = self._faults.get(what)
        if error is not None and name.endswith(self._suffix) and not name.endswith("-shm"):
            raise _Refused(error)

    def _name_of(self, node: int) -> str:
        return next((name for name, file in self._names.items() if file.id == node), "gone")

    def _file(self, name: str) -> _File:
        try:
            return self._names[name]
        except KeyError:
            raise _Refused(errno.ENOENT) from None

    def _init(self, _node: int, body: bytes) -> bytes:
        _major, minor, ahead = struct.unpack_from("<III", body)
        return struct.pack(
            "<IIIIHHIIHHII6I",
            7,
            min(minor, 31),
            ahead,
            0,
            16,
            12,
            MOST_BYTES,
            1,
            0,
            0,
            0,
            0,
            *[0] * 6,
        )

    def _attr(self, node: int) -> bytes:
        if node == ROOT_ID:
            size, mode = 0, stat.S_IFDIR | 0o755
        else:
            file = self._files[node]
            size, mode = len(file.data), file.mode
        blocks = -(-size // 512)
        owner = (os.getuid(), os.getgid())
        return _ATTR.pack(node, size, blocks, 0, 0, 0, 0, 0, 0, mode, 1, *owner, 0, 4096, 0)

    def _entry(self, file: _File) -> bytes:
        return _ENTRY.pack(file.id, 0, 0, 0, 0, 0) + self._attr(file.id)

    def _lookup(self, _node: int, body: bytes) -> bytes:
        return self._entry(self._file(_text(body)))

    def _getattr(self, node: int, _body: bytes) -> bytes:
        return struct.pack("<QII", 0, 0, 0) + self._attr(node)

    def _setattr(self, node: int, body: bytes) -> bytes:
        valid, _pad, _fh, size, *_times = (found := _SETATTR.unpack_from(body))
        if valid & _SIZE_IS_SET:
            self._check("truncate", self._name_of(node))
            data = self._files[node].data
            del data[size:]
            data.extend(bytes(size - len(data)))
            self.log.append(("truncate", node, size))
        if valid & _MODE_IS_SET:
            self._files[node].mode = stat.S_IFREG | stat.S_IMODE(found[11])
        return self._getattr(node, body)

    def _create(self, _node: int, body: bytes) -> bytes:
        _flags, mode, _umask, _open_flags = struct.unpack_from("<IIII", body)
        name = _text(body[16:])
        self._check("create", name)
        file = self._names.get(name)
        if file is None:
            file = self._names[name] = self._files[self._next] = _File(self._next, mode)
            self._next += 1
            self.log.append(("create", name, file.id))
        return self._entry(file) + struct.pack("<QII", 0, 0, 0)

    def _unlink(self, _node: int, body: bytes) -> None:
        name = _text(body)
        self._file(name)
        self._check("unlink", name)
        del self._names[name]
        self.log.append(("unlink", name))

    def _rename(self, names: bytes) -> None:
        old, new = (name.decode() for name in names.split(b"\0")[:2])
        self._check("rename", old)
        self._names[new] = self._file(old)
        del self._names[old]
        self.log.append(("rename", old, new))

    def _read(self, node: int, body: bytes) -> bytes:
        _fh, offset, size = struct.unpack_from("<QQI", body)
        self._check("read", self._name_of(node))
        return bytes(self._files[node].data[offset : offset + size])

    def _write(self, node: int, body: bytes) -> bytes:
        _fh, offset, size = struct.unpack_from("<QQI", body)
        self._check("write", self._name_of(node))
        data = self._files[node].data
        more = offset + size - len(data)
        if more > 0 and self._room_bytes is not None and more > self._room_bytes:
            raise _Refused(errno.ENOSPC)
        if more > 0:
            data.extend(bytes(more))
            if self._room_bytes is not None:
                self._room_bytes -= more
        data[offset : offset + size] = body[40 : 40 + size]
        self.log.append(("write", node, offset, body[40 : 40 + size]))
        return struct.pack("<II", size, 0)

    def _fsync(self, node: int, _body: bytes) -> None:
        self._check("fsync", self._name_of(node))
        self.log.append(("fsync", node))

    def _fsyncdir(self, _node: int, _body: bytes) -> None:
        self._check("fsyncdir", "")
        self.log.append(("fsyncdir",))

    def _statfs(self, _node: int, _body: bytes) -> bytes:
        room = (1 << 40 if self._room_bytes is None else self._room_bytes) // 4096
        return struct.pack(
            "<5Q10I", 1 << 30, room, room, 1 << 20, 1 << 20, 4096, 255, 4096, *[0] * 7
        )

    def _readdir(self, _node: int, body: bytes) -> bytes:
        _fh, offset, size = struct.unpack_from("<QQI", body)
        entries = b""
        for at, (name, file) in enumerate(list(self._names.items())):
            raw = name.encode()
            entry = struct.pack("<QQII", file.id, at + 1, len(raw), stat.S_IFREG >> 12) + raw
            entry += bytes(-len(entry) % 8)
            if at >= offset and len(entries) + len(entry) <= size:
                entries += entry
        return entries


def _text(name: bytes) -> str:
    return name.partition(b"\0")[0].decode()


def _main(mount: str) -> None:
    fd = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
    if libc.mount(b"bad-disk", os.fsencode(mount), b"fuse", 0, options.encode()):
        sys.exit(os.strerror(ctypes.get_errno()))
    server = Server(fd)
    threading.Thread(target=server.serve, daemon=True).start()
    print(json.dumps("mounted"), flush=True)
    for line in sys.stdin:
        print(json.dumps(server.command(json.loads(line))), flush=True)


class BadDisk:
    """The test's end of it. ``path``: where it is mounted."""

    def __init__(self, path: Path, process: subprocess.Popen[str]) -> None:
        self.path = path
        self._process = process

    def fail(
        self,
        *what: str,
        error: int = errno.EIO,
        suffix: str = "",
        room_bytes: int | None = None,
    ) -> None:
        """From now on these fail (write, fsync, create, truncate, unlink, rename, read, fsyncdir).

        suffix: of the files that it is about; room_bytes: by so much files may still grow.
        """
        faults = dict.fromkeys(what, error)
        self._tell({"faults": faults, "suffix": suffix, "room_bytes": room_bytes})

    def heal(self) -> None:
        self._tell({"faults": {}, "suffix": "", "room_bytes": None, "hang": False})

    def hang(self) -> None:
        """Syncs are not answered until it heals."""
        self._tell({"hang": True})

    def mark(self, text: str) -> None:
        """Note in the log how far the test has come."""
        self._tell({"mark": text})

    def log(self) -> list[Op]:
        """All that reached the disk so far, in order."""
        file = self.path.parent / "disk.log"
        self._tell({"log": str(file)})
        found: list[Op] = pickle.loads(file.read_bytes())
        return found

    def _tell(self, command: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline(), "the disk's process ended"


@contextlib.contextmanager
def bad_disk(directory: Path) -> Iterator[BadDisk]:
    """Mount one below the directory; skips the test where FUSE cannot be had."""
    mount = directory / "disk"
    mount.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.store.bad_disk", str(mount)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        if not process.stdout.readline():
            pytest.skip(f"no FUSE here: {process.stderr.read().strip().splitlines()[-1:]}")
        yield BadDisk(mount, process)
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=False, capture_output=True)
        process.kill()
        process.communicate()


if __name__ == "__main__":
    _main(sys.argv[1])
