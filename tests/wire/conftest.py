"""One real bridge for all tests here, empty at the start of each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.bridges import METERS
from controller.wire import encode
from tests.wire.samples import every_group
from tests.wire.switch import Connection
from topology.lab import Lab, LabHost


@pytest.fixture(scope="module")
def ovs_host(ovs_machine: None) -> Iterator[LabHost]:
    with Lab(hosts=1, tunnels="flow", vms="none") as lab:
        yield lab.hosts[0]


@pytest.fixture
def host(ovs_host: LabHost) -> LabHost:
    """A host whose br-tun has no flows, groups or meters."""
    ovs_host.ofctl("del-flows", "br-tun")
    ovs_host.ofctl("del-groups", "br-tun")
    ovs_host.ofctl("del-meters", "br-tun")
    return ovs_host


@pytest.fixture
def wire(host: LabHost) -> Iterator[Connection]:
    connection = Connection(host)
    yield connection
    connection.close()


@pytest.fixture
def ready(wire: Connection) -> Connection:
    """Connected, with the meters and empty groups that flows refer to."""
    groups = [encode.group_mod(encode.GROUP_ADD, group.group_id) for group in every_group()]
    meters = [encode.meter_mod(encode.ADD, meter) for meter in METERS]
    assert wire.ask([*groups, *meters]) == []
    return wire
