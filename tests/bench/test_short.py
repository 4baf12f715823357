"""Every figure of the bench in its short form: it fails on wrong behaviour, never on time."""

from __future__ import annotations

import importlib

import pytest

from bench import figures
from bench.harness import Report, Scale


@pytest.mark.parametrize("name", figures.names())
def test_short(name: str, ovs_machine: None) -> None:
    figure = importlib.import_module(f"bench.figures.{name}")
    report = Report(name, figure.TITLE, print)

    figure.measure(Scale(short=True, rounds=1), report)

    assert report.series
