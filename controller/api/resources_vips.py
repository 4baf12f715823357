"""/v1/vips: IPs that declared sets of VMs share, and who holds each."""

from __future__ import annotations

from webob import Response

from controller.api import shapes
from controller.api.answers import answer, written
from controller.api.call import Call
from controller.api.described import VNI, Described
from controller.api.paging import page
from controller.api.problems import agree
from controller.api.schemas import VipBody, read
from controller.api.shown import show_vip
from topology.draft import Draft, Outcome
from topology.errors import NotFound
from topology.model import IpKey, Vip


@Described("vips", shapes.Vip, paged=2, query=(VNI,))
def index(call: Call) -> Response:
    """The virtual IPs, by network and address."""
    call.allow_query("vni", "limit", "cursor")
    vni = call.query_vni()
    topology = call.service.topology

    def show(key: IpKey) -> shapes.Vip:
        return show_vip(topology.vips[key])

    keys = topology.keys_of_vips() if vni is None else topology.vips_in(vni)
    return page(call, keys, show, parts=2)


@Described("vips", shapes.Vip)
def show(call: Call) -> Response:
    """One virtual IP, and who holds it."""
    call.allow_query()
    vni, ip = call.path_vni(), call.path_ip()
    vip = call.service.topology.vips.get((vni, ip))
    if vip is None:
        raise NotFound(f"{ip} is no virtual IP in network {vni}")
    return answer(show_vip(vip))


@Described("vips", shapes.WrittenVip, body=VipBody, writes=True, creates=True)
def put(call: Call) -> Response:
    """Let MACs share an IP; its holder stays, as long as it is one of them."""
    call.allow_only_wait()
    vni, ip = call.path_vni(), call.path_ip()
    body = read(VipBody, call.body())
    agree("vni", body.vni, vni, "network")
    agree("ip", body.ip, ip, "address")
    wanted = body.fact(vni, ip)

    def plan(draft: Draft) -> tuple[Vip, Outcome]:
        outcome = draft.set_vip(wanted)
        return draft.vip(wanted.key) or wanted, outcome

    (vip, outcome), ticket = call.service.commit(plan)
    return written(
        call,
        ticket,
        lambda: show_vip(vip),
        created=outcome == "created",
        location=f"/v1/vips/{vni}/{ip}",
    )


@Described("vips", shapes.WrittenVip, writes=True)
def delete(call: Call) -> Response:
    """Let nobody share this IP any more."""
    call.allow_only_wait()
    vni, ip = call.path_vni(), call.path_ip()
    vip, ticket = call.service.commit(lambda draft: draft.remove_vip((vni, ip)))
    return written(call, ticket, lambda: show_vip(vip))
