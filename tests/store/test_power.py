"""The power fails at any moment: what was acknowledged had reached the disk.

Everything that a store does to its files is recorded on a disk of our own (bad_disk.py). Then, at
many points of that record, what the disk may hold after a power failure is laid out anew: all that
was synced, and of what was written since nothing, everything, or some sectors of it, in any order;
of names that were made, renamed or removed since the directory was synced, the first few. A store
that opens on it has to hold the last acknowledged state, or the one that was being written.

VXLAN_KILL_ROUNDS: 12 points for each.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from controller.store.sqlite import SqliteStore
from tests.store.bad_disk import ROOT, Op, bad_disk
from tests.store.test_older_releases import FACTS, write_release_0_1
from topology.model import Vm

POINTS = 12 * int(os.environ.get("VXLAN_KILL_ROUNDS", "4"))
SEED = os.environ.get("VXLAN_SEED", "1")
SECTOR_BYTES = 512
VMS, COMMITS = 12, 380  # as many as fill the log, so that it is moved into the file and begun anew

WRITER = """
import sys
from controller.store.sqlite import SqliteStore
from topology.errors import StoreUnavailable
from topology.model import Put, Remove, Vm
from topology.types import Dpid, Mac, Vni
store = SqliteStore(sys.argv[1])
for line in sys.stdin:
    word, _, number = line.strip().partition(" ")
    if word == "open":
        store.open()
    elif word == "close":
        store.close()
    elif word == "hosts":
        assert max(vm.host for vm in store.load()) == int(number)
    else:
        number, many = int(number), int(sys.argv[2])
        vms = [Vm(Mac(1 + (number + at) % many), Vni(0), Dpid(number + 1)) for at in range(3)]
        gone = Mac(1 + (number + 4) % many)
        try:
            store.commit([*map(Put, vms), Remove(Vm, (0, gone))])
        except StoreUnavailable as error:
            print("refused", error, flush=True)
            continue
    print("done", flush=True)
"""


class Writer:
    """A process that works on a store, a word at a time."""

    def __init__(self, store: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store), str(VMS)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def begin(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def do(self, word: str) -> None:
        self.begin(word)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "done\n"

    def refused(self, word: str) -> None:
        self.begin(word)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith("refused")

    def kill(self, then: Callable[[], None] = lambda: None) -> None:
        self._process.kill()
        then()
        self._process.communicate()


def _states() -> list[dict[int, int]]:
    """Each VM's host, after so many commits."""
    now: dict[int, int] = {}
    states = [dict(now)]
    for number in range(COMMITS):
        for at in range(3):
            now[1 + (number + at) % VMS] = number + 1
        now.pop(1 + (number + 4) % VMS, None)
        states.append(dict(now))
    return states


class Disk:
    """What is surely on the disk, and what may be, as the record goes on."""

    def __init__(self, synced: Mapping[str, bytes]) -> None:
        self._names = {name: -at for at, name in enumerate(synced, start=1)}
        self._bytes = {-at: bytearray(data) for at, data in enumerate(synced.values(), start=1)}
        self._renames: list[Op] = []
        self._writes: dict[int, list[Op]] = {}

    def take(self, op: Op) -> None:
        match op:
            case ("fsyncdir",):
                self._names = self._named(self._renames)
                self._renames = []
            case ("create" | "rename" | "unlink", *_):
                self._renames.append(op)
            case ("fsync", inode):
                self._bytes[inode] = self._content(inode, self._writes.pop(inode, []))
            case ("write" | "truncate", inode, *_):
                self._writes.setdefault(inode, []).append(op)

    def after_failure(self, chance: random.Random, how: str) -> dict[str, bytes]:
        """The files that a machine may find when the power is back."""
        if how == "some":
            names = self._named(self._renames[: chance.randint(0, len(self._renames))])
        else:
            names = self._named(self._renames if how == "all" else [])
        return {
            name: bytes(self._content(inode, _kept(self._writes.get(inode, []), chance, how)))
            for name, inode in names.items()
        }

    def _named(self, ops: list[Op]) -> dict[str, int]:
        names = dict(self._names)
        for op in ops:
            match op:
                case ("create", name, inode):
                    names[name] = inode
                case ("rename", old, new):
                    names[new] = names.pop(old)
                case ("unlink", name):
                    names.pop(name, None)
        return names

    def _content(self, inode: int, ops: list[Op]) -> bytearray:
        data = bytearray(self._bytes.get(inode, b""))
        for op in ops:
            if op[0] == "truncate":
                del data[op[2] :]
                data.extend(bytes(op[2] - len(data)))
            else:
                _, _, offset, new = op
                data.extend(bytes(max(0, offset - len(data))))
                data[offset : offset + len(new)] = new
        return data


def _kept(ops: list[Op], chance: random.Random, how: str) -> list[Op]:
    """Which of the writes since the last sync the disk has done."""
    if how != "some":
        return ops if how == "all" else []
    sectors: list[Op] = []
    for op in ops:
        if op[0] == "truncate":
            sectors.append(op)
            continue
        _, inode, offset, data = op
        at = 0
        while at < len(data):
            end = at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES
            sectors.append(("write", inode, offset + at, data[at:end]))
            at = end
    share = chance.random()
    return [op for op in sectors if chance.random() < share]


