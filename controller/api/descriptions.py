"""Descriptions of endpoints whose handlers do not say it themselves, by method and path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controller.api import shapes_seen
from controller.api.bodies import NDJSON
from controller.api.described import HOST, VNI, Described, Parameter

_BOOL: Final = {"type": "boolean", "default": False}
_VNI: Final = Parameter("vni", VNI.schema, "the network; may be left out where src is of one only")
_SRC: Final = Parameter(
    "src", {"type": "string"}, "MAC, IP or name of a VM or learned MAC", required=True
)
_DST: Final = Parameter(
    "dst", {"type": "string"}, "the same, or any MAC or IP, or broadcast", required=True
)
_DRY_RUN: Final = Parameter("dry_run", _BOOL, "only tell what it would do")

DESCRIPTIONS: Final[Mapping[tuple[str, str], Described]] = {
    ("GET", "/v1/events"): Described(
        "seen",
        query=(
            Parameter("types", {"type": "string"}, "only these, with commas between", example="vm"),
            VNI,
            Parameter("after", {"type": "string"}, "the id after which to go on"),
        ),
        media_type="text/event-stream",
    ),
    ("GET", "/v1/status"): Described("seen", shapes_seen.Status),
    ("GET", "/v1/ledger"): Described(
        "seen",
        shapes_seen.Ledger,
        query=(
            Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 10000}, "items"),
            Parameter("cursor", {"type": "string", "pattern": "^[0-9]{1,39}$"}, "next, as told"),
            Parameter("fresh", _BOOL, "ask the switches now, and wait for them (10 s at most)"),
        ),
    ),
    ("GET", "/v1/ledger/{vni}"): Described("seen", shapes_seen.LedgerShown),
    ("GET", "/v1/tunnels"): Described(
        "seen",
        shapes_seen.Tunnel,
        paged=1,
        query=(
            HOST,
            Parameter("state", {"enum": ["up", "down", "unknown"]}, "only those in this state"),
        ),
    ),
    ("GET", "/v1/doctor"): Described(
        "seen",
        shapes_seen.Doctor,
        query=(Parameter("check", {"type": "string"}, "this check only", example="fail-mode"),),
    ),
    ("GET", "/v1/trace"): Described(
        "seen",
        shapes_seen.Trace,
        query=(
            _VNI,
            _SRC,
            _DST,
            Parameter("kind", {"enum": ["arp", "nd", "icmp", "tcp", "udp"]}, "of packet"),
            Parameter(
                "frame", {"type": "string", "pattern": "^([0-9a-fA-F]{2})+$"}, "a whole frame"
            ),
            Parameter("live", _BOOL, "from what is installed, not from what should be"),
        ),
        errors=(404, 409),
    ),
    ("GET", "/v1/why"): Described(
        "seen", shapes_seen.Why, query=(_VNI, _SRC, _DST), errors=(404, 409)
    ),
    ("GET", "/v1/export"): Described("facts", media_type=NDJSON),
    ("POST", "/v1/import"): Described(
        "facts",
        shapes_seen.WrittenPlan,
        query=(
            Parameter("mode", {"enum": ["merge", "replace"], "default": "merge"}, "of import"),
            _DRY_RUN,
        ),
        bodies={NDJSON: "what GET /v1/export tells"},
        writes=True,
    ),
    ("GET", "/metrics"): Described("seen", media_type="text/plain"),
    ("GET", "/"): Described("controller", media_type="text/html"),
}
