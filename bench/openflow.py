"""What the bench itself says and counts in OpenFlow 1.3."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.harness import Broken
from controller.wire import decode, encode

_AGGREGATE = 2
_FLOWS_AT = 16  # of an aggregate reply's body: packets, octets, flows
_HEADER_BYTES = 8
_KIND_AT = 8
# An envelope of a bundle: ONF's experimenter message 2301, the whole message from byte 24 on.
_BUNDLE_ADD = encode.ONF_VENDOR.to_bytes(4, "big") + (2301).to_bytes(4, "big")
_ENVELOPE_BYTES = 24
_READ_BYTES = 1 << 18


def take(buffer: bytearray) -> Iterator[bytes]:
    """Take whole messages off the front of the buffer."""
    at = 0
    while len(buffer) - at >= _HEADER_BYTES:
        size = int.from_bytes(buffer[at + 2 : at + 4], "big")
        if size < _HEADER_BYTES:
            raise Broken(f"an OpenFlow message of {size} bytes")
        if len(buffer) - at < size:
            break
        yield bytes(buffer[at : at + size])
        at += size
    del buffer[:at]


def unwrapped(message: bytes) -> bytes:
    """The message in a bundle's envelope, or the message itself."""
    if message[1] == encode.EXPERIMENTER and message[8:16] == _BUNDLE_ADD:
        return message[_ENVELOPE_BYTES:]
    return message


class Session:
    """One OpenFlow connection, from either end; Broken if the switch answers with an error."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(60)
        self._socket = sock
        self._buffer = bytearray()
        self._read: list[bytes] = []
        self._xid = 0
        sock.sendall(encode.message(encode.HELLO, 1))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def finish(self, data: bytes) -> None:
        """Send and return when a barrier after it is answered."""
        self._xid += 1
        xid = self._xid.to_bytes(4, "big")
        self._socket.sendall(data + encode.barrier(self._xid))
        self._await(lambda message: message[1] == encode.BARRIER_REPLY and message[4:8] == xid)

    def flow_count(self) -> int:
        """How many flows the bridge holds, as dump-aggregate tells."""
        (body,) = self._stats(_AGGREGATE)
        return int.from_bytes(body[_FLOWS_AT : _FLOWS_AT + 4], "big")

    def _stats(self, kind: int) -> list[bytes]:
        self._xid += 1
        request = bytearray(encode.multipart_request(encode.MP_FLOW, self._xid))
        request[_KIND_AT : _KIND_AT + 2] = kind.to_bytes(2, "big")
        self._socket.sendall(request)
        bodies: list[bytes] = []

        def last(message: bytes) -> bool:
            if message[1] != encode.MULTIPART_REPLY:
                return False
            _kind, more, body = decode.multipart(message)
            bodies.append(body)
            return not more

        self._await(last)
        return bodies

    def _await(self, wanted: Callable[[bytes], bool]) -> None:
        while True:
            while self._read:
                message = self._read.pop(0)
                if message[1] == encode.ERROR:
                    error = decode.error(message)
                    raise Broken(f"the switch refused: type {error.type}, code {error.code}")
                if message[1] == encode.ECHO_REQUEST:
                    self._socket.sendall(bytes((4, encode.ECHO_REPLY)) + message[2:])
                if wanted(message):
                    return
            data = self._socket.recv(_READ_BYTES)
            if not data:
                raise Broken("the switch closed the connection")
            self._buffer += data
            self._read = list(take(self._buffer))


def bridge(rundir: Path, name: str = "br-tun") -> Session:
    """A session of our own with a bridge, beside its controller's."""
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(rundir / f"{name}.mgmt"))
    return Session(sock)
