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
)


@schemathesis.check
def refused_for_what_no_schema_can_tell(ctx, response, case):
    if response.status_code != 422 or case.meta is None:
        return
    if case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    for error in response.json()["errors"]:
        assert RULES.search(error["reason"]), f"the schema could tell: {error}"
