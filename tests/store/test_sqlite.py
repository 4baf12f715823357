"""What is committed is there after a restart, a kill, and a disk that was full for a while."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.store import schema
from controller.store.sqlite import SqliteStore
from topology.errors import StoreRefused, StoreUnavailable
from topology.model import Fact, LearnedMac, Network, Put, Remove, Vm
from topology.types import Dpid, Mac, Vni

Open = Callable[[], SqliteStore]
ROOT = Path(__file__).parents[2]


def _vm(number: int, host: int = 1) -> Vm:
    return Vm(Mac(0x525400000000 + number), Vni(0), Dpid(host), name=f"vm-{number}" * 10)


def _spawn(script: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, args)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_restart(open_store: Open, facts: list[Fact]) -> None:
    store = open_store()
    assert store.load() == []
    store.commit([Put(fact) for fact in reversed(facts)])
    assert store.load() == facts
    store.close()
    store = open_store()
    assert store.load() == facts
    assert store.load() == facts


def test_last_word_counts(open_store: Open) -> None:
    store = open_store()
    first, moved, second = _vm(1), _vm(1, host=2), _vm(2)
    store.commit([Put(first), Remove(Vm, first.key), Put(moved), Put(second)])
    store.commit([Put(first), Put(moved), Remove(Vm, second.key), Remove(Vm, (5, 5))])
    store.commit([])
    assert store.load() == [moved]


def test_load_after_commit_is_fresh(open_store: Open) -> None:
    open_store().close()
    store = open_store()
    store.commit([Put(_vm(1))])
    assert store.load() == [_vm(1)]


def test_network_0_returns_to_its_default(open_store: Open) -> None:
    store = open_store()
    changed = Network(Vni(0), unknown_unicast="drop")
    store.commit([Put(changed)])
    assert store.load() == [changed]
    store.commit([Remove(Network, 0)])
    assert store.load() == []


def test_learned_macs_stay_soft(open_store: Open) -> None:
    store = open_store()
    learned = LearnedMac(Vni(0), Mac(1), Dpid(1), 0.0)
    store.commit([Put(learned), Remove(LearnedMac, (0, 2))])
    assert store.load() == []


def test_settings_that_make_it_durable(open_store: Open, path: Path) -> None:
    store = open_store()
    assert store._db is not None
    assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
    header = path.read_bytes()[:100]
    assert header[68:72] == b"vxl2"
    assert int.from_bytes(header[60:64], "big") == schema.version()


def test_closed_leaves_one_file_and_its_lock(open_store: Open, path: Path) -> None:
    store = open_store()
    store.commit([Put(_vm(1))])
    store.close()
    assert sorted(os.listdir(path.parent)) == ["state.db", "state.db.lock"]
    with pytest.raises(StoreUnavailable):
        store.commit([Put(_vm(2))])


def test_kill_9_keeps_what_was_acknowledged(path: Path, open_store: Open) -> None:
    writer = _spawn(
        """
        import sys
        from controller.store.sqlite import SqliteStore
        from topology.model import Put, Vm
        from topology.types import Dpid, Mac, Vni
        store = SqliteStore(sys.argv[1])
        store.open()
        number = 0
        while True:
            number += 1
            store.commit([Put(Vm(Mac(number), Vni(vni), Dpid(1))) for vni in (0, 9)])
            print(number, flush=True)
        """,
        path,
    )
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(200)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().split()]
    writer.communicate()
    assert (path.parent / "state.db-wal").stat().st_size > 0
    found = [fact.key for fact in open_store().load()]
    assert len(found) % 2 == 0  # each pair came in one commit: all or nothing
    assert {(vni, number) for vni in (0, 9) for number in acknowledged} <= set(found)


def test_second_process_is_refused(path: Path, open_store: Open) -> None:
    store = open_store()
    second = SqliteStore(str(path))
    with pytest.raises(StoreRefused, match=rf"another process \({os.getpid()}\) uses this store"):
        second.open()
    second.close()
    other = _spawn(
        """
        import sys
        from controller.store.sqlite import SqliteStore
        SqliteStore(sys.argv[1]).open()
        """,
        path,
    )
    assert "StoreRefused: another process" in other.communicate()[1]
    store.commit([Put(_vm(1))])
    store.close()
    second.open()
    assert second.load() == [_vm(1)]
    second.close()


def test_second_name_of_the_same_file_is_refused(path: Path, open_store: Open) -> None:
    open_store()
    link = path.parent / "other.db"
    link.symlink_to(path)
    with pytest.raises(StoreRefused, match="another process"):
        SqliteStore(str(link)).open()


def test_interrupted_creation_is_made_anew(path: Path, open_store: Open) -> None:
    (path.parent / "state.db.new").write_bytes(b"half a file")
    assert open_store().load() == []


def test_operators_may_look_and_back_up_while_it_runs(path: Path, open_store: Open) -> None:
    store = open_store()
    store.commit([Put(_vm(1))])
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT facts FROM seal").fetchone() == (1,)
        store.commit([Put(_vm(2))])
        assert reader.execute("SELECT facts FROM seal").fetchone() == (1,)


def test_file_size_limit_refuses_one_commit_and_then_heals(path: Path, open_store: Open) -> None:
    writer = _spawn(
        """
        import resource, sys
        from controller.store.sqlite import SqliteStore
        from topology.errors import StoreUnavailable
        from topology.model import Put, Vm
        from topology.types import Dpid, Mac, Vni
        store = SqliteStore(sys.argv[1])
        store.open()
        vms = [Put(Vm(Mac(number), Vni(0), Dpid(1), name="x" * 200)) for number in range(1, 2000)]
        store.commit(vms[:3])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        for _ in range(2):
            try:
                store.commit(vms)
            except StoreUnavailable as error:
                print("refused", error)
            print(len(store.load()))
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        store.commit(vms[:5])
        print(len(store.load()))
        """,
        path,
    )
    out, err = writer.communicate()
    assert not err
    lines = out.splitlines()
    assert [line for line in lines if line.isdigit()] == ["3", "3", "5"]
    refused = [line for line in lines if line.startswith("refused")]
    assert len(refused) == 2
    assert all("takes no writes" in line and "nothing was changed" in line for line in refused)
    assert len(open_store().load()) == 5


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    mount = tmp_path / "tiny"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=600k", "tiny", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield mount
    subprocess.run(["umount", "--lazy", str(mount)], check=True)


def test_full_disk_refuses_writes_until_there_is_room(tiny_disk: Path) -> None:
    store = SqliteStore(str(tiny_disk / "state.db"))
    store.open()
    store.commit([Put(_vm(1))])
    ballast = tiny_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    many = [Put(_vm(number)) for number in range(2, 500)]
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="disk"):
            store.commit(many)
    assert store.load() == [_vm(1)]
    ballast.unlink()
    store.commit([Put(_vm(2))])
    assert store.load() == [_vm(1), _vm(2)]
    store.close()
    store.open()
    assert store.load() == [_vm(1), _vm(2)]
    store.close()


def test_read_only_disk_refuses_writes_until_it_is_writable(tiny_disk: Path) -> None:
    store = SqliteStore(str(tiny_disk / "state.db"))
    store.open()
    store.commit([Put(_vm(1))])
    assert store._db is not None
    store._db.execute("PRAGMA query_only = ON")  # what SQLite answers on a read-only file system
    with pytest.raises(StoreUnavailable, match="readonly"):
        store.commit([Put(_vm(2))])
    store._db.execute("PRAGMA query_only = OFF")
    store.commit([Put(_vm(2))])
    assert len(store.load()) == 2
    store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(tiny_disk)], check=True)
    with pytest.raises(StoreRefused, match="Read-only file system"):
        store.open()


def test_reader_that_holds_the_write_lock_delays_then_refuses(path: Path, open_store: Open) -> None:
    store = open_store()
    assert store._db is not None
    store._db.execute("PRAGMA busy_timeout = 50")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.commit([Put(_vm(1))])
    store.commit([Put(_vm(1))])
    assert store.load() == [_vm(1)]


def test_a_fact_that_cannot_be_written_leaves_no_half(open_store: Open, facts: list[Fact]) -> None:
    """Records are written slice by slice: those before it are taken back."""
    store = open_store()
    broken = replace(facts[-3])
    object.__setattr__(broken, "name", "\ud800")
    with pytest.raises(UnicodeEncodeError):
        store.commit([*map(Put, facts * 5), Put(broken)])
    assert store.load() == []
    store.commit([Put(fact) for fact in facts])
    assert store.load() == facts


def test_since_when_a_fact_is_as_it_is(open_store: Open) -> None:
    vm, other = (Vm(Mac(0x525400000000 | number), Vni(0), Dpid(1)) for number in (1, 2))
    before = datetime.now(UTC).replace(microsecond=0)
    store = open_store()
    store.commit([Put(vm)])
    store.close()

    found = open_store().since([(Vm, vm.key), (Vm, other.key)])

    assert found.keys() == {(Vm, vm.key)}
    assert before <= found[Vm, vm.key] <= datetime.now(UTC)
