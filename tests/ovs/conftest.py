"""Fabrics for the tests: a lab of real Open vSwitch with the real controller process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from topology.lab import Fabric, Lab

MakeFabric = Callable[..., Fabric]

#: The three fabrics that every claim is made for.
SHAPES: dict[str, dict[str, Any]] = {
    "peer-ports-5-6": {"hosts": 3, "vtep_ofports": 5},
    "peer-port-2": {"hosts": 2},
    "flow-based": {"hosts": 3, "tunnels": "flow"},
}

_open: list[Fabric] = []


@contextmanager
def _fabric(directory: Path, options: dict[str, Any], **lab_options: Any) -> Iterator[Fabric]:
    with Lab(**lab_options) as lab:
        fabric = Fabric(lab, directory, options)
        _open.append(fabric)
        fabric.controller.start()
        yield fabric
        # Not reached when set-up fails: its report still wants the log.
        if fabric in _open:
            _open.remove(fabric)


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Lab options of each of the three fabrics."""
    return SHAPES[request.param]


@pytest.fixture(scope="module", params=SHAPES)
def fabric(
    request: pytest.FixtureRequest, ovs_machine: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fabric]:
    """A fabric of each shape, controlled and settled, shared by a module's tests."""
    directory = tmp_path_factory.mktemp("fabric")
    with _fabric(directory, {}, **SHAPES[request.param]) as one:
        one.connect()
        yield one


@pytest.fixture
def make_fabric(ovs_machine: None, tmp_path: Path) -> Iterator[MakeFabric]:
    """make_fabric(hosts=3, ...) -> Fabric of the test's own; connect=False leaves it apart."""
    with ExitStack() as stack:
        yield _maker(stack, tmp_path)


@pytest.fixture(scope="module")
def make_shared_fabric(
    ovs_machine: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeFabric]:
    """The same, for a module's tests to share."""
    with ExitStack() as stack:
        yield _maker(stack, tmp_path_factory.mktemp("fabric"))


@pytest.fixture(scope="session")
def open_fabric(
    ovs_machine: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[Fabric]]:
    """``with open_fabric(hosts=3, ...) as fabric``: connected and settled, for a fixture's use."""

    @contextmanager
    def opened(**lab_options: Any) -> Iterator[Fabric]:
        with _fabric(tmp_path_factory.mktemp("fabric"), {}, **lab_options) as one:
            one.connect()
            yield one

    return opened


def _maker(stack: ExitStack, directory: Path) -> MakeFabric:
    numbers = itertools.count(1)

    def make(
        *, connect: bool = True, options: dict[str, Any] | None = None, **lab_options: Any
    ) -> Fabric:
        own = directory / f"fabric{next(numbers)}"
        own.mkdir()
        one = stack.enter_context(_fabric(own, options or {}, **lab_options))
        if connect:
            one.connect()
        return one

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure shows what the controller said and what it thinks of its hosts."""
    report = yield
    if report.failed:
        for fabric in _open:
            report.sections.append(("controller", fabric.controller.log_tail()))
            report.sections.append(("hosts", _hosts_text(fabric)))
        if report.when == "setup":
            _open.clear()
    return report


def _hosts_text(fabric: Fabric) -> str:
    try:
        return "\n".join(str(host) for host in fabric.rest.items("/v1/hosts"))
    except (OSError, ValueError) as error:
        return f"no answer: {error}"
