"""The disk fails under a running controller: writes are refused, and everything else goes on.

The disk is one of our own that fails when told to (bad_disk.py), or a small one; the controller is
a process as its users have it, with a switch connected.
"""

from __future__ import annotations

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bench.farm import Farm
from tests.apps.process import Answer, Running, running
from tests.store.bad_disk import BadDisk, bad_disk
from tests.store.test_power import Writer

HV = "0000fa0000000001"  # the farm's first
_NUMBERS = itertools.count(1)


def _mac(number: int) -> str:
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


def _post(controller: Running) -> tuple[str, Answer]:
    mac = _mac(next(_NUMBERS))
    return mac, controller("POST", "/v1/vms", {"mac": mac, "host": HV, "name": "web"})


def _macs(controller: Running) -> set[str]:
    return {vm["mac"] for vm in controller("GET", "/v1/vms").body["items"]}


def _store_check(controller: Running) -> str:
    (check,) = (
        one for one in controller("GET", "/v1/doctor").body["checks"] if one["check"] == "store"
    )
    return f"{check['status']} {check['summary']}: {check['cause']}"


def _wait_until(true: Callable[[], object], what: str) -> None:
    deadline_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[BadDisk]:
    with bad_disk(tmp_path) as disk:
        yield disk


@pytest.fixture
def controller(disk: BadDisk, tmp_path: Path) -> Iterator[Running]:
    """With a VM on a host, and a store on the disk that can fail."""
    with running(tmp_path, {"store": f"sqlite://{disk.path}/state.db"}) as controller:
        assert controller("PUT", f"/v1/hosts/{HV}", {"name": "hv-1"}).status == 201
        assert _post(controller)[1].status == 201
        yield controller


@pytest.fixture
def switch(controller: Running) -> Iterator[Farm]:
    """It is the VM's host, and in step."""
    with Farm() as farm:
        farm.start(controller.openflow_port, switches=1)
        farm.wait_connected()
        _wait_until(
            lambda: controller("GET", f"/v1/hosts/{HV}").body["state"] in ("LIVE", "DEGRADED"),
            "in step",
        )
        yield farm


FAULTS: dict[str, dict[str, Any]] = {
    "no write": {"what": ("write",), "error": errno.EIO},
    "no sync": {"what": ("fsync",), "error": errno.EIO},
    "no room": {"what": ("write",), "error": errno.ENOSPC, "suffix": "-wal"},
    "read-only": {
        "what": ("write", "truncate", "create", "unlink", "rename"),
        "error": errno.EROFS,
    },
}


def test_writes_are_refused_and_the_rest_goes_on(
    controller: Running, disk: BadDisk, switch: Farm
) -> None:
    """One fault after the other, each of them over without a restart."""
    for how in FAULTS.values():
        _refused_until_healed(how, controller, disk, switch)
    there = _macs(controller)
    controller.child.kill()
    controller.child.wait()
    with running(controller.log_file.parent, {"store": f"sqlite://{disk.path}/state.db"}) as again:
        assert _macs(again) == there


def _refused_until_healed(
    how: dict[str, Any], controller: Running, disk: BadDisk, switch: Farm
) -> None:
    before = _macs(controller)
    lines = controller.log.count("takes no writes")
    disk.fail(*how["what"], error=how["error"], suffix=how.get("suffix", ""))
    switch.mark()
    for _ in range(15):
        mac, answer = _post(controller)
        assert answer.status == 503, answer
        assert f"{disk.path}/state.db takes no writes" in answer.body["detail"]
        assert "nothing was changed" in answer.body["detail"]
        assert controller("GET", f"/v1/vms/0/{mac}").status == 404
    batch = [{"mac": _mac(next(_NUMBERS)), "host": HV} for _ in range(300)]
    assert controller("POST", "/v1/vms/batch", batch).status == 503
    there = min(before)
    assert controller("DELETE", f"/v1/vms/0/{there}").status == 503
    assert _macs(controller) == before
    assert "error the last write was refused" in _store_check(controller)
    assert controller("GET", "/readyz").status == 200
    assert controller.log.count("takes no writes") - lines <= 4, controller.log
    counters = switch.counters()
    assert (counters.flow_mods, counters.losses) == (0, 0)

    disk.heal()
    mac, answer = _post(controller)
    assert answer.status == 201, answer
    assert _store_check(controller).startswith("ok")
    assert "the store takes writes again" in controller.log
    assert _macs(controller) == before | {mac}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_refused_does_not_come_back(fault: str, disk: BadDisk) -> None:
    """A sync that fails leaves a whole commit in the log, for the next process to find."""
    how = FAULTS[fault]
    store = disk.path / "state.db"
    writer = Writer(store)
    try:
        for word in ("open", "commit 0", "commit 1"):
            writer.do(word)
        disk.fail(*how["what"], error=how["error"], suffix=how.get("suffix", ""))
        writer.refused("commit 2")
    finally:
        writer.kill()
    disk.heal()
    writer = Writer(store)
    try:
        writer.do("open")
        writer.do("hosts 2")  # of the last commit; the refused one's would be 3
    finally:
        writer.kill()


