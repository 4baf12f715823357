"""Fixtures of every test that needs real Open vSwitch."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from topology.lab import Lab, LabError
from topology.lab.command import require_tools

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Of a shell's background job: what tests start could not be interrupted either.
    signal.signal(signal.SIGINT, signal.default_int_handler)

MakeLab = Callable[..., Lab]


LABS = ("tests/ovs/", "tests/lab/", "tests/bench/", "tests/ui/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real switches on a busy machine miss a deadline now and then: a lab has a second chance.

    The summary names each test that needed it.
    """
    for item in items:
        if item.nodeid.startswith(LABS):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def ovs_machine() -> None:
    """Fails, never skips, where a lab cannot be made: a green run has run everything."""
    try:
        require_tools()
    except LabError as error:
        pytest.fail(f"{error} (make test installs what is missing)", pytrace=False)


@pytest.fixture
def make_lab(ovs_machine: None) -> Iterator[MakeLab]:
    """make_lab(hosts=3, ...) -> Lab, gone again after the test."""
    with ExitStack() as stack:

        def make(**options: Any) -> Lab:
            return stack.enter_context(Lab(**options))

        yield make
