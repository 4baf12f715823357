"""/v1/export and /v1/import: all facts, as lines of JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

import eventlet
from webob import Response

from controller.api import shapes
from controller.api.bodies import MSGPACK, NDJSON
from controller.api.call import Call
from controller.api.described import DRY_RUN, Described, choice
from controller.api.exported import KIND, VERSION, declared, show_fact
from controller.api.jsontext import encode_json
from controller.api.planned import Tally, at, carry_out, sliced, twice
from controller.api.problems import FieldError, Problem, invalid, invalid_fields
from controller.api.schemas import (
    Exported,
    ExportedHost,
    ExportedNetwork,
    ExportedVip,
    ExportedVm,
    ExportedVtep,
    ExportHead,
    read,
)
from controller.api.turns import Turns
from controller.api.vmsets import set_vms
from controller.journal import rfc3339
from topology.draft import Draft
from topology.model import Fact, Host, IpKey, MacKey, Network, Topology, Vip, Vm, Vtep
from topology.types import Location, VtepIp

B = TypeVar("B")

ERRORS_MAX: Final = 100
_LINES_AT_ONCE: Final = 200
_EXPORTS: Final = Turns(16, "exports")


# Export


@Described("facts", media_types=(NDJSON,))
def export(call: Call) -> Response:
    """Every declared fact of one moment, one a line, as POST /v1/import takes them.

    The first line has the kind vxlan-l2, the version of this format, the time, and how many facts
    follow. What was learned or observed is not in it.
    """
    call.allow_query()
    response = Response(content_type=NDJSON)
    if not call.is_head:
        _EXPORTS.take(wait_s=0)
        response.app_iter = _Export(declared(call.service.topology))
    return response


class _Export:
    """What a WSGI server iterates over and closes. Each holds on to all facts of a moment."""

    def __init__(self, facts: list[Fact]) -> None:
        self._lines = _lines(facts)
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            _EXPORTS.give_back()


def _lines(facts: list[Fact]) -> Iterator[bytes]:
    now = rfc3339(time.time())
    head = {"kind": KIND, "version": VERSION, "exported_at": now, "facts": len(facts)}
    yield encode_json(head)
    for first in range(0, len(facts), _LINES_AT_ONCE):
        some = facts[first : first + _LINES_AT_ONCE]
        yield b"".join([encode_json(show_fact(fact)) for fact in some])
        eventlet.sleep(0)


# Import


@dataclass(slots=True)
class _Wanted:
    """What a file says, by kind and key, each with its place in the file."""

    hosts: dict[int, tuple[int, ExportedHost]] = field(default_factory=dict)
    networks: dict[int, tuple[int, ExportedNetwork]] = field(default_factory=dict)
    vteps: dict[int, tuple[int, ExportedVtep]] = field(default_factory=dict)
    vms: dict[MacKey, tuple[int, ExportedVm]] = field(default_factory=dict)
    vips: dict[IpKey, tuple[int, Vip]] = field(default_factory=dict)

    def take(self, index: int, kind: str, item: dict[str, object]) -> None:
        where = f"[{index}]"
        match kind:
            case "host":
                host = read(ExportedHost, item, where)
                _once(self.hosts, host.dpid, index, host)
            case "network":
                network = read(ExportedNetwork, item, where)
                _once(self.networks, network.vni, index, network)
            case "vtep":
                vtep = read(ExportedVtep, item, where)
                _once(self.vteps, vtep.vtep, index, vtep)
            case "vm":
                vm = read(ExportedVm, item, where)
                _once(self.vms, (vm.vni, vm.mac), index, vm)
            case "vip":
                body = read(ExportedVip, item, where)
                with at(index):
                    vip = replace(body.fact(body.vni, body.ip), holder=body.holder)
                _once(self.vips, vip.key, index, vip)
            case _:
                known = "host, network, vtep, vm, vip"
                raise invalid(f"{where}.kind", f"{kind!r} is none of {known}")


K = TypeVar("K")


def _once(there: dict[K, tuple[int, B]], key: K, index: int, body: B) -> None:
    if key in there:
        raise twice(index, there[key][0])
    there[key] = (index, body)


@Described(
    "facts",
    shapes.WrittenPlan,
    query=(
        choice(
            "mode",
            ("merge", "replace"),
            "replace removes what the file lacks; a connected host stays",
            default="merge",
        ),
        DRY_RUN,
    ),
    body=Exported,
    bodies={NDJSON: "what GET /v1/export answers", MSGPACK: "the array as MessagePack"},
    writes=True,
)
def load(call: Call) -> Response:
    """Take in what an export has, all or nothing.

    A fact is there once. What one gives up, such as an address, another may take.
    """
    call.allow_query("wait", "mode", "dry_run")
    call.wait_s()
    mode = call.query_choice("mode", ("merge", "replace"))
    wanted = _read(call)
    gone = mode == "replace"

    def run(draft: Draft) -> Tally:
        return _Load(call, draft, wanted).run(replace_all=gone)

    return carry_out(call, run)


def _read(call: Call) -> _Wanted:
    items = sliced(call.items())
    facts = _check_head(next(items, None))
    wanted, count = _Wanted(), 0
    errors: list[FieldError] = []
    for index, item in enumerate(items, start=1):
        count += 1
        try:
            if not isinstance(item, dict) or not isinstance(item.get("kind"), str):
                raise invalid(f"[{index}].kind", "is required: host, network, vtep, vm or vip")
            wanted.take(index, item["kind"], item)
        except Problem as problem:
            if problem.status != 422:
                raise
            errors += problem.errors
            if len(errors) >= ERRORS_MAX:
                break
    if errors:
        raise invalid_fields(errors[:ERRORS_MAX])
    if facts is not None and facts != count:
        raise invalid("[0].facts", f"{facts} were exported, and here are {count}: a part is lost")
    return wanted


def _check_head(head: object) -> int | None:
    """The first line says what the others are; how many they are, if it tells."""
    if not isinstance(head, dict) or head.get("kind") != KIND:
        raise invalid("[0].kind", f"the first line of an export has the kind {KIND!r}")
    version = head.get("version")
    if version != VERSION or isinstance(version, bool):
        raise invalid(
            "[0].version",
            f"{version!r} is not {VERSION}, the version that this controller reads and writes",
        )
    return read(ExportHead, head, "[0]").facts


class _Load:
    """One import, drafted: first what is to go makes room, then all is set, then hosts go."""

    def __init__(self, call: Call, draft: Draft, wanted: _Wanted) -> None:
        self._call = call
        self._draft = draft
        self._wanted = wanted
        self._now: Topology = draft.topology
        self._tally = Tally()

    def run(self, *, replace_all: bool) -> Tally:
        if replace_all:
            self._make_room()
        self._set_places()
        self._set_vms()
        if replace_all:
            self._remove_places()
        return self._tally

    def _make_room(self) -> None:
        draft, wanted = self._draft, self._wanted
        for ip_key in sliced(self._gone(Vip, wanted.vips)):
            self._tally.note(draft.remove_vip(ip_key), None)
        for mac_key in sliced(self._gone(Vm, wanted.vms)):
            self._tally.note(draft.remove_vm(mac_key), None)
        for ip in list(self._now.vteps):
            vtep = draft.vtep(ip)
            if vtep is not None:
                left = tuple(vni for vni in vtep.vnis if vni in wanted.networks or vni == 0)
                draft.set_vtep(replace(vtep, vnis=left))
        for vni in self._gone(Network, wanted.networks):
            if vni:
                self._tally.note(draft.network(vni), None)
                draft.remove_network(vni)
        for dpid in self._gone(Host, wanted.hosts):
            host = draft.host(dpid)
            if host is not None:
                draft.set_host(host.undeclared())

    def _gone(self, kind: type[Fact], wanted: dict[K, tuple[int, B]]) -> list[K]:
        """What is there now, and not in the file."""
        there = {
            Host: self._now.hosts,
            Network: self._now.networks,
            Vtep: self._now.vteps,
            Vm: self._now.vms,
            Vip: self._now.vips,
        }[kind]
        return [key for key in there if key not in wanted]  # type: ignore[attr-defined]

    def _set_places(self) -> None:
        draft, wanted = self._draft, self._wanted
        for dpid, (index, host) in wanted.hosts.items():
            with at(index):
                there = draft.host(dpid) or Host(host.dpid)
                fact = host.declared(there)
                draft.set_host(fact)
            self._tally.note(self._now.hosts.get(fact.dpid), fact)
        for index, body in wanted.networks.values():
            with at(index):
                network = body.pinned(body.fact(body.vni), draft)
                draft.set_network(network)
            self._tally.note(self._now.networks.get(network.vni), network)
        for index, entry in wanted.vteps.values():
            with at(index):
                vtep = entry.fact(entry.vtep, draft)
                before = draft.vtep(vtep.ip)
                both = vtep.vnis if before is None else (*vtep.vnis, *before.vnis)
                draft.set_vtep(replace(vtep, vnis=both))  # VMs may have to leave it first

    def _set_vms(self) -> None:
        draft, wanted = self._draft, self._wanted
        places: dict[str, Location] = {}
        vms: list[tuple[int, Vm]] = []
        for index, body in sliced(wanted.vms.values()):
            with at(index):
                place = places.get(body.host)
                if place is None:
                    place = places[body.host] = draft.find_place(body.host)
                vms.append((index, body.fact(place)))
        set_vms(draft, vms, self._tally)
        for index, entry in wanted.vteps.values():
            with at(index):
                vtep = entry.fact(entry.vtep, draft)
                draft.set_vtep(vtep)
            self._tally.note(self._now.vteps.get(vtep.ip), vtep)
        for index, vip in wanted.vips.values():
            with at(index):
                draft.set_vip(vip)
            self._tally.note(self._now.vips.get(vip.key), draft.vip(vip.key))

    def _remove_places(self) -> None:
        for ip in self._gone(Vtep, self._wanted.vteps):
            self._tally.note(self._now.vteps[VtepIp(ip)], None)
            self._draft.remove_vtep(VtepIp(ip))
        for dpid in self._gone(Host, self._wanted.hosts):
            before = self._now.hosts.get(dpid)
            if before is None:
                continue
            if self._call.service.host_status(dpid).connected:
                # It is there, whatever the file says: it stays, as what is seen of it.
                self._tally.note(before, self._draft.host(dpid))
            else:
                self._tally.note(before, None)
                self._draft.remove_host(dpid)
