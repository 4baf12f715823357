"""vm import, export, import: files and plans, by the real controller."""

from __future__ import annotations

import json

import pytest

FACTS = [
    {
        "mac": "52:54:00:00:00:01",
        "host": "hv-1",
        "network": "blue",
        "ips": ["10.1.1.1"],
        "name": "web-1",
    },
    {
        "mac": "5254.0000.0007",
        "host": "hv-2",
        "vni": 100,
        "ips": ["10.1.1.7", "fd00::7"],
        "name": "7",
    },
]
CSV = """mac,host,network,ips,name,respond
52:54:00:00:00:01,hv-1,blue,10.1.1.1,web-1,
52:54:00:00:00:07,hv-2,100,10.1.1.7 fd00::7,7,true
"""
YAML = """
# A MAC of digits only is no number, and 7 is a name.
vms:
  - mac: 52:54:00:00:00:01
    host: hv-1
    network: blue
    ips: [10.1.1.1]
    name: web-1
  - {mac: 52:54:00:00:00:07, host: hv-2, vni: 100, ips: [10.1.1.7, "fd00::7"], name: 7}
"""
FILES = {
    "vms.yaml": YAML,
    "vms.csv": CSV,
    "vms.json": json.dumps(FACTS, indent=1),
    "vms.ndjson": "\n".join(json.dumps(fact) for fact in FACTS),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_says_the_same(there, tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    plan = there("vm", "import", tmp_path / name, "--dry-run")
    assert plan.status == 0, plan.err
    assert "plan: 1 to add, 0 to change, 0 to move, 0 to remove, 1 unchanged" in plan.out
    assert len(there("vm", "list", "-o", "json").json) == 3
    assert there("vm", "import", tmp_path / name).out.startswith("1 added, 1 unchanged; ")
    seven = there("vm", "show", "7", "-o", "json").json
    assert (seven["mac"], seven["ips"]) == ("52:54:00:00:00:07", ["10.1.1.7", "fd00::7"])


def test_a_plan_shows_each_thing_before_it_is_done(there, tmp_path):
    file = tmp_path / "vms.csv"
    file.write_text("mac,host,vni\n52:54:00:00:00:01,hv-2,100\n525400000009,hv-1,100\n")
    plan = there("vm", "import", file, "--update", "--prune", "blue", "--dry-run")
    lines = [line.split() for line in plan.out.splitlines()]
    assert lines[1][:3] == ["remove", "vm", "100"]
    assert lines[2][:1] + lines[2][-3:] == ["move", "hv-1", "->", "hv-2"]
    assert lines[3][0] == "add"
    assert "plan: 1 to add, 0 to change, 1 to move, 1 to remove, 0 unchanged" in plan.out
    shown = there("vm", "import", file, "--update", "--dry-run", "-o", "json").json
    assert shown["items"][0]["changes"] == ["host"]
    done = there("vm", "import", file, "--update", "--prune", "blue")
    assert done.out.startswith("1 added, 1 moved, 1 removed, 0 unchanged; ")
    assert there("vm", "show", "web-1", "-o", "json").json["ips"] == ["10.1.1.1"]


def test_what_is_there_is_not_changed_without_being_told(there, tmp_path):
    file = tmp_path / "vms.csv"
    file.write_text("mac,host,vni\n525400000009,hv-1,0\n52:54:00:00:00:01,hv-2,100\n")
    refused = there("vm", "import", file)
    assert refused.status == 1
    assert f"{file}:3: MAC 52:54:00:00:00:01 in network 100 is registered already" in refused.err
    assert "--update" in refused.err
    assert len(there("vm", "list", "-o", "json").json) == 3


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "a.csv",
            "mac,host\n52:54:00:00:00:01,hv-1\nzz,hv-1\n",
            "a.csv:3: mac: 'zz' is no Ethernet",
        ),
        ("a.csv", "mac,host\n52:54:00:00:00:01,\n", "a.csv:2: host: is required"),
        ("a.csv", "mac,host,vlan\n525400000001,hv-1,7\n", "a.csv:2: vlan: unknown field"),
        ("a.csv", "mac,host\n525400000001,hv-1,7\n", "a.csv:2: has more fields"),
        ("a.csv", "mac,host\n525400000001,hv-77\n", "a.csv:2: host: 'hv-77' is no known"),
        ("a.csv", "mac,host,ips\n525400000009,hv-1,10.1.1.300\n", "a.csv:2: ips[0]: '10.1.1.300'"),
        ("a.csv", "mac,host,respond\n525400000009,hv-1,maybe\n", "a.csv:2: respond: 'maybe'"),
        ("a.csv", "mac,host,network\n525400000009,hv-1,red\n", "a.csv:2: network: no network"),
        ("a.csv", 'mac,host\n"525400000009,hv-1\n', "a.csv:1: no CSV"),
        ("a.yaml", "- mac: 525400000009\n  host: hv-1\n  ips: [10.1.1.300]\n", "a.yaml:3: ips[0]"),
        ("a.yaml", "- mac: [\n", "a.yaml:2: no YAML"),
        ("a.yaml", "hosts: 1\n", "a.yaml:1: a list of VMs is wanted"),
        ("a.yaml", "- web-1\n", "a.yaml:1: must have fields"),
        ("a.yaml", "- &a\n  mac: *a\n", "a.yaml"),
        ("a.json", '[\n {"mac": 1}\n,\n 7]', "a.json:4: must be an object"),
        ("a.json", '[\n {"mac": 1}\n {"mac": 2}]', "a.json:3: no JSON"),
        ("a.json", '{"mac": 1}', "a.json:1: no JSON: an array of VMs"),
        ("a.json", "[" * 100_000, "a.json:1: "),
        ("a.ndjson", '{"mac": 1}\n{', "a.ndjson:2: no JSON"),
        ("a.ndjson", "[1]\n", "a.ndjson:1: must be an object"),
    ],
)
def test_what_is_wrong_is_named_by_file_line_and_field(there, tmp_path, name, text, told):
    file = tmp_path / name
    file.write_text(text)
    refused = there("vm", "import", file)
    assert refused.status == 1
    assert f"{tmp_path}/{told}" in refused.err
    assert len(there("vm", "list", "-o", "json").json) == 3