def _failures(log: list[Op], start: Mapping[str, bytes]) -> Iterator[tuple[int, dict[str, bytes]]]:
    """At each of some points: how many commits were acknowledged, and what the disk may hold."""
    chance = random.Random(SEED)
    points: set[int] = set()
    for some in (range(len(log)), [at for at in range(len(log)) if _is_rare(log, at)]):
        points.update(chance.sample(some, min(POINTS // 2, len(some))))
    disk, acknowledged = Disk(start), 0
    for at, op in enumerate(log):
        if at in points:
            for how in ("nothing", "some", "all"):
                yield acknowledged, disk.after_failure(chance, how)
        if op[0] == "mark":
            acknowledged = int(op[1])
        else:
            disk.take(op)


def _is_rare(log: list[Op], at: int) -> bool:
    """Whether files come or go about here, or the log is moved into the file."""
    near = log[max(0, at - 3) : at + 3]
    return any(op[0] in ("create", "rename", "unlink", "truncate") for op in near)


def _laid_out(files: Mapping[str, bytes], directory: Path) -> Path:
    for name, data in files.items():
        if not name.endswith(".lock"):  # what is noted there ends with the boot of the machine
            (directory / name).write_bytes(data)
    return directory / "state.db"


def _emptied(directory: Path) -> Path:
    directory.mkdir(exist_ok=True)
    for file in directory.iterdir():
        file.unlink()
    return directory


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> list[Op]:
    """The record of a store's life: made, written to, closed, killed, opened again."""
    with bad_disk(tmp_path_factory.mktemp("power")) as disk:
        store = disk.path / "state.db"
        writer = Writer(store)
        try:
            writer.do("open")
            for number in range(COMMITS):
                if number == COMMITS - 20:
                    writer.do("close")
                    writer.do("open")
                elif number == COMMITS - 10:
                    writer.kill()
                    writer = Writer(store)
                    writer.do("open")
                writer.do(f"commit {number}")
                disk.mark(str(number + 1))
        finally:
            writer.kill()
        return disk.log()


def test_the_power_fails_while_facts_are_written(lived: list[Op], tmp_path: Path) -> None:
    states = _states()
    for acknowledged, files in _failures(lived, {}):
        store = SqliteStore(str(_laid_out(files, _emptied(tmp_path / "after"))))
        store.open()
        try:
            there = {int(vm.mac): int(vm.host) for vm in store.load() if isinstance(vm, Vm)}
        finally:
            store.close()
        assert there in states[acknowledged : acknowledged + 2], f"after {acknowledged} commits"


def test_a_store_that_did_not_sync_would_be_caught(lived: list[Op], tmp_path: Path) -> None:
    """The record without its syncs of the log loses what was acknowledged."""
    logs = {op[2] for op in lived if op[0] == "create" and op[1].endswith("-wal")}
    careless = [op for op in lived if not (op[0] == "fsync" and op[1] in logs)]
    with pytest.raises(AssertionError, match="after"):
        test_the_power_fails_while_facts_are_written(careless, tmp_path)


def test_the_power_fails_while_an_older_store_is_upgraded(tmp_path: Path) -> None:
    old = tmp_path / "old.db"
    write_release_0_1(old)
    start = {"state.db": old.read_bytes()}
    with bad_disk(tmp_path) as disk:
        (disk.path / "state.db").write_bytes(start["state.db"])
        before = len(disk.log())
        writer = Writer(disk.path / "state.db")
        try:
            writer.do("open")
            writer.do("close")
        finally:
            writer.kill()
        log = disk.log()
    inodes = {op[2]: op[1] for op in log if op[0] == "create"}
    (ours,) = (inode for inode, name in inodes.items() if name == "state.db")
    # The file's name for Disk is -1: it was there before.
    log = [
        tuple(-1 if part == ours and at == 1 else part for at, part in enumerate(op)) for op in log
    ]
    for _acknowledged, files in _failures(log[before:], start):
        store = SqliteStore(str(_laid_out(files, _emptied(tmp_path / "after"))))
        store.open()
        try:
            assert store.load() == FACTS
        finally:
            store.close()


def test_what_a_start_finds_is_as_durable_as_what_was_acknowledged(tmp_path: Path) -> None:
    """Killed before its sync: what it wrote is read by the next, whom the power fails at once.

    That one may have answered meanwhile that a fact is there already.
    """
    with bad_disk(tmp_path) as disk:
        store = disk.path / "state.db"
        writer = Writer(store)
        try:
            for word in ("open", "commit 0", "commit 1"):
                writer.do(word)
            disk.hang()
            writer.begin("commit 2")
            wait_until(lambda: _writes_since_sync(disk.log()) >= 4, "written, not synced")
        finally:
            # A process ends only when the disk lets go of it.
            writer.kill(disk.heal)
        writer = Writer(store)
        try:
            writer.do("open")
        finally:
            writer.kill()
        log = disk.log()
    found = []
    for how in ("all", "nothing"):
        after = Disk({})
        for op in log:
            after.take(op)
        again = SqliteStore(
            str(_laid_out(after.after_failure(random.Random(0), how), _emptied(tmp_path / how)))
        )
        again.open()
        found.append(again.load())
        again.close()
    assert len(found[0]) > 0
    assert found[0] == found[1]


def _writes_since_sync(log: list[Op]) -> int:
    last = max(at for at, op in enumerate(log) if op[0] == "fsync")
    return sum(1 for op in log[last:] if op[0] == "write")


def wait_until(true: Callable[[], bool], what: str) -> None:
    deadline_s = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)
