"""Values that cannot be invalid.

Each is an int, so that it hashes, compares and packs fast; it prints in its field's usual
notation. ``parse(text, field)`` is the way in for text of users; it raises InvalidValue, which
names the field.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Self, TypeAlias

from topology.errors import InvalidValue

_MAC = re.compile(r"[0-9a-fA-F]{2}([:-])[0-9a-fA-F]{2}(?:\1[0-9a-fA-F]{2}){4}")
_DPID = re.compile(r"(?:0x)?[0-9a-fA-F]{1,16}")
_FINGERPRINT = re.compile(r"sha256:[0-9a-fA-F]{64}")
_V4_MAPPED = 0xFFFF << 32
_AF_INET, _AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)


class _BoundedInt(int):
    """An int between 0 and MAX, both included."""

    MAX: ClassVar[int]
    WHAT: ClassVar[str]

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        if not 0 <= value <= cls.MAX:
            raise InvalidValue(cls.__name__.lower(), f"{value} is not {cls.WHAT}")
        return int.__new__(cls, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"

    def __str__(self) -> str:
        return int.__repr__(self)


class Mac(_BoundedInt):
    """An Ethernet address, 48 bit; prints as ``52:54:00:00:00:01``."""

    MAX = (1 << 48) - 1
    WHAT = "an Ethernet address"
    __slots__ = ()

    @classmethod
    def parse(cls, text: str, field: str = "mac") -> Mac:
        """Read ``52:54:00:00:00:01`` or ``52-54-...``; a station's address only (RFC 7042)."""
        if not _MAC.fullmatch(text):
            raise InvalidValue(field, f"{text!r} is not an Ethernet address like 52:54:00:00:00:01")
        mac = int.__new__(cls, int(text.replace(text[2], ""), 16))
        if not mac.is_station:
            raise InvalidValue(field, f"{text} is a group or null address, not a station's")
        return mac

    @classmethod
    def unpack(cls, packed: bytes) -> Mac:
        """The address of these 6 bytes, in network order."""
        if len(packed) != 6:
            raise InvalidValue("mac", "an Ethernet address is not 6 bytes")
        return int.__new__(cls, int.from_bytes(packed, "big"))

    @property
    def packed(self) -> bytes:
        """6 bytes, network order."""
        return self.to_bytes(6, "big")

    @property
    def is_station(self) -> bool:
        """Whether a VM can own it: neither group (bit 40) nor all zero."""
        return self != 0 and not self & (1 << 40)

    def __str__(self) -> str:
        return self.packed.hex(":")


class Vni(_BoundedInt):
    """A VXLAN network identifier, 24 bit (RFC 7348)."""

    MAX = (1 << 24) - 1
    WHAT = "a VNI (0 to 16777215)"
    __slots__ = ()


class Vlan(_BoundedInt):
    """An IEEE 802.1Q VLAN id that a network may use, 1 to 4094."""

    MAX = 4094
    WHAT = "a VLAN id (1 to 4094)"
    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        if value == 0:
            raise InvalidValue("vlan", "0 is not a VLAN id (1 to 4094; null means untagged)")
        return super().__new__(cls, value)


class Dpid(_BoundedInt):
    """An OpenFlow datapath id, 64 bit; prints as 16 hex digits."""

    MAX = (1 << 64) - 1
    WHAT = "a datapath id"
    __slots__ = ()

    @classmethod
    def parse(cls, text: str, field: str = "dpid") -> Dpid:
        """Read up to 16 hex digits, with or without 0x; colons are accepted."""
        if not _DPID.fullmatch(text.replace(":", "")):
            raise InvalidValue(field, f"{text!r} is not a datapath id of up to 16 hex digits")
        return cls(int(text.replace(":", ""), 16))

    def __str__(self) -> str:
        return f"{int(self):016x}"


class Fingerprint(_BoundedInt):
    """A certificate's name: the SHA-256 of its DER form; prints as ``sha256:`` and 64 digits."""

    MAX = (1 << 256) - 1
    WHAT = "a SHA-256 fingerprint"
    __slots__ = ()

    @classmethod
    def parse(cls, text: str, field: str = "certificate") -> Fingerprint:
        """Read ``sha256:`` and 64 hex digits, as openssl prints them but for the colons."""
        if not _FINGERPRINT.fullmatch(text):
            raise InvalidValue(field, "is not sha256: and 64 hex digits")
        return cls(int(text.removeprefix("sha256:"), 16))

    @classmethod
    def unpack(cls, packed: bytes) -> Fingerprint:
        """The fingerprint of these 32 bytes, in network order."""
        if len(packed) != 32:
            raise InvalidValue("certificate", "a SHA-256 fingerprint is not 32 bytes")
        return cls(int.from_bytes(packed, "big"))

    @property
    def packed(self) -> bytes:
        """32 bytes, network order."""
        return self.to_bytes(32, "big")

    def __str__(self) -> str:
        return f"sha256:{self.packed.hex()}"


