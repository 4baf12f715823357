"""What a handler says of itself in the API's description, right above it.

``openapi`` adds what follows from that: parameters of the path and of pages, ``?wait=``, and the
errors that such an endpoint can answer with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from controller.api.patterns import DPID, IP, IPV4, MAC, NAME_IN_PATH
from topology.model import NAME_MAX_CHARS
from topology.types import Vni

F = TypeVar("F", bound=Callable[..., Any])
Schema = Mapping[str, object]

JSON: Final = "application/json"
EVENT_STREAM: Final = "text/event-stream"
"""Of answers without an end: under ``x-streams``, since OpenAPI 3.1 has no words for them, and what
calls every path, such as a test tool, would wait for ever. The schema is that of an event."""

_ATTRIBUTE: Final = "__described__"


@dataclass(frozen=True, slots=True)
class Parameter:
    name: str
    schema: Schema
    description: str
    required: bool = False
    example: object = None


@dataclass(frozen=True, slots=True)
class Described:
    """A decorator of handlers, whose docstrings are the summary (first line) and the text.

    answer and body: types of JSON; None for what is none.
    paged: of how many numbers the list's cursors are, 0 where the answer is no list. The answer is
    the type of an item; or, if it has ``items`` itself, of the page.
    searched: the list has another order, with cursors of its own, if ``q`` or ``sort`` ask for it.
    creates: it may answer 201. public: it wants no token, and no controller that is ready.
    errors: statuses beyond those that every endpoint of its kind has.
    bodies: other media types of the same body, with what each holds.
    media_types: of the answer.
    """

    tag: str
    answer: Any = None
    paged: int = 0
    searched: bool = False
    query: tuple[Parameter, ...] = ()
    path: Mapping[str, Parameter] = field(default_factory=dict)
    body: Any = None
    bodies: Mapping[str, str] = field(default_factory=dict)
    writes: bool = False
    creates: bool = False
    public: bool = False
    errors: tuple[int, ...] = ()
    media_types: tuple[str, ...] = (JSON,)

    def __call__(self, handler: F) -> F:
        setattr(handler, _ATTRIBUTE, self)
        return handler


def described(handler: Callable[..., Any]) -> Described | None:
    """What a handler says of itself, None if it says nothing."""
    found: Described | None = getattr(handler, _ATTRIBUTE, None)
    return found


def _text(name: str, description: str, pattern: str | None, example: str) -> Parameter:
    schema: dict[str, object] = {"type": "string", "minLength": 1, "maxLength": NAME_MAX_CHARS}
    if pattern is not None:
        schema["pattern"] = pattern
    return Parameter(name, schema, description, example=example)


_VNI: Final = {"type": "integer", "minimum": 0, "maximum": Vni.MAX}


def choice(name: str, words: Iterable[str], description: str, **more: object) -> Parameter:
    """One of these words; ``default`` if there is one."""
    return Parameter(name, {"type": "string", "enum": list(words), **more}, description)


def flag(name: str, description: str) -> Parameter:
    """True or false, the latter by default."""
    return Parameter(name, {"type": "boolean", "default": False}, description)


VNI: Final = Parameter("vni", _VNI, "only of this network", example=0)
HOST: Final = _text("host", "only of this host: dpid, name or VTEP address", None, "compute-1")
MAC_QUERY: Final = _text("mac", "only with this MAC", MAC, "52:54:00:00:00:01")
IP_QUERY: Final = _text("ip", "only the ones that have this address", IP, "10.1.1.2")
NAME: Final = Parameter("name", {"type": "string"}, "only those with this name", example="web-1")
Q: Final = Parameter(
    "q",
    {"type": "string", "minLength": 1, "maxLength": NAME_MAX_CHARS, "pattern": r"\S"},
    "only those with this text in their name or MAC, or at the start of an IP",
    example="web",
)
DRY_RUN: Final = flag("dry_run", "tell what it would do, and change nothing")
WAIT: Final = Parameter(
    "wait",
    {"type": "number", "minimum": 0, "maximum": 60},
    "seconds to wait until every connected host concerned has confirmed the write by barrier; 202"
    " when the time is up before that",
    example=10,
)

DPID_PATH: Final = _text("host", "the host's datapath id", DPID, "00006e12f4fd6949")
VTEP_PATH: Final = _text("ip", "the VTEP's address", IPV4, "192.168.33.20")
PATH: Final[Mapping[str, Parameter]] = {
    "host": _text("host", "dpid (16 hex digits), name or VTEP address", NAME_IN_PATH, "compute-1"),
    "vni": Parameter("vni", _VNI, "the network's VNI", example=0),
    "mac": _text("mac", "the VM's MAC", MAC, "52:54:00:00:00:01"),
    "ip": _text("ip", "the IPv4 or IPv6 address", IP, "10.1.1.100"),
}
