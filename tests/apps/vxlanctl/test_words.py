"""What the command line itself says: help, completion, errors, exit status, what it imports."""

from __future__ import annotations

import itertools
import json
import os
import random
import string
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer

from apps.vxlanctl.tree import app
from tests.apps.vxlanctl.conftest import ROOT, TOKEN


def commands() -> list[tuple[str, ...]]:
    found = []

    def walk(group, path):
        for name, command in sorted(group.commands.items()):
            found.append((*path, name))
            if hasattr(command, "commands"):
                walk(command, (*path, name))

    walk(typer.main.get_command(app), ())
    return found


LEAVES = [path for path in commands() if path not in {path[:1] for path in commands() if path[1:]}]


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_explains_itself_with_examples(ctl, path):
    done = ctl(*path, "--help")
    assert done.status == 0
    examples = done.out.partition("Examples:\n")[2].split("\n")
    assert any("vxlanctl " + " ".join(path) in example for example in examples)
    assert ctl(*path, "-h").out == done.out


@pytest.mark.parametrize(
    "path", [(), *(path for path in commands() if path not in LEAVES)], ids=str
)
def test_every_noun_names_its_verbs(ctl, path):
    done = ctl(*path, "--help")
    assert done.status == 0
    for verb in (other[len(path)] for other in commands() if other[: len(path)] == path != other):
        assert f" {verb} " in done.out
    assert ctl(*path).status in (0, 2)


NOTHING_OF_THE_CONTROLLER = ("controller", "eventlet", "greenlet", "pydantic", "ryu", "yaml")


@pytest.mark.parametrize("argv", [["--help"], ["host", "list"], ["vm", "show", "web-1"]], ids=str)
def test_it_imports_nothing_that_is_slow(argv):
    program = (
        "import sys, apps; from apps.vxlanctl import main; main(sys.argv[1:]);"
        "print([name for name in %r if name in sys.modules], 'socket' in sys.modules"
        " and sys.modules['socket'].socket.__module__, file=sys.stderr)"
    )
    argv = [sys.executable, "-c", program % (NOTHING_OF_THE_CONTROLLER,), *argv]
    env = {**os.environ, "VXLANCTL_URL": "http://127.0.0.1:9"}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert done.stderr.splitlines()[-1].startswith("[] ")
    assert "eventlet" not in done.stderr


def test_no_controller_is_told_with_the_way_out(ctl):
    gone = ctl("host", "list", "--url", "http://127.0.0.1:9")
    assert gone.status == 1
    assert "no controller answers at http://127.0.0.1:9: Connection refused" in gone.err
    assert "VXLANCTL_URL" in gone.err
    gone = ctl("host", "list", "--url", "http://127.0.0.1:9", "-o", "json")
    assert "no controller" in json.loads(gone.err)["detail"]


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://x", "http://", "http://h:99999", "http://[::1", "//"]
)
def test_a_url_that_is_none(ctl, url):
    assert ctl("--url", url or " ", "host", "list").status == 2


def test_another_server_is_told_apart(ctl, told):
    told.answers["/v1/hosts"] = b"<html>"
    assert "is no vxlan-l2 controller" in ctl("host", "list").err
    told.answers["/v1/hosts"] = [1]
    assert "is no vxlan-l2 controller" in ctl("host", "list").err


def test_the_token(ctl, controller_url, monkeypatch, tmp_path):
    monkeypatch.setenv("VXLANCTL_URL", controller_url)
    without = ctl("host", "list")
    assert without.status == 1
    assert "--token-file FILE, or VXLANCTL_TOKEN" in without.err
    monkeypatch.setenv("VXLANCTL_TOKEN", "wrong")
    assert "not this controller's" in ctl("host", "list").err
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert ctl("host", "list", "--token-file", file).status == 0
    assert ctl("--token-file", file, "host", "list").status == 0
    file.write_text("two\nlines")
    assert "holds no token" in ctl("host", "list", "--token-file", file).err
    assert ctl("host", "list", "--token-file", tmp_path / "none").status == 1


