"""A switch that applies OpenFlow 1.3 bytes to tables of its own, as Open vSwitch 3.1 does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from struct import pack, unpack_from

from controller.flow import CopyToController, Field, Group, Output, SetField
from controller.pipeline import Kind, cookie_kind
from controller.simulator import SimulatedBridge
from controller.wire import encode
from controller.wire.decode import Updated
from controller.wire.encode import cookie_of, identity_of
from controller.wire.readback import read_actions, read_flow

Refuse = Callable[[bytes], "tuple[int, int] | None"]
"""A flow-mod -> (error type, code) when the switch is to refuse it."""

BAD_OUT_GROUP = (2, 9)
GROUP_EXISTS, UNKNOWN_GROUP = (6, 0), (6, 8)
METER_EXISTS, BAD_TYPE, BAD_EXPERIMENTER = (12, 1), (1, 1), (1, 3)
BUNDLE_MSG_FAILED = (0xFFFF, 2309)
ANY = 0xFFFFFFFF
FRAME_BYTES = 60
"""What every frame counts here."""


class Protocol(AssertionError):
    """The controller sent what no switch understands."""


@dataclass
class Entry:
    """An installed flow: the add message that made it, when, and what it has seen."""

    add: bytes
    since_s: float
    hit_s: float = 0.0
    packets: int = 0
    octets: int = 0

    @property
    def cookie(self) -> int:
        return cookie_of(self.add)

    @property
    def table(self) -> int:
        return self.add[24]

    @property
    def hard_timeout_s(self) -> int:
        return int.from_bytes(self.add[28:30], "big")

    @property
    def idle_timeout_s(self) -> int:
        return encode.idle_timeout_of(self.add)

    @property
    def reported(self) -> bool:
        """Whether the controller wants to hear of its end."""
        return bool(int.from_bytes(self.add[44:46], "big") & encode.SEND_FLOW_REMOVED)

    def over(self, now_s: float) -> int | None:
        """Why it ends now: by its idle (0) or its hard timeout (1)."""
        if 0 < self.hard_timeout_s <= now_s - self.since_s:
            return 1
        idle_s = now_s - max(self.since_s, self.hit_s)
        return 0 if 0 < self.idle_timeout_s <= idle_s else None


@dataclass(repr=False)
class FakeSwitch:
    """``ports``: number -> name. ``vtep``: where its tunnels end. Times in seconds."""

    dpid: int
    vtep: int
    ports: dict[int, str]
    meters_work: bool = True
    bundles_work: bool = True
    monitors_work: bool = True
    mute: bool = False  # it never answers a request for statistics
    dump_part_bytes: int = 2000
    refuse: Refuse | None = None
    flows: dict[bytes, Entry] = field(default_factory=dict)
    groups: dict[int, bytes] = field(default_factory=dict)
    meters: dict[int, bytes] = field(default_factory=dict)
    flow_mods: int = 0
    commits: int = 0
    packet_outs: list[tuple[tuple, bytes]] = field(default_factory=list)
    monitor: int | None = None  # the id of the controller's flow monitor
    monitor_paused: bool = False
    monitor_ids: list[int] = field(default_factory=list)
    unasked: list[bytes] = field(default_factory=list)  # messages that nobody asked for
    _bundles: dict[int, list[bytes]] = field(default_factory=dict)
    _bridge: SimulatedBridge | None = None

    # What it holds

    @property
    def cookies(self) -> dict[int, bytes]:
        """Cookie -> add message of every installed flow."""
        return {entry.cookie: entry.add for entry in self.flows.values()}

    def bridge(self) -> SimulatedBridge:
        """Its forwarding, for the simulator."""
        if self._bridge is None:
            patch = [number for number, name in self.ports.items() if name == "patch-tun"]
            self._bridge = SimulatedBridge(
                self.dpid,
                self.vtep,
                patch[0] if patch else None,
                [entry.add for entry in self.flows.values()],
                dict(self.groups),
            )
        return self._bridge

    def changed(self) -> None:
        self._bridge = None

    # What happens to it

    def install(self, add: bytes, now_s: float) -> None:
        """Somebody adds a flow by hand."""
        self.flows[identity_of(add)] = Entry(add, now_s)
        self.changed()

    def delete(self, which: Callable[[Entry], bool]) -> int:
        """Somebody deletes flows by hand; answers how many."""
        gone = [key for key, entry in self.flows.items() if which(entry)]
        for key in gone:
            del self.flows[key]
        self.changed()
        return len(gone)

    def tampered(self, add: bytes, event: Updated = Updated.ADDED) -> None:
        """Somebody adds or modifies a flow by hand, and the flow monitor says so."""
        if event is Updated.DELETED:
            del self.flows[identity_of(add)]
        else:
            self.flows[identity_of(add)] = Entry(add, 0.0)
        self.changed()
        self.tell(add, event)

    def tell(self, add: bytes, event: Updated, reason: int = 2) -> None:
        """The flow monitor tells of one flow."""
        if self.monitor is None or self.monitor_paused:
            return
        match_len = int.from_bytes(add[50:52], "big")
        reason = reason if event is Updated.DELETED else 0
        timeouts = (add[26:28], add[28:30])
        update = b"".join(
            (
                pack("!HHH", len(add) - 24, event, reason),
                add[30:32],
                *timeouts,
                pack("!HBx", match_len, add[24]),
                add[8:16],
                add[48:],
            )
        )
        self.unasked.append(_updates(0, update))

    def pause_monitor(self, paused: bool) -> None:
        """It has more to tell than is read; or all of that was read."""
        self.monitor_paused = paused
        kind = encode.MONITOR_PAUSED if paused else encode.MONITOR_RESUMED
        body = pack("!II", encode.ONF_VENDOR, kind)
        self.unasked.append(encode.message(encode.EXPERIMENTER, 0, body))

    def restart(self) -> None:
        """The daemon was killed and started: nothing is left."""
        self.flows.clear()
        self.groups.clear()
        self.meters.clear()
        self.hang_up()
        self.changed()

    def hang_up(self) -> None:
        """The connection is gone, and open bundles with it."""
        self._bundles.clear()
        self.monitor = None
        self.monitor_ids.clear()
        self.unasked.clear()

    def expire(self, now_s: float) -> list[bytes]:
        """Flows whose time is over are gone; answers what is said about them."""
        over = [
            (entry, why) for entry in self.flows.values() if (why := entry.over(now_s)) is not None
        ]
        for entry, why in over:
            del self.flows[identity_of(entry.add)]
            self.tell(entry.add, Updated.DELETED, why)
        if over:
            self.changed()
        return [_flow_removed(entry, why) for entry, why in over if entry.reported]

    def hit(self, cookies: Counter[int], now_s: float) -> None:
        """Packets passed these flows."""
        for entry in self.flows.values():
            if entry.cookie in cookies:
                entry.hit_s = now_s
                entry.packets += cookies[entry.cookie]
                entry.octets += cookies[entry.cookie] * FRAME_BYTES

    def counted(self, kind: Kind) -> int:
        """How many packets passed flows of this kind."""
        return sum(e.packets for e in self.flows.values() if cookie_kind(e.cookie) is kind)

    def kinds(self, vni: int | None = None) -> Counter[Kind | None]:
        """How many flows of each kind it holds, of one network if told."""
        return Counter(
            cookie_kind(entry.cookie)
            for entry in self.flows.values()
            if vni is None or vni in vnis_of(entry)
        )

    # OpenFlow

    def receive(self, message: bytes, now_s: float) -> list[bytes]:
        """Take one message; answers the replies."""
        kind, xid = message[1], int.from_bytes(message[4:8], "big")
        match kind:
            case encode.FLOW_MOD:
                return self._flow_mod(message, now_s)
            case encode.GROUP_MOD:
                return self._group_mod(message)
            case encode.METER_MOD:
                return self._meter_mod(message)
            case encode.BARRIER_REQUEST:
                return [encode.message(encode.BARRIER_REPLY, xid)]
            case encode.MULTIPART_REQUEST:
                return self._dump(message, xid, now_s)
            case encode.PACKET_OUT:
                in_port, size = unpack_from("!IH", message, 12)
                assert in_port == encode.OFPP_CONTROLLER
                actions = read_actions(message[24 : 24 + size])
                self.packet_outs.append((actions, message[24 + size :]))
                return []
            case encode.EXPERIMENTER:
                return self._bundle(message, xid, now_s)
            case encode.SET_ASYNC:
                return []
        raise Protocol(f"message type {kind}")

    def _error(self, why: tuple[int, int], message: bytes) -> bytes:
        quoted = message[:64]
        return encode.message(
            encode.ERROR, int.from_bytes(message[4:8], "big"), pack("!HH", *why) + quoted
        )

    def _flow_mod(self, mod: bytes, now_s: float) -> list[bytes]:
        why = self._why_not(mod, self.groups)
        if why is not None:
            return [self._error(why, mod)]
        return self._apply(mod, now_s)

    def _why_not(self, mod: bytes, groups: dict[int, bytes]) -> tuple[int, int] | None:
        if self.refuse is not None and (why := self.refuse(mod)) is not None:
            return why
        if mod[25] != encode.ADD:
            return None
        flow = read_flow(mod)
        if any(isinstance(act, Group) and act.group_id not in groups for act in flow.actions):
            return BAD_OUT_GROUP
        return None

    def _apply(self, mod: bytes, now_s: float) -> list[bytes]:
        self.flow_mods += 1
        command, table = mod[25], mod[24]
        cookie, mask = unpack_from("!QQ", mod, 8)
        gone: list[Entry] = []
        if command == encode.ADD:
            former = self.flows.get(identity_of(mod))
            counted = (former.packets, former.octets) if former is not None else (0, 0)
            self.flows[identity_of(mod)] = Entry(mod, now_s, 0.0, *counted)
        elif command == encode.DELETE_STRICT:
            there = self.flows.get(identity_of(mod))
            if there is not None and there.cookie & mask == cookie & mask:
                gone = [there]
        elif command == encode.DELETE:
            gone = [
                entry
                for entry in self.flows.values()
                if table in (0xFF, entry.table) and entry.cookie & mask == cookie & mask
            ]
        else:
            raise Protocol(f"flow-mod command {command}")
        for entry in gone:
            del self.flows[identity_of(entry.add)]
        self.changed()
        if self.monitor is not None:
            self.unasked.append(_updates(0, pack("!HH", 8, Updated.OWN) + mod[4:8]))
        return [_flow_removed(entry, 2) for entry in gone if entry.reported]

    def _group_mod(self, mod: bytes) -> list[bytes]:
        command, kind, group_id = unpack_from("!HBxI", mod, 8)
        buckets = mod[16:]
        if command == encode.GROUP_ADD and group_id in self.groups:
            return [self._error(GROUP_EXISTS, mod)]
        if command == encode.GROUP_MODIFY and group_id not in self.groups:
            return [self._error(UNKNOWN_GROUP, mod)]
        if command == encode.GROUP_DELETE:
            if self.groups.pop(group_id, None) is not None:
                self.delete(lambda entry: Group(group_id) in read_flow(entry.add).actions)
        else:
            if kind != 0:
                raise Protocol(f"group type {kind}")
            self.groups[group_id] = buckets
        self.changed()
        return []

    def _meter_mod(self, mod: bytes) -> list[bytes]:
        if not self.meters_work:
            return [self._error(BAD_TYPE, mod)]
        command, flags, meter_id = unpack_from("!HHI", mod, 8)
        if command == encode.ADD and meter_id in self.meters:
            return [self._error(METER_EXISTS, mod)]
        self.meters[meter_id] = pack("!H", flags) + mod[16:]
        return []

    def _dump(self, request: bytes, xid: int, now_s: float) -> list[bytes]:
        (kind,) = unpack_from("!H", request, 8)
        if self.mute:
            return []
        if kind == encode.MP_EXPERIMENTER:
            return self._monitor(request, xid)
        if kind == encode.MP_FLOW:
            entries = [
                self._flow_stats(entry, now_s)
                for entry in self.flows.values()
                if request[16] in (0xFF, entry.table)
            ]
        elif kind == encode.MP_GROUP_DESC:
            entries = [
                pack("!HBxI", 8 + len(buckets), 0, group_id) + buckets
                for group_id, buckets in self.groups.items()
            ]
        elif kind == encode.MP_METER_CONFIG:
            if not self.meters_work:
                return [self._error(BAD_TYPE, request)]
            entries = [
                pack("!H", 6 + len(rest)) + rest[:2] + pack("!I", meter_id) + rest[2:]
                for meter_id, rest in self.meters.items()
            ]
        else:
            raise Protocol(f"multipart request {kind}")
        parts = [b""]
        for entry in entries:
            if len(parts[-1]) + len(entry) > self.dump_part_bytes and parts[-1]:
                parts.append(b"")
            parts[-1] += entry
        last = len(parts) - 1
        return [
            encode.message(
                encode.MULTIPART_REPLY, xid, pack("!HH4x", kind, 1 if at < last else 0) + part
            )
            for at, part in enumerate(parts)
        ]

    def _monitor(self, request: bytes, xid: int) -> list[bytes]:
        if not self.monitors_work:
            return [self._error(BAD_EXPERIMENTER, request)]
        vendor, what, monitor_id, flags = unpack_from("!IIIH", request, 16)
        if (vendor, what, flags) != (encode.ONF_VENDOR, 1870, 0x1E):
            raise Protocol(f"multipart request {vendor:#x} {what} {flags:#x}")
        if monitor_id in self.monitor_ids:
            raise Protocol("a monitor id for the second time, which Open vSwitch 3.1 cannot answer")
        self.monitor, self.monitor_paused = monitor_id, False
        self.monitor_ids.append(monitor_id)
        return [_updates(xid, b"")]

    def _flow_stats(self, entry: Entry, now_s: float) -> bytes:
        body = entry.add[48:]
        fixed = pack(
            "!HBxIIHHHH4xQQQ",
            48 + len(body),
            entry.table,
            int(now_s - entry.since_s),
            0,
            int.from_bytes(entry.add[30:32], "big"),
            entry.idle_timeout_s,
            entry.hard_timeout_s,
            0,
            entry.cookie,
            entry.packets,
            entry.octets,
        )
        return fixed + body

    def _bundle(self, message: bytes, xid: int, now_s: float) -> list[bytes]:
        vendor, kind, bundle_id = unpack_from("!III", message, 8)
        if vendor != encode.ONF_VENDOR:
            raise Protocol(f"vendor {vendor:#x}")
        if kind == 1870:
            if bundle_id != self.monitor:
                raise Protocol("another monitor's end")
            self.monitor = None
            return []
        if not self.bundles_work:
            return [self._error(BAD_EXPERIMENTER, message)]
        if kind == 2301:
            inner = message[24:]
            if inner[4:8] != message[4:8]:
                raise Protocol("inner and outer xid differ")
            self._bundles[bundle_id].append(inner)
            return []
        (control,) = unpack_from("!H", message, 20)
        if control == encode.BUNDLE_OPEN:
            self._bundles[bundle_id] = []
            return [encode.bundle_control(encode.BUNDLE_OPENED, bundle_id, xid)]
        if control != encode.BUNDLE_COMMIT:
            raise Protocol(f"bundle control {control}")
        mods = self._bundles.pop(bundle_id)
        for mod in mods:
            why = self._why_not(mod, self.groups)
            if why is not None:
                return [self._error(why, mod), self._error(BUNDLE_MSG_FAILED, message)]
        said = [line for mod in mods for line in self._apply(mod, now_s)]
        self.commits += 1
        return [*said, encode.bundle_control(encode.BUNDLE_COMMITTED, bundle_id, xid)]


def _flow_removed(entry: Entry, why: int) -> bytes:
    priority = entry.add[30:32]
    timeouts = pack("!HH", entry.idle_timeout_s, entry.hard_timeout_s)
    body = pack("!Q", entry.cookie) + priority + bytes((why, entry.table)) + bytes(8) + timeouts
    match_size = int.from_bytes(entry.add[50:52], "big")
    terms = entry.add[48 : 48 + match_size + -match_size % 8]
    counted = pack("!QQ", entry.packets, entry.octets)
    return encode.message(encode.FLOW_REMOVED, 0, body + counted + terms)


def _updates(xid: int, body: bytes) -> bytes:
    head = pack("!HH4x", encode.MP_EXPERIMENTER, 0) + encode.FLOW_MONITOR_NAME
    return encode.message(encode.MULTIPART_REPLY, xid, head + body)


def vnis_of(entry: Entry) -> set[int]:
    """The networks that an installed flow is about."""
    flow = read_flow(entry.add)
    found = {value for name, value, _mask in flow.match if name is Field.TUN_ID}
    found |= {
        act.value for act in flow.actions if isinstance(act, SetField) and act.field is Field.TUN_ID
    }
    return found | {act.group_id & 0xFFFFFF for act in flow.actions if isinstance(act, Group)}


def uses_meter(mod: bytes) -> bool:
    """Whether a flow-mod copies to the controller through a meter."""
    return mod[25] == encode.ADD and any(
        isinstance(action, CopyToController) and action.meter_id is not None
        for action in read_flow(mod).actions
    )


def outputs(entry: Entry) -> list[int]:
    """The ports that an installed flow names."""
    return [act.port for act in read_flow(entry.add).actions if isinstance(act, Output)]
