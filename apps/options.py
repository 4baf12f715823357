"""What the operator may set: the options of [vxlan], and a look for names that nobody reads."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oslo_config import cfg

from topology.errors import VxlanError

GROUP = "vxlan"
ENVIRONMENT = "OS_VXLAN__"
LOOPBACK = ("127.0.0.1", "::1", "localhost")

OPTIONS = [
    cfg.StrOpt(
        "store", help="where facts are kept: sqlite:///absolute/path, or sqlite:// in memory"
    ),
    cfg.StrOpt("patch_port", default="patch-tun", help="br-tun's port towards br-int"),
    cfg.ListOpt(
        "tunnel_ports", default=["vxlan*", "gre*", "geneve*"], help="globs of tunnel ports"
    ),
    cfg.IntOpt("learn_timeout", default=300, min=3, max=65535, help="seconds a learned MAC lives"),
    cfg.IntOpt("learn_limit_host", default=2048, min=1, help="learned MACs kept of one host"),
    cfg.IntOpt("learn_limit_network", default=16384, min=1, help="learned MACs kept of a network"),
    cfg.BoolOpt("hold_unknown", default=False, help="hold switches until they are declared"),
    cfg.BoolOpt(
        "bind_certificates",
        default=False,
        help="refuse switches whose certificate names no dpid and is not bound to one",
    ),
    cfg.StrOpt("api_token", secret=True, help="bearer token that REST calls must present"),
    cfg.StrOpt("api_token_file", help="a file whose first line is that token"),
    cfg.StrOpt("api_read_token", secret=True, help="bearer token with which calls only read"),
    cfg.StrOpt("api_read_token_file", help="a file whose first line is that token"),
    cfg.StrOpt("api_cert", help="REST over TLS: its certificate (PEM), and who signed it"),
    cfg.StrOpt("api_key", help="the certificate's key (PEM)"),
    cfg.ListOpt("api_hosts", help="further names of this API, as clients call it"),
    cfg.BoolOpt("api_open", default=False, help="serve REST beyond loopback without a token"),
    cfg.IntOpt("connections_max", default=4096, min=8, help="OpenFlow connections at a time"),
    cfg.IntOpt("connections_per_address_max", default=1024, min=1, help="the same of one address"),
    cfg.StrOpt(
        "log_format", default="text", choices=["text", "json"], help="lines of the log: text, json"
    ),
]
KNOWN = sorted(option.name for option in OPTIONS)


class CannotStart(VxlanError):
    """What the operator set cannot be meant."""


def register(conf: cfg.ConfigOpts) -> None:
    """Make our options known; again is no harm."""
    conf.register_opts(OPTIONS, group=GROUP)


def check(conf: cfg.ConfigOpts, environ: Mapping[str, str]) -> None:
    """Register our options; CannotStart for a value that is none, or a name nobody knows."""
    register(conf)
    for reason in (*_unknown_in_files(conf), *_unknown_in(environ)):
        raise CannotStart(reason)
    for name in KNOWN:
        try:
            conf[GROUP][name]
        except ValueError as error:
            raise CannotStart(explain(error)) from error


def token(conf: cfg.ConfigOpts) -> str | None:
    """The bearer token that REST calls must present; CannotStart where it would protect nothing."""
    options = conf[GROUP]
    found = _secret(options, "api_token")
    if found is None and conf.wsapi_host not in LOOPBACK and not options.api_open:
        raise CannotStart(
            f"REST on {conf.wsapi_host} without api_token would be open to the network;"
            " set [vxlan] api_token_file or api_token, or api_open = true if that is meant"
        )
    return found


def read_token(conf: cfg.ConfigOpts) -> str | None:
    """The bearer token with which REST calls only read."""
    found, full = _secret(conf[GROUP], "api_read_token"), _secret(conf[GROUP], "api_token")
    if found is not None and full is None:
        raise CannotStart(
            "api_read_token without api_token would protect nothing: set [vxlan] api_token_file too"
        )
    if found is not None and found == full:
        raise CannotStart("api_read_token and api_token are the same: it could not only read")
    return found


def api_tls(conf: cfg.ConfigOpts) -> ssl.SSLContext | None:
    """What REST clients connect with, if there is a certificate."""
    cert, key = conf[GROUP].api_cert, conf[GROUP].api_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise CannotStart("api_cert and api_key go together: set both, or neither")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, _no_password)
    except (OSError, ValueError) as error:
        raise CannotStart(f"api_cert, api_key: {error}") from error
    return context


def _no_password() -> str:
    # Without this OpenSSL would ask for it at the terminal, and wait.
    raise ValueError("the key has a password, which nobody is here to type")


def _secret(options: Any, name: str) -> str | None:
    """The option of this name, or the first line of the file that NAME_file says."""
    found: str | None = options[name]
    where, path = name, options[f"{name}_file"]
    if path is not None:
        where = f"{name}_file {path}"
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CannotStart(f"{name}_file: {error}") from error
        found = text.partition("\n")[0].strip()
    if found == "":
        raise CannotStart(f"{where} is empty")
    return found


def explain(error: Exception) -> str:
    """An oslo.config error on one line."""
    text = re.sub(r" from LocationInfo\(.*?detail='(.*?)'\)", r" (\1)", str(error))
    return re.sub(r"\s+", " ", text)


def _unknown_in_files(conf: cfg.ConfigOpts) -> Iterator[str]:
    """What nobody reads in the config files; Ryu and other apps have registered theirs by now."""
    directories = [Path(name) for name in conf.config_dir]
    files = [
        *conf.config_file,
        *(str(path) for each in directories for path in each.glob("*.conf")),
    ]
    for path in files:
        sections: dict[str, dict[str, object]] = {}
        cfg.ConfigParser(path, sections).parse()
        for section, options in sections.items():
            if section != "DEFAULT" and section.lower() not in conf:
                yield f"unknown section [{section}] in {path}; ours is [{GROUP}]"
            for name in options:
                if section.lower() == GROUP and name not in KNOWN:
                    yield f"unknown option {name} in [{GROUP}]; known: {', '.join(KNOWN)}"
                elif section == "DEFAULT" and name not in conf:
                    other = f"; it belongs in [{GROUP}]" if name in KNOWN else ""
                    yield f"unknown option {name} in [DEFAULT] of {path}{other}"


def _unknown_in(environ: Mapping[str, str]) -> Iterator[str]:
    known = [ENVIRONMENT + name.upper() for name in KNOWN]
    for name in environ:
        if name.upper().startswith(ENVIRONMENT.rstrip("_")) and name not in known:
            yield f"unknown option {name} in the environment; known: {', '.join(known)}"
