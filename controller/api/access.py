"""Who may do what: the API's tokens, and those who guess them."""

from __future__ import annotations

import hashlib
import hmac
import logging
from collections import OrderedDict
from enum import Enum
from typing import Final

GUESSES_MAX: Final = 10
"""Wrong tokens of one address in GUESSES_S; more are told in the log, once."""
GUESSES_S: Final = 60.0
_ADDRESSES_MAX: Final = 1024

_LOG: Final = logging.getLogger(__name__)


class Role(Enum):
    FULL = "full"
    READ = "read"


class Tokens:
    """full: the token that may do everything, None: nobody needs one; read: one that may read."""

    def __init__(self, full: str | None, read: str | None = None) -> None:
        self.replace(full, read)

    def replace(self, full: str | None, read: str | None) -> None:
        """From now on these are the tokens."""
        if full == "" or read == "":
            raise ValueError("an empty API token protects nothing")
        if read is not None and (full is None or full == read):
            raise ValueError("a token that may only read wants another one that may do everything")
        self._full = None if full is None else _hashed(full.encode("utf-8"))
        self._read = None if read is None else _hashed(read.encode("utf-8"))

    @property
    def wanted(self) -> bool:
        return self._full is not None

    def role(self, given: bytes) -> Role | None:
        """What the bearer of this token may; None: it is none. How long it takes tells nothing."""
        if self._full is None:
            return Role.FULL
        hashed = _hashed(given)
        is_full = hmac.compare_digest(hashed, self._full)
        is_read = hmac.compare_digest(hashed, self._read or b"")
        return Role.FULL if is_full else Role.READ if is_read else None


class Guesses:
    """Counts wrong tokens by address, and tells of who sends many.

    Nobody is kept out for it: behind a proxy all have one address. A long token keeps guessers out.
    """

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # count, end of the window

    def wrong(self, address: str, now_s: float) -> None:
        count, ends_s = self._wrong.pop(address, (0, 0.0))
        if now_s >= ends_s:
            count, ends_s = 0, now_s + GUESSES_S
        self._wrong[address] = (count + 1, ends_s)
        if len(self._wrong) > _ADDRESSES_MAX:
            self._wrong.popitem(last=False)
        if count == GUESSES_MAX:
            _LOG.warning("%s sends wrong API tokens: %d in %.0f s", address, count + 1, GUESSES_S)


def _hashed(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
