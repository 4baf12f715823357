"""The API over real facts, a real store and a real committer; only the switches are pretended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from webob import Request, Response

from controller.api.app import Api
from controller.journal import Journal
from controller.ledger import Ledger
from controller.measures import HostMeasures, Measures
from controller.service import (
    About,
    Applied,
    CheckResult,
    Diff,
    DriftCounts,
    End,
    Evidence,
    FlowPage,
    FlowQuestion,
    FlowView,
    Forecast,
    HostCounts,
    HostStatus,
    Question,
    Status,
    StoreUsage,
    Ticket,
    TracedHop,
    TracedStage,
    TraceReport,
    TunnelPort,
    TunnelStatus,
    TunnelSummary,
    WhyReport,
)
from controller.store.committer import Committer
from controller.store.sqlite import SqliteStore
from tests.api import described
from topology.draft import Draft
from topology.errors import Conflict
from topology.model import Change, Fact, LearnedMac, Put, Topology
from topology.types import Dpid, Fingerprint, Ip, Mac, Vni

T = TypeVar("T")

HV1, HV2, HV3 = "0000000000000011", "0000000000000012", "0000000000000013"
MAC1, MAC2, MAC3 = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"

FLOW = FlowView("0x5601000000000001", 20, 10, "tun_id=0,dl_dst=" + MAC1, "output:5", "VM web-1")


class PretendedFabric:
    """A Service over real facts; tests say which switches are connected, and which confirm."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self._topology = Topology()
        for fact in store.load():
            self._topology.apply(Put(fact))
        self._committer: Committer[Ticket] = Committer(store, self._topology, self._apply)
        self.connected: set[int] = set()
        self.held_dpids: set[int] = set()
        self.lagging: set[int] = set()
        self.is_ready = True
        self.loops_ended: list[str] = []
        self.commits = 0
        self.waits: list[float] = []
        self.flow_views = [FLOW]
        self.questions: list[Question] = []
        self.check_results: list[CheckResult] = []
        self.tunnel_list: list[TunnelStatus] = []
        self.tunnels_asked = 0
        self.summaries: dict[int, TunnelSummary] = {}
        self.journal = Journal("b007", kept=100, clock=lambda: 1795255200.1234)
        self.counts = Ledger()
        self.counted: list[int | None] = []
        self.measured = Measures(1_795_255_200.0)
        self.measured.version = "1.2.3"
        self.flow_questions: list[FlowQuestion] = []

    def start(self) -> None:
        self._committer.start()

    def stop(self) -> None:
        self._committer.stop()

    def _apply(self, changes: list[Change]) -> Ticket:
        for change in changes:
            self._topology.apply(change)
        concerned = sorted(self.connected) if changes else []
        return Ticket(tuple((dpid, ((0, 1),)) for dpid in concerned))

    def learn(self, vni: int, mac: int, ips: tuple[str, ...], seen_s: float) -> None:
        stamped = tuple((Ip.parse(ip), seen_s) for ip in ips)
        fact = LearnedMac(Vni(vni), Mac(mac), Dpid(0x11), seen_s, stamped)
        self._topology.apply(Put(fact))

    def stored(self) -> list[Fact]:
        return self.store.load()

    # Service

    @property
    def topology(self) -> Topology:
        return self._topology

    def status(self) -> Status:
        about = About("1.2.3", "0.0.0.0:6653", "sqlite:///state.db")
        hosts = HostCounts(len(self._topology.hosts), len(self.connected), 1, 0)
        return Status(about, 1795255100.0, 1795255200.0, 100.0, StoreUsage(4096, 1 << 30), hosts)

    def drifts(self) -> DriftCounts:
        return DriftCounts(1, 2, 3)

    def ended(self) -> list[str]:
        return self.loops_ended

    def ready(self) -> bool:
        return self.is_ready

    def now_s(self) -> float:
        return 1000.0

    def learn_timeout_s(self) -> float:
        return 300.0

    def measures(self) -> Measures:
        return self.measured

    def host_measures(self, dpid: int) -> HostMeasures | None:
        return HostMeasures("LIVE", 31, 1, 7, 2) if dpid in self.connected else None

    def ledger(self) -> Ledger:
        return self.counts

    def count_now(self, vni: int | None) -> None:
        self.counted.append(vni)

    def counted_s(self, vni: int | None) -> float:
        return 999.5

    def unix_s(self, at_s: float) -> float:
        return 1_795_255_200.0 + at_s

    def commit(self, plan: Callable[[Draft], T]) -> tuple[T, Ticket]:
        self.commits += 1
        return self._committer.commit(plan)

    def forecast(self, changes: Sequence[Change]) -> Forecast:
        return Forecast(len(self.connected), len(changes) * len(self.connected))

    def applied(self, ticket: Ticket) -> Applied:
        done = [dpid for dpid, _revs in ticket.targets if dpid not in self.lagging]
        behind = tuple(dpid for dpid, _revs in ticket.targets if dpid in self.lagging)
        return Applied(len(done), len(ticket.targets), behind)

    def wait(self, ticket: Ticket, timeout_s: float) -> Applied:
        self.waits.append(timeout_s)
        return self.applied(ticket)

    def held(self) -> list[int]:
        return sorted(self.held_dpids)

    def host_status(self, dpid: int) -> HostStatus:
        if dpid in self.held_dpids and dpid not in self._topology.hosts:
            seen = Fingerprint(7)
            why = "nobody declared it"
            return HostStatus(True, "HELD", why, (), 0, address="10.0.0.9:4", certificate=seen)
        if dpid not in self.connected:
            return HostStatus(False, "DISCONNECTED", None, (), 0)
        ports = (TunnelPort(5, "vxlan0", "192.168.33.13"), TunnelPort(6, "vxlan1", None))
        return HostStatus(True, "LIVE", None, ports, 31)

    def doctor(self, check: str | None = None) -> list[CheckResult]:
        return [one for one in self.check_results if check in (None, one.check)]

    def tunnels(self, dpid: int | None = None) -> list[TunnelStatus]:
        self.tunnels_asked += 1
        return [one for one in self.tunnel_list if dpid in (None, one.dpid)]

    def tunnel_summary(self, dpid: int) -> TunnelSummary:
        return self.summaries.get(dpid, TunnelSummary())

    def trace(self, question: Question) -> TraceReport:
        self.questions.append(question)
        hop = TracedHop(Dpid(0x11), "hv-1", 20, "UNICAST", FLOW, "why", "fact", "next", 1, 3)
        stage = TracedStage("ARP", "answered", True, (hop,), (End(Dpid(0x11), "answered", "x"),))
        return TraceReport(Vni(0), question.src, question.dst, True, "fine", None, None, (stage,))

    def why(self, question: Question) -> WhyReport:
        self.questions.append(question)
        evidence = (Evidence("VM web-1", "error", "is down"),)
        return WhyReport(
            Vni(0), question.src, question.dst, False, "no", "silent", "look", evidence
        )

    def flows(self, dpid: int, question: FlowQuestion) -> FlowPage:
        self.flow_questions.append(question)
        end = question.start + question.limit
        return FlowPage(tuple(self.flow_views[question.start : end]), len(self.flow_views))

    def diff(self, dpid: int) -> Diff:
        if dpid not in self.connected:
            raise Conflict(f"host {Dpid(dpid)} is not connected")
        return Diff((FLOW,), ())


