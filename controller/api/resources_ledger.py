"""/v1/ledger: what became of broadcast, unknown unicast and multicast (BUM), by network."""

from __future__ import annotations

from typing import Final

from webob import Response

from controller.api import shapes_observed as shapes
from controller.api.answers import answer
from controller.api.call import Call
from controller.api.described import Described, flag
from controller.api.paging import page
from controller.api.shown import show_place
from controller.journal import rfc3339
from controller.ledger import Book, Rates, Sample, Tally
from topology.errors import NotFound
from topology.model import Topology

TALKERS_SHOWN: Final = 20
_NO_BOOK: Final = Book()
_FRESH: Final = flag("fresh", "ask the switches for their counters first (10 s at most)")


@Described("observability", shapes.LedgerPage, paged=1, query=(_FRESH,))
def index(call: Call) -> Response:
    """Every network's counts, and their sum since the controller started."""
    call.allow_query("limit", "cursor", "fresh")
    if call.query_flag("fresh"):
        call.service.count_now(None)
    ledger, topology = call.service.ledger(), call.service.topology

    def show(vni: int) -> shapes.CountedNetwork:
        return _network(call, vni)

    more = {"sum": _counts(ledger.sum.total.now(), ledger.sum.rates), **_times(call, None)}
    return page(call, topology.keys_of_networks(), show, parts=1, more=more)


@Described("observability", shapes.LedgerOfNetwork, query=(_FRESH,))
def show(call: Call) -> Response:
    """One network's counts, by host, by sender and over the last hour."""
    call.allow_query("fresh")
    fresh, vni = call.query_flag("fresh"), call.path_vni()
    topology = call.service.topology
    if vni not in topology.networks:
        raise NotFound(f"network {vni} is not known")
    if fresh:
        call.service.count_now(vni)
    ledger = call.service.ledger()
    book = ledger.books.get(vni, _NO_BOOK)
    shown: shapes.LedgerOfNetwork = {
        **_network(call, vni),
        **_times(call, vni),
        "hosts": [
            {**show_place(topology, dpid), **_tally(book.hosts[dpid].now())}
            for dpid in sorted(book.hosts)
        ],
        "talkers": _talkers(topology, vni, book),
        "history": [_sample(call, sample) for sample in ledger.history(book)],
    }
    return answer(shown)


def _times(call: Call, vni: int | None) -> shapes.CountedTimes:
    service = call.service
    since_s, as_of_s = service.ledger().since_s, service.counted_s(vni)
    since_s = as_of_s if since_s is None else since_s
    return {
        "since": rfc3339(service.unix_s(since_s)),
        "as_of": rfc3339(service.unix_s(max(since_s, as_of_s))),
    }


def _network(call: Call, vni: int) -> shapes.CountedNetwork:
    network = call.service.topology.networks.get(vni)
    book = call.service.ledger().books.get(vni, _NO_BOOK)
    name = None if network is None else network.name
    return {"vni": int(vni), "name": name, **_counts(book.total.now(), book.rates)}


def _counts(total: Tally, rates: Rates) -> shapes.CountedWithRates:
    per_s: shapes.Rates = {
        "answered": round(rates.answered, 3),
        "suppressed": round(rates.suppressed, 3),
        "flooded": round(rates.flooded, 3),
        "unknown_unicast": round(rates.unknown_unicast, 3),
        "saved_bytes": round(rates.saved_bytes, 3),
    }
    return {**_tally(total), "per_s": per_s}


def _tally(total: Tally) -> shapes.Counted:
    def pair(frames: int, octets: int) -> shapes.Frames:
        return {"frames": frames, "bytes": octets}

    return {
        "answered": pair(total.answered, total.answered_bytes),
        "answered_by_controller": pair(total.by_controller, total.by_controller_bytes),
        "suppressed": pair(total.suppressed, total.suppressed_bytes),
        "flooded": {**pair(total.flooded, total.flooded_bytes), "copies": total.copies},
        "unknown_unicast": pair(total.unknown_unicast, total.unknown_unicast_bytes),
        "saved": {"copies": total.saved_copies, "bytes": total.saved_bytes},
    }


def _talkers(topology: Topology, vni: int, book: Book) -> list[shapes.Talker]:
    vms = topology.vms
    most = sorted(book.talkers.items(), key=lambda it: (-it[1].frames, it[0]))[:TALKERS_SHOWN]
    return [
        {
            "mac": str(mac),
            "name": vms[vni, mac].name if (vni, mac) in vms else None,
            **show_place(topology, dpid),
            "frames": talker.frames,
            "bytes": talker.octets,
            "per_s": round(talker.per_s, 3),
        }
        for (mac, dpid), talker in most
    ]


def _sample(call: Call, sample: Sample) -> shapes.LedgerInterval:
    return {
        "at": rfc3339(call.service.unix_s(sample.ended_s)),
        "answered": sample.answered,
        "suppressed": sample.suppressed,
        "flooded": sample.flooded,
        "unknown_unicast": sample.unknown_unicast,
        "saved_bytes": sample.saved_bytes,
    }
