"""What contrib/ has for operations is complete, and works as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import pytest
from oslo_config import cfg

from apps import options
from tests.apps.process import ROOT, running

CONF = ROOT / "contrib" / "vxlan-l2.conf"
UNIT = ROOT / "contrib" / "systemd" / "vxlan-l2.service"
OPTION = re.compile(r"^(?:# )?([a-z_]+) =(?: (.*))?$")
RYUS = {
    *("ofp_listen_host", "ofp_tcp_listen_port", "ofp_ssl_listen_port"),
    *("ctl_privkey", "ctl_cert", "ca_certs", "wsapi_host", "wsapi_port"),
    *("use_stderr", "use_syslog", "log_file", "verbose", "log_config_file"),
}

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here"
)


def sections() -> dict[str, dict[str, tuple[str, bool]]]:
    """Options by section: what each has, and whether it is commented out."""
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    here: dict[str, tuple[str, bool]] = {}
    for line in CONF.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            here = found[line.strip("[]")] = {}
        elif option := OPTION.match(line):
            assert option[1] not in here, option[1]
            here[option[1]] = (option[2] or "", line.startswith("#"))
    return found


def test_the_example_has_every_option_and_no_other():
    found = sections()
    assert set(found["vxlan"]) == set(options.KNOWN)
    assert set(found["DEFAULT"]) == RYUS


def test_each_option_is_explained():
    lines = CONF.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if OPTION.match(line):
            before = lines[number - 1]
            assert before.startswith("#") or OPTION.match(before), f"{line} is not explained"


def test_what_is_commented_out_is_the_default():
    defaults = cfg.ConfigOpts()
    defaults([], project="ryu")
    options.register(defaults)
    for name, (text, commented) in sections()["vxlan"].items():
        default = defaults.vxlan[name]
        if commented:
            assert default is None, f"{name} = {text} is not the default {default}"
        elif name != "store":
            shown = ",".join(default) if isinstance(default, list) else str(default)
            assert shown.lower() == text, name


@pytest.mark.parametrize("whole", [False, True], ids=["as it is", "all of it"])
def test_the_controller_starts_with_it(tmp_path, whole):
    """The environment says only where; ``whole``: what is commented out is taken as well."""
    text = CONF.read_text(encoding="utf-8")
    if whole:
        (tmp_path / "token").write_text("s3cret\n", encoding="utf-8")
        (tmp_path / "read-token").write_text("r3ad\n", encoding="utf-8")
        leave = ("ctl_", "ca_certs", "ofp_ssl", "log_config", "use_syslog")
        leave += ("api_token ", "api_read_token ", "api_cert", "api_key")
        text = "\n".join(
            line.removeprefix("# ")
            if OPTION.match(line) and not line.startswith(tuple(f"# {name}" for name in leave))
            else line
            for line in text.splitlines()
        )
        text = text.replace("/etc/vxlan-l2", str(tmp_path)).replace("/var/log", str(tmp_path))
    file = tmp_path / "vxlan-l2.conf"
    file.write_text(text, encoding="utf-8")
    more = ["--config-file", str(file)]
    with running(tmp_path, more=more) as controller:
        assert controller("GET", "/v1/hosts").status == (401 if whole else 200)
        assert controller.stop() == 0


@needs_systemd
def test_the_unit_is_one(tmp_path):
    """As systemd reads it, with a command that is there."""
    unit = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    unit.write_text(text.replace("/opt/vxlan-l2/bin/vxlan-l2", sys.executable), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    ours = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert (done.returncode, ours) == (0, [])


@needs_systemd
def test_the_unit_exposes_little():
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:]
