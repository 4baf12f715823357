"""The libvirt hook against a running controller, with domains as libvirt writes them.

Each hypervisor has an `ovs-vsctl` and a `virsh` of its own that say what these would say there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.apps.process import ROOT, free_port, running

HOOK = ROOT / "contrib" / "libvirt" / "vxlan-l2-hook"
MAC, MAC2, MAC3 = "52:54:00:6b:3c:58", "52:54:00:6b:3c:59", "52:54:00:6b:3c:60"
METADATA = f"""
  <metadata>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="http://debian.org/debian/12"/>
    </libosinfo:libosinfo>
    <vxlan:vm xmlns:vxlan="urn:vxlan-l2:libvirt:1">
      <vxlan:interface mac="{MAC.upper()}" vni="100" ips="10.1.1.1 fd00::1"/>
      <vxlan:interface mac="{MAC3}" ignore="yes"/>
    </vxlan:vm>
  </metadata>"""


def interface(mac: str, bridge: str = "br-int", vlan: str = "") -> str:
    return f"""
    <interface type='bridge'>
      <mac address='{mac}'/>
      <source bridge='{bridge}'/>{vlan}
      <virtualport type='openvswitch'>
        <parameters interfaceid='c7a2a6b2-5a3c-4a3e-9c4e-2f1d5f6f8a11'/>
      </virtualport>
      <target dev='vnet0'/>
      <model type='virtio'/>
      <alias name='net0'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>"""


def domain(*interfaces: str, metadata: str = "") -> str:
    return f"""<domain type='kvm' id='7'>
  <name>web-1</name>
  <uuid>2a6b7d1e-6f34-4c0d-8f5e-0c7f4cf9a111</uuid>{metadata}
  <memory unit='KiB'>2097152</memory>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>{"".join(interfaces)}
    <interface type='user'><mac address='52:54:00:ff:ff:ff'/></interface>
  </devices>
</domain>
"""


TAG_20 = "<vlan><tag id='20'/></vlan>"


class Hypervisor:
    """Runs the hook as its libvirt would; virsh says what `state` has."""

    def __init__(self, path: Path, dpid: str, url: str, **options: object) -> None:
        self.path, self.dpid = path, dpid
        path.mkdir()
        self.state = path / "state"
        self.state.write_text("running", encoding="utf-8")
        self._tool("ovs-vsctl", f"echo '\"{dpid}\"'")
        self._tool("virsh", f"cat {self.state}; test -s {self.state}")
        values = {"url": url, "timeout": 20, **options}
        conf = "[hook]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
        (path / "hook.conf").write_text(conf, encoding="utf-8")

    def _tool(self, name: str, script: str) -> None:
        tool = self.path / name
        tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        tool.chmod(0o755)

    def call(self, operation: str, xml: str, reason: str = "-") -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": f"{self.path}:{os.environ['PATH']}",
            "VXLAN_L2_HOOK_CONF": str(self.path / "hook.conf"),
            "VXLAN_L2_HOOK_MARKS": str(self.path / "marks"),
        }
        end = "end" if operation in ("stopped", "release") else "begin"
        done = subprocess.run(
            [sys.executable, str(HOOK), "web-1", operation, end, reason],
            input=xml,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout == ""
        return done

    def does(self, *operations: str, xml: str) -> None:
        for operation in operations:
            done = self.call(operation, xml)
            assert (done.returncode, done.stderr) == (0, ""), operation


@pytest.fixture
def controller(tmp_path):
    with running(tmp_path) as one:
        for number in (1, 2):
            assert one("PUT", f"/v1/hosts/000000000000001{number}", {}).status == 201
        assert one("PUT", "/v1/networks/100", {"vlan": 10, "name": "blue"}).status == 201
        assert one("PUT", "/v1/networks/200", {"vlan": 20}).status == 201
        yield one


@pytest.fixture
def one(tmp_path, controller):
    return Hypervisor(tmp_path / "one", "0000000000000011", controller.url)


@pytest.fixture
def two(tmp_path, controller):
    return Hypervisor(tmp_path / "two", "0000000000000012", controller.url)


def vms(controller) -> dict[tuple[int, str], dict]:
    return {(vm["vni"], vm["mac"]): vm for vm in controller("GET", "/v1/vms").body["items"]}


def wait_for(controller, key: tuple[int, str], host: str) -> dict:
    """The VM once it is registered there; a journey's end, not a measure of time."""
    for _ in range(300):
        vm = vms(controller).get(key)
        if vm is not None and vm["host"] == host:
            return vm
        time.sleep(0.1)
    raise AssertionError(f"{key} is not on {host}: {vms(controller)}")


