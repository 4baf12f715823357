"""Spoiled OpenFlow messages: whatever a switch sends, it ends its own connection at most.

VXLAN_FUZZ_FRAMES says how many, VXLAN_SEED which ones. tests/fuzz/corpus/frames.hex has those that
are tried always.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.wire import encode
from tests.apps.process import running
from tests.apps.switches import Bare, Good
from tests.fuzz.messages import Spoiler, hostile_frames, packet_in, valid_messages
from tests.fuzz.rig import PHASES, Rig
from tests.wire.samples import every_flow

FRAMES = int(os.environ.get("VXLAN_FUZZ_FRAMES", "3000"))
SEED = int(os.environ.get("VXLAN_SEED", "6"))
CORPUS = Path(__file__).parent / "corpus" / "frames.hex"
HANGS_AFTER_S = 60.0
MEMORY_MAX_KB = 20 * 1024
REPEAT = f"VXLAN_SEED={SEED} VXLAN_FUZZ_FRAMES={FRAMES} pytest tests/fuzz/test_frames.py"


def corpus() -> list[tuple[bytes, str]]:
    """The inputs that are kept, and why."""
    found = []
    for line in CORPUS.read_text(encoding="utf-8").splitlines():
        data, _, why = line.partition("#")
        if data.strip():
            found.append((bytes.fromhex(data), why.strip()))
    return found


class Watchdog:
    """Interrupts the test when one input takes for ever; ``trying`` is what it is at."""

    def __init__(self) -> None:
        self.trying: tuple[int, bytes] = (0, b"")
        self.bit: bytes | None = None
        self._stop = threading.Event()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if self.bit is None:
                raise
            pytest.fail(f"input {self.bit.hex()} takes for ever; again: {REPEAT}")
        finally:
            self._stop.set()
            thread.join()

    def _watch(self) -> None:
        before, since_s = self.trying, time.monotonic()
        while not self._stop.wait(0.5):
            if self.trying is not before:
                before, since_s = self.trying, time.monotonic()
            elif time.monotonic() > since_s + HANGS_AFTER_S:
                self.bit = before[1]
                _thread.interrupt_main()
                return


@pytest.mark.timeout(3600)
def test_spoiled_messages_are_taken_or_refused():
    """Guard, Ryu's parser (another app listens to everything), decoder and engine."""
    chance = random.Random(SEED)
    rig, spoiler = Rig(), Spoiler(chance, valid_messages())
    dog = Watchdog()
    with dog.watching():
        for number in range(FRAMES):
            rig.reach(chance.choice((*PHASES, "live", "live", "live")))
            message = spoiler.message()
            if number % 3 == 0:
                rig.reach("live")
                replies = rig.talk()
                for reply in replies[:-1]:
                    rig.feed(reply)
                message = spoiler.spoil(replies[-1]) if replies else message
            dog.trying = (number, message)
            try:
                rig.feed(message)
                if number % 20 == 0:
                    rig.tick()
            except Exception as error:
                pytest.fail(f"input {number}, {message.hex()}: {error!r}; again: {REPEAT}")
    assert rig.refusals > FRAMES // 10, "hardly anything was refused: these are no spoiled messages"
    assert rig.taken - rig.refusals > FRAMES // 10, "hardly anything was taken"
    assert rig.spy.heard > FRAMES // 20, "Ryu's parser was hardly reached"
    assert rig.connection.complaints.counts.keys() <= {"stuck"}


@pytest.mark.parametrize(("data", "why"), corpus(), ids=lambda value: str(value)[:40])
def test_what_hung_ryu_is_refused(data, why):
    rig, dog = Rig(), Watchdog()
    with dog.watching():
        for phase in PHASES:
            rig.reach(phase)
            dog.trying = (0, data)
            assert not rig.feed(data), f"{why}: taken during {phase}"


def test_valid_messages_of_a_live_switch_are_taken():
    """So that the others are refused for what was spoiled."""
    rig = Rig()
    refused = []
    for message in valid_messages():
        rig.reach("live")
        if message[1] != 0 and not rig.feed(message):
            refused.append(message.hex())
    assert not refused
    assert rig.spy.heard > 30


def test_no_frame_of_a_vm_reaches_ryus_packet_library(monkeypatch):
    """One of 58 bytes, with a TCP option of no length, would hang it."""
    from ryu.lib.packet import packet

    def never(*_args: object, **_more: object) -> None:
        pytest.fail("ryu.lib.packet reads what a VM sent")

    for method in ("__init__", "_parser"):
        monkeypatch.setattr(packet.Packet, method, never)
    rig, cookies = Rig(), [encode.cookie_of(encode.encode_flow(flow)) for flow in every_flow()]
    for cookie in cookies[::5]:
        for frame in hostile_frames():
            rig.reach("live")
            assert rig.feed(packet_in(cookie, frame)), frame.hex()
    rig.tick()


def memory_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.mark.timeout(3600)
def test_others_are_served_while_spoiled_messages_come(tmp_path):
    """Over TCP, before and after the handshake; another switch asks for an echo all along."""
    chance = random.Random(SEED)
    spoiler = Spoiler(chance, valid_messages())
    kept = [data for data, _why in corpus()]
    with running(tmp_path) as controller, Good(controller.openflow_port, 0xA1) as good:
        assert good.has_asked(3), good.gone
        before_kb = 0
        for number in range(max(FRAMES // 10, 2 * len(kept))):
            again = number % 2 == 0 and number // 2 < len(kept)
            data = kept[number // 2] if again else spoiler.message()
            for late in (False, True) if again else (chance.random() < 0.5,):
                attack(controller.openflow_port, data, 0xB0 + number % 8 if late else None)
            assert good.gone is None, f"{good.gone} after {data.hex()}; again: {REPEAT}"
            assert controller.child.poll() is None, f"it ended by {data.hex()}; again: {REPEAT}"
            if number == 50:
                before_kb = memory_kb(controller.child.pid)
        assert good.has_asked(3), good.gone
        grown_kb = memory_kb(controller.child.pid) - before_kb
        log = controller.log
        counted = controller("GET", "/metrics").body
    assert "Traceback" not in log, log
    assert grown_kb < MEMORY_MAX_KB, f"{grown_kb} kB more"
    assert 'vxlan_l2_openflow_refused_total{reason="' in counted


def attack(port: int, data: bytes, dpid: int | None) -> None:
    """One connection, with a handshake where it has a dpid."""
    try:
        with Bare(port) as bare:
            if dpid is None or bare.shake_hands(dpid):
                bare.send(data)
                if dpid is None:
                    bare.socket.settimeout(0.05)
                bare.next()
    except (ConnectionError, TimeoutError):
        pass
