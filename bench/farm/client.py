"""The farm of fake switches as its user sees it: a process to start, command and close."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

_ROOT = Path(__file__).resolve().parents[2]
_FIRST_DPID = 0x0000_FA00_0000_0001
_ANSWER_S = 30.0


class FarmError(Exception):
    """The farm could not do as told, or is gone."""


@dataclass(frozen=True, slots=True)
class Counters:
    """What all switches got since `mark`, or since they were started.

    flow_mods: adds and deletes, in bundles and outside. octets: of all messages.
    last_barrier_s: when the last barrier was answered, of time.monotonic().
    losses: connections that ended without being told to. faults: what no switch understands.
    """

    flow_mods: int
    deletes: int
    group_mods: int
    packet_outs: int
    barriers: int
    errors: int
    octets: int
    last_barrier_s: float
    losses: int
    faults: list[str]


@dataclass(frozen=True, slots=True)
class Storm:
    """New MACs: sent, decided (see `Farm.storm`), and the seconds until the last was decided."""

    sent: int
    decided: int
    seconds: float


class Farm:
    """`with Farm() as farm: farm.start(port, 100); farm.wait_connected()`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.farm"],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._heard = b""
        self.switches = 0

    def start(
        self,
        port: int,
        switches: int,
        *,
        hold: bool = False,
        own_addresses: bool = False,
        address: str = "127.0.0.1",
    ) -> None:
        """Begin to connect that many switches to address:port.

        hold: keep all flows and tell them truly in dumps; else only their cookies are known, and
        counting costs next to nothing. own_addresses: each connects from 127.1.x.y of its own.
        """
        self.switches = switches
        self._do(
            "start",
            address=address,
            port=port,
            switches=switches,
            hold=hold,
            own_addresses=own_addresses,
            first_dpid=_FIRST_DPID,
        )

    @staticmethod
    def dpid(index: int) -> str:
        """A switch's datapath id, as 16 hex digits."""
        return f"{_FIRST_DPID + index:016x}"

    def wait_connected(self, within_s: float = 60.0) -> None:
        """Until every switch's handshake is done."""
        self._do("connected", within_s, within_s=within_s)

    def counters(self) -> Counters:
        return Counters(**self._do("counters"))

    def held(self) -> list[int]:
        """How many flows each switch holds."""
        flows: list[int] = self._do("held")["flows"]
        return flows

    def cookies(self, index: int) -> list[int]:
        """The cookies of all flows of a switch."""
        cookies: list[int] = self._do("cookies", switch=index)["cookies"]
        return cookies

    def mark(self, sample: int = 0) -> None:
        """Count from zero; keep that many of the first switch's next flow-mods for `sample`."""
        self._do("mark", sample=sample)

    def sample(self) -> list[bytes]:
        """The flow-mods kept since `mark`."""
        return [bytes.fromhex(mod) for mod in self._do("sample")["flow_mods"]]

    def wait_quiet(self, for_s: float = 0.5, within_s: float = 60.0) -> None:
        """Until no switch got anything for so long."""
        self._do("quiet", within_s, for_s=for_s, within_s=within_s)

    def reconnect(self, dying: int = 0) -> None:
        """Every switch hangs up and connects again, with what it holds.

        ``dying``: so many of them hang up once more, in the middle of what they are told.
        """
        self._do("reconnect", dying=dying)

    def flood(self, switch: int, vni: int, count: int) -> None:
        """Have a switch send packet-ins of that many new MACs, as fast as they are read."""
        self._do("flood", switch=switch, vni=vni, count=count)

    def flooding(self) -> int:
        """How many packet-ins of floods are not sent yet."""
        left: int = self._do("flooding")["left"]
        return left

    def storm(self, vni: int | None, each: int, quiet_s: float = 5.0) -> Storm:
        """That many new MACs from every switch at once, as unicast frames.

        With a VNI: copied by the flow that the controller installed for the network's unknown
        sources, and decided when a flow-mod with the MAC came to one other switch. Without: table
        misses, decided when it came to the same switch. Ends when all are, or none was for quiet_s.
        """
        return Storm(**self._do("storm", 600.0, vni=vni, each=each, quiet_s=quiet_s))

    def ping(self, vni: int | None, times: int, first: int = 0) -> list[float]:
        """Seconds from a packet-in to the first flow-mod that bears its MAC; one at a time.

        Of the switches from ``first`` on, each in turn.
        """
        seconds: list[float] = self._do("ping", 600.0, vni=vni, times=times, first=first)["seconds"]
        return seconds

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def _stdin(self) -> Any:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> Any:
        assert self._process.stdout is not None
        return self._process.stdout

    def _do(self, what: str, busy_s: float = 0.0, **arguments: object) -> dict[str, Any]:
        """One command. busy_s: how long the farm may be at it, besides what an answer takes."""
        self._stdin.write(json.dumps({"do": what, **arguments}).encode() + b"\n")
        self._stdin.flush()
        until_s = time.monotonic() + busy_s + _ANSWER_S
        while b"\n" not in self._heard:
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not select.select([self._stdout], [], [], left_s)[0]:
                raise FarmError(f"the farm does not answer {what}")
            data = self._stdout.read1(65_536)
            if not data:
                raise FarmError(f"the farm ended at {what}")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise FarmError(f"{what}: {answer['error']}")
        return answer
