"""/v1/networks: VNIs and their policy."""

from __future__ import annotations

from webob import Response

from controller.api import shapes
from controller.api.answers import answer, written
from controller.api.call import Call
from controller.api.described import Described
from controller.api.paging import page
from controller.api.problems import agree
from controller.api.schemas import NetworkBody, read
from controller.api.shown import show_network
from topology.draft import Draft, Outcome
from topology.errors import NotFound
from topology.model import Network


@Described("networks", shapes.Network, paged=1)
def index(call: Call) -> Response:
    """The networks, by VNI; 0 is there from the start."""
    call.allow_query("limit", "cursor")
    topology = call.service.topology

    def show(vni: int) -> shapes.Network:
        return show_network(topology.networks[vni])

    return page(call, topology.keys_of_networks(), show, parts=1)


@Described("networks", shapes.Network)
def show(call: Call) -> Response:
    """One network."""
    call.allow_query()
    vni = call.path_vni()
    network = call.service.topology.networks.get(vni)
    if network is None:
        raise NotFound(f"network {vni} does not exist")
    return answer(show_network(network))


@Described("networks", shapes.WrittenNetwork, body=NetworkBody, writes=True, creates=True)
def put(call: Call) -> Response:
    """Make a network or change its policy; what is left out has its default."""
    call.allow_only_wait()
    vni = call.path_vni()
    body = read(NetworkBody, call.body())
    agree("vni", body.vni, vni, "network")
    unpinned = body.fact(vni)

    def plan(draft: Draft) -> tuple[Network, Outcome]:
        network = body.pinned(unpinned, draft)
        return network, draft.set_network(network)

    (network, outcome), ticket = call.service.commit(plan)
    return written(
        call,
        ticket,
        lambda: show_network(network),
        created=outcome == "created",
        location=f"/v1/networks/{vni}",
    )


@Described("networks", shapes.WrittenNetwork, writes=True)
def delete(call: Call) -> Response:
    """Delete a network that nothing names any more."""
    call.allow_only_wait()
    vni = call.path_vni()

    def plan(draft: Draft) -> Network | None:
        network = draft.network(vni)
        draft.remove_network(vni)
        return network

    network, ticket = call.service.commit(plan)
    return written(call, ticket, lambda: show_network(network) if network else {})
