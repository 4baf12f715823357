"""A plain OpenFlow 1.3 connection to a bridge of a real Open vSwitch."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from controller.wire import decode, encode
from topology.lab import LabHost

BUNDLE_ID = 77


class Connection:
    """``ask(messages)`` sends them with a barrier and gives all that came back before its reply."""

    def __init__(self, host: LabHost, bridge: str = "br-tun") -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(10)
        self._socket.connect(str(host.ovs.rundir / f"{bridge}.mgmt"))
        self._xid = 0
        self._buffer = b""
        self._socket.sendall(encode.message(encode.HELLO, 1))
        assert self._next()[1] == encode.HELLO

    def close(self) -> None:
        self._socket.close()

    def ask(self, messages: Iterable[bytes]) -> list[bytes]:
        self._xid += 1
        xid = 0x5500_0000 | self._xid
        self._socket.sendall(b"".join(messages) + encode.barrier(xid))
        replies: list[bytes] = []
        while True:
            message = self._next()
            if message[1] == encode.ECHO_REQUEST:
                self._socket.sendall(bytes((4, encode.ECHO_REPLY)) + message[2:])
            elif message[1] == encode.BARRIER_REPLY and message[4:8] == xid.to_bytes(4, "big"):
                return replies
            else:
                replies.append(message)

    def dump(self, kind: int) -> bytes:
        """The whole body of a multipart reply."""
        parts = [decode.multipart(reply) for reply in self.ask([encode.multipart_request(kind, 9)])]
        assert [more for _kind, more, _body in parts] == [True] * (len(parts) - 1) + [False]
        assert {what for what, _more, _body in parts} == {kind}
        return b"".join(body for _kind, _more, body in parts)

    def _next(self) -> bytes:
        while len(self._buffer) < 8 or len(self._buffer) < self._size():
            data = self._socket.recv(65536)
            assert data, "the switch closed the connection"
            self._buffer += data
        size = self._size()
        message, self._buffer = self._buffer[:size], self._buffer[size:]
        return message

    def _size(self) -> int:
        return int.from_bytes(self._buffer[2:4], "big")