def test_no_file_no_format_no_text(there, tmp_path):
    assert "No such file" in there("vm", "import", tmp_path / "none.csv").err
    assert there("vm", "import", tmp_path / "vms.txt").status == 2
    (tmp_path / "a.csv").write_bytes(b"mac,host\n\xff\xfe,hv-1\n")
    assert "a.csv:2: not UTF-8" in there("vm", "import", tmp_path / "a.csv").err
    (tmp_path / "b.yaml").write_text("")
    assert there("vm", "import", tmp_path / "b.yaml").out.startswith("0 added, 0 unchanged")


def test_more_vms_than_anyone_would_type(there, tmp_path):
    file = tmp_path / "many.csv"
    rows = [
        f"5254{number:08x},hv-{1 + number % 2},blue,vm-{number}" for number in range(256, 20256)
    ]
    file.write_text("\n".join(["mac,host,network,name", *rows]))
    assert there("vm", "import", file).out.startswith("20000 added, 0 unchanged")
    assert len(there("vm", "list", "-n", "blue", "-o", "json").json) == 20002
    plan = there("vm", "import", file, "--update", "--prune", "blue", "--dry-run")
    assert "0 to add, 0 to change, 0 to move, 2 to remove, 20000 unchanged" in plan.out


def test_a_backup_is_taken_and_brought_back(there, tmp_path):
    backup = tmp_path / "backup.ndjson"
    assert there("export", backup).err == "7 facts in " + str(backup) + "\n"
    assert not list(tmp_path.glob("*.part"))
    whole = there("export").out
    assert whole.splitlines()[1:] == backup.read_text().splitlines()[1:]
    for argv in (
        ("vm", "delete", "web-2"),
        ("vm", "move", "web-1", "hv-2"),
        ("network", "set", "7", "--vlan", "7"),
    ):
        assert there(*argv).status == 0
    plan = there("import", backup, "--mode", "replace", "--dry-run")
    assert "plan: 1 to add, 0 to change, 1 to move, 1 to remove, 5 unchanged" in plan.out
    done = there("import", backup, "--mode", "replace")
    assert done.out.startswith("1 added, 1 moved, 1 removed, 5 unchanged; ")
    assert there("export").out.splitlines()[1:] == whole.splitlines()[1:]


def test_a_backup_that_cannot_be_taken_is_told_by_line(there, tmp_path):
    backup = tmp_path / "backup.ndjson"
    there("export", backup)
    lines = backup.read_text().splitlines()
    backup.write_text("\n".join(lines[:-1]))
    assert f"{backup}:1: facts: 7 were exported, and here are 6" in there("import", backup).err
    backup.write_text("\n\n" + "\n".join([lines[0], *lines[1:]]).replace('"hv-2"', '""'))
    assert f"{backup}:5: name: must have 1 to 255" in there("import", backup).err
    backup.write_text(lines[0].replace('"version":1', '"version":9'))
    assert "9 is not 1, the version that this controller reads" in there("import", backup).err
    backup.write_text("no export")
    assert there("import", backup).status == 1
    assert there("import", tmp_path).status == 1
