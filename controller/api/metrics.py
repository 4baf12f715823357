"""What Prometheus reads: families of metrics made from the service when they are asked for.

No label grows with VMs: labels are hosts (by dpid), networks (by VNI) and fixed words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from controller.ledger import Tally
from controller.measures import Histogram
from controller.service import Service

P: Final = "vxlan_l2_"
STATES: Final = ("LIVE", "DEGRADED", "SYNCING", "AUDITING", "WAITING", "DISCONNECTED", "HELD")
BREATH: Final = 50
"""So many hosts or networks are looked at before others get a turn."""

_PROCESS: Final = ProcessCollector(registry=None)

Pause = Callable[[], None]


def families(service: Service, pause: Pause) -> Iterator[Metric]:
    """Every family; ``pause`` is called whenever others may have a turn."""
    yield _info("build", "The running release", {"version": service.measures().version})
    yield from _facts(service)
    yield from _hosts(service, pause)
    yield from _ledger(service, pause)
    yield from _openflow(service)
    yield from _work(service)
    yield from _rest(service)
    yield from _PROCESS.collect()


def _info(name: str, text: str, words: dict[str, str]) -> Metric:
    return InfoMetricFamily(P + name, text + ".", words)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(P + name, text + ".", value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(P + name, text + ".", value)


def _gauges(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(P + name, text + ".", labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family


def _counters(name: str, text: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = CounterMetricFamily(P + name, text + ".", labels=[label])
    for value, number in values:
        family.add_metric([value], number)
    return family


def _histogram(name: str, text: str, there: Histogram) -> Metric:
    family = HistogramMetricFamily(P + name, text + ".")
    family.add_metric([], list(there.buckets()), there.sum)
    return family


# Facts


def _facts(service: Service) -> Iterator[Metric]:
    topology = service.topology
    for name, text, facts in (
        ("networks", "Networks", topology.networks),
        ("vms", "Registered VMs", topology.vms),
        ("learned_macs", "MACs that are learned, not registered", topology.learned),
        ("vteps", "Foreign VTEPs", topology.vteps),
        ("vips", "Virtual IPs", topology.vips),
    ):
        yield _gauge(name, text, len(facts))


# Hosts


def _hosts(service: Service, pause: Pause) -> Iterator[Metric]:
    states: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    columns: dict[str, list[tuple[str, float]]] = {
        name: [] for name in ("connected", "flows", "refused", "audits", "drifted")
    }
    info = GaugeMetricFamily(
        P + "host_info",
        "Name and VTEP of a host; always 1.",
        labels=["host", "name", "vtep"],
    )
    for at, dpid in enumerate(list(service.topology.hosts)):
        if at % BREATH == 0:
            pause()
        host = service.topology.hosts.get(dpid)
        if host is None:
            continue
        text, measured = str(host.dpid), service.host_measures(dpid)
        info.add_metric([text, host.name or "", "" if host.vtep is None else str(host.vtep)], 1)
        columns["connected"].append((text, measured is not None))
        states["DISCONNECTED" if measured is None else measured.state] += 1
        if measured is not None:
            columns["flows"].append((text, measured.flows))
            columns["refused"].append((text, measured.refused))
            columns["audits"].append((text, measured.audits))
            columns["drifted"].append((text, measured.drifted))
    states["HELD"] = len(service.held())
    yield info
    yield _gauges("hosts", "Hosts by state of their session", "state", states.items())
    yield _gauges("host_connected", "Whether a host is connected", "host", columns["connected"])
    yield _gauges("host_flows", "Flows that a host should hold", "host", columns["flows"])
    yield _gauges(
        "host_refused_flows", "Flows that a host's switch refuses", "host", columns["refused"]
    )
    yield _counters("host_audits", "Dumps compared, of this connection", "host", columns["audits"])
    yield _counters(
        "host_drifts",
        "Audits of this connection that found other flows than there should be",
        "host",
        columns["drifted"],
    )
    connects = service.measures().connects
    yield _counters(
        "host_connections",
        "Connections that a host made",
        "host",
        [(f"{dpid:016x}", count) for dpid, count in sorted(connects.items())],
    )
    yield from _tunnels(service, pause)


def _tunnels(service: Service, pause: Pause) -> Iterator[Metric]:
    """Tunnels by sending host: how many are up, down or unknown, and the slowest round trip."""
    family = GaugeMetricFamily(
        P + "tunnels",
        "Tunnels to other hosts by sending host, as probes found them.",
        labels=["host", "state"],
    )
    slowest = GaugeMetricFamily(
        P + "tunnel_rtt_max_seconds",
        "The longest round trip of the probes that a host's tunnels answered last.",
        labels=["host"],
    )
    for at, dpid in enumerate(list(service.topology.hosts)):
        if at % BREATH == 0:
            pause()
        text, found = f"{dpid:016x}", service.tunnel_summary(dpid)
        for state, count in (("up", found.up), ("down", found.down), ("unknown", found.unknown)):
            family.add_metric([text, state], count)
        if found.slowest_s is not None:
            slowest.add_metric([text], found.slowest_s)
    yield family
    yield slowest


# The ledger

_BUM: Final = ("answered", "by_controller", "suppressed", "flooded", "unknown_unicast")


def _ledger(service: Service, pause: Pause) -> Iterator[Metric]:
    frames = CounterMetricFamily(
        P + "bum_frames",
        "Broadcast, unknown unicast and multicast frames by what became of them;"
        " unknown_unicast is a part of flooded, suppressed or by_controller.",
        labels=["vni", "what"],
    )
    octets = CounterMetricFamily(
        P + "bum_bytes", "Bytes of these frames, as VMs sent them.", labels=["vni", "what"]
    )
    copies = CounterMetricFamily(
        P + "bum_copies", "Copies of flooded frames that crossed the underlay.", labels=["vni"]
    )
    saved = CounterMetricFamily(
        P + "saved_copies",
        "Copies that did not cross the underlay: frames answered or suppressed in the switch.",
        labels=["vni"],
    )
    saved_octets = CounterMetricFamily(
        P + "saved_bytes", "Bytes of these copies, encapsulation included.", labels=["vni"]
    )
    for at, (vni, book) in enumerate(list(service.ledger().books.items())):
        if at % BREATH == 0:
            pause()
        now: Tally = book.total.now()
        for what in _BUM:
            frames.add_metric([str(vni), what], getattr(now, what))
            octets.add_metric([str(vni), what], getattr(now, what + "_bytes"))
        copies.add_metric([str(vni)], now.copies)
        saved.add_metric([str(vni)], now.saved_copies)
        saved_octets.add_metric([str(vni)], now.saved_bytes)
    yield from (frames, octets, copies, saved, saved_octets)


# OpenFlow, work, REST


def _openflow(service: Service) -> Iterator[Metric]:
    now = service.measures()
    yield _counter("packet_ins", "Packet-ins received", now.packet_ins)
    yield _counter(
        "packet_ins_dropped",
        "Packet-ins that hold no frame, or came from no flow of this controller",
        now.packet_ins_dropped,
    )
    yield _counter(
        "packet_ins_shed",
        "Packet-ins that were not taken, or taught nothing, because their host sent too many",
        now.packet_ins_shed,
    )
    yield _counter(
        "moves_refused",
        "Moves of MACs and virtual IPs that were not followed: late, flapping, or too many at once",
        now.moves_refused,
    )
    yield _counter("flow_mods", "Flow-mods sent", now.flow_mods)
    yield _counter("openflow_sent_bytes", "Bytes sent to switches", now.sent_bytes)
    yield _counters(
        "openflow_refused",
        "OpenFlow connections that were refused or cut, by reason",
        "reason",
        sorted(now.openflow_refused.items()),
    )
    yield _drifts(service)


def _drifts(service: Service) -> Metric:
    text = "Flows that were found missing, extra or changed"
    return _counters("drift_flows", text, "how", service.drifts()._asdict().items())


def _work(service: Service) -> Iterator[Metric]:
    now = service.measures()
    yield _histogram(
        "apply_seconds",
        "From a write's commit until its switches confirmed it by barrier; a sample of the writes",
        now.applied,
    )
    yield _histogram("store_commit_seconds", "Transactions of the store", now.commits)
    yield _counter(
        "store_commits_failed", "Transactions that the store refused", now.commits_failed
    )
    yield _histogram("engine_turn_seconds", "Events as the engine took them", now.turns)
    yield _counters("events", "Events told to listeners", "type", sorted(now.happened.items()))
    yield _gauge(
        "start_time_seconds", "When the controller started, since 1970", now.started_unix_s
    )


def _rest(service: Service) -> Iterator[Metric]:
    now = service.measures()
    family = CounterMetricFamily(
        P + "http_requests",
        "REST requests by method and class of status.",
        labels=["method", "status"],
    )
    for (method, status), count in sorted(now.requests.items()):
        family.add_metric([method, status], count)
    yield family
    yield _counters(
        "http_ended",
        "REST connections that were ended, and what was no request by its status, by reason",
        "reason",
        sorted(now.http_ended.items()),
    )
    yield _histogram("http_request_seconds", "REST requests, until they were answered", now.answers)
