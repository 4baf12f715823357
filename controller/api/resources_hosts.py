"""/v1/hosts: the hypervisors, what they should hold and what they do hold."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from webob import Response

from controller.api import shapes
from controller.api.answers import answer, written
from controller.api.call import Call
from controller.api.described import DPID_PATH, Described, Parameter, Q
from controller.api.paging import LIMIT_MAX, one_at_a_time, page, page_at
from controller.api.problems import agree, invalid
from controller.api.schemas import HostBody, read
from controller.api.search import search_text
from controller.api.shown import show_flow, show_host
from controller.service import FlowQuestion, FlowView
from topology.draft import Draft, Outcome
from topology.errors import Conflict, InvalidValue, NotFound
from topology.model import Host
from topology.sorted_keys import Joined, SortedKeys
from topology.types import Dpid

_TABLE_QUERY: Final = Parameter(
    "table", {"type": "integer", "minimum": 0, "maximum": 254}, "only of this table"
)
_Q: Final = replace(
    Q,
    description="only those with this text in their reason, part of a VM's name or of an address,"
    " with this whole MAC or IP anywhere, or whose cookie begins so",
)
_TABLE: Final = re.compile(r"0|[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-4]", re.ASCII)


@Described("hosts", shapes.Host, paged=1)
def index(call: Call) -> Response:
    """The hosts: connected, declared, or known from before; and switches that are HELD."""
    call.allow_query("limit", "cursor")
    topology = call.service.topology

    def show(dpid: int) -> shapes.Host:
        return _shown(call, topology.hosts.get(dpid) or Host(Dpid(dpid)))

    held = [dpid for dpid in call.service.held() if dpid not in topology.hosts]
    known = topology.keys_of_hosts()
    return page(call, Joined(known, SortedKeys(held)) if held else known, show, parts=1)


@Described("hosts", shapes.Host)
def show(call: Call) -> Response:
    """One host as it stands."""
    call.allow_query()
    held = _held(call)
    return answer(_shown(call, _named(call) if held is None else Host(held)))


@Described(
    "hosts",
    shapes.WrittenHost,
    path={"host": DPID_PATH},
    body=HostBody,
    writes=True,
    creates=True,
)
def put(call: Call) -> Response:
    """Declare a host, or correct what is known of it; what was observed of it stays."""
    call.allow_only_wait()
    named = call.path_dpid()
    dpid = _known_dpid(call) if named is None else named
    body = read(HostBody, call.body())
    agree("dpid", body.dpid, dpid, "host")

    def plan(draft: Draft) -> tuple[Host, Outcome]:
        host = body.declared(draft.host(dpid) or Host(dpid))
        return host, draft.set_host(host)

    (host, outcome), ticket = call.service.commit(plan)
    return written(
        call,
        ticket,
        lambda: _shown(call, call.service.topology.hosts.get(dpid, host)),
        created=outcome == "created",
        location=f"/v1/hosts/{dpid}",
    )


@Described("hosts", shapes.ForgottenHost, writes=True)
def delete(call: Call) -> Response:
    """Forget a host that is gone."""
    call.allow_only_wait()
    dpid = _named(call).dpid

    def plan(draft: Draft) -> Host:
        host = draft.host(dpid)
        if host is None:
            raise NotFound(f"host {dpid} is not known")
        if call.service.host_status(dpid).connected:
            raise Conflict(f"host {dpid} is still connected; point its bridge elsewhere first")
        draft.remove_host(dpid)
        return host

    host, ticket = call.service.commit(plan)
    vtep = None if host.vtep is None else str(host.vtep)
    return written(call, ticket, lambda: {"dpid": str(dpid), "name": host.name, "vtep": vtep})


@Described("hosts", shapes.Flow, paged=1, query=(_TABLE_QUERY, _Q))
def flows(call: Call) -> Response:
    """What the host's bridge should hold, by table and priority, and why."""
    call.allow_query("table", "q", "limit", "cursor")
    table, q = _table(call), search_text(call)

    def find(start: int, limit: int) -> tuple[tuple[FlowView, ...], int]:
        page = call.service.flows(_named(call).dpid, FlowQuestion(limit, start, table, q))
        return page.flows, page.total

    with one_at_a_time(call, LIMIT_MAX):
        return page_at(call, find, show_flow)


@Described("hosts", shapes.Diff, errors=(409,))
def diff(call: Call) -> Response:
    """What the host's bridge should hold against what it does hold."""
    call.allow_query()
    found = call.service.diff(_named(call).dpid)
    return answer(
        {
            "missing": [show_flow(flow) for flow in found.missing],
            "extra": [show_flow(flow) for flow in found.extra],
            "in_sync": found.in_sync,
        }
    )


def _table(call: Call) -> int | None:
    text = call.query("table")
    if text is None:
        return None
    if not _TABLE.fullmatch(text):
        raise invalid("table", f"{text!r} is not a table's number, 0 to 254")
    return int(text)


def _shown(call: Call, host: Host) -> shapes.Host:
    vms = len(call.service.topology.vms_on(host.dpid))
    return show_host(host, call.service.host_status(host.dpid), vms)


def _named(call: Call) -> Host:
    ref = call.path["host"]
    host = call.service.topology.find_host(ref)
    held = _held(call) if host is None else None
    if held is not None:
        reason = call.service.host_status(held).reason
        raise NotFound(f"switch {held} is held: {reason}")
    if host is None:
        raise NotFound(f"no host has the dpid, name or VTEP address {ref!r}")
    return host


def _held(call: Call) -> Dpid | None:
    """The switch that the path means, if it is one that is held."""
    try:
        dpid = Dpid.parse(call.path["host"])
    except InvalidValue:
        return None
    return dpid if dpid in call.service.held() else None


def _known_dpid(call: Call) -> Dpid:
    ref = call.path["host"]
    host = call.service.topology.find_host(ref)
    if host is None:
        raise invalid("dpid", f"{ref!r} is not 16 hex digits, nor a known host's name")
    return host.dpid