class Ip(_BoundedInt):
    """An IPv4 or IPv6 address in one 128-bit space: IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2)."""

    MAX = (1 << 128) - 1
    WHAT = "an IP address"
    __slots__ = ()

    @classmethod
    def v4(cls, value: int) -> Ip:
        """The IPv4 address whose 32-bit value is given."""
        return cls(_V4_MAPPED | value)

    @classmethod
    def parse(cls, text: str, field: str = "ip") -> Ip:
        """Read an IPv4 or IPv6 address that a station can own."""
        ip = _parse_ip(text, field)
        if not ip.is_station:
            raise InvalidValue(
                field, f"{text} is a group, broadcast, loopback or null address, not a station's"
            )
        return ip

    @classmethod
    def unpack(cls, packed: bytes) -> Ip:
        """The address of these 4 or 16 bytes, in network order."""
        number = int.from_bytes(packed, "big")
        if len(packed) == 4:
            return int.__new__(Ip, _V4_MAPPED | number)
        if len(packed) == 16:
            return int.__new__(Ip, number)
        raise InvalidValue("ip", "an address is not 4 or 16 bytes")

    @property
    def is_v4(self) -> bool:
        return self >> 32 == 0xFFFF

    @property
    def low32(self) -> int:
        """The IPv4 address as 32 bits (meaningful when is_v4)."""
        return self & 0xFFFFFFFF

    @property
    def is_station(self) -> bool:
        """Whether one station can own it (RFC 1122 3.2.1.3, RFC 4291 2.7)."""
        if self >> 32 == 0xFFFF:
            low32 = self & 0xFFFFFFFF
            return 0 < low32 < 0xE0000000 and low32 >> 24 != 127
        return self > 1 and self >> 120 != 0xFF

    @property
    def packed(self) -> bytes:
        """4 bytes for IPv4, 16 for IPv6, network order."""
        if self >> 32 == 0xFFFF:
            return (self & 0xFFFFFFFF).to_bytes(4, "big")
        return self.to_bytes(16, "big")

    def __str__(self) -> str:
        if self.is_v4:
            return socket.inet_ntoa(self.packed)
        return socket.inet_ntop(socket.AF_INET6, self.packed)


def _parse_ip(text: str, field: str) -> Ip:
    try:
        return Ip.unpack(socket.inet_pton(_AF_INET, text))
    except (OSError, ValueError):
        pass
    try:
        return Ip.unpack(socket.inet_pton(_AF_INET6, text))
    except (OSError, ValueError) as error:
        raise InvalidValue(field, f"{text!r} is not an IPv4 or IPv6 address") from error


@dataclass(frozen=True, slots=True, order=True)
class Subnet:
    """An IPv4 or IPv6 prefix; ``bits`` counts within its own family (RFC 4632, RFC 4291 2.3)."""

    ip: Ip
    bits: int

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= self.width_bits:
            raise InvalidValue("subnets", f"/{self.bits} is no prefix length")
        if self.value & ~self.mask:
            raise InvalidValue("subnets", f"{self} has host bits set")

    @classmethod
    def parse(cls, text: str, field: str = "subnets") -> Subnet:
        """Read ``10.1.1.0/24`` or ``fd00::/64``."""
        address, slash, bits = text.partition("/")
        if not slash or not bits.isascii() or not bits.isdigit() or len(bits) > 3:
            raise InvalidValue(field, f"{text!r} is not a subnet like 10.1.1.0/24 or fd00::/64")
        try:
            return cls(_parse_ip(address, field), int(bits))
        except InvalidValue as error:
            raise InvalidValue(field, error.reason) from error

    @property
    def is_v4(self) -> bool:
        return self.ip.is_v4

    @property
    def width_bits(self) -> int:
        return 32 if self.is_v4 else 128

    @property
    def value(self) -> int:
        """The prefix as a number of its family's width."""
        return self.ip.low32 if self.is_v4 else int(self.ip)

    @property
    def mask(self) -> int:
        ones = (1 << self.width_bits) - 1
        return ones ^ (ones >> self.bits)

    def __contains__(self, ip: Ip) -> bool:
        if ip.is_v4 != self.is_v4:
            return False
        return (ip.low32 if self.is_v4 else int(ip)) & self.mask == self.value

    def __str__(self) -> str:
        return f"{self.ip}/{self.bits}"


class VtepIp(Ip):
    """The IPv4 underlay address of a tunnel endpoint."""

    WHAT = "a VTEP address"
    __slots__ = ()

    @classmethod
    def parse(cls, text: str, field: str = "vtep") -> VtepIp:
        ip = Ip.parse(text, field)
        if not ip.is_v4:
            raise InvalidValue(field, f"{text} is not IPv4: the underlay is IPv4")
        return cls(ip)


class Foreign(_BoundedInt):
    """A foreign VTEP as the place of a MAC: a number beyond every datapath id.

    So hosts and foreign VTEPs share the indexes of places, and never meet in them.
    """

    MAX = (1 << 65) - 1
    WHAT = "a foreign VTEP"
    __slots__ = ()

    @classmethod
    def at(cls, vtep: VtepIp) -> Foreign:
        return cls(1 << 64 | vtep.low32)

    @property
    def vtep(self) -> VtepIp:
        return VtepIp(VtepIp.v4(int(self) & 0xFFFFFFFF))

    def __str__(self) -> str:
        return str(self.vtep)


Location: TypeAlias = Dpid | Foreign
"""Where a MAC is: on a host, or behind a foreign VTEP."""

shared_vni = lru_cache(1 << 16)(Vni)
"""The VNI of this number, one object for all facts that hold it."""
shared_dpid = lru_cache(1 << 16)(Dpid)
"""The datapath id of this number, one object for all facts that hold it."""
