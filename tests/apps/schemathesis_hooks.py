"""What schemathesis is told of this API: a check of its own, in place of the one left out.

schemathesis.toml lets some operations refuse with 422 what their schema allows. Here it is held to
that only rules that no schema can tell are such reasons.
"""

from __future__ import annotations

import re

import schemathesis
from schemathesis.generation import GenerationMode

RULES = re.compile(
    r"is no known host's dpid, name or VTEP address"
    r"|is no known host's name"
    r"|network \d+ does not exist; make it with"
    r"|has no VNI \d+; add it with"
    r"|is in no IPv4 subnet of the network"
    r"|a port is named twice"
    r"|must be an? (valid )?integer"  # 1.0 is one to JSON Schema, and not here
    r"|is not the 'next' of a page of this list in this order"
    r"|is about the same thing as \[\d+\]"
    r"|were exported, and here are \d+: a part is lost"
    r"|is required: a VM's name, MAC or IP, or broadcast"  # or a frame
    r"|is the source itself|is about one destination"
)

EVENTS_S = 0.1


def lasts(for_s):
    try:
        return EVENTS_S < float(for_s) <= 86400
    except (TypeError, ValueError):
        return False


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Try /v1/events too."""
    raw_schema["paths"] |= raw_schema.pop("x-streams")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Let events end soon, and import without taking away what other calls are about."""
    if case.operation.path == "/v1/events" and lasts(case.query.get("for", "86400")):
        case.query["for"] = EVENTS_S
    if case.operation.path == "/v1/import" and case.query.get("mode") == "replace":
        case.query["dry_run"] = "true"


@schemathesis.check
def refused_for_what_no_schema_can_tell(ctx, response, case):
    if response.status_code != 422 or case.meta is None:
        return
    if case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    for error in response.json()["errors"]:
        assert RULES.search(error["reason"]), f"the schema could tell: {error}"
