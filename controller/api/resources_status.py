"""/v1/status: the controller as a whole, on one page."""

from __future__ import annotations

from webob import Response

from controller.api import shapes_observed as shapes
from controller.api.answers import answer
from controller.api.call import Call
from controller.api.described import Described
from controller.journal import rfc3339


@Described("observability", shapes.Status)
def show(call: Call) -> Response:
    """The controller as a whole: version, store, counts, drifts, the last event."""
    call.allow_query()
    service = call.service
    status, drifts, topology = service.status(), service.drifts(), service.topology
    hosts = status.hosts
    store: shapes.Store | None = None
    if status.store is not None:
        store = {
            "url": status.about.store_url,
            "bytes": status.store.size_bytes,
            "free_bytes": status.store.free_bytes,
        }
    shown: shapes.Status = {
        "version": status.about.version,
        "started_at": rfc3339(status.started_s),
        "now": rfc3339(status.now_s),
        "uptime_s": round(status.uptime_s, 3),
        "store": store,
        "openflow": status.about.openflow,
        "hosts": {
            "total": hosts.total,
            "connected": hosts.connected,
            "live": hosts.live,
            "degraded": hosts.degraded,
            "held": hosts.held,
        },
        "networks": len(topology.networks),
        "vms": len(topology.vms),
        "learned": len(topology.learned),
        "vteps": len(topology.vteps),
        "vips": len(topology.vips),
        "drifts": {"missing": drifts.missing, "extra": drifts.extra, "changed": drifts.changed},
        "last_event_id": service.journal.last_id,
    }
    return answer(shown)
