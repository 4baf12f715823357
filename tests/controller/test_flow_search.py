"""What a bridge should hold, searched and paged."""

from __future__ import annotations

import pytest

from controller import flow_search
from controller.service import FlowPage, FlowQuestion
from tests.fake import FakeFabric


def ask(fabric: FakeFabric, dpid: int, between=lambda: None, **question) -> FlowPage:
    search = flow_search.find_flows(
        fabric.engine, dpid, FlowQuestion(**{"limit": 1000, **question})
    )
    while True:
        try:
            next(search)
        except StopIteration as end:
            return end.value
        between()


@pytest.fixture
def vms(fabric):
    fabric.network(100, 10, hosts="all")
    vms = [fabric.vm(number % 3, 100, 10) for number in range(9)]
    for number, vm in enumerate(vms):
        fabric.register(vm, name=f"web-{number}")
    fabric.settle()
    return vms


def test_all_flows_are_found_in_the_order_of_tables_and_priorities(fabric, vms):
    page = ask(fabric, 1)
    assert {int(flow.cookie, 16) for flow in page.flows} == set(fabric.replica(1).desired())
    assert page.total == len(page.flows) == fabric.replica(1).desired_count()
    places = [(flow.table, -flow.priority) for flow in page.flows]
    assert places == sorted(places)
    pages = [ask(fabric, 1, start=at, limit=7).flows for at in range(0, page.total, 7)]
    assert [flow for part in pages for flow in part] == list(page.flows)
    assert ask(fabric, 1, start=1 << 70) == FlowPage((), page.total)


def test_flows_are_found_by_name_address_reason_cookie_and_table(fabric, vms):
    everything = ask(fabric, 1).flows
    named = ask(fabric, 1, q="WEB-4").flows
    assert named == tuple(flow for flow in everything if "web-4" in flow.why)
    assert named
    vm = vms[4]
    by_mac = ask(fabric, 1, q=str(vm.mac)).flows
    assert set(by_mac) == {
        flow for flow in everything if str(vm.mac) in flow.match + flow.actions + flow.why
    }
    assert ask(fabric, 1, q=str(vm.ip), table=21).flows
    assert all(flow.table == 21 for flow in ask(fabric, 1, q=str(vm.ip), table=21).flows)
    dropped = ask(fabric, 1, q="nothing else matches").flows
    assert dropped == tuple(flow for flow in everything if "nothing else matches" in flow.why)
    assert ask(fabric, 1, q=named[0].cookie).flows == (named[0],)
    assert ask(fabric, 1, q="nobody") == FlowPage((), 0)


def test_what_changes_while_it_is_searched_does_no_harm(fabric, vms, monkeypatch):
    monkeypatch.setattr(flow_search, "_UNITS_AT_ONCE", 1)
    leaving = iter(vms)

    def leave():
        if (vm := next(leaving, None)) is not None:
            fabric.unregister(vm)
            fabric.settle()

    page = ask(fabric, 1, leave)
    assert {int(flow.cookie, 16) for flow in page.flows} >= set(fabric.replica(1).desired())
    assert ask(fabric, 1).total == fabric.replica(1).desired_count()


def test_a_host_that_was_never_seen_has_what_its_networks_have(fabric, vms):
    fabric.disconnect(1)
    views = ask(fabric, 1, q="web-4").flows
    assert any("ARP" in flow.why or "answer" in flow.why for flow in views)
