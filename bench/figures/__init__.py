"""One figure a module: ``TITLE``, and ``measure(scale, report)``, which does all rounds."""

from __future__ import annotations

import pkgutil

#: the order of the table; a figure that is not named here comes after these
_ORDER = (
    *("one_bridge", "drained", "one_post", "batch", "packet_ins"),
    *("reconcile", "start", "restart", "growth", "memory"),
)


def names() -> list[str]:
    """Every figure there is, in the order in which they are run."""
    found = {module.name for module in pkgutil.iter_modules(__path__)}
    return [name for name in _ORDER if name in found] + sorted(found.difference(_ORDER))