def test_it_notices_by_itself_that_the_disk_is_back(controller: Running, disk: BadDisk) -> None:
    disk.fail("write", "fsync")
    assert _post(controller)[1].status == 503
    disk.heal()
    _wait_until(lambda: _store_check(controller).startswith("ok"), "tried again")


def test_what_is_seen_meanwhile_is_stored_afterwards(
    controller: Running, disk: BadDisk, tmp_path: Path
) -> None:
    """A host that connects while the disk is full is known after a restart."""
    disk.fail("write", error=errno.ENOSPC)
    assert _post(controller)[1].status == 503
    with Farm() as farm:
        farm.start(controller.openflow_port, switches=3)
        farm.wait_connected()
        _wait_until(lambda: "cannot store what was seen yet" in controller.log, "tried")
    disk.heal()
    _wait_until(lambda: "the store takes writes again" in controller.log, "tried again")
    _wait_until(lambda: controller("GET", "/v1/hosts").body["total"] == 3, "hosts")
    time.sleep(2.5)  # it tries again every second or two
    controller.child.kill()
    controller.child.wait()
    with running(tmp_path, {"store": f"sqlite://{disk.path}/state.db"}) as again:
        assert again("GET", "/v1/hosts").body["total"] == 3


def test_a_disk_that_hangs_holds_up_nothing_but_writes(
    controller: Running, disk: BadDisk, switch: Farm
) -> None:
    disk.hang()
    switch.mark()
    answers: list[Answer] = []
    writers = [Thread(target=lambda: answers.append(_post(controller)[1])) for _ in range(3)]
    try:
        for writer in writers:
            writer.start()
            time.sleep(0.2)
        for _ in range(5):
            assert len(_macs(controller)) == 1
            assert controller("GET", "/healthz").status == 200
            time.sleep(0.1)
        assert switch.counters().losses == 0
    finally:
        disk.heal()
        for writer in writers:
            writer.join(30)
    assert [answer.status for answer in answers] == [201] * 3


REMEDIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (lambda path: path.unlink(), "state.db was removed while the controller runs"),
    "moved": (lambda path: path.rename(path.parent / "moved"), "was removed while"),
    "replaced": (
        lambda path: (
            (path.parent / "other").write_bytes(path.read_bytes())
            and (path.parent / "other").rename(path)
        ),
        "is not the file any more that was opened",
    ),
    "log removed": (lambda path: Path(f"{path}-wal").unlink(), "state.db-wal was removed while"),
    "cut short": (lambda path: os.truncate(path, 0), "was cut short by another program"),
    "directory gone": (lambda path: path.parent.rename(path.parent.parent / "gone"), "state.db"),
}


@pytest.fixture
def ordinary(tmp_path: Path) -> Iterator[tuple[Running, Path]]:
    """A controller with a VM, whose store is on an ordinary disk."""
    store = tmp_path / "store" / "state.db"
    with running(tmp_path, {"store": f"sqlite://{store}"}) as controller:
        controller("PUT", f"/v1/hosts/{HV}", {"name": "hv-1"})
        assert _post(controller)[1].status == 201
        yield controller, store


def test_somebody_meddles_with_the_file(ordinary: tuple[Running, Path], tmp_path: Path) -> None:
    """What is acknowledged has to be where the next start looks for it."""
    controller, store = ordinary
    before = _macs(controller)
    for name, (meddle, says) in REMEDIES.items():
        saved = {file.name: file for file in (tmp_path / "saved", Path(f"{tmp_path}/saved-wal"))}
        for file, of in ((saved["saved"], store), (saved["saved-wal"], Path(f"{store}-wal"))):
            file.unlink(missing_ok=True)
            os.link(of, file)  # the same file, to be put back as its owner would
        content = store.read_bytes()
        meddle(store)
        answer = _post(controller)[1]
        assert answer.status == 503, (name, answer)
        assert says in answer.body["detail"], (name, answer)
        assert _macs(controller) == before
        (tmp_path / "gone").is_dir() and (tmp_path / "gone").rename(store.parent)
        for file, of in ((saved["saved"], store), (saved["saved-wal"], Path(f"{store}-wal"))):
            of.unlink(missing_ok=True)
            os.link(file, of)
        if name == "cut short":
            store.write_bytes(content)
        mac, answer = _post(controller)
        assert answer.status == 201, (name, answer)
        before.add(mac)
    controller.child.kill()
    controller.child.wait()
    with running(tmp_path, {"store": f"sqlite://{store}"}) as again:
        assert _macs(again) == before


def test_the_lock_is_removed_under_it(ordinary: tuple[Running, Path], tmp_path: Path) -> None:
    """It takes it again; where another controller was quicker, it writes no more."""
    controller, store = ordinary
    lock = Path(f"{store}.lock")
    lock.unlink()
    assert _post(controller)[1].status == 201
    assert lock.read_text().split()[0] == str(controller.child.pid)
    lock.unlink()
    with running(tmp_path, {"store": f"sqlite://{store}"}) as second:
        answer = _post(controller)[1]
        assert answer.status == 503
        assert f"another process ({second.child.pid}) uses this store" in answer.body["detail"]
        assert _post(second)[1].status == 201
