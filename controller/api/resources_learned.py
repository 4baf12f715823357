"""/v1/learned: the MACs that packet-ins taught."""

from __future__ import annotations

from webob import Response

from controller.api import shapes
from controller.api.call import Call
from controller.api.described import VNI, Described
from controller.api.paging import one_at_a_time, page
from controller.api.shown import show_learned
from topology.model import MacKey


@Described("learned", shapes.LearnedMac, paged=2, query=(VNI,))
def index(call: Call) -> Response:
    """The MACs that were learned from traffic, by network and MAC."""
    call.allow_query("vni", "limit", "cursor")
    vni = call.query_vni()
    topology = call.service.topology
    now_s, timeout_s = call.service.now_s(), call.service.learn_timeout_s()

    def show(key: MacKey) -> shapes.LearnedMac:
        return show_learned(topology.learned[key], now_s, timeout_s)

    with one_at_a_time(call, len(topology.learned)):
        keys = topology.keys_of_learned() if vni is None else topology.learned_in(vni)
        return page(call, keys, show, parts=2)
