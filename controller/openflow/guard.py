"""What is refused before Ryu's parser sees it: lengths that would make it loop for ever."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from controller.wire import encode

_HELLO_ELEMENT_MIN_BYTES = 4
_OWN_CHANGE = pack("!HH4x", encode.MP_EXPERIMENTER, 0) + encode.FLOW_MONITOR_NAME + b"\0\x08\0\3"
_OWN_CHANGE_BYTES = 32
_BUNDLE_CONTROL_BYTES = 24
_KNOWN_VERSIONS = range(1, 10)
_VERSION_BITMAP = 1
_TLS_BEGINS = b"\x16\x03"

RYU_REPLIES = frozenset({8, 23, 25, 27})
"""Replies to what only other apps ask: get-config, queue-get-config, role, get-async."""

ASYNCHRONOUS = frozenset({encode.PACKET_IN, encode.FLOW_REMOVED, encode.PORT_STATUS})
"""What a switch may send at any time; before the handshake is done nobody listens."""

_DURING_HANDSHAKE = frozenset(
    {
        encode.HELLO,
        encode.ERROR,
        encode.ECHO_REPLY,
        encode.FEATURES_REPLY,
        encode.MULTIPART_REPLY,
    }
)


class Refused(ValueError):
    """A message that is not passed on; the connection ends."""


class TooOld(Refused):
    """A switch that cannot speak OpenFlow 1.3; it is told so, in its own version."""

    def __init__(self, spoken: str, version: int) -> None:
        super().__init__(
            f"it speaks OpenFlow {spoken} and not 1.3; set protocols=OpenFlow13 on the bridge"
        )
        self._version = min(version, encode.VERSION)

    def answer(self) -> bytes:
        """OFPT_ERROR: hello failed, incompatible."""
        error = encode.message(encode.ERROR, 0, bytes(4) + str(self).encode("ascii"))
        return bytes((self._version,)) + error[1:]


def message_length(buffer: bytes | bytearray, at: int) -> int:
    """The length of the message that begins here; Refused when it cannot be one."""
    if buffer[at : at + 2] == _TLS_BEGINS:
        raise Refused("it speaks TLS, and the controller has no ctl_privkey and ctl_cert")
    if buffer[at] not in _KNOWN_VERSIONS:
        raise Refused(f"it does not speak OpenFlow, it says {bytes(buffer[at : at + 12])!r}")
    length = buffer[at + 2] << 8 | buffer[at + 3]
    if length < 8:
        raise Refused(f"a message of {length} bytes")
    if buffer[at] != encode.VERSION and buffer[at + 1] not in (encode.HELLO, encode.ERROR):
        raise Refused(f"OpenFlow version byte {buffer[at]}; set protocols=OpenFlow13 on the bridge")
    return length


def check_for_ryu(message: bytes, *, handshake: bool) -> None:
    """Refuse what Ryu 4.34 cannot parse safely."""
    msg_type = message[1]
    if handshake and msg_type not in _DURING_HANDSHAKE:
        raise Refused(f"message type {msg_type} during the handshake")
    if msg_type == encode.HELLO:
        _check_hello(message)
    elif handshake and msg_type == encode.MULTIPART_REPLY:
        if message[8:10] != encode.MP_PORT_DESC.to_bytes(2, "big"):
            raise Refused("an unasked multipart reply during the handshake")
        if (len(message) - 16) % 64:
            raise Refused("a port description of odd length")


def _check_hello(message: bytes) -> None:
    version = message[0]
    spoken: Sequence[int] = range(1, version + 1)
    at = 8
    while at < len(message):
        kind = int.from_bytes(message[at : at + 2], "big")
        size = int.from_bytes(message[at + 2 : at + 4], "big")
        if size < _HELLO_ELEMENT_MIN_BYTES or at + size > len(message) + 7:
            raise Refused("a hello element of bad length")
        if kind == _VERSION_BITMAP:
            bits = int.from_bytes(message[at + 4 : at + 8], "big")
            spoken = [each for each in _KNOWN_VERSIONS if bits >> each & 1]
        at += size + -size % 8
    if encode.VERSION not in spoken:
        raise TooOld(", ".join(f"1.{each - 1}" for each in spoken) or "of no version", version)


def says_own_change_only(message: bytes) -> bool:
    """Whether this is what a flow monitor says of each of our own flow-mods, and nothing else."""
    return len(message) == _OWN_CHANGE_BYTES and message[8:28] == _OWN_CHANGE


def monitor_paused(message: bytes) -> bool | None:
    """Whether a flow monitor pauses or goes on, if this message says either."""
    if len(message) < 16 or int.from_bytes(message[8:12], "big") != encode.ONF_VENDOR:
        return None
    kind = int.from_bytes(message[12:16], "big")
    if kind not in (encode.MONITOR_PAUSED, encode.MONITOR_RESUMED):
        return None
    return kind == encode.MONITOR_PAUSED


def committed_bundle(message: bytes) -> int | None:
    """The id of the bundle that this message says is committed, if it does."""
    if len(message) < _BUNDLE_CONTROL_BYTES or message[8:16] != b"ONF\0\0\0\x08\xfc":
        return None
    if int.from_bytes(message[20:22], "big") != encode.BUNDLE_COMMITTED:
        return None
    return int.from_bytes(message[16:20], "big")
