"""Whether a MAC, or a virtual IP, may move now: late packets do not count, flapping is damped.

A packet that was under way in the old host's switch when its VM announced itself elsewhere comes
after that announcement. Each move opens a generation, in which for SETTLE_S nothing from the host
that was left moves it back, unless it announces just that. Who moves MANY_MOVES times within FLAP_S
stays where it is for HOLD_S, twice as long each time it goes on.

Nor may very many move at once from or to one place: that is a loop in somebody's network, and each
move is a flow-mod on every host. Who is not followed for that is when it is heard again, later.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from controller.budget import Buckets

SETTLE_S = 1.0
MANY_MOVES, FLAP_S = 8, 10.0
HOLD_S, HOLD_MAX_S = 10.0, 160.0
FORGET_S = 300.0
PLACE_BURST, PLACE_PER_S = 512.0, 50.0
"""Moves from one place, or to it; a host that is evacuated has some hundred VMs."""
PASTS_MAX = 65_536


class Verdict(Enum):
    MOVE = "move"
    LATE = "late"
    HELD = "held"
    FLAPS = "flaps"
    """It is held from now on: to be reported."""
    MANY = "many"
    """Too many move from or to that place: to be reported, once in a while."""


@dataclass(slots=True)
class _Past:
    generation: int = 0
    left: int | None = None
    moved_s: float = float("-inf")
    recent_s: list[float] = field(default_factory=list)
    hold_s: float = HOLD_S
    held_until_s: float = float("-inf")


class Moves:
    """What each key's moves were, as long as that matters."""

    def __init__(self) -> None:
        self._pasts: dict[Hashable, _Past] = {}
        self._places = Buckets(PLACE_BURST, PLACE_PER_S)
        self.refused = 0  # moves that were not followed, for whatever reason

    def generation(self, key: Hashable) -> int:
        """How often it has moved lately."""
        past = self._pasts.get(key)
        return 0 if past is None else past.generation

    def ask(
        self,
        key: Hashable,
        left: int,
        to: int,
        now_s: float,
        *,
        announced: bool = False,
        counted: tuple[int, ...] = (),
    ) -> Verdict:
        """Note a move from one place to another, unless it is not to happen.

        ``counted``: what it counts for, where that is not the two places.
        """
        verdict = self._judge(key, left, to, now_s, announced, counted or (left, to))
        if verdict is not Verdict.MOVE:
            self.refused += 1
        return verdict

    def _judge(
        self,
        key: Hashable,
        left: int,
        to: int,
        now_s: float,
        announced: bool,
        counted: tuple[int, ...],
    ) -> Verdict:
        past = self._pasts.get(key)
        if past is None:
            past = self._pasts[key] = _Past()
            if len(self._pasts) > PASTS_MAX:
                del self._pasts[next(iter(self._pasts))]
        if now_s < past.held_until_s:
            return Verdict.HELD
        if to == past.left and now_s - past.moved_s < SETTLE_S and not announced:
            return Verdict.LATE
        past.recent_s = [at_s for at_s in past.recent_s if now_s - at_s < FLAP_S]
        if len(past.recent_s) >= MANY_MOVES:
            past.recent_s.clear()
            past.held_until_s = now_s + past.hold_s
            past.hold_s = min(HOLD_MAX_S, past.hold_s * 2)
            return Verdict.FLAPS
        if any(self._places.take((place, 0), now_s) is None for place in counted):
            return Verdict.MANY
        past.recent_s.append(now_s)
        past.left, past.moved_s = left, now_s
        past.generation += 1
        return Verdict.MOVE

    def held(self, now_s: float) -> Iterator[tuple[int, int, bool]]:
        """(VNI, MAC, False) or (VNI, IP, True) of each that is not followed now."""
        for key, past in self._pasts.items():
            if now_s < past.held_until_s and isinstance(key, tuple):
                is_vip = key[0] == "vip"
                vni, what = key[1] if is_vip else key
                yield vni, what, is_vip

    def forget(self, now_s: float) -> None:
        """Drop what is over."""
        over = [
            key
            for key, past in self._pasts.items()
            if now_s - past.moved_s > FORGET_S and now_s > past.held_until_s + FORGET_S
        ]
        for key in over:
            del self._pasts[key]
        self._places.forget(now_s)
