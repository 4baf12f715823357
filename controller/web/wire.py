"""A connection as files are read and written, telling who waits for whom."""

from __future__ import annotations

import io
from typing import Any

from controller.api.problems import Problem
from controller.web.connections import PATIENCE_S, Connection, Phase


class Wire(io.RawIOBase):
    """What has been given up as too slow is a Problem for whoever reads on."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        connection = self._connection
        connection.wait()
        count = 0
        try:
            count = connection.socket.recv_into(buffer)
        except OSError:
            if not connection.late:
                raise
        finally:
            connection.moved(count)
        if count == 0 and connection.late:
            raise too_slow(connection.phase)
        return count

    def write(self, data: Any, /) -> int:
        connection = self._connection
        connection.wait()
        connection.unread_bytes = len(data)
        count = 0
        try:
            count = int(connection.socket.send(data))
        finally:
            connection.moved(count)
            connection.unread_bytes = 0
        return count


def too_slow(phase: Phase) -> Problem:
    return Problem(
        408, f"the request's {phase.value} did not come within {PATIENCE_S[phase]:.0f} s"
    )
