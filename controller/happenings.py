"""What happens and is told to who listens: /v1/events, the log, the dashboard.

The engine and the runtime add happenings to their effects; none of them changes any state.
"""

from __future__ import annotations

from typing import NamedTuple


class Happening(NamedTuple):
    """One event of /v1/events: its type, and its data in JSON's words, without a time."""

    kind: str
    data: dict[str, object]
