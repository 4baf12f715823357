"""/v1/events: what happens, as server-sent events (HTML Living Standard, 9.2)."""

from __future__ import annotations

import socket as sockets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import eventlet
from eventlet.event import Event as Signal
from eventlet.hubs import trampoline
from eventlet.timeout import Timeout
from webob import Response

from controller.api.call import Call
from controller.api.jsontext import encode_json
from controller.api.problems import Problem, invalid
from controller.journal import Journal, Published

LISTENERS_MAX: Final = 256
ALIVE_EVERY_S: Final = 15.0
AT_ONCE: Final = 256

TYPES: Final = (
    "host",
    "vm",
    "vms",
    "network",
    "vtep",
    "vip",
    "learned",
    "learned_many",
    "moved",
    "drift",
    "suppressed",
    "tunnel",
)


def index(call: Call) -> Response:
    """Events as they come; from after the one that the client saw last, if it names one."""
    call.allow_query("types", "vni", "after")
    journal = call.service.journal
    wanted = _filter(call)
    seen = call.query("after") or call.header("Last-Event-ID")
    response = Response(content_type="text/event-stream", charset="utf-8")
    response.headers["X-Accel-Buffering"] = "no"
    if call.is_head:
        return response
    if journal.listeners >= LISTENERS_MAX:
        raise Problem(
            503,
            f"{LISTENERS_MAX} clients listen to events already",
            title="Too many listeners",
            headers={"Retry-After": "15"},
        )
    # Otherwise the server would gather small pieces before it sends any.
    call.environ["eventlet.minimum_write_chunk_size"] = 0
    response.app_iter = _Listener(journal, wanted, seen, call.environ.get("eventlet.input"))
    return response


def _filter(call: Call) -> Callable[[Published], bool]:
    """Which events the client asked for; one about no network in particular may be about its."""
    text, vni = call.query("types"), call.query_vni()
    kinds = TYPES if text is None else tuple(text.split(","))
    for kind in kinds:
        if kind not in TYPES:
            raise invalid("types", f"{kind!r} is not one of {', '.join(TYPES)}")

    def wanted(event: Published) -> bool:
        if event.kind not in kinds:
            return False
        if vni is None or event.data.get("vni") == vni:
            return True
        return event.kind in ("vms", "learned_many") and event.data.get("vni") is None

    return wanted


class _Listener:
    """One client's stream, as what a WSGI server iterates over and closes."""

    def __init__(
        self,
        journal: Journal,
        wanted: Callable[[Published], bool],
        seen: str | None,
        server_input: Any,
    ) -> None:
        self._journal = journal
        self._wanted = wanted
        number = journal.last if seen is None else journal.number_of(seen)
        self._lost = number is None or journal.after(number, 1) is None
        self._number = journal.last if number is None or self._lost else number
        self._server_input = server_input
        self._gone = False
        self._signal: Signal | None = None
        self._watch: Any = None
        self._closed = False
        journal.listeners += 1

    def __iter__(self) -> Iterator[bytes]:
        return self._stream()

    def close(self) -> None:
        """The client is gone, or the server gives it up."""
        if self._closed:
            return
        self._closed = True
        self._journal.listeners -= 1
        self._journal.forget(self._wake)
        if self._watch is not None:
            self._watch.kill()

    def _stream(self) -> Iterator[bytes]:
        journal = self._journal
        if self._server_input is not None:
            self._watch = eventlet.spawn(self._watch_client, self._server_input.get_socket())
        if self._lost:
            yield self._reset("the last event that you saw is not kept here")
        else:
            yield b": listening\nid: " + journal.id_of(self._number).encode("ascii") + b"\n\n"
        said_s = time.monotonic()
        while not self._gone:
            events = journal.after(self._number, AT_ONCE)
            if events is None:
                self._number = journal.last
                text = self._reset("events came faster than they were read")
            else:
                self._number = events[-1].number if events else self._number
                text = b"".join([self._text(event) for event in events if self._wanted(event)])
            left_s = said_s + ALIVE_EVERY_S - time.monotonic()
            if text or left_s <= 0:
                yield text or self._alive()
                said_s = time.monotonic()
            elif not events:
                self._wait(left_s)

    def _alive(self) -> bytes:
        """Nothing that the client wants; it does not lose its place meanwhile."""
        return b": alive\nid: " + self._journal.id_of(self._number).encode("ascii") + b"\n\n"

    def _wait(self, most_s: float) -> None:
        """Wait for the next event, or the client's end, or until something is to be said."""
        self._signal = Signal()
        self._journal.wake_at_next(self._wake)
        with Timeout(most_s, False):
            self._signal.wait()
        self._journal.forget(self._wake)

    def _wake(self) -> None:
        if self._signal is not None and not self._signal.ready():
            self._signal.send()

    def _watch_client(self, socket: Any) -> None:
        """Notice at once that the client closed its end, not when writing to it fails."""
        with suppress(OSError):
            trampoline(socket, read=True)
            if socket.fd.recv(1, sockets.MSG_PEEK | sockets.MSG_DONTWAIT):
                return  # it sent another request meanwhile, which will have to wait
        self._gone = True
        self._wake()

    def _text(self, event: Published) -> bytes:
        return _sse(self._journal.id_of(event.number), event.kind, event.data)

    def _reset(self, reason: str) -> bytes:
        data: dict[str, object] = {"at": self._journal.now(), "reason": f"{reason}; reload"}
        return _sse(self._journal.id_of(self._number), "reset", data)


def _sse(event_id: str, kind: str, data: dict[str, object]) -> bytes:
    head = f"id: {event_id}\nevent: {kind}\ndata: ".encode("ascii")
    return head + encode_json(data) + b"\n"
