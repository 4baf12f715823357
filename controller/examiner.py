"""A closer look at a bridge, when somebody asks what is wrong.

Between two readings of what table 0 drops, a frame is put into the bridge's own pipeline that
nothing of ours matches: if table 0 does not count it as a miss, a hidden flow took it, which
OpenFlow does not show and only in-band control makes. That frame is an ARP request in the name of
the controller's address, as hidden flows match it, to a MAC that no bridge forwards (IEEE 802.1Q,
table 8-1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct

from controller.events import DumpPart
from controller.flow import Output
from controller.pipeline import PROBE_MAC, Kind, Table, cookie_kind
from controller.replica import Replica, State
from controller.wire import decode, encode

OFPP_TABLE = 0xFFFFFFF9
XIDS = 0x77F00000
_ARP_REQUEST = (
    bytes.fromhex("0180c2000001")
    + PROBE_MAC.to_bytes(6, "big")
    + bytes.fromhex("0806 0001 0800 06 04 0001")
)
_PORT_STATS = Struct("!I100xII")  # port, duration in seconds, and nanoseconds


@dataclass(slots=True)
class Examination:
    """What a look at one bridge found, as far as its answers came.

    ``misses``: what table 0 had dropped, at each reading. ``ports_s``: how long its oldest port is
    there.
    """

    misses: list[int] = field(default_factory=list)
    ports_s: int | None = None

    @property
    def in_band(self) -> bool | None:
        """Whether a hidden flow took the frame; None while that is not known."""
        return None if len(self.misses) < 2 else self.misses[0] == self.misses[1]


class Examiner:
    """Asks, and takes the answers."""

    def __init__(self) -> None:
        self.found: dict[int, Examination] = {}
        self._asked: dict[int, int] = {}  # xid -> dpid
        self._xid = 0

    def look(self, replica: Replica, controller_ip: int | None) -> None:
        """Ask anew; without the controller's address nothing is told of in-band control.

        A bridge that is not ours yet gets no frame: somebody else's flows would treat it.
        """
        self.lost(replica.dpid)
        self.found[replica.dpid] = Examination()
        if controller_ip is not None and replica.state is State.LIVE:
            misses = encode.flows_request(Kind.TABLE_MISS, Table.CLASSIFY)
            address = controller_ip.to_bytes(4, "big")
            frame = _ARP_REQUEST + PROBE_MAC.to_bytes(6, "big") + address + bytes(6) + address
            self._ask(replica, misses)
            replica.send(encode.packet_out((Output(OFPP_TABLE),), frame.ljust(60, b"\0")))
            self._ask(replica, misses)
        if replica.emptied:
            self._ask(replica, encode.port_stats_request())

    def _ask(self, replica: Replica, request: Callable[[int], bytes]) -> None:
        self._xid = (self._xid + 1) % 0x100000
        self._asked[XIDS + self._xid] = replica.dpid
        replica.send(request(XIDS + self._xid))

    def take(self, dpid: int, part: DumpPart) -> bool:
        """Whether this was an answer to us."""
        if self._asked.get(part.xid) != dpid:
            return False
        if not part.more:
            del self._asked[part.xid]
        found = self.found[dpid]
        if part.kind == encode.MP_PORT_STATS:
            found.ports_s = max([found.ports_s or 0, *_ages(part.body)])
        elif part.kind == encode.MP_FLOW:
            found.misses += [
                entry.packets
                for entry in decode.flow_entries(part.body)
                if entry.table == Table.CLASSIFY and cookie_kind(entry.cookie) is Kind.TABLE_MISS
            ]
        return True

    def lost(self, dpid: int) -> None:
        """Its session is over: nothing is answered any more."""
        self.found.pop(dpid, None)
        for xid in [xid for xid, asked in self._asked.items() if asked == dpid]:
            del self._asked[xid]

    @property
    def busy(self) -> bool:
        return bool(self._asked)


def _ages(body: bytes) -> list[int]:
    if len(body) % _PORT_STATS.size:
        raise decode.Malformed("port stats: not a whole number of ports")
    return [seconds for _port, seconds, _ns in _PORT_STATS.iter_unpack(body)]
