"""What a store of facts must do, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol, TypeAlias

from topology.model import Change, Fact, Key

Named: TypeAlias = tuple[type[Fact], Key]
"""A fact by kind and key."""


class Store(Protocol):
    """Durable facts. ``open`` comes first; after that each method may be called from any thread,
    but only from one at a time.
    """

    def open(self) -> None:
        """Check everything that is stored and be ready for commits, or raise StoreRefused.

        A store that is refused is left as it was found.
        """
        ...

    def load(self) -> list[Fact]:
        """Every stored fact: hosts, networks, VMs, foreign VTEPs, VIPs, each sorted by key."""
        ...

    def commit(self, changes: Sequence[Change]) -> None:
        """Make the changes durable, all or none; raise StoreUnavailable and hold none of them."""
        ...

    def recover(self) -> None:
        """After a commit that failed: see to it that nothing of it is left, and that the next one
        can be made; raise StoreUnavailable while that is not so.
        """
        ...

    def since(self, facts: Iterable[Named]) -> dict[Named, datetime]:
        """Since when these facts are as they are (UTC), of those for which it is known; raise
        StoreUnavailable when it cannot be read.
        """
        ...

    def close(self) -> None:
        """Let go of the store; it may be opened again."""
        ...

    def describe(self) -> str:
        """What it is and where, on one line, for the log."""
        ...

    def usage(self) -> tuple[int, int] | None:
        """Bytes that it takes, and that are left where it is; None where that means nothing."""
        ...
