"""A switch that nobody declared, in the dashboard: shown as held, and nothing breaks on it."""

from __future__ import annotations

from pathlib import Path

from tests.apps.process import running
from tests.apps.secured import connected, until
from tests.ui.conftest import OpenPage, faults

STRANGER = "0000000000000099"


def test_a_held_switch_is_shown_with_what_takes_it_over(
    tmp_path: Path, open_page: OpenPage
) -> None:
    with (
        running(tmp_path, {"hold_unknown": True}) as controller,
        connected(controller.openflow_port, int(STRANGER, 16)),
    ):
        hosts = lambda: controller("GET", "/v1/hosts").body["items"]  # noqa: E731
        until(lambda: [host["state"] for host in hosts()] == ["HELD"], "it is held")
        for route in ("", f"hosts/{STRANGER}", "doctor"):
            page = open_page(f"{controller.url}/#/{route}")
            page.wait_text(f"vxlanctl host declare {STRANGER}")
            assert faults(page) == []
        assert controller("PUT", f"/v1/hosts/{STRANGER}", {"name": "found"}).status == 201
        page = open_page(f"{controller.url}/#/hosts/{STRANGER}")
        page.wait_text("Host found", selector="h1")
        page.wait_text("CLASSIFY")
        assert faults(page) == []
