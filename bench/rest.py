"""What all figures say to REST, and what they take for an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from bench.harness import Broken
from topology.lab.rest import Answer


def must(answer: Answer, *statuses: int) -> Answer:
    """The answer, if it has one of these statuses (200, 201 without any)."""
    if answer.status not in (statuses or (200, 201)):
        raise Broken(f"REST answers {answer.status}: {answer.body}")
    return answer


def ndjson(vms: Iterable[Mapping[str, object]]) -> bytes:
    """A batch, a VM on each line."""
    return b"\n".join(json.dumps(vm).encode() for vm in vms)
