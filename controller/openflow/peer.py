"""Who is at the other end of an OpenFlow connection, and at this one."""

from __future__ import annotations

import socket as sockets
from typing import Any

from controller.openflow.tls import TlsSocket
from topology.errors import InvalidValue
from topology.types import VtepIp


class Peer:
    """A connection's addresses. ``id`` is the datapath id, None until the switch has told it."""

    socket: Any
    address: Any
    id: Any

    @property
    def peer(self) -> str:
        """``address:port`` of the switch's end."""
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def target(self) -> str:
        """What the switch's set-controller names, as far as this end knows: its own address."""
        host, port = self.socket.getsockname()[:2]
        host = str(host).removeprefix("::ffff:")
        kind = "ssl" if isinstance(self.socket, TlsSocket) else "tcp"
        return f"{kind}:[{host}]:{port}" if ":" in host else f"{kind}:{host}:{port}"

    @property
    def controller_ip(self) -> int | None:
        """This end's IPv4 address, None over IPv6."""
        try:
            return VtepIp.parse(self.target.split(":")[1]).low32
        except InvalidValue:
            return None

    @property
    def vtep(self) -> VtepIp | None:
        """The address it connects from, where that can be a VTEP's."""
        try:
            vtep = VtepIp.parse(str(self.address[0]).removeprefix("::ffff:"))
        except InvalidValue:
            return None
        return None if vtep.low32 >> 24 == 127 else vtep

    @property
    def dpid_text(self) -> str:
        return "unknown" if self.id is None else f"{self.id:016x}"

    def __str__(self) -> str:
        if self.id is None:
            return f"connection from {self.peer}"
        return f"switch {self.dpid_text} at {self.peer}"

    def hung_up(self) -> bool:
        """Whether the other end has closed it, as far as that is known without reading."""
        plain = self.socket.plain if isinstance(self.socket, TlsSocket) else self.socket.fd
        try:
            return not plain.recv(1, sockets.MSG_PEEK | sockets.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
