"""/v1/status: the controller as a whole, on one page."""

from __future__ import annotations

from webob import Response

from controller.api.answers import answer
from controller.api.call import Call
from controller.journal import rfc3339


def show(call: Call) -> Response:
    call.allow_query()
    service = call.service
    status, topology = service.status(), service.topology
    store: dict[str, object] | None = None
    if status.store is not None:
        store = {
            "url": status.about.store_url,
            "bytes": status.store.size_bytes,
            "free_bytes": status.store.free_bytes,
        }
    return answer(
        {
            "version": status.about.version,
            "started_at": rfc3339(status.started_s),
            "now": rfc3339(status.now_s),
            "uptime_s": round(status.uptime_s, 3),
            "store": store,
            "openflow": status.about.openflow,
            "hosts": status.hosts._asdict(),
            "networks": len(topology.networks),
            "vms": len(topology.vms),
            "learned": len(topology.learned),
            "vteps": len(topology.vteps),
            "vips": len(topology.vips),
            "drifts": service.drifts()._asdict(),
            "last_event_id": service.journal.last_id,
        }
    )
