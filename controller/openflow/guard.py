"""What is refused before Ryu's parser, or a decoder that keeps things, sees it.

``check`` is for every message: version, type and length, by how far the handshake is. ``inside``
walks every length of a message that is handed to Ryu, or that nobody reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from struct import pack

from controller.wire import encode, lengths
from controller.wire.lengths import Malformed

HEADER_BYTES = 8

_HELLO_ELEMENT_MIN_BYTES = 4
_OWN_CHANGE = pack("!HH4x", encode.MP_EXPERIMENTER, 0) + encode.FLOW_MONITOR_NAME + b"\0\x08\0\3"
_OWN_CHANGE_BYTES = 32
_BUNDLE_CONTROL = pack("!II", encode.ONF_VENDOR, 2300)
_BUNDLE_CONTROL_BYTES = 24
_KNOWN_VERSIONS = range(1, 10)
_VERSION_BITMAP = 1
_TLS_BEGINS = b"\x16\x03"
_HELLO_FAILED = 0

GET_CONFIG_REPLY, QUEUE_GET_CONFIG_REPLY, ROLE_REPLY, GET_ASYNC_REPLY = 8, 23, 25, 27

RYU_REPLIES = frozenset({GET_CONFIG_REPLY, QUEUE_GET_CONFIG_REPLY, ROLE_REPLY, GET_ASYNC_REPLY})
"""Replies to what only other apps ask: get-config, queue-get-config, role, get-async."""

ASYNCHRONOUS = frozenset({encode.PACKET_IN, encode.FLOW_REMOVED, encode.PORT_STATUS})
"""What a switch may send at any time; before the handshake is done nobody listens."""


WALKED = frozenset({encode.MULTIPART_REPLY, QUEUE_GET_CONFIG_REPLY})
"""What is walked also where nobody reads it."""


class Phase(IntEnum):
    """How far a connection is: nothing heard, features and ports asked for, a switch of ours."""

    HELLO = 0
    FEATURES = 1
    LIVE = 2


_MOST = 0xFFFF
_LIVE = {
    encode.ERROR: (12, _MOST),
    encode.ECHO_REQUEST: (8, _MOST),
    encode.ECHO_REPLY: (8, _MOST),
    encode.EXPERIMENTER: (16, _MOST),
    encode.FEATURES_REPLY: (32, 32),
    GET_CONFIG_REPLY: (12, 12),
    encode.PACKET_IN: (34, _MOST),
    encode.FLOW_REMOVED: (56, _MOST),
    encode.PORT_STATUS: (80, 80),
    encode.MULTIPART_REPLY: (16, _MOST),
    encode.BARRIER_REPLY: (8, 8),
    QUEUE_GET_CONFIG_REPLY: (16, _MOST),
    ROLE_REPLY: (24, 24),
    GET_ASYNC_REPLY: (32, 32),
}
"""What a switch may send, and from how many to how many bytes (OpenFlow 1.3.5, 7.3 to 7.5)."""

_BEFORE_HELLO = {
    encode.HELLO: (8, 1024),
    encode.ERROR: (12, _MOST),
    encode.ECHO_REQUEST: (8, _MOST),
    encode.ECHO_REPLY: (8, _MOST),
}
_ALLOWED = (_BEFORE_HELLO, _LIVE, _LIVE)


class Refused(ValueError):
    """A message that is not passed on; the connection ends. ``kind``: a word for who counts."""

    kind = "malformed"

    def __init__(self, text: str, kind: str | None = None) -> None:
        super().__init__(text)
        if kind is not None:
            self.kind = kind


class TooOld(Refused):
    """A switch that cannot speak OpenFlow 1.3; it is told so, in its own version."""

    kind = "version"

    def __init__(self, spoken: str, version: int) -> None:
        super().__init__(
            f"it speaks OpenFlow {spoken} and not 1.3; set protocols=OpenFlow13 on the bridge"
        )
        self._version = min(version, encode.VERSION)

    def answer(self) -> bytes:
        """OFPT_ERROR: hello failed, incompatible."""
        error = encode.message(encode.ERROR, 0, bytes(4) + str(self).encode("ascii"))
        return bytes((self._version,)) + error[1:]


def check(buffer: bytes | bytearray, at: int, phase: Phase) -> int:
    """The length of the message that begins here; Refused where no switch would say this now."""
    version, msg_type = buffer[at], buffer[at + 1]
    length = buffer[at + 2] << 8 | buffer[at + 3]
    limits = _ALLOWED[phase].get(msg_type)
    if version == encode.VERSION and limits is not None and limits[0] <= length <= limits[1]:
        return length
    if phase is Phase.HELLO:
        return _first_words(buffer, at, length)
    if version != encode.VERSION:
        raise Refused(f"OpenFlow version byte {version} after the hello", "version")
    if limits is None:
        raise Refused(f"message type {msg_type}, which no switch sends now", "type")
    raise Refused(f"message type {msg_type} of {length} bytes", "length")


def _first_words(buffer: bytes | bytearray, at: int, length: int) -> int:
    """The same where no hello was heard: who knocks may be anybody, and is told what he is."""
    version, msg_type = buffer[at], buffer[at + 1]
    if buffer[at : at + 2] == _TLS_BEGINS:
        raise Refused("it speaks TLS, and the controller has no ctl_privkey and ctl_cert", "tls")
    if version not in _KNOWN_VERSIONS:
        said = bytes(buffer[at : at + 12])
        raise Refused(f"it does not speak OpenFlow, it says {said!r}", "not_openflow")
    if length < HEADER_BYTES:
        raise Refused(f"a message of {length} bytes", "length")
    if version != encode.VERSION and msg_type not in (encode.HELLO, encode.ERROR):
        raise Refused(
            f"OpenFlow version byte {version}; set protocols=OpenFlow13 on the bridge", "version"
        )
    limits = _BEFORE_HELLO.get(msg_type)
    if limits is None:
        raise Refused(f"message type {msg_type} before the hello", "type")
    if not limits[0] <= length <= limits[1]:
        raise Refused(f"message type {msg_type} of {length} bytes", "length")
    return length


def check_hello(message: bytes) -> None:
    """Refused, or TooOld, for a hello that does not offer OpenFlow 1.3."""
    version = message[0]
    spoken: Sequence[int] = range(1, version + 1)
    at = HEADER_BYTES
    while at < len(message):
        kind = int.from_bytes(message[at : at + 2], "big")
        size = int.from_bytes(message[at + 2 : at + 4], "big")
        if size < _HELLO_ELEMENT_MIN_BYTES or at + size > len(message):
            raise Refused("a hello element of bad length")
        if kind == _VERSION_BITMAP:
            if size < 8:
                raise Refused("a version bitmap of bad length")
            bits = int.from_bytes(message[at + 4 : at + 8], "big")
            spoken = [each for each in _KNOWN_VERSIONS if bits >> each & 1]
        at += size + -size % 8
    if encode.VERSION not in spoken:
        raise TooOld(", ".join(f"1.{each - 1}" for each in spoken) or "of no version", version)


def refusal_of(message: bytes) -> str:
    """What a switch's error during the handshake says."""
    kind, code = message[8] << 8 | message[9], message[10] << 8 | message[11]
    if kind != _HELLO_FAILED:
        return f"it answered the handshake with an error, type {kind}, code {code}"
    text = message[12:76].split(b"\0", 1)[0].decode("ascii", "backslashreplace")
    return f"it refused the hello, code {code}: {text!r}"


def inside(message: bytes) -> None:
    """Walk every length inside a message, as Ryu would; Malformed where one does not add up."""
    msg_type, end = message[1], len(message)
    if msg_type == encode.MULTIPART_REPLY:
        lengths.multipart(message[8] << 8 | message[9], message, 16)
    elif msg_type == encode.PACKET_IN:
        if lengths.match(message, 24, end) + 2 > end:
            raise Malformed("packet-in: cut short")
    elif msg_type == encode.FLOW_REMOVED:
        if lengths.match(message, 48, end) != end:
            raise Malformed("flow removed: bad match")
    elif msg_type == QUEUE_GET_CONFIG_REPLY:
        lengths.queues(message, 16)
    elif msg_type == encode.EXPERIMENTER and message[8:16] == _BUNDLE_CONTROL:
        if end < _BUNDLE_CONTROL_BYTES:
            raise Malformed("bundle control: cut short")
        lengths.properties(message, _BUNDLE_CONTROL_BYTES)


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
    if len(message) < _BUNDLE_CONTROL_BYTES or message[8:16] != _BUNDLE_CONTROL:
        return None
    if int.from_bytes(message[20:22], "big") != encode.BUNDLE_COMMITTED:
        return None
    return int.from_bytes(message[16:20], "big")
