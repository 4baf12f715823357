"""Certificates made on the spot, with the openssl command: good ones, and all that are refused."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """
[ca]
default_ca = own
[own]
dir = {directory}
database = $dir/index.txt
serial = $dir/serial
new_certs_dir = $dir
certificate = $dir/ca.pem
private_key = $dir/ca.key
default_md = sha256
default_days = 30
default_crl_days = 30
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
[req]
distinguished_name = name
prompt = no
[name]
CN = unset
"""


@dataclass(frozen=True)
class Pair:
    """A key and its certificate, in files of PEM."""

    key: Path
    cert: Path

    @property
    def fingerprint(self) -> str:
        """As the API writes it."""
        der = ssl.PEM_cert_to_DER_cert(_last_pem(self.cert.read_text()))
        return "sha256:" + hashlib.sha256(der).hexdigest()


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, directory: Path, name: str = "test CA") -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        self._config = directory / "ca.cnf"
        self._config.write_text(_CONFIG.format(directory=directory))
        (directory / "index.txt").touch()
        (directory / "serial").write_text("01\n")
        self.cert = directory / "ca.pem"
        _openssl(
            *("req", "-new", "-x509", "-nodes", "-days", "30", "-config", self._config),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN={name}"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-keyout", directory / "ca.key", "-out", self.cert),
        )

    def sign(
        self,
        name: str,
        *,
        san: str | None = None,
        usage: str | None = None,
        start: str | None = None,
        end: str | None = None,
    ) -> Pair:
        """A certificate of this common name; times as YYYYMMDDHHMMSSZ, else now and a month."""
        stem = f"{name.replace('/', '_').replace(' ', '_')}-{len(list(self._directory.iterdir()))}"
        pair = Pair(self._directory / f"{stem}.key", self._directory / f"{stem}.pem")
        request = self._directory / f"{stem}.csr"
        more = [] if san is None else ["-addext", f"subjectAltName={san}"]
        more += [] if usage is None else ["-addext", f"extendedKeyUsage={usage}"]
        _openssl(
            *("req", "-new", "-nodes", "-config", self._config, "-subj", f"/CN={name}", *more),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-keyout", pair.key, "-out", request),
        )
        when = [] if start is None else ["-startdate", start]
        when += [] if end is None else ["-enddate", end]
        _openssl(
            *("ca", "-batch", "-notext", "-config", self._config, *when),
            *("-in", request, "-out", pair.cert),
        )
        return pair

    def revoke(self, pair: Pair) -> None:
        _openssl("ca", "-config", self._config, "-revoke", pair.cert)

    def crl(self) -> str:
        """The list of what it revoked."""
        return _openssl("ca", "-config", self._config, "-gencrl")


def self_signed(directory: Path, name: str) -> Pair:
    """A certificate that nobody vouches for."""
    return Pair((own := Authority(directory, name))._directory / "ca.key", own.cert)


def _last_pem(text: str) -> str:
    return text[text.rindex("-----BEGIN CERTIFICATE-----") :]


def _openssl(*args: object) -> str:
    done = subprocess.run(
        ["openssl", *map(str, args)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
