"""DHCPv4 for registered VMs (RFC 2131): a request's frame in, the answer's frame out.

There are no leases to keep: a VM's address is a registered fact, so whatever it asks, in whatever
state, the answer follows from the fact alone. Frames come from VMs and may be hostile: what is not
exactly a request that is ours to answer is not answered.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct

from controller.frames import checksum
from topology.errors import InvalidValue
from topology.types import Ip

_ETH = Struct("!6s6sH")
_IP = Struct("!BBHHHBBHII")
_UDP = Struct("!HHHH")
_BOOTP = Struct("!BBBBIHHIIII16s64s128sI")  # RFC 2131, 2; the last word is the options' cookie
_ETH_TYPE_IP, _ETH_TYPE_VLAN = 0x0800, 0x8100
_IP_PROTO_UDP = 17
_DONT_FRAGMENT, _FRAGMENT = 0x4000, 0x3FFF  # the latter: more fragments, or an offset
_SERVER_PORT, _CLIENT_PORT = 67, 68
_BROADCAST_MAC, _BROADCAST_IP = b"\xff" * 6, 0xFFFFFFFF

_BOOT_REQUEST, _BOOT_REPLY = 1, 2
_ETHERNET = (1, 6)  # htype, hlen
_COOKIE = 0x63825363
_BROADCAST_FLAG = 0x8000
_BOOTP_MIN_BYTES = 300  # RFC 1542, 2.1
_OPTIONS_MAX_BYTES = 312 - 4  # RFC 2131, 2: what every client takes, less the cookie

_DISCOVER, _OFFER, _REQUEST, _ACK, _NAK, _INFORM = 1, 2, 3, 5, 6, 8
# Options, RFC 2132.
_PAD, _END = 0, 255
_MASK, _ROUTER, _DNS, _HOSTNAME, _MTU = 1, 3, 6, 12, 26
_REQUESTED_IP, _LEASE_S, _OVERLOAD, _KIND, _SERVER = 50, 51, 52, 53, 54
_MESSAGE, _T1_S, _T2_S, _CLIENT_ID = 56, 58, 59, 61
_EXACT_BYTES = {_REQUESTED_IP: 4, _OVERLOAD: 1, _KIND: 1, _SERVER: 4}
_IN_FILE, _IN_SNAME = 1, 2  # bits of the overload option

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# RFC 1123, 2.1: labels of letters, digits and hyphens, but not what reads as an address.
_HOST_NAME = re.compile(rf"(?![0-9]+(?:\.[0-9]+){{3}}\Z)(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Lease:
    """What a VM is told; ``hostname`` only where it can be a host's name."""

    ip: Ip
    prefix_bits: int
    server: Ip
    router: Ip | None
    dns: tuple[Ip, ...]
    mtu_bytes: int
    lease_s: int
    hostname: str | None = None

    def __post_init__(self) -> None:
        addresses = (self.ip, self.server, self.router, *self.dns)
        v4 = all(ip.is_v4 for ip in addresses if ip is not None)
        sized = 0 <= self.mtu_bytes < 1 << 16 and 0 <= self.lease_s < 1 << 32
        if not v4 or not sized or not 0 <= self.prefix_bits <= 32:
            raise InvalidValue("dhcp", f"{self} cannot be told in DHCPv4")


@dataclass(frozen=True, slots=True)
class _Request:
    kind: int
    xid: int
    flags: int
    ciaddr: int
    chaddr: bytes
    options: dict[int, bytes]


def answer(frame: bytes, mac: int, lease: Lease, server_mac: int) -> bytes | None:
    """The untagged frame to hand to the VM that sent this one; None where there is no answer."""
    station = mac.to_bytes(6, "big")
    server_station = server_mac.to_bytes(6, "big")
    message = _message_in(frame, station, lease.server.low32)
    request = _parse(message, station) if message is not None else None
    kind = _answer_kind(request, lease) if request is not None else None
    if request is None or kind is None:
        return None
    to_mac, to_ip = _destination(request, kind, lease)
    return _frame(_reply(request, kind, lease), lease.server.low32, server_station, to_ip, to_mac)


