"""A dashboard that wants a token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from bench.farm.fabric import own_processes
from tests.ui.conftest import OpenPage
from topology.lab import Controller

TOKEN = "correct horse"


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    with own_processes() as (processes, _directory):
        controller = Controller(processes, tmp_path, "127.0.0.1", {"api_token": TOKEN})
        controller.start()
        yield controller


def register_network(controller: Controller) -> None:
    request = Request(
        f"{controller.rest.url}/v1/networks/100", b'{"name": "blue", "vlan": 10}', method="PUT"
    )
    request.add_header("Content-Type", "application/json")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with build_opener(ProxyHandler({})).open(request) as reply:
        assert reply.status == 201


def test_log_in_look_and_log_out(
    controller: Controller, open_page: OpenPage, pictures: Path
) -> None:
    url = controller.rest.url
    page = open_page(f"{url}/#/networks")
    page.wait_text("wants its API token")
    page.picture(pictures / "login.png")
    assert page.run("document.activeElement.id") == "token"
    page.type("wrong")
    page.press("Enter")
    page.wait_text("not this controller's token")
    page.wait("document.activeElement.id === 'token'")
    page.type(TOKEN)
    page.press("Enter")
    page.wait_text("No hosts yet", "ovs-vsctl set-controller br-tun", selector="main")
    page.picture(pictures / "empty.png")
    page.visit("/networks")
    register_network(controller)
    page.wait_text("blue (100)", selector="main")
    assert page.run("document.cookie") == ""
    writes = "fetch('/v1/networks/100', {method: 'DELETE'}).then((reply) => reply.status)"
    assert page.run(writes) == 401

    controller.kill()
    controller.start()
    page.wait_text("log in again", selector="#banner", within_s=60)
    page.wait_text("blue (100)", selector="main")
    page.click("#banner button")
    page.wait_text("wants its API token")
    page.type(TOKEN)
    page.press("Enter")
    page.wait_text("blue (100)", selector="main")
    page.click("#logout button")
    page.wait_text("wants its API token")
