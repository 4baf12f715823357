"""Every view, on three hosts: shown, live, by keyboard, and when the controller is away."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.ui.conftest import HOSTILE, OpenPage, faults
from topology.lab import Fabric

VIEWS = {
    "": ("Fabric", "compute-1"),
    "vms": ("VMs", "web-1"),
    "addresses": ("Addresses", "Foreign VTEPs"),
    "addresses?show=vteps": ("Addresses", "192.168.33.99"),
    "addresses?show=vips": ("Addresses", "10.1.1.100"),
    "networks": ("Networks", "network 0"),
    "networks/0": ("network 0", "Unknown unicast"),
    "hosts/{dpid}": ("Host compute-1", "CLASSIFY"),
    "trace": ("Trace", "From"),
    "trace?src=web-1&dst=web-2": ("Trace", "From"),
    "doctor": ("Doctor", ""),
    "events": ("Events", "Pause"),
    "nowhere": ("No such page", "To the fabric"),
}

FOCUSABLE = "a[href], button:not(:disabled), input, select, summary, [tabindex='0']"


@pytest.fixture(scope="module", autouse=True)
def others(fabric: Fabric) -> None:
    """A foreign VTEP and a virtual IP, so that no list is empty."""
    mac = fabric.lab.vms[0].mac
    assert fabric.rest.put("/v1/vteps/192.168.33.99", {"vnis": [0], "name": HOSTILE}).status == 201
    body = {"macs": [mac], "name": HOSTILE}
    assert fabric.rest.put("/v1/vips/0/10.1.1.100", body).status == 201


def address(fabric: Fabric, route: str) -> str:
    return f"{fabric.rest.url}/#/{route.format(dpid=fabric.lab.hosts[0].dpid)}"


@pytest.mark.parametrize("route", VIEWS)
def test_every_view_is_shown(
    fabric: Fabric, open_page: OpenPage, pictures: Path, route: str
) -> None:
    heading, text = VIEWS[route]
    page = open_page(address(fabric, route))
    page.wait_text(heading, selector="h1")
    page.wait_text(text, selector="main")
    page.wait_text("3 of 3 Hosts live", selector="header")
    page.wait("!document.querySelector('.loading')")
    for width, dark in ((1280, True), (3840, True), (1280, False), (360, False)):
        page.colours(dark)
        page.size(width, 900)
        page.picture(pictures / f"{width}-{'dark' if dark else 'light'}.png")
        wide = page.run("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{wide} px beyond a window of {width} px"
    assert faults(page) == []
    assert all(url.startswith(fabric.rest.url) for url in page.requests), page.requests
    assert page.run("document.querySelectorAll('h1').length") == 1
    unnamed = page.run(
        "[...document.querySelectorAll('input, select')].filter((e) => !e.labels.length).length"
        " + [...document.querySelectorAll('a, button')].filter((e) => !e.textContent.trim()"
        " && !e.ariaLabel).length"
        " + [...document.querySelectorAll('table')].filter((e) => !e.caption"
        " || !e.querySelector('thead th[scope=col]')).length"
    )
    assert unnamed == 0


def test_names_are_text_wherever_they_are_shown(fabric: Fabric, open_page: OpenPage) -> None:
    page = open_page(address(fabric, ""))
    for route in ("", "vms", "addresses?show=vteps", "addresses?show=vips"):
        page.visit(f"/{route}")
        page.wait_text(HOSTILE.replace("  ", " "), selector="main")
    page.visit(f"/hosts/{fabric.lab.hosts[2].dpid}")
    page.wait_text(f"Host compute-3 {HOSTILE}", selector="h1")
    assert page.run("document.querySelectorAll('main b, main script').length") == 0
    assert faults(page) == []


def test_what_is_registered_appears_and_takes_nothing_from_who_types(
    fabric: Fabric, open_page: OpenPage
) -> None:
    page = open_page(address(fabric, "vms"), height=300)
    page.wait_text("web-1", selector="main")
    page.run("document.querySelector('input[name=q]').focus()")
    page.type("web-")
    page.wait_text("1 to 3 of 3", selector=".pager")
    page.run("document.querySelector('input[name=q]').setSelectionRange(1, 3)")
    scrolled = page.run("scrollTo(0, 1000), scrollY")
    assert scrolled > 0
    body = {"mac": "52:54:00:00:77:01", "host": fabric.lab.hosts[0].dpid, "name": "web-new"}
    assert fabric.rest.post("/v1/vms", body).status == 201
    try:
        page.wait_text("web-new", "1 to 4 of 4", selector="main")
        page.wait_text("4 VMs", selector="header")
        state = page.run(
            "(() => { const e = document.activeElement;"
            " return [e.name, e.value, e.selectionStart, e.selectionEnd, scrollY]; })()"
        )
        assert state == ["q", "web-", 1, 3, scrolled]
    finally:
        fabric.rest.delete("/v1/vms/0/52:54:00:00:77:01")
    page.wait_text("1 to 3 of 3", selector=".pager")
    assert page.run("location.hash") == "#/vms?q=web-"


def test_hosts_flows_are_searched_and_compared(fabric: Fabric, open_page: OpenPage) -> None:
    page = open_page(address(fabric, "hosts/{dpid}"))
    page.wait_text("CLASSIFY", selector="main")
    page.run("document.querySelector('main input[type=search]').focus()")
    page.type("web-2")
    page.wait("[...document.querySelectorAll('main tbody')].at(-1).innerText.includes('web-2')")
    page.wait("![...document.querySelectorAll('main tbody')].at(-1).innerText.includes('web-1')")
    page.click(".diff button")
    page.wait_text("In sync", selector=".diff")


def test_everything_is_reached_by_keyboard(fabric: Fabric, open_page: OpenPage) -> None:
    page = open_page(address(fabric, ""))
    page.wait_text("compute-1", selector="main")
    seen = page.run(
        f'[...document.querySelectorAll("{FOCUSABLE}")]'
        ".filter((e) => e.checkVisibility()).map((e, at) => (e.dataset.at = at)).length"
    )
    reached = set()
    for _ in range(seen):
        page.press("Tab")
        reached.add(page.run("document.activeElement.dataset.at ?? document.activeElement.tagName"))
    assert reached == {str(at) for at in range(seen)}
    page.run("document.querySelector('a.host').focus()")
    page.press("Enter")
    page.wait_text("Host compute-1", selector="h1")
    assert page.run("document.activeElement.tagName") == "H1"
    page.run("document.querySelector('#nav a[href=\"#/trace\"]').focus()")
    page.press("Enter")
    page.wait_text("Trace", selector="h1")
    for text in ("web-1", "web-2"):
        page.press("Tab")
        page.type(text)
    page.press("Enter")
    page.wait("location.hash.includes('src=web-1') && location.hash.includes('dst=web-2')")
    page.run("document.querySelector('.skip').focus()")
    page.press("Enter")
    assert page.run("document.activeElement.id") == "main"


def test_colours_are_chosen_and_kept(fabric: Fabric, open_page: OpenPage) -> None:
    page = open_page(address(fabric, ""))
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.run(ground)
    page.colours(True)
    dark = page.run(ground)
    assert dark != light
    page.click("#theme")
    assert (page.run(ground), page.text("#theme")) == (light, "Light")
    page.call("Page.reload")
    page.wait("document.readyState === 'complete' && document.querySelector('#theme').innerText")
    assert (page.run(ground), page.text("#theme")) == (light, "Light")
    page.click("#theme")
    assert page.run(ground) == dark


def test_a_controller_that_is_away_is_told_and_comes_back(
    fabric: Fabric, open_page: OpenPage, pictures: Path
) -> None:
    page = open_page(address(fabric, "vms"))
    page.wait_text("web-1", selector="main")
    fabric.controller.kill()
    try:
        page.wait_text("does not answer since", selector="#banner")
        page.wait_text("stale since", selector="#live")
        page.wait_text("web-1", selector="main")
        page.picture(pictures / "away.png")
    finally:
        fabric.controller.start()
    page.wait("!document.querySelector('#banner').innerText", 60)
    fabric.wait_settled(60)
    page.wait_text("3 of 3 Hosts live", selector="header", within_s=60)
    page.wait("!document.querySelector('main').matches('.stale')")


def test_an_error_of_one_view_stays_in_it(fabric: Fabric, open_page: OpenPage) -> None:
    page = open_page(address(fabric, "networks/77"))
    page.wait_text("77", "Try again", selector="main")
    page.visit("/vms")
    page.wait_text("web-1", selector="main")
    assert page.text("#banner") == ""
