"""A cable with a fault: frames get lost, late, doubled or out of order on their way.

    python -m topology.lab.wire ONE OTHER --loss 0.2 --delay-ms 300 --only control --seed 1

Joins two interfaces of the namespace it runs in, until it is ended. Prints "joined" when it does.
Where a kernel has netem (sch_netem), that does the same; many small kernels have not.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import itertools
import random
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

_ETH_P_ALL, _PACKET_OUTGOING = 3, 4
_IPV4, _TCP = b"\x08\x00", 6
_FRAME_BYTES = 65536


@dataclass(frozen=True)
class Impairment:
    """loss, duplicate, reorder: parts of all frames, 0 to 1; delay_ms: each way; jitter_ms: more.

    reorder: these overtake, as they are not delayed. only: "control" (TCP over IPv4: OpenFlow),
    "overlay" (all other IPv4), "all" (ARP too).
    """

    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    only: str = "all"
    seed: int = 0

    def argv(self) -> list[str]:
        """As arguments of this module."""
        return [
            f"--{name.replace('_', '-')}={value}" for name, value in vars(self).items() if value
        ]

    def concerns(self, frame: bytes) -> bool:
        """Whether it happens to this frame."""
        if self.only == "all":
            return True
        is_ip = frame[12:14] == _IPV4
        is_tcp = is_ip and frame[23] == _TCP
        return is_tcp if self.only == "control" else is_ip and not is_tcp


class _Wire:
    def __init__(self, links: Sequence[str], impairment: Impairment) -> None:
        self._how = impairment
        self._random = random.Random(impairment.seed)
        self._late: list[tuple[float, int, socket.socket, bytes]] = []
        self._order = itertools.count()
        self._selector = selectors.DefaultSelector()
        ends = [_end(link) for link in links]
        for end, other in zip(ends, reversed(ends), strict=True):
            self._selector.register(end, selectors.EVENT_READ, other)

    def run(self) -> None:
        while True:
            due_s = self._late[0][0] - time.monotonic() if self._late else None
            for key, _mask in self._selector.select(None if due_s is None else max(0.0, due_s)):
                assert isinstance(key.fileobj, socket.socket)
                self._take(key.fileobj, key.data)
            while self._late and self._late[0][0] <= time.monotonic():
                _at_s, _order, out, frame = heapq.heappop(self._late)
                _send(out, frame)

    def _take(self, end: socket.socket, out: socket.socket) -> None:
        frame, address = end.recvfrom(_FRAME_BYTES)
        if address[2] == _PACKET_OUTGOING:
            return
        how, chance = self._how, self._random.random
        if not how.concerns(frame):
            _send(out, frame)
            return
        if chance() < how.loss:
            return
        delay_s = 0.0
        if not chance() < how.reorder:
            delay_s = (how.delay_ms + chance() * how.jitter_ms) / 1000
        for _copy in range(2 if chance() < how.duplicate else 1):
            entry = (time.monotonic() + delay_s, next(self._order), out, frame)
            heapq.heappush(self._late, entry)


def _end(link: str) -> socket.socket:
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    end.bind((link, 0))
    # Frames for others, too: struct packet_mreq, PACKET_MR_PROMISC.
    index = socket.if_nametoindex(link)
    end.setsockopt(263, 1, index.to_bytes(4, "little") + b"\1\0" + bytes(10))
    return end


def _send(out: socket.socket, frame: bytes) -> None:
    with contextlib.suppress(OSError):  # the link is down, or it is too long: lost, as on any
        out.send(frame)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("links", nargs=2)
    for name in ("loss", "delay-ms", "jitter-ms", "duplicate", "reorder"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--only", choices=("control", "overlay", "all"), default="all")
    parser.add_argument("--seed", type=int, default=0)
    given = vars(parser.parse_args())
    wire = _Wire(given.pop("links"), Impairment(**given))
    print("joined", flush=True)
    wire.run()


if __name__ == "__main__":
    main()
