"""``python -m bench.farm.sender``: the least that can be done to give switches their flow-mods.

The limit that a controller in Python can be held against: the same bytes, joined before the clock
starts, go to every connection; a barrier ends them. Nothing is derived, encoded, stored or known.

stdin, one JSON line: {"switches": n, "flow_mods": [hex, ...], "each": m}: every switch gets m
flow-mods, these over and over. stdout: {"port": p}; then, once they are connected and done,
{"seconds": s}, from the first byte to the last barrier's reply.
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

from bench.farm.client import Farm
from controller.wire import encode

_ROOT = Path(__file__).resolve().parents[2]
_WRITE_BYTES = 256 * 1024
_TIMEOUT_S = 120.0


def limit_s(switches: int, flow_mods: Sequence[bytes], each: int) -> float:
    """Seconds it takes to send `each` flow-mods to that many drained switches; own processes."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.farm.sender"],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            order = {"switches": switches, "flow_mods": [mod.hex() for mod in flow_mods]}
            process.stdin.write(json.dumps({**order, "each": each}).encode() + b"\n")
            process.stdin.flush()
            port = json.loads(process.stdout.readline())["port"]
            with Farm() as farm:
                farm.start(port, switches)
                seconds: float = json.loads(process.stdout.readline())["seconds"]
                got = farm.counters().flow_mods
        finally:
            process.kill()
    if got != switches * each:
        raise RuntimeError(f"{got} flow-mods arrived of {switches * each}")
    return seconds


def main() -> None:
    order = json.loads(sys.stdin.readline())
    flow_mods = [bytes.fromhex(mod) for mod in order["flow_mods"]]
    load = b"".join(islice(cycle(flow_mods), order["each"])) + encode.barrier(1)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        print(json.dumps({"port": server.getsockname()[1]}), flush=True)
        lines = [_welcome(server) for _ in range(order["switches"])]
    for line in lines:
        _read_until(line, encode.MULTIPART_REPLY)
    print(json.dumps({"seconds": _send_to_all(lines, load)}), flush=True)


def _welcome(server: socket.socket) -> socket.socket:
    """A connection; asking for its ports ends the handshake as the farm sees it."""
    line, _address = server.accept()
    line.settimeout(_TIMEOUT_S)
    hello = encode.message(encode.HELLO, 1)
    line.sendall(hello + encode.multipart_request(encode.MP_PORT_DESC, 2))
    return line


def _read_until(line: socket.socket, wanted: int) -> None:
    while True:
        head = line.recv(8, socket.MSG_WAITALL)
        line.recv(int.from_bytes(head[2:4], "big") - 8, socket.MSG_WAITALL)
        if head[1] == wanted:
            return


def _send_to_all(lines: Sequence[socket.socket], load: bytes) -> float:
    epoll = select.epoll()
    by_fd = {line.fileno(): line for line in lines}
    at = dict.fromkeys(by_fd, 0)
    view = memoryview(load)
    for fd, line in by_fd.items():
        line.setblocking(False)
        epoll.register(fd, select.EPOLLOUT)
    began_s = time.monotonic()
    while by_fd:
        for fd, events in epoll.poll(_TIMEOUT_S):
            if events & select.EPOLLIN:  # the only thing left to hear is the barrier's reply
                epoll.unregister(fd)
                del by_fd[fd]
            elif events & select.EPOLLOUT:
                at[fd] += by_fd[fd].send(view[at[fd] : at[fd] + _WRITE_BYTES])
                if at[fd] == len(load):
                    epoll.modify(fd, select.EPOLLIN)
    return time.monotonic() - began_s


if __name__ == "__main__":
    main()
