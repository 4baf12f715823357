"""What one run of vxlanctl was told for all commands: where, who, how to answer."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from apps.vxlanctl.client import Api
from apps.vxlanctl.failures import Failure, WrongUsage

URL = "http://127.0.0.1:8080"
FORMATS = ("table", "json")


@dataclass
class Session:
    """The global options; the environment has a say where the command line has none."""

    told: dict[str, Any] = field(default_factory=dict)

    def tell(self, **options: Any) -> None:
        """Take what one level of the command line says; the innermost counts."""
        self.told.update({name: value for name, value in options.items() if value is not None})
        if self.told.get("output", "table") not in FORMATS:
            raise WrongUsage(f"--output {self.told['output']}: table or json")

    @property
    def json(self) -> bool:
        return self.told.get("output") == "json"

    @property
    def url(self) -> str:
        return str(self.told.get("url") or os.environ.get("VXLANCTL_URL") or URL)

    @property
    def token(self) -> str | None:
        """Of a file, so that no list of processes shows it, or of the environment."""
        path = self.told.get("token_file") or os.environ.get("VXLANCTL_TOKEN_FILE")
        if not path:
            return os.environ.get("VXLANCTL_TOKEN") or None
        try:
            with open(path, encoding="utf-8") as file:
                token = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"--token-file {path}: {error}") from error
        if not token or not token.isprintable() or not token.isascii():
            raise Failure(f"--token-file {path} holds no token: one line of ASCII")
        return token

    @property
    def cacert(self) -> str | None:
        """A file of the CAs that are trusted in place of the system's."""
        return self.told.get("cacert") or os.environ.get("VXLANCTL_CACERT") or None

    @cached_property
    def api(self) -> Api:
        return Api(self.url, self.token, cacert=self.cacert)


def own_version() -> str | None:
    """Of this vxlanctl, where it is installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("vxlan-l2")
    except PackageNotFoundError:
        return None


_current = Session()


def begin() -> Session:
    """A new run."""
    _current.told.clear()
    _current.__dict__.pop("api", None)
    return _current


def session() -> Session:
    return _current


def api() -> Api:
    return _current.api
