"""A browser, and the real controller with something to show in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ui.browser import Browser, Page
from topology.lab import Fabric, Lab

OpenPage = Callable[..., Page]

#: Names as an operator may write them; none may ever be taken for HTML.
HOSTILE = """<script>document.title='no'</script><b>"it's" & more"""


def faults(page: Page) -> list[str]:
    """What went wrong in a page: errors, refusals by its policy, requests that failed."""
    return list(page.troubles)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module")
def fabric(ovs_machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fabric]:
    """Three hosts of real Open vSwitch, three VMs in the network blue, one of a hostile name."""
    with Lab(hosts=3) as lab:
        fabric = Fabric(lab, tmp_path_factory.mktemp("fabric"))
        fabric.controller.start()
        fabric.connect()
        for number, host in enumerate(lab.hosts, start=1):
            body = {"name": f"compute-{number}" if number < 3 else f"compute-3 {HOSTILE}"}
            assert fabric.rest.put(f"/v1/hosts/{host.dpid}", body).status == 200
        for number, vm in enumerate(lab.vms, start=1):
            named = f"web-{number}" if number < 3 else f"web-3 {HOSTILE}"
            assert fabric.register(vm, name=named).status == 201
        yield fabric


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """open_page(url, width=, height=, dark=) -> Page, closed after the test."""
    pages: list[Page] = []

    def open_page(url: str, **options: Any) -> Page:
        pages.append(browser.page(url, **options))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where a test's screenshots are; pytest keeps those of the last runs."""
    return tmp_path
