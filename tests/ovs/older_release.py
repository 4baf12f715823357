"""A release whose flows are other ones, for the tests of upgrades: ``ryu-manager`` runs it.

Every cookie is another; some flows have other priorities, groups another number, a meter another
rate, and one flow is of a kind that the present release does not know.
"""

# ruff: noqa: E402
from dataclasses import replace

from controller import pipeline
from controller.wire import encode

_hashed_terms = encode.hashed_terms
encode.hashed_terms = lambda flow: b"older" + _hashed_terms(flow)
pipeline.REGISTERED_PRIORITY += 1
pipeline.LEARNED_PRIORITY += 1
pipeline.GROUP_BASE += 0x100000

from controller import bridges

bridges.EGRESS_FLOW_PRIORITY += 2
bridges.PORT_PRIORITY += 2
bridges.METERS = tuple(replace(meter, rate_pps=meter.rate_pps + 7) for meter in bridges.METERS)

from apps.vxlan_l2 import VxlanL2


class OlderRelease(VxlanL2):
    """Ryu runs the classes of this very file."""
