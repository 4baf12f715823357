"""Which store a URL means."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from controller.store.base import Store
from controller.store.sqlite import SqliteStore
from topology.errors import StoreRefused

_HOW = "write sqlite:///absolute/path.db for a file, or sqlite:// to keep facts in memory only"


def store_at(url: str) -> Store:
    """The store that a URL names, not opened yet; StoreRefused when it names none.

    ``sqlite:///var/lib/vxlan-l2/state.db`` is the file /var/lib/vxlan-l2/state.db; ``sqlite://``
    keeps facts in memory and forgets them at the end.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise StoreRefused(f"store {url!r} is no URL ({error}); {_HOW}") from error
    if parts.scheme == "etcd":
        raise StoreRefused(f"store {url!r}: etcd is not supported in this version; {_HOW}")
    if parts.scheme != "sqlite":
        raise StoreRefused(f"store {url!r} is of no kind that is known; {_HOW}")
    if parts.netloc or parts.query or parts.fragment:
        raise StoreRefused(f"store {url!r} names no absolute path; {_HOW}")
    path = unquote(parts.path)
    if not path:
        return SqliteStore(None)
    if path.endswith("/") or "\0" in path:
        raise StoreRefused(f"store {url!r} names no file; {_HOW}")
    return SqliteStore("/" + path.lstrip("/"))