def _message_in(frame: bytes, station: bytes, server: int) -> bytes | None:
    """The UDP payload that this station sent to a DHCP server, to any or to this one."""
    if len(frame) < 18:
        return None
    _, from_mac, eth_type = _ETH.unpack_from(frame)
    if from_mac != station:
        return None
    ip = frame[14:]
    if eth_type == _ETH_TYPE_VLAN:
        eth_type, ip = frame[16] << 8 | frame[17], frame[18:]
    if eth_type != _ETH_TYPE_IP or len(ip) < _IP.size:
        return None
    version, _, total_bytes, _, fragment, _, protocol, _, _, to_ip = _IP.unpack_from(ip)
    udp_at = (version & 0xF) * 4
    if version >> 4 != 4 or udp_at < _IP.size or not udp_at + _UDP.size <= total_bytes <= len(ip):
        return None
    if protocol != _IP_PROTO_UDP or fragment & _FRAGMENT or checksum(ip[:udp_at]) != 0:
        return None
    if to_ip not in (_BROADCAST_IP, server):
        return None
    # UDP's checksum is not looked at: with offload, a renewing VM's is not filled in (seen).
    _, to_port, udp_bytes, _ = _UDP.unpack_from(ip, udp_at)
    if to_port != _SERVER_PORT or udp_bytes > total_bytes - udp_at:
        return None
    return ip[udp_at + _UDP.size : udp_at + udp_bytes]


def _parse(message: bytes, station: bytes) -> _Request | None:
    """A request that this station makes for itself, through no relay (RFC 2131, 2)."""
    if len(message) < _BOOTP.size:
        return None
    (op, htype, hlen, _, xid, _, flags, ciaddr, _, _, giaddr, chaddr, sname, file, cookie) = (
        _BOOTP.unpack_from(message)
    )
    if op != _BOOT_REQUEST or (htype, hlen) != _ETHERNET or cookie != _COOKIE:
        return None
    if giaddr or chaddr[:6] != station or (ciaddr and not Ip.v4(ciaddr).is_station):
        return None
    options = _read_options(message[_BOOTP.size :], file, sname)
    if options is None or _KIND not in options:
        return None
    return _Request(options[_KIND][0], xid, flags, ciaddr, chaddr, options)


def _read_options(field: bytes, file: bytes, sname: bytes) -> dict[int, bytes] | None:
    """The options, parts of one joined in the order of RFC 3396; None where one cannot be right."""
    found: dict[int, bytearray] = {}
    if not _collect(field, found):
        return None
    overload = int.from_bytes(found.get(_OVERLOAD, b""), "big")
    if overload & _IN_FILE and not _collect(file, found):
        return None
    if overload & _IN_SNAME and not _collect(sname, found):
        return None
    if any(len(found[code]) != size for code, size in _EXACT_BYTES.items() if code in found):
        return None
    return {code: bytes(value) for code, value in found.items()}


def _collect(field: bytes, found: dict[int, bytearray]) -> bool:
    """Add one field's options to those found; False where one runs over the field's end."""
    at = 0
    while at < len(field) and field[at] != _END:
        if field[at] == _PAD:
            at += 1
            continue
        end = at + 2 + sum(field[at + 1 : at + 2])
        if end > len(field):
            return False
        found.setdefault(field[at], bytearray()).extend(field[at + 2 : end])
        at = end
    return True


def _answer_kind(request: _Request, lease: Lease) -> int | None:
    """RFC 2131, 4.3: a VM may have its registered address and no other."""
    if request.options.get(_SERVER, lease.server.packed) != lease.server.packed:
        return None
    if request.kind == _DISCOVER:
        return _OFFER
    if request.kind == _INFORM:
        return _ACK if request.ciaddr else None
    if request.kind != _REQUEST:
        return None
    # SELECTING and INIT-REBOOT name it in the option, RENEWING and REBINDING in ciaddr.
    named = (int.from_bytes(request.options.get(_REQUESTED_IP, b""), "big"), request.ciaddr)
    claimed = {ip for ip in named if ip}
    if not claimed:
        return None
    return _ACK if claimed == {lease.ip.low32} else _NAK


