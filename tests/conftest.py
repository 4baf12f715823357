"""Fixtures of every test that needs real Open vSwitch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from topology.lab import Lab, LabError
from topology.lab.command import require_tools

MakeLab = Callable[..., Lab]


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
