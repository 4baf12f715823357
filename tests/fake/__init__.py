"""A fabric without processes: switches that apply the very bytes, hosts, a clock, a store.

    from tests.fake import FakeFabric

    fabric = FakeFabric(hosts=3)
    fabric.connect_all()
    a, b = fabric.vm(0), fabric.vm(1)
    assert fabric.ping(a, b)

Everything happens at once and in milliseconds; nothing here sleeps.
"""

from tests.fake.fabric import FakeFabric
from tests.fake.stations import Ping, Station
from tests.fake.switch import FakeSwitch

__all__ = ["FakeFabric", "FakeSwitch", "Ping", "Station"]
