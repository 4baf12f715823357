"""What Ryu's advisories and known hangs are about does nothing to a running controller.

Another switch is served all the while: its echoes are answered before and after each message.
docs/security.md lists the advisories.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from struct import pack
from typing import NamedTuple

import pytest

from controller.pipeline import Kind, cookie_kind
from controller.wire import encode
from tests.apps.process import ROOT, Running, running
from tests.fake.online import OnlineSwitch, Unanswered

CORPUS = ROOT / "tests" / "fuzz" / "corpus" / "advisories.hex"
BYSTANDER = 0xB0
GROWTH_MAX_BYTES = 20 << 20
STATISTICS = (encode.MP_FLOW, encode.MP_GROUP_DESC, encode.MP_METER_CONFIG)


class Known(NamedTuple):
    """A message, and which advisory it is about."""

    message: bytes
    why: str

    @property
    def advisory(self) -> str:
        return self.why.split()[0]

    @property
    def is_statistics(self) -> bool:
        return self.message[1] == encode.MULTIPART_REPLY

    @property
    def statistics(self) -> int:
        return int.from_bytes(self.message[8:10], "big")


def _known() -> Iterator[Known]:
    for line in CORPUS.read_text().splitlines():
        if not line.startswith("#"):
            digits, why = line.split("#", 1)
            yield Known(bytes.fromhex(digits), why.strip())


KNOWN = list(_known())
each_known = pytest.mark.parametrize("known", KNOWN, ids=[known.why for known in KNOWN])


@dataclass
class Served:
    """A running controller, and a switch that it serves."""

    controller: Running
    bystander: OnlineSwitch
    attackers: int = 0x100
    silent: bool = False

    def attacker(self) -> OnlineSwitch:
        """A connection of a switch that was never here before."""
        self.attackers += 1
        return OnlineSwitch(self.controller.openflow_port, self.attackers)

    def attacked(self, attacker: OnlineSwitch) -> None:
        """What an attacker sent was taken, or its connection has ended; others are served."""
        with suppress(Unanswered):
            attacker.echo()
        self.check()

    def check(self) -> None:
        """The bystander is served, and so is whoever asks for /healthz."""
        assert not self.silent, "the controller is silent since an earlier message"
        self.silent = True
        self.bystander.echo()
        assert self.controller("GET", "/healthz").status == 200
        self.silent = False

    def memory_bytes(self) -> int:
        pages = Path(f"/proc/{self.controller.child.pid}/statm").read_text().split()[1]
        return int(pages) * 4096


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("controller")
    with (
        running(directory) as controller,
        OnlineSwitch(controller.openflow_port, BYSTANDER) as bystander,
    ):
        bystander.shake_hands()
        yield Served(controller, bystander)


@each_known
def test_before_the_handshake(served, known):
    with served.attacker() as attacker:
        attacker.say(known.message)
        served.attacked(attacker)
    with served.attacker() as attacker:
        attacker.say(encode.message(encode.HELLO, 1) + known.message)
        served.attacked(attacker)


@each_known
def test_after_the_handshake(served, known):
    with served.attacker() as attacker:
        attacker.shake_hands()
        attacker.say(known.message)
        served.attacked(attacker)


@pytest.mark.parametrize(
    "known",
    [known for known in KNOWN if known.is_statistics and known.statistics in STATISTICS],
    ids=lambda known: known.why,
)
def test_as_the_answer_to_what_was_asked(served, known):
    """Where the controller waits for just that answer, and reads it with code of its own."""
    with served.attacker() as attacker:
        attacker.lies[known.statistics] = known.message
        attacker.shake_hands()
        assert attacker.lied.wait(30)
        served.attacked(attacker)


def test_all_of_them_leave_no_memory_behind(served):
    """The second time over: the first fills caches and pools."""

    def send_all() -> None:
        for known in KNOWN:
            with served.attacker() as attacker:
                attacker.shake_hands()
                attacker.say(known.message)
                served.attacked(attacker)

    send_all()
    before_bytes = served.memory_bytes()
    send_all()
    assert served.memory_bytes() - before_bytes < GROWTH_MAX_BYTES


# Frames of VMs: Ryu's packet library hangs on these, so nothing may ever be parsed by it

TO = bytes.fromhex("5254000000aa 525400000099 0800")


def ipv4(proto: int, payload: bytes) -> bytes:
    size = 20 + len(payload)
    return (
        TO
        + pack("!BBHHHBBH4s4s", 0x45, 0, size, 1, 0, 64, proto, 0, b"\x0a" * 4, b"\x0b" * 4)
        + payload
    )


FRAMES = {
    "tcp": ipv4(6, pack("!HHIIBBHHH", 1024, 80, 0, 0, 0x60, 2, 0, 0, 0) + b"\x02\0\0\0"),
    "sctp": ipv4(
        132,
        pack("!HHII", 1024, 80, 0, 0)
        + pack("!BBHIIHHI", 1, 0, 28, 1, 1, 1, 1, 1)
        + pack("!HH4x", 5, 0),
    ),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_frame_of_a_vm_with_an_option_of_length_0(served, frame):
    """58 bytes that hang whoever calls ryu.lib.packet; it is learned from like any other."""
    with served.attacker() as attacker:
        attacker.shake_hands()
        until(lambda: copying(attacker) is not None)
        cookie = copying(attacker)
        head = pack("!IHBBQ", 0xFFFFFFFF, len(frame), 1, 1, cookie)
        match = pack("!HHIIIQ", 1, 24, 0x80000004, 1, 0x80004C08, 0)
        attacker.say(encode.message(encode.PACKET_IN, 0, head + match + b"\0\0" + frame))
        served.attacked(attacker)
        learned = served.controller("GET", "/v1/learned").body["items"]
        assert "52:54:00:00:00:99" in [entry["mac"] for entry in learned]


def copying(switch: OnlineSwitch) -> int | None:
    """The cookie of the flow that copies unknown sources of network 0 to the controller."""
    cookies = [entry.cookie for entry in list(switch.switch.flows.values())]
    return next((one for one in cookies if cookie_kind(one) is Kind.LOCAL_UNKNOWN), None)


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


# That these messages are what the advisories are about


def test_ryus_own_parser_hangs_on_each_but_odd_matches():
    """Where it does not (any more), the message shows nothing."""
    asked = "".join(f"{known.message.hex()}\n" for known in KNOWN)
    done = subprocess.run(
        [sys.executable, "-m", "tests.apps.ryu_hangs"],
        cwd=ROOT,
        input=asked,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    ends = {
        known.advisory
        for known, verdict in zip(KNOWN, done.stdout.split(), strict=True)
        if verdict == "ends"
    }
    # No match of OpenFlow 1.3 was found that Ryu 4.34 loops on: on odd ones it raises.
    assert ends == {"CVE-2024-28732"}
