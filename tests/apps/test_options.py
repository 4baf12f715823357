"""What the operator sets is taken as written, or refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from oslo_config import cfg

from apps import options
from apps.options import CannotStart

RYUS = [
    cfg.StrOpt("ofp-listen-host"),
    cfg.IntOpt("ofp-tcp-listen-port"),
    cfg.StrOpt("wsapi-host", default="127.0.0.1"),
    cfg.IntOpt("wsapi-port"),
]


def conf_of(path: Path, text: str, environ: dict[str, str] | None = None) -> cfg.ConfigOpts:
    """The options as the app reads them from a config file."""
    file = path / "my.conf"
    file.write_text(text, encoding="utf-8")
    conf = cfg.ConfigOpts()
    conf.register_cli_opts(RYUS)
    conf(args=["--config-file", str(file)], project="ryu")
    options.check(conf, environ or {})
    return conf


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[vxlan]\nlern_timeout = 3", r"unknown option lern_timeout in \[vxlan\]; known: api_cert"),
        ("[vxlam]\nlearn_timeout = 3", r"unknown section \[vxlam\] in .*my.conf"),
        ("[DEFAULT]\nstore = sqlite://", r"unknown option store in .*; it belongs in \[vxlan\]"),
        ("[DEFAULT]\nofp-listen-host = ::", r"unknown option ofp-listen-host in \[DEFAULT\]"),
        ("[vxlan]\nlearn_timeout = x", r"learn_timeout \(.*my.conf\) is not valid"),
        ("[vxlan]\nlearn_timeout = 2", r"greater than or equal to 3"),
        ("[vxlan]\napi_open = maybe", r"api_open .* is not valid"),
    ],
)
def test_what_nobody_reads_is_refused(tmp_path, text, reason):
    with pytest.raises(CannotStart, match=reason):
        conf_of(tmp_path, text)


@pytest.mark.parametrize("name", ["OS_VXLAN__LERN_TIMEOUT", "OS_VXLAN_STORE", "OS_VXLAN__store"])
def test_so_is_the_environment(tmp_path, name):
    with pytest.raises(CannotStart, match=f"unknown option {name} in the environment"):
        conf_of(tmp_path, "", {name: "3", "PATH": "/bin", "OS_VXLAN__STORE": "sqlite://"})


def test_a_token_protects_or_the_start_is_refused(tmp_path):
    file = tmp_path / "token"
    from_file = f"[vxlan]\napi_token_file = {file}\n"
    with pytest.raises(CannotStart, match="No such file"):
        options.token(conf_of(tmp_path, from_file))
    for content in ("", "\n", " \nsecret\n"):
        file.write_text(content, encoding="utf-8")
        with pytest.raises(CannotStart, match=r"api_token_file .* is empty"):
            options.token(conf_of(tmp_path, from_file))
    file.write_text("secret\n", encoding="utf-8")
    assert options.token(conf_of(tmp_path, from_file)) == "secret"
    with pytest.raises(CannotStart, match="api_token is empty"):
        options.token(conf_of(tmp_path, "[vxlan]\napi_token =\n"))
    assert options.token(conf_of(tmp_path, "")) is None


def test_rest_beyond_loopback_wants_a_token(tmp_path):
    beyond = "[DEFAULT]\nwsapi_host = 0.0.0.0\n[vxlan]\n"
    with pytest.raises(CannotStart, match="without api_token would be open"):
        options.token(conf_of(tmp_path, beyond))
    assert options.token(conf_of(tmp_path, beyond + "api_open = true\n")) is None
    assert options.token(conf_of(tmp_path, beyond + "api_token = x\n")) == "x"