class Client:
    """Requests as a user sends them, and what every answer must fulfil."""

    def __init__(self, api: Api, headers: dict[str, str] | None = None) -> None:
        self._api = api
        self.headers = headers or {}

    def __call__(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str | None = "application/json",
        **environ: Any,
    ) -> Response:
        request = Request.blank(path, method=method, environ=environ or None)
        for name, value in self.headers.items():
            request.headers[name] = value
        if body is not None:
            request.body = body if isinstance(body, bytes) else json.dumps(body).encode()
            if content_type is not None:
                request.headers["Content-Type"] = content_type
        response = request.get_response(self._api)
        self._check(method, request.environ["PATH_INFO"], response)
        return response

    def _check(self, method: str, path: str, response: Response) -> None:
        assert response.status_int != 500, response.text
        if method == "HEAD":
            assert response.body == b""
        elif response.status_int >= 400:
            assert response.content_type == "application/problem+json"
            problem = response.json_body
            assert {"type", "title", "status", "detail"} <= problem.keys()
            assert problem["status"] == response.status_int
            assert ("errors" in problem) == (response.status_int == 422)
            for error in problem.get("errors", ()):
                assert error.keys() == {"field", "reason"}
        elif method in ("POST", "PUT", "DELETE"):
            assert response.json_body["applied"].keys() == {"hosts", "of"}
        if method != "HEAD":
            described.check(self._api, method, path, response)

    def get(self, path: str) -> Response:
        return self("GET", path)

    def put(self, path: str, body: object, **options: Any) -> Response:
        return self("PUT", path, body, **options)

    def post(self, path: str, body: object, **options: Any) -> Response:
        return self("POST", path, body, **options)

    def delete(self, path: str) -> Response:
        return self("DELETE", path)


@pytest.fixture
def fabric(tmp_path: Path) -> Iterator[PretendedFabric]:
    store = SqliteStore(str(tmp_path / "state.db"))
    store.open()
    fabric = PretendedFabric(store)
    fabric.start()
    yield fabric
    fabric.stop()
    store.close()


@pytest.fixture
def client(fabric: PretendedFabric) -> Client:
    """Three hosts are declared: hv-1 (…11), hv-2 (…12), hv-3 (…13), with VTEPs 192.168.33.11-13."""
    client = Client(Api(fabric, "1.2.3"))
    for number, dpid in enumerate((HV1, HV2, HV3), start=1):
        body = {"name": f"hv-{number}", "vtep": f"192.168.33.1{number}"}
        assert client.put(f"/v1/hosts/{dpid}", body).status_int == 201
    fabric.commits = 0
    return client


@pytest.fixture
def vm(client: Client) -> dict[str, object]:
    """A registered VM, as the API shows it."""
    body = {"mac": MAC1, "host": "hv-1", "ips": ["10.1.1.1", "fd00::1"], "name": "web-1"}
    response = client.post("/v1/vms", body)
    assert response.status_int == 201
    shown: dict[str, object] = response.json_body
    del shown["applied"]
    return shown
