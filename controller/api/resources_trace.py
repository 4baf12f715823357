"""/v1/trace and /v1/why: what becomes of a packet, and why one VM does not reach another."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from webob import Response

from controller.api import shapes_observed as shapes
from controller.api.answers import answer
from controller.api.call import Call
from controller.api.described import VNI, Described, Parameter, choice, flag
from controller.api.problems import invalid
from controller.api.shown import show_flow
from controller.craft import FRAME_MAX_BYTES
from controller.service import End, Question, TracedHop, TracedStage, TraceReport, WhyReport
from controller.trace import KINDS

_VNI: Final = Parameter("vni", VNI.schema, "the network; wanted where src is in several")
_SRC: Final = Parameter(
    "src",
    {"type": "string", "minLength": 1},
    "name, MAC or IP of a VM, or a learned MAC",
    required=True,
    example="web-1",
)
_DST: Final = Parameter(
    "dst", {"type": "string", "minLength": 1}, "the same, or any MAC or IP", example="10.1.1.2"
)
_FRAME: Final = Parameter(
    "frame",
    {"type": "string", "pattern": f"^([0-9a-fA-F]{{2}}[: -]?){{14,{FRAME_MAX_BYTES}}}$"},
    "a whole frame that src sends, in hex digits, in place of kind",
)


@Described(
    "observability",
    shapes.Trace,
    query=(
        _VNI,
        _SRC,
        replace(
            _DST,
            description="the same, or any MAC or IP, or broadcast; wanted unless there is a frame",
        ),
        choice("kind", KINDS, "of packet; without it, ARP or ND and then ICMP"),
        _FRAME,
        flag("live", "from what switches hold, and with a probe, not from what they should hold"),
    ),
    errors=(404, 409),
)
def trace(call: Call) -> Response:
    """What becomes of a packet from one VM to another, to an address, or to all.

    Which table and flow on which host, with the reasons, where it ends, and if it does not arrive,
    the first place and the cure. 409: too many ask at once.
    """
    call.allow_query("vni", "src", "dst", "kind", "frame", "live")
    question = Question(
        _required(call, "src"),
        call.query("dst") or "",
        call.query_vni(),
        _kind(call),
        _frame(call),
        call.query_flag("live"),
    )
    return answer(_show_trace(question, call.service.trace(question)))


@Described(
    "observability",
    shapes.Why,
    query=(_VNI, _SRC, replace(_DST, required=True)),
    errors=(404, 409),
)
def why(call: Call) -> Response:
    """Why one VM does, or does not, reach another: one sentence, and what it rests on.

    Switches are asked, and the two VMs.
    """
    call.allow_query("vni", "src", "dst")
    question = Question(_required(call, "src"), _required(call, "dst"), call.query_vni(), live=True)
    return answer(_show_why(call.service.why(question)))


def _show_trace(question: Question, found: TraceReport) -> shapes.Trace:
    return {
        "question": {
            "vni": int(found.vni),
            "src": found.src,
            "dst": found.dst,
            "kind": question.kind,
            "live": question.live,
        },
        "delivered": found.delivered,
        "verdict": found.verdict,
        "cause": found.cause,
        "cure": found.command,
        "stages": [_show_stage(stage) for stage in found.stages],
    }


def _show_stage(stage: TracedStage) -> shapes.Stage:
    return {
        "what": stage.what,
        "outcome": stage.outcome,
        "ok": stage.ok,
        "hops": [_show_hop(hop) for hop in stage.hops],
        "ends": [_show_end(end) for end in stage.ends],
    }


def _show_hop(hop: TracedHop) -> shapes.Hop:
    return {
        "host": str(hop.dpid),
        "host_name": hop.host_name,
        "table": hop.table,
        "table_name": hop.table_name,
        "flow": None if hop.flow is None else show_flow(hop.flow),
        "why": hop.why,
        "reason": hop.reason,
        "event": hop.event,
        "packets": hop.packets,
    }


def _show_end(end: End) -> shapes.End:
    return {
        "host": None if end.dpid is None else str(end.dpid),
        "how": end.how,
        "detail": end.detail,
    }


def _show_why(found: WhyReport) -> shapes.Why:
    return {
        "vni": int(found.vni),
        "src": found.src,
        "dst": found.dst,
        "reachable": found.reachable,
        "sentence": found.sentence,
        "cause": found.cause,
        "command": found.command,
        "evidence": [
            {"what": one.what, "status": one.status, "detail": one.detail} for one in found.evidence
        ],
    }


def _required(call: Call, name: str) -> str:
    text = call.query(name)
    if not text:
        raise invalid(name, "is required: a VM's name, MAC or IP")
    return text


def _kind(call: Call) -> str | None:
    text = call.query("kind")
    if text is not None and text not in KINDS:
        raise invalid("kind", f"{text!r} is not one of {', '.join(KINDS)}")
    return text


def _frame(call: Call) -> bytes | None:
    text = call.query("frame")
    if text is None:
        return None
    digits = text.replace(":", "").replace(" ", "").replace("-", "")
    try:
        frame = bytes.fromhex(digits)
    except ValueError as error:
        raise invalid("frame", "is not written in hex digits, two for each byte") from error
    if len(frame) > FRAME_MAX_BYTES:
        raise invalid("frame", f"has {len(frame)} bytes, more than {FRAME_MAX_BYTES}")
    return frame
