"""A fabric of three hosts, once wired by a port for each peer, once by one flow-based port."""

from __future__ import annotations

import pytest

from tests.fake import FakeFabric


@pytest.fixture(params=["peer", "flow"])
def tunnels(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def fabric(tunnels: str) -> FakeFabric:
    """Three hosts, connected and at rest; nothing is registered or learned."""
    return FakeFabric(3, tunnels).connect_all()
