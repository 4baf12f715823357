"""/v1/ledger: what became of broadcast, unknown unicast and multicast (BUM), by network."""

from __future__ import annotations

from typing import Final

from webob import Response

from controller.api.answers import answer
from controller.api.call import Call
from controller.api.paging import page
from controller.api.problems import invalid
from controller.journal import rfc3339
from controller.ledger import Book, Rates, Sample, Tally
from topology.errors import NotFound
from topology.types import Dpid

TALKERS_SHOWN: Final = 20
_NO_BOOK: Final = Book()


def index(call: Call) -> Response:
    """Every network's counts, and their sum since the controller started."""
    call.allow_query("limit", "cursor", "fresh")
    if _fresh(call):
        call.service.count_now(None)
    ledger, topology = call.service.ledger(), call.service.topology

    def show(vni: int) -> dict[str, object]:
        return _network(call, vni)

    more = {"sum": _counts(ledger.sum.total.now(), ledger.sum.rates), **_times(call, None)}
    return page(call, topology.keys_of_networks(), show, parts=1, more=more)


def show(call: Call) -> Response:
    """One network's counts, by host, by sender and over the last hour."""
    call.allow_query("fresh")
    fresh, vni = _fresh(call), call.path_vni()
    topology = call.service.topology
    if vni not in topology.networks:
        raise NotFound(f"network {vni} is not known")
    if fresh:
        call.service.count_now(vni)
    ledger = call.service.ledger()
    book = ledger.books.get(vni, _NO_BOOK)
    return answer(
        {
            **_network(call, vni),
            **_times(call, vni),
            "hosts": [
                {**_host(call, dpid), **_tally(book.hosts[dpid].now())}
                for dpid in sorted(book.hosts)
            ],
            "talkers": _talkers(call, vni, book),
            "history": [_sample(call, sample) for sample in ledger.history(book)],
        }
    )


def _fresh(call: Call) -> bool:
    text = call.query("fresh")
    if text not in (None, "true", "false"):
        raise invalid("fresh", f"{text!r} is not true or false")
    return text == "true"


def _times(call: Call, vni: int | None) -> dict[str, object]:
    service = call.service
    since_s, as_of_s = service.ledger().since_s, service.counted_s(vni)
    since_s = as_of_s if since_s is None else since_s
    return {
        "since": rfc3339(service.unix_s(since_s)),
        "as_of": rfc3339(service.unix_s(max(since_s, as_of_s))),
    }


def _network(call: Call, vni: int) -> dict[str, object]:
    network = call.service.topology.networks.get(vni)
    book = call.service.ledger().books.get(vni, _NO_BOOK)
    name = None if network is None else network.name
    return {"vni": int(vni), "name": name, **_counts(book.total.now(), book.rates)}


def _counts(total: Tally, rates: Rates) -> dict[str, object]:
    per_s = {what: round(rate, 3) for what, rate in rates._asdict().items()}
    return {**_tally(total), "per_s": per_s}


def _tally(total: Tally) -> dict[str, object]:
    def pair(frames: int, octets: int) -> dict[str, int]:
        return {"frames": frames, "bytes": octets}

    return {
        "answered": pair(total.answered, total.answered_bytes),
        "answered_by_controller": pair(total.by_controller, total.by_controller_bytes),
        "suppressed": pair(total.suppressed, total.suppressed_bytes),
        "flooded": {**pair(total.flooded, total.flooded_bytes), "copies": total.copies},
        "unknown_unicast": pair(total.unknown_unicast, total.unknown_unicast_bytes),
        "saved": {"copies": total.saved_copies, "bytes": total.saved_bytes},
    }


def _host(call: Call, dpid: int) -> dict[str, object]:
    host = call.service.topology.hosts.get(dpid)
    return {"host": str(Dpid(dpid)), "host_name": None if host is None else host.name}


def _talkers(call: Call, vni: int, book: Book) -> list[dict[str, object]]:
    vms = call.service.topology.vms
    most = sorted(book.talkers.items(), key=lambda it: (-it[1].frames, it[0]))[:TALKERS_SHOWN]
    return [
        {
            "mac": str(mac),
            "name": vms[vni, mac].name if (vni, mac) in vms else None,
            **_host(call, dpid),
            "frames": talker.frames,
            "bytes": talker.octets,
            "per_s": round(talker.per_s, 3),
        }
        for (mac, dpid), talker in most
    ]


def _sample(call: Call, sample: Sample) -> dict[str, object]:
    at = rfc3339(call.service.unix_s(sample.ended_s))
    return {"at": at, **dict(zip(Rates._fields, sample[1:], strict=True))}
