"""``python -m bench.farm``: fake switches in a process of their own, commanded over stdin.

One JSON object a line, {"do": NAME, ...}; one JSON object a line comes back, {"error": TEXT} when
it could not be done. `client.Farm` speaks this. Times are CLOCK_MONOTONIC seconds, which all
processes of a machine share.

| do | arguments | answer |
|---|---|---|
| start | address, port, switches, hold, own_addresses, first_dpid | |
| connected | within_s: waits until every handshake is done | |
| counters | | flow_mods, deletes, ...; last_barrier_s, losses, faults: of all switches |
| held | | flows: how many, of each switch |
| mark | sample: how many flow-mods of switch 0 to keep from now on | counters begin at 0 |
| sample | | flow_mods: hex |
| cookies | switch: its index | cookies: integers |
| quiet | for_s, within_s: waits until no flow or group changed for so long | |
| reconnect | dying: how many hang up once more in the middle; all hang up, and connect again | |
| flood | switch: its index, vni, count: packet-ins of new MACs as fast as it is read | |
| flooding | | left: how many of them are not sent yet |
| storm | vni (null: table misses), each, quiet_s | sent, decided, seconds |
| ping | vni (null: table misses), times, first: from this switch on | seconds: a list |
"""

from __future__ import annotations

import errno
import json
import os
import resource
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from typing import Any, Final

from bench.farm.switch import (
    PATCH_PORT,
    TUNNEL_PORT,
    Copying,
    Counts,
    Switch,
    new_mac,
)

READ_BYTES: Final = 256 * 1024
MESSAGE_MAX_BYTES: Final = 65_535
HANDSHAKES_AT_ONCE: Final = 64
RECONNECT_S: Final = 1.0
SETTLE_S: Final = 0.001
"""Nothing came for so long: the next of a row of packet-ins has the controller to itself."""
ANSWER_S: Final = 5.0
TEACH_S: Final = 0.5
FLOOD_CHUNK: Final = 256
KNOWN: Final = bytes.fromhex("020000000001")
BROADCAST: Final = b"\xff" * 6
_PLACEHOLDER: Final = bytes.fromhex("02fadeadbeef")


class Refused(Exception):
    """A command that cannot be carried out; its text says why."""


class Line:
    """A switch's connection."""

    def __init__(self, switch: Switch, source: str | None) -> None:
        self.switch = switch
        self.source = source
        self.socket: socket.socket | None = None
        self.rest = b""
        self.retry_s = 0.0
        self.writing = False
        self.dies_after = 0  # so many reads, once