def _destination(request: _Request, kind: int, lease: Lease) -> tuple[bytes, int]:
    """RFC 2131, 4.1: the MAC and the IP that the answer goes to."""
    if request.ciaddr and kind != _NAK:
        return request.chaddr[:6], request.ciaddr
    if kind == _NAK or request.flags & _BROADCAST_FLAG:
        return _BROADCAST_MAC, _BROADCAST_IP
    return request.chaddr[:6], lease.ip.low32


def _reply(request: _Request, kind: int, lease: Lease) -> bytes:
    """The answer's message (RFC 2131, 4.3.1, table 3)."""
    ciaddr = request.ciaddr if kind == _ACK else 0
    yiaddr = 0 if kind == _NAK or request.kind == _INFORM else lease.ip.low32
    head = _BOOTP.pack(
        *(_BOOT_REPLY, *_ETHERNET, 0, request.xid, 0, request.flags, ciaddr, yiaddr, 0, 0),
        *(request.chaddr, b"", b"", _COOKIE),
    )
    options = [
        (_KIND, bytes((kind,))),
        (_SERVER, lease.server.packed),
        (_CLIENT_ID, request.options.get(_CLIENT_ID, b"")),  # RFC 6842: a NAK echoes it too
    ]
    if kind == _NAK:
        options.append((_MESSAGE, b"the address is not this VM's"))
    else:
        options += _told(lease, timed=request.kind != _INFORM)
    return (head + _write_options(options)).ljust(_BOOTP_MIN_BYTES, b"\0")


def _told(lease: Lease, timed: bool) -> list[tuple[int, bytes]]:
    """The lease as options, what a VM can least do without first; T1, T2 as RFC 2131, 4.4.5."""
    mask = 0xFFFFFFFF ^ (0xFFFFFFFF >> lease.prefix_bits)
    t1_s, t2_s = lease.lease_s // 2, lease.lease_s * 7 // 8
    times = [(_LEASE_S, lease.lease_s), (_T1_S, t1_s), (_T2_S, t2_s)] if timed else []
    name = lease.hostname if lease.hostname and _HOST_NAME.fullmatch(lease.hostname) else ""
    return [
        *((code, number.to_bytes(4, "big")) for code, number in (*times, (_MASK, mask))),
        (_ROUTER, b"" if lease.router is None else lease.router.packed),
        (_MTU, lease.mtu_bytes.to_bytes(2, "big")),
        (_DNS, b"".join(ip.packed for ip in lease.dns)),
        (_HOSTNAME, name.encode("ascii")),
    ]


def _write_options(options: list[tuple[int, bytes]]) -> bytes:
    """The options in order, less those with nothing to say or without room in every client."""
    out = b""
    for code, value in options:
        if 0 < len(value) <= 255 and len(out) + 2 + len(value) < _OPTIONS_MAX_BYTES:
            out += bytes((code, len(value))) + value
    return out + bytes((_END,))


def _frame(message: bytes, from_ip: int, from_mac: bytes, to_ip: int, to_mac: bytes) -> bytes:
    """The message in UDP, IPv4 and Ethernet (RFC 768, RFC 791)."""
    udp_bytes = _UDP.size + len(message)
    pseudo = Struct("!IIHH").pack(from_ip, to_ip, _IP_PROTO_UDP, udp_bytes)
    ports = (_SERVER_PORT, _CLIENT_PORT, udp_bytes)
    # Computed zero goes as all ones: zero would say that there is no checksum.
    udp_sum = checksum(pseudo + _UDP.pack(*ports, 0) + message) or 0xFFFF
    total_bytes = _IP.size + udp_bytes
    before = (0x45, 0, total_bytes, 0, _DONT_FRAGMENT, 64, _IP_PROTO_UDP)
    ip_sum = checksum(_IP.pack(*before, 0, from_ip, to_ip))
    ip = _IP.pack(*before, ip_sum, from_ip, to_ip)
    return _ETH.pack(to_mac, from_mac, _ETH_TYPE_IP) + ip + _UDP.pack(*ports, udp_sum) + message
