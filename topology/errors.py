"""What can be wrong with a fact or a request. One root; each leaf maps to one HTTP status."""

from __future__ import annotations


class VxlanError(Exception):
    """Root of every error this project raises on purpose."""

    status = 500
    title = "Internal error"


class InvalidValue(VxlanError):
    """A field holds a value that cannot be: names the field and what to do."""

    status = 422
    title = "Invalid value"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class NotFound(VxlanError):
    """The fact that was named does not exist."""

    status = 404
    title = "Not found"


class Conflict(VxlanError):
    """The change contradicts another fact, which the message names."""

    status = 409
    title = "Conflict"


class StoreUnavailable(VxlanError):
    """The store cannot take a write now; nothing was changed."""

    status = 503
    title = "Store not writable"


class StoreRefused(VxlanError):
    """The store cannot be trusted (damaged, newer, locked): do not start on it."""

    status = 503
    title = "Store refused"
