"""What a connected switch proved itself to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from controller.certificates import Certificate
from controller.openflow.tls import TlsSocket

if TYPE_CHECKING:
    from controller.openflow.front import Connection


def check(connection: Connection) -> str | None:
    """Why it may not be the switch that it says it is; None if it may. Notes its certificate."""
    connection.certificate = presented(connection.socket)
    return connection.listener.objection(connection)


def presented(socket: Any) -> Certificate | None:
    """What the other end proved to have the key of; None over plain TCP, or if it was not asked."""
    return socket.certificate if isinstance(socket, TlsSocket) else None
