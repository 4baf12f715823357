"""Killed at any moment, while it starts, writes or ends: what was acknowledged is there, exactly.

VXLAN_KILL_ROUNDS: how often it is killed. VXLAN_SEED: repeats a run, as far as the machine's timing
does. ``VXLAN_KILL_ROUNDS=100 python -m pytest tests/store/test_kills.py`` is the release's run.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controller.store.sqlite import SqliteStore
from tests.apps.process import ROOT, Running, launched, running
from tests.store.clients import WRITERS, Client, Remembered, declare, found
from tests.store.test_older_releases import FACTS, write_release_0_1

ROUNDS = int(os.environ.get("VXLAN_KILL_ROUNDS", "4"))
SEED = os.environ.get("VXLAN_SEED", "1")
AGAIN = f"repeat: VXLAN_SEED={SEED} VXLAN_KILL_ROUNDS={ROUNDS} pytest tests/store/test_kills.py"

WRITING_S = 0.6
STARTING_S = 1.0


def _work(controller: Running, told: list[Remembered], round_seed: str) -> list[Client]:
    clients = [
        Client(number, controller.url, remembered, f"{round_seed} {number}")
        for number, remembered in enumerate(told, start=1)
    ]
    for client in clients:
        client.start()
    return clients


def _compare(controller: Running, told: list[Remembered]) -> None:
    there = found(controller)
    wrong = [each for remembered in told for each in remembered.settle(there)]
    known = {key for remembered in told for key in remembered.facts}
    wrong += [f"{key} is there, and nobody asked for it" for key in there.keys() - known]
    assert not wrong, "\n".join([AGAIN, *wrong[:20]])


@pytest.mark.timeout(60 + 15 * ROUNDS)
def test_killed_while_clients_write(tmp_path: Path) -> None:
    """Posts, moves, deletes, batches, imports and networks, from several clients at once."""
    chance = random.Random(SEED)
    options = {"store": f"sqlite://{tmp_path}/state.db"}
    told = [Remembered() for _ in range(WRITERS)]
    for number in range(ROUNDS):
        if number and chance.random() < 0.3:  # killed while it starts, or recovers its log
            with launched(tmp_path, options) as controller:
                time.sleep(chance.uniform(0.0, STARTING_S))
                controller.child.kill()
        with running(tmp_path, options) as controller:
            if not number:
                declare(controller)
            _compare(controller, told)
            clients = _work(controller, told, f"{SEED} {number}")
            time.sleep(chance.uniform(0.02, WRITING_S))
            if chance.random() < 0.2:
                assert controller.stop() == 0, controller.log
            else:
                controller.child.kill()
            for client in clients:
                client.over.set()
                client.join(60)
                assert not client.trouble, f"{AGAIN}\n{client.trouble}"
            assert "Traceback" not in controller.log, controller.log
    with running(tmp_path, options) as controller:
        _compare(controller, told)
    answers, registered = (
        sum(getattr(one, name) for one in told) for name in ("answers", "registered")
    )
    print(f"{ROUNDS} kills, {answers} writes acknowledged, {registered} VMs registered")
    assert answers > ROUNDS * WRITERS


def test_ended_in_order_finishes_what_it_took(tmp_path: Path) -> None:
    """SIGTERM: each client's last request is answered and done, or refused and not done."""
    options = {"store": f"sqlite://{tmp_path}/state.db"}
    told = [Remembered() for _ in range(WRITERS)]
    with running(tmp_path, options) as controller:
        declare(controller)
        clients = _work(controller, told, SEED)
        time.sleep(0.3)
        assert controller.stop() == 0
        for client in clients:
            client.join(60)
            assert not client.trouble
    assert not (tmp_path / "state.db-wal").exists()
    with running(tmp_path, options) as controller:
        _compare(controller, told)


OPENER = """
import sys
from controller.store.sqlite import SqliteStore
print("begins", flush=True)
SqliteStore(sys.argv[1]).open()
print("open", flush=True)
"""


def _open_and_kill(store: Path, after_s: float) -> None:
    """A process that opens the store, killed soon after it began."""
    opener = subprocess.Popen(
        [sys.executable, "-c", OPENER, str(store)], cwd=ROOT, stdout=subprocess.PIPE
    )
    with opener:
        assert opener.stdout is not None
        opener.stdout.readline()
        time.sleep(after_s)
        opener.kill()


@pytest.mark.parametrize("older", [False, True], ids=["made", "upgraded"])
def test_killed_while_the_store_is(older: bool, tmp_path: Path) -> None:
    """made: it is there whole, or made by the next start; upgraded: the old schema or the new."""
    chance = random.Random(f"{SEED} {older}")
    for number in range(ROUNDS):
        store = tmp_path / str(number) / "state.db"
        store.parent.mkdir()
        if older:
            write_release_0_1(store)
        _open_and_kill(store, chance.uniform(0, 0.03))
        again = SqliteStore(str(store))
        again.open()
        try:
            assert again.load() == (FACTS if older else []), AGAIN
        finally:
            again.close()
