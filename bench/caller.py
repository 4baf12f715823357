"""Somebody who uses REST while something else goes on, and notes how long each answer took."""

from __future__ import annotations

import threading
import time
from typing import Self

from bench.rest import must
from topology.lab.rest import RestClient

_PAUSE_S = 0.02


class Caller:
    """``with Caller(url, writes) as caller: ...; caller.seconds``.

    A thread asks for the health, for a host and for VMs, and registers ``writes``, in turn.
    """

    def __init__(self, url: str, host: str, writes: list[dict[str, object]]) -> None:
        self.seconds: list[float] = []
        self.failed: list[str] = []
        self._rest = RestClient(url, 60.0)
        self._host = host
        self._writes = iter(writes)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call_for_ever)

    def _call_for_ever(self) -> None:
        turn = 0
        while not self._over.wait(_PAUSE_S):
            began_s = time.monotonic()
            try:
                self._call(turn)
            except Exception as error:
                self.failed.append(repr(error))
            self.seconds.append(time.monotonic() - began_s)
            turn += 1

    def _call(self, turn: int) -> None:
        write = next(self._writes, None) if turn % 3 == 2 else None
        if write is not None:
            must(self._rest.post("/v1/vms", write))
        else:
            must(
                self._rest.get(
                    ("/healthz", f"/v1/hosts/{self._host}", "/v1/vms?limit=50")[turn % 3]
                )
            )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()
