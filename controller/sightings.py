"""Frames that contradict what is registered: noticed, never believed, remembered for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from topology.types import Location

SIGHTINGS_MAX = 1024

_Key: TypeAlias = tuple[int | None, int, int, Location]


@dataclass(slots=True)
class Sighting:
    """A MAC that sent from ``place``: where it is not registered, or (``what``) for an IP that is
    registered to another. Without ``vni``: on a VLAN (``what``, 0 untagged) of no network there.
    Times are the engine's clock.
    """

    vni: int | None
    mac: int
    what: int
    place: Location
    last_s: float
    count: int = 1


class Sightings:
    """The last of them, one of each kind."""

    def __init__(self) -> None:
        self._seen: OrderedDict[_Key, Sighting] = OrderedDict()

    def note(self, vni: int | None, mac: int, what: int, place: Location, now_s: float) -> None:
        key = (vni, mac, what, place)
        sighting = self._seen.get(key)
        if sighting is None:
            self._seen[key] = Sighting(vni, mac, what, place, now_s)
            if len(self._seen) > SIGHTINGS_MAX:
                self._seen.popitem(last=False)
            return
        sighting.last_s = now_s
        sighting.count += 1
        self._seen.move_to_end(key)

    def since(self, since_s: float) -> Iterator[Sighting]:
        """Those that were there again at that time or later, the latest first."""
        for sighting in reversed(self._seen.values()):
            if sighting.last_s < since_s:
                return
            yield sighting
