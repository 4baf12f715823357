"""What a fake switch knows of its flows, and how it tells them in a dump (OFPMP_FLOW)."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from struct import Struct, pack

from controller.pipeline import Table
from controller.wire import encode

ALL_TABLES = 0xFF
_COOKIE = Struct("=Q")  # as array("Q") reads them; they are only compared
_FLOW_STATS = Struct("!HBxIIHHHH4xQQQ")
_EMPTY_MATCH = encode.encode_match(())
_BARE_BYTES = _FLOW_STATS.size + len(_EMPTY_MATCH)
_PART_BYTES = 65_000
_ALL_COOKIES = b"\xff" * 8


class Unsupported(ValueError):
    """A flow-mod that this fake switch has no answer for."""


class CookieLog:
    """Drained flows: nothing is kept but the cookies.

    Right as long as the controller deletes by cookie, as vxlan-l2 does. Not known: which flow
    another one replaced; both are told until the older is deleted. A dump's entries bear the
    cookie only: no match, no actions.
    """

    def __init__(self) -> None:
        self._log = bytearray()
        self._removed: dict[int, int] = {}  # cookie -> entries before this one are gone
        self._folded_bytes = 0  # as long as the log was when each cookie was in it once

    def add(self, flow_mod: bytes) -> None:
        self._log += flow_mod[8:16]

    def add_cookies(self, cookies: bytes) -> None:
        """8 bytes each."""
        self._log += cookies

    def delete(self, flow_mod: bytes) -> None:
        if flow_mod[16:24] == _ALL_COOKIES:
            self._removed[_COOKIE.unpack_from(flow_mod, 8)[0]] = len(self._log) // 8
        elif flow_mod[24] == 0xFF and flow_mod[48:] == _EMPTY_MATCH and not any(flow_mod[16:24]):
            self._log.clear()
            self._removed.clear()
            self._folded_bytes = 0
        else:
            raise Unsupported("a drained switch deletes by whole cookies, or everything")

    def cookies(self) -> list[int]:
        """Those that are left, each once."""
        log = self._fold()
        return [int.from_bytes(log[at : at + 8], "big") for at in range(0, len(log), 8)]

    def __len__(self) -> int:
        return len(self._fold()) // 8

    def stats(self, table: int = ALL_TABLES) -> Iterator[bytes]:
        """Bodies of the multipart replies of a dump; of one table, all are told as FLOOD's."""
        if table not in (ALL_TABLES, Table.FLOOD):
            return
        log = bytes(self._fold())
        entry = _FLOW_STATS.pack(_BARE_BYTES, *bytes(10)) + _EMPTY_MATCH
        step = _PART_BYTES // _BARE_BYTES * 8
        for start in range(0, len(log), step):
            cookies = log[start : start + step]
            part = bytearray(entry * (len(cookies) // 8))
            for byte in range(8):
                part[24 + byte :: _BARE_BYTES] = cookies[byte::8]
            yield bytes(part)

    def _fold(self) -> bytearray:
        """The log, with each cookie that is left in it once."""
        if self._removed or len(self._log) != self._folded_bytes:
            gone = self._removed
            log = array("Q", bytes(self._log))
            if gone:
                log = array("Q", (c for at, c in enumerate(log) if gone.get(c, 0) <= at))
            self._log = bytearray(array("Q", dict.fromkeys(log)).tobytes())
            self._removed = {}
            self._folded_bytes = len(self._log)
        return self._log


class FlowStore:
    """Held flows: whole, so that a dump tells the truth. Timeouts do not run."""

    def __init__(self) -> None:
        self._flows: dict[bytes, bytes] = {}  # table, priority and match -> add message
        self._identities: dict[bytes, bytes] = {}  # cookie -> those

    def add(self, flow_mod: bytes) -> None:
        identity = encode.identity_of(flow_mod)
        before = self._flows.get(identity)
        if before is not None:
            self._identities.pop(before[8:16], None)
        self._flows[identity] = flow_mod
        self._identities[flow_mod[8:16]] = identity

    def delete(self, flow_mod: bytes) -> None:
        table, command = flow_mod[24], flow_mod[25]
        cookie, mask = flow_mod[8:16], flow_mod[16:24]
        if mask == _ALL_COOKIES:
            identity = self._identities.get(cookie)
            if identity is None:
                return
            if command == encode.DELETE_STRICT and identity != encode.identity_of(flow_mod):
                return
            if table in (0xFF, identity[0]):
                del self._identities[cookie], self._flows[identity]
        elif not any(mask) and table == 0xFF and flow_mod[48:] == _EMPTY_MATCH:
            self._flows.clear()
            self._identities.clear()
        else:
            raise Unsupported("a switch that holds flows deletes by whole cookies, or everything")

    def cookies(self) -> list[int]:
        return [int.from_bytes(cookie, "big") for cookie in self._identities]

    def __len__(self) -> int:
        return len(self._flows)

    def stats(self, table: int = ALL_TABLES) -> Iterator[bytes]:
        """Bodies of the multipart replies of a dump, of all tables or one."""
        part: list[bytes] = []
        size = 0
        for add in list(self._flows.values()):
            if table not in (ALL_TABLES, add[24]):
                continue
            entry = _entry(add)
            if size + len(entry) > _PART_BYTES:
                yield b"".join(part)
                part, size = [], 0
            part.append(entry)
            size += len(entry)
        if part:
            yield b"".join(part)


def _entry(add: bytes) -> bytes:
    """An entry of flow statistics; nothing has matched it yet."""
    head = pack("!HBxII", len(add), add[24], 0, 0)
    return head + add[30:32] + add[26:30] + add[44:46] + bytes(4) + add[8:16] + bytes(16) + add[48:]