class Farm:
    """All switches of this process."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._epoll.register(0, select.EPOLLIN)
        self._lines: list[Line] = []
        self._by_fd: dict[int, Line] = {}
        self._waiting: list[Line] = []  # not connected, in the order they are to be
        self._buffer = bytearray(READ_BYTES + MESSAGE_MAX_BYTES)
        self._view = memoryview(self._buffer)
        self._target = ("127.0.0.1", 6653)
        self._losses = 0
        self._last_change_s = self._last_barrier_s = 0.0
        self._arrived: dict[bytes, float] = {}
        self._serial = 0
        self._flood_left = 0
        self._commands = b""
        self._over = False

    # The loop

    def run(self) -> None:
        while not self._over:
            self.turn(0.2)

    def turn(self, timeout_s: float) -> bool:
        """Wait for something and do it; True if data came."""
        self._connect_some()
        came = False
        for fd, events in self._epoll.poll(timeout_s):
            line = self._by_fd.get(fd)
            if line is None:
                if fd == 0:
                    self._read_commands()
                continue
            if events & ~select.EPOLLOUT:
                came |= self._read(line)
            if events & select.EPOLLOUT and line.socket is not None:
                self._write(line)
        return came

    def _wait(self, done: Callable[[], bool], within_s: float) -> bool:
        until_s = time.monotonic() + within_s
        while not done():
            left_s = until_s - time.monotonic()
            if left_s <= 0 or self._over:
                return False
            self.turn(min(left_s, 0.05))
        return True

    def _connect_some(self) -> None:
        if not self._waiting:
            return
        now_s = time.monotonic()
        shaking = sum(not line.switch.ready for line in self._by_fd.values())
        while self._waiting and shaking < HANDSHAKES_AT_ONCE and self._waiting[0].retry_s <= now_s:
            self._connect(self._waiting.pop(0))
            shaking += 1

    def _connect(self, line: Line) -> None:
        made = socket.socket(socket.AF_INET)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if line.source is not None:
            made.bind((line.source, 0))
        line.socket, line.rest = made, b""
        self._by_fd[made.fileno()] = line
        self._epoll.register(made.fileno(), select.EPOLLIN | select.EPOLLOUT)
        line.writing = True
        line.switch.connected()
        if made.connect_ex(self._target) not in (0, errno.EINPROGRESS):
            self._lose(line)

    def _lose(self, line: Line) -> None:
        if line.socket is None:
            return
        self._losses += 1
        self._hang_up(line)

    def _hang_up(self, line: Line) -> None:
        assert line.socket is not None
        del self._by_fd[line.socket.fileno()]
        line.socket.close()
        line.socket = None
        line.switch.ready = False
        line.retry_s = time.monotonic() + RECONNECT_S
        self._waiting.append(line)

    def _read(self, line: Line) -> bool:
        assert line.socket is not None
        start = len(line.rest)
        self._buffer[:start] = line.rest
        try:
            got = line.socket.recv_into(self._view[start : start + READ_BYTES])
        except BlockingIOError:
            return False
        except OSError:
            got = 0
        if not got:
            self._lose(line)
            return False
        if line.dies_after:
            line.dies_after -= 1
            if not line.dies_after:
                self._hang_up(line)
                line.retry_s = 0.0
                return False
        end = start + got
        switch = line.switch
        counts = switch.counts
        barriers, changes = counts.barriers, counts.changes
        taken = switch.receive(self._buffer, end)
        line.rest = bytes(self._view[taken:end])
        if switch.out:
            self._write(line)
        now_s = time.monotonic()
        if counts.changes != changes:
            self._last_change_s = now_s
        if counts.barriers != barriers:
            self._last_barrier_s = now_s
        return True

    def _write(self, line: Line) -> None:
        assert line.socket is not None
        out = line.switch.out
        try:
            while out:
                head = out[0]
                if not isinstance(head, memoryview):
                    part = next(head, None)
                    if part is None:
                        out.popleft()
                    else:
                        out.appendleft(memoryview(part))
                    continue
                sent = line.socket.send(head)
                if sent == len(head):
                    out.popleft()
                else:
                    out[0] = head[sent:]
        except BlockingIOError:
            pass
        except OSError:
            self._lose(line)
            return
        if bool(out) != line.writing:
            line.writing = bool(out)
            wanted = select.EPOLLIN | (select.EPOLLOUT if out else 0)
            self._epoll.modify(line.socket.fileno(), wanted)

    def _send(self, switch: Switch, message: bytes) -> None:
        switch.say(message)
        line = self._lines[switch.index]
        if line.socket is not None and not line.writing:
            self._write(line)

    # Commands

    def _read_commands(self) -> None:
        data = os.read(0, 65_536)
        if not data:
            self._over = True
            return
        self._commands += data
        while b"\n" in self._commands:
            line, _, self._commands = self._commands.partition(b"\n")
            request = json.loads(line)
            try:
                answer = getattr(self, "do_" + request.pop("do"))(**request) or {}
            except Refused as refused:
                answer = {"error": str(refused)}
            print(json.dumps(answer), flush=True)

    def do_start(
        self,
        address: str,
        port: int,
        switches: int,
        hold: bool,
        own_addresses: bool,
        first_dpid: int,
    ) -> None:
        self._target = (address, port)
        for index in range(switches):
            switch = Switch(index, first_dpid + index, hold, self._mac_arrived)
            source = f"127.1.{index >> 8}.{index & 0xFF}" if own_addresses else None
            self._lines.append(Line(switch, source))
        self._waiting = list(self._lines)

    def do_connected(self, within_s: float) -> None:
        if not self._wait(lambda: all(switch.ready for switch in self._switches()), within_s):
            ready = sum(switch.ready for switch in self._switches())
            raise Refused(f"{ready} of {len(self._lines)} switches connected in {within_s:g} s")

    def do_counters(self) -> dict[str, Any]:
        total = {one.name: 0 for one in fields(Counts)}
        for switch in self._switches():
            for name, value in asdict(switch.counts).items():
                total[name] += value
        faults = [fault for switch in self._switches() for fault in switch.faults]
        return {
            **total,
            "last_barrier_s": self._last_barrier_s,
            "losses": self._losses,
            "faults": faults[:10],
        }

    def do_held(self) -> dict[str, Any]:
        return {"flows": [len(switch.flows) for switch in self._switches()]}

    def do_mark(self, sample: int = 0) -> None:
        for switch in self._switches():
            switch.counts = Counts()
        first = self._lines[0].switch
        first.sample, first.sample_size = [], sample

    def do_sample(self) -> dict[str, Any]:
        return {"flow_mods": [mod.hex() for mod in self._lines[0].switch.sample]}

    def do_cookies(self, switch: int) -> dict[str, Any]:
        return {"cookies": self._lines[switch].switch.flows.cookies()}

    def do_quiet(self, for_s: float, within_s: float) -> None:
        self._last_change_s = time.monotonic()
        if not self._wait(lambda: time.monotonic() - self._last_change_s > for_s, within_s):
            raise Refused(f"still busy after {within_s:g} s")

    def do_reconnect(self, dying: int = 0) -> None:
        for index, line in enumerate(self._lines):
            line.dies_after = 1 + index % 7 if index < dying else 0
            if line.socket is not None:
                self._hang_up(line)
                line.retry_s = 0.0

    def do_close(self) -> None:
        self._over = True

    # Packet-ins

    def do_storm(self, vni: int | None, each: int, quiet_s: float) -> dict[str, Any]:
        """New MACs from every switch, as fast as the controller reads.

        With a VNI a MAC is decided when a flow-mod that bears it came to one other switch: to
        switch 0, for its own MACs to switch 1. Without, when it came to its own switch.
        """
        switches = self._switches()
        self._teach(vni)
        serials = self._serials(each)
        awaited = 0
        for switch in switches:
            macs = [new_mac(switch.index, serial) for serial in serials]
            seen_at = switch if vni is None else switches[1 if switch.index == 0 else 0]
            seen_at.awaited = (seen_at.awaited or set()) | set(macs)
            awaited += len(macs)
        storms = [(switch, b"".join(self._packet_ins(switch, vni, serials))) for switch in switches]
        self._arrived.clear()
        began_s = self._last_change_s = time.monotonic()
        for switch, storm in storms:
            self._send(switch, storm)
        decided = -1
        while decided < len(self._arrived) < awaited:
            decided = len(self._arrived)
            self._wait(lambda: len(self._arrived) == awaited, quiet_s)
        for switch in switches:
            switch.awaited = None
        last_s = max(self._arrived.values(), default=began_s)
        return {"sent": awaited, "decided": len(self._arrived), "seconds": last_s - began_s}

    def do_flood(self, switch: int, vni: int, count: int) -> None:
        line = self._lines[switch]
        self._flood_left += count

        def chunks() -> Iterator[bytes]:
            for at in range(0, count, FLOOD_CHUNK):
                serials = self._serials(min(FLOOD_CHUNK, count - at))
                yield b"".join(self._packet_ins(line.switch, vni, serials))
                self._flood_left -= len(serials)

        line.switch.out.append(chunks())
        if line.socket is not None:
            self._write(line)

    def do_flooding(self) -> dict[str, Any]:
        return {"left": self._flood_left}

    def do_ping(self, vni: int | None, times: int, first: int = 0) -> dict[str, Any]:
        """One new MAC at a time: from sending the packet-in to the first flow-mod that bears it.

        While another switch floods nothing comes to rest, and is not waited for.
        """
        switches = self._switches()[first:]
        self._teach(vni)
        awaited: set[bytes] = set()
        for switch in switches:
            switch.awaited = awaited
        seconds: list[float] = []
        for turn, serial in enumerate(self._serials(times)):
            switch = switches[turn % len(switches)]
            mac = new_mac(switch.index, serial)
            (packet_in,) = self._packet_ins(switch, vni, [serial])
            while self.turn(SETTLE_S) and not self._flood_left:
                pass
            self._arrived.clear()
            awaited.add(mac)
            sent_s = time.monotonic()
            self._send(switch, packet_in)
            if not self._wait(lambda: bool(self._arrived), ANSWER_S):
                raise Refused(f"packet-in {turn} had no answer in {ANSWER_S:g} s")
            seconds.append(self._arrived[mac] - sent_s)
        for switch in switches:
            switch.awaited = None
        return {"seconds": seconds}

    def _mac_arrived(self, mac: bytes) -> None:
        self._arrived[mac] = time.monotonic()

    def _serials(self, count: int) -> list[int]:
        first, self._serial = self._serial, self._serial + count
        return list(range(first, self._serial))

    def _packet_ins(self, switch: Switch, vni: int | None, serials: list[int]) -> Iterator[bytes]:
        in_port = PATCH_PORT if vni is not None else TUNNEL_PORT
        message = switch.packet_in(_copying(switch, vni), _PLACEHOLDER, KNOWN, in_port)
        head, _, tail = message.partition(_PLACEHOLDER)
        return (head + new_mac(switch.index, serial) + tail for serial in serials)

    def _teach(self, vni: int | None) -> None:
        """A learning switch answers with flows only where the destination is known."""
        if vni is not None:
            return
        for switch in self._switches():
            self._send(switch, switch.packet_in(None, KNOWN, BROADCAST))
        self.do_quiet(TEACH_S, 10 * TEACH_S)

    def _switches(self) -> list[Switch]:
        return [line.switch for line in self._lines]


def _copying(switch: Switch, vni: int | None) -> Copying | None:
    if vni is None:
        return None
    copying = switch.copying.get(vni)
    if copying is None:
        raise Refused(f"switch {switch.index} got no flow that copies unknown sources of {vni}")
    return copying


def _allow_many_files() -> None:
    _now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    _allow_many_files()
    Farm().run()
    sys.exit(0)