def test_global_options_may_stand_anywhere(there):
    shown = [
        there("-o", "json", "vm", "list"),
        there("vm", "-o", "json", "list"),
        there("vm", "list", "-o", "json"),
        there("vm", "list", "-ojson", "--no-color"),
        there("vm", "-o", "table", "list", "--output=json"),
    ]
    assert len({done.out for done in shown}) == 1
    assert len(shown[0].json) == 3
    assert there("vm", "list", "-o", "xml").status == 2


def test_wrong_usage_is_told_with_what_to_try(ctl):
    for argv in (["vm", "lst"], ["vm", "add"], ["nonsense"], ["vm", "list", "--nonsense"]):
        done = ctl(*argv)
        assert (done.status, done.out) == (2, "")
        assert "try: vxlanctl" in done.err
    for argv in (["network", "set", "1", "--vlan", "x"], ["trace", "a", "b", "--frame", "xyz"]):
        assert ctl(*argv, "--url", "http://127.0.0.1:9").status in (1, 2)


def complete(words: str, **env: str) -> list[str]:
    told = {"_VXLANCTL_COMPLETE": "complete_bash", "COMP_WORDS": words}
    told["COMP_CWORD"] = str(words.count(" "))
    argv = [sys.executable, "-m", "apps.vxlanctl"]
    program = "import sys; from apps.vxlanctl import main; sys.argv = ['vxlanctl']; main()"
    argv = [sys.executable, "-c", program]
    env = {**os.environ, **told, **env}
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands_and_values(there, controller_url):
    env = {"VXLANCTL_URL": controller_url, "VXLANCTL_TOKEN": TOKEN}
    assert complete("vxlanctl v", **env) == ["vm", "vtep", "vip"]
    assert complete("vxlanctl host show h", **env) == ["hv-1", "hv-2"]
    assert complete("vxlanctl vm move web", **env) == ["web-1", "web-2"]
    assert complete("vxlanctl vm list --network b", **env) == ["blue"]
    assert complete("vxlanctl vm list -o ", **env) == ["json", "table"]


def test_completion_is_silent_where_nothing_answers():
    assert complete("vxlanctl host show h", VXLANCTL_URL="http://127.0.0.1:9") == []
    assert complete("vxlanctl host show h", VXLANCTL_URL="nonsense") == []


def test_a_reader_that_goes_ends_it_quietly(there, controller_url):
    shell = f"{sys.executable} -m apps.vxlanctl vm list -o json | head -c 1; echo $?"
    env = {**os.environ, "VXLANCTL_URL": controller_url, "VXLANCTL_TOKEN": TOKEN}
    done = subprocess.run(
        shell, shell=True, capture_output=True, text=True, cwd=ROOT, env=env, check=False
    )
    assert (done.stdout, done.stderr) == ("[0\n", "")


def test_names_of_others_cannot_command_the_terminal(ctl, told):
    evil = {"dpid": "\x1b[2J", "name": "\x1b]0;x\x07", "vtep": None, "state": "LIVE\x1b"}
    told.answers["/v1/hosts"] = {"items": [evil], "next": None, "total": 1}
    assert "\x1b" not in ctl("host", "list").out


def test_odd_words_never_make_it_stumble(there):
    chance = random.Random(5)
    odd = [
        "",
        " ",
        "-",
        "--",
        "-o",
        "json",
        "\u00e4",
        "\U0001f600",
        "0",
        "-1",
        "9" * 400,
        "a/b?c=d",
    ]
    odd += [
        "%00",
        "../..",
        "blue",
        "web-1",
        "10.1.1.1",
        "::",
        "52:54:00:00:00:01",
        "all",
        "\n",
        "\x7f",
    ]
    odd += ["".join(chance.choices(string.printable, k=9)) for _ in range(10)]
    quick = [
        path for path in LEAVES if path[0] not in ("demo", "top", "events", "import", "export")
    ]
    quick.remove(("vm", "import"))
    for path, _round in itertools.product(quick, range(6)):
        words = chance.choices(odd, k=chance.randrange(4))
        there(*path, *words)


def test_it_knows_its_version(ctl):
    assert ctl("--version").out == f"vxlanctl {version('vxlan-l2')}\n"


def test_alone_it_says_where_to_begin(ctl):
    done = ctl()
    assert done.status == 2
    assert "\n  vxlanctl status\n" in done.out.partition("Examples:")[2]
