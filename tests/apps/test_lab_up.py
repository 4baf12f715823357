"""`make lab-up` refuses what cannot be meant on one line, and makes nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from topology.lab.__main__ import main

LINES = {
    ("--hosts", "0"): "0 hosts are no lab",
    ("--hosts", "-1"): "-1 hosts are no lab",
    ("--hosts", "300"): "has no room for 300 hosts",
    ("--subnet", "192.168.33.0/33"): "--subnet 192.168.33.0/33",
    ("--subnet", "192.168.33.1/24"): "has host bits set",
    ("--subnet", "192.168.33.0/29"): "has no room for 3 hosts",
    ("--subnet", "somewhere"): "--subnet somewhere",
    ("--subnet", "127.0.0.0/24"): "127.0.0.0/24 is in use here: lo has 127.0.0.1/8",
    ("--controller", "192.168.33.1:6653"): "write it as tcp:192.168.33.1:6653",
    ("--controller", "tcp:"): "write it as tcp:192.168.33.1:6653",
}


@pytest.mark.parametrize("options", LINES, ids=" ".join)
def test_refused(options: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--name", "refused", *options]) == 1
    said = capsys.readouterr().err
    assert said.startswith("lab: ")
    assert said.count("\n") == 1
    assert LINES[options] in said


def test_a_second_lab_on_the_same_underlay_is_refused(make_lab) -> None:
    lab = make_lab(hosts=1)
    argv = [sys.executable, "-m", "topology.lab", "up", "--name", "second", "--hosts", "1"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"192.168.33.0/24 is in use here: {lab.name}-ctl" in done.stderr
