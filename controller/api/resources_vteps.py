"""/v1/vteps: foreign VTEPs, the tunnel endpoints that do not connect here."""

from __future__ import annotations

from webob import Response

from controller.api import shapes
from controller.api.answers import answer, written
from controller.api.call import Call
from controller.api.described import VTEP_PATH, Described
from controller.api.paging import page
from controller.api.problems import agree
from controller.api.schemas import VtepBody, read
from controller.api.shown import show_vtep
from topology.draft import Draft, Outcome
from topology.errors import NotFound
from topology.model import Vtep


@Described("vteps", shapes.Vtep, paged=1)
def index(call: Call) -> Response:
    """The foreign VTEPs."""
    call.allow_query("limit", "cursor")
    topology = call.service.topology

    def show(ip: int) -> shapes.Vtep:
        return _shown(call, topology.vteps[ip])

    return page(call, topology.keys_of_vteps(), show, parts=1)


@Described("vteps", shapes.Vtep, path={"ip": VTEP_PATH})
def show(call: Call) -> Response:
    """One foreign VTEP."""
    call.allow_query()
    ip = call.path_vtep()
    vtep = call.service.topology.vteps.get(ip)
    if vtep is None:
        raise NotFound(f"no foreign VTEP {ip} is declared")
    return answer(_shown(call, vtep))


@Described(
    "vteps",
    shapes.WrittenVtep,
    path={"ip": VTEP_PATH},
    body=VtepBody,
    writes=True,
    creates=True,
)
def put(call: Call) -> Response:
    """Declare a foreign VTEP or change what it has; what is left out has its default."""
    call.allow_only_wait()
    ip = call.path_vtep()
    body = read(VtepBody, call.body())
    agree("vtep", body.vtep, ip, "address")

    def plan(draft: Draft) -> tuple[Vtep, Outcome]:
        vtep = body.fact(ip, draft)
        return vtep, draft.set_vtep(vtep)

    (vtep, outcome), ticket = call.service.commit(plan)
    return written(
        call,
        ticket,
        lambda: _shown(call, vtep),
        created=outcome == "created",
        location=f"/v1/vteps/{ip}",
    )


@Described("vteps", shapes.WrittenVtep, path={"ip": VTEP_PATH}, writes=True)
def delete(call: Call) -> Response:
    """Forget a foreign VTEP that no VM is behind any more."""
    call.allow_only_wait()
    ip = call.path_vtep()
    vtep, ticket = call.service.commit(lambda draft: draft.remove_vtep(ip))
    return written(call, ticket, lambda: _shown(call, vtep))


def _shown(call: Call, vtep: Vtep) -> shapes.Vtep:
    topology = call.service.topology
    vms, learned = topology.vms_on(vtep.location), topology.learned_on(vtep.location)
    return show_vtep(vtep, len(vms), len(learned))
