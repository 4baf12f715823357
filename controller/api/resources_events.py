"""/v1/events: what happens, as server-sent events (HTML Living Standard, 9.2)."""

from __future__ import annotations

import _socket
import math
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
from controller.api.described import EVENT_STREAM, VNI, Described, Parameter
from controller.api.jsontext import encode_json
from controller.api.problems import Problem, invalid
from controller.api.shapes_events import Event
from controller.journal import Journal, Published

LISTENERS_MAX: Final = 256
ALIVE_EVERY_S: Final = 15.0
AT_ONCE: Final = 256
FOR_MAX_S: Final = 86400.0

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


_QUERY: Final = (
    Parameter(
        "types",
        {"type": "string", "pattern": f"^({'|'.join(TYPES)})(,({'|'.join(TYPES)}))*$"},
        f"only these, with commas between: {', '.join(TYPES)}",
        example="host,vm",
    ),
    Parameter("vni", VNI.schema, "only what is about this network"),
    Parameter(
        "after",
        {"type": "string"},
        "the id of the event that was seen last, as the header Last-Event-ID: what came since"
        " follows, or an event reset where that is not known",
    ),
    Parameter(
        "for",
        {"type": "number", "minimum": 0, "maximum": int(FOR_MAX_S)},
        "seconds after which the answer ends; without it, it does not",
        example=10,
    ),
)


@Described("observability", Event, query=_QUERY, media_types=(EVENT_STREAM,))
def index(call: Call) -> Response:
    """What happens, as server-sent events.

    Each event has an id, a type, and as its data an object of JSON on one line. A comment comes at
    least every 15 seconds. A client that does not read is dropped; beyond 256 clients: 503.
    """
    call.allow_query("types", "vni", "after", "for")
    journal = call.service.journal
    wanted = _filter(call)
    seen = call.query("after") or call.header("Last-Event-ID")
    for_s = call.query_seconds("for", FOR_MAX_S)
    response = Response(content_type=EVENT_STREAM, charset="utf-8")
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
    server_input = call.environ.get("eventlet.input")
    response.app_iter = _Listener(journal, wanted, seen, for_s, server_input)
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
        for_s: float | None,
        server_input: Any,
    ) -> None:
        self._journal = journal
        self._wanted = wanted
        number = journal.last if seen is None else journal.number_of(seen)
        self._lost = number is None or journal.after(number, 1) is None
        self._number = journal.last if number is None or self._lost else number
        self._ends_s = math.inf if for_s is None else time.monotonic() + for_s
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
        while not self._gone and time.monotonic() < self._ends_s:
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
        with Timeout(min(most_s, max(0.0, self._ends_s - time.monotonic())), False):
            self._signal.wait()
        self._journal.forget(self._wake)

    def _wake(self) -> None:
        if self._signal is not None and not self._signal.ready():
            self._signal.send()

    def _watch_client(self, socket: Any) -> None:
        """Notice at once that the client closed its end, not when writing to it fails."""
        with suppress(OSError):
            trampoline(socket, read=True)
            plain = getattr(socket, "fd", socket)  # not through TLS: that has no look ahead
            if _socket.socket.recv(plain, 1, sockets.MSG_PEEK | sockets.MSG_DONTWAIT):
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