def test_a_vm_comes_and_goes(controller, one):
    xml = domain(
        interface(MAC),
        interface(MAC2, vlan=TAG_20),
        interface(MAC3),
        interface("52:54:00:00:00:09", "virbr0"),
        metadata=METADATA,
    )
    one.does("prepare", "start", "started", xml=xml)
    found = vms(controller)
    assert set(found) == {(100, MAC), (200, MAC2)}
    assert found[100, MAC]["ips"] == ["10.1.1.1", "fd00::1"]
    assert {vm["host"] for vm in found.values()} == {"0000000000000011"}
    assert {vm["name"] for vm in found.values()} == {"web-1"}
    one.does("reconnect", xml=xml)
    assert vms(controller) == found
    one.does("stopped", "release", xml=xml)
    assert vms(controller) == {}
    one.does("release", xml=xml)


def test_addresses_that_libvirt_does_not_know_stay(controller, one):
    one.does("start", xml=domain(interface(MAC)))
    controller("PUT", f"/v1/vms/0/{MAC}", {"host": one.dpid, "ips": ["10.9.9.9"]})
    one.does("reconnect", xml=domain(interface(MAC)))
    assert vms(controller)[0, MAC]["ips"] == ["10.9.9.9"]


@pytest.mark.parametrize("reason", ["migrated", "-"], ids=["libvirt 10.5", "older libvirt"])
def test_a_migration(controller, one, two, reason):
    """In at the new host before out at the old one; until then the VM runs at the old one."""
    xml = domain(interface(MAC))
    one.does("prepare", "start", "started", xml=xml)
    controller("PUT", f"/v1/vms/0/{MAC}", {"host": one.dpid, "ips": ["10.9.9.9"]})
    two.state.write_text("paused", encoding="utf-8")
    two.does("migrate", "prepare", "start", "started", xml=xml)
    assert vms(controller)[0, MAC]["host"] == one.dpid
    two.state.write_text("running", encoding="utf-8")
    if reason == "migrated":
        wait_for(controller, (0, MAC), two.dpid)
    one.call("stopped", xml)
    assert one.call("release", xml, reason).returncode == 0
    moved = wait_for(controller, (0, MAC), two.dpid)
    assert (moved["ips"], moved["name"]) == (["10.9.9.9"], "web-1")
    two.does("stopped", "release", xml=xml)
    assert vms(controller) == {}


def test_a_migration_that_fails(controller, one, two):
    xml = domain(interface(MAC))
    one.does("start", "started", xml=xml)
    two.state.write_text("paused", encoding="utf-8")
    two.does("migrate", "prepare", "start", "started", xml=xml)
    two.state.write_text("", encoding="utf-8")
    two.call("stopped", xml)
    assert two.call("release", xml, "failed").returncode == 0
    assert vms(controller)[0, MAC]["host"] == one.dpid


def test_after_a_crash_it_starts_elsewhere(controller, one, two):
    one.does("start", "started", xml=domain(interface(MAC)))
    two.does("prepare", "start", "started", xml=domain(interface(MAC)))
    assert vms(controller)[0, MAC]["host"] == two.dpid


BROKEN = {
    "not XML": ("<domain", {}, "the domain's XML cannot be read"),
    "no network": (domain(interface(MAC, vlan="<vlan><tag id='77'/></vlan>")), {}, "the VLAN 77"),
    "vni": (domain(interface(MAC), metadata=METADATA.replace('"100"', '"x"')), {}, "no number"),
    "refused": (domain(interface(MAC), metadata=METADATA.replace('"100"', '"5"')), {}, "422 vni: "),
    "token": (domain(interface(MAC)), {"token_file": "/nowhere/token"}, "/nowhere/token"),
    "timeout": (domain(interface(MAC)), {"timeout": "soon"}, "soon"),
}


@pytest.mark.parametrize("what", BROKEN)
@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
def test_trouble_is_told_and_keeps_no_vm_from_starting(tmp_path, controller, what, strict):
    xml, options, said = BROKEN[what]
    hypervisor = Hypervisor(
        tmp_path / "hv", "0000000000000011", controller.url, strict=strict, **options
    )
    done = hypervisor.call("start", xml)
    assert said in done.stderr
    read = what not in ("token", "timeout")  # else it is not known whether it is strict
    assert done.returncode == (1 if strict and read else 0)
    assert hypervisor.call("release", xml).returncode == 0


def test_a_controller_that_is_away(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    hypervisor = Hypervisor(tmp_path / "hv", "0000000000000011", url)
    done = hypervisor.call("start", domain(interface(MAC)))
    assert done.returncode == 0
    assert "Connection refused" in done.stderr


def test_the_token(tmp_path):
    token_file = tmp_path / "secret"
    token_file.write_text("s3cret\nmore\n", encoding="utf-8")
    with running(tmp_path, token="s3cret") as controller:
        assert controller("PUT", "/v1/hosts/0000000000000011", {}).status == 201
        without = Hypervisor(tmp_path / "without", "0000000000000011", controller.url)
        assert "401" in without.call("start", domain(interface(MAC))).stderr
        hypervisor = Hypervisor(
            tmp_path / "hv", "0000000000000011", controller.url, token_file=token_file
        )
        hypervisor.does("start", xml=domain(interface(MAC)))
        assert set(vms(controller)) == {(0, MAC)}
