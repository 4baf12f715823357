"""A registered VM gets its address by DHCP, whatever state it asks in; nobody else gets anything.

Answers are read by a parser of the test's own, which knows fixed offsets and nothing of
controller.dhcp.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.dhcp import Lease, answer
from topology.errors import InvalidValue
from topology.types import Ip

bounded = settings(max_examples=600, deadline=None, derandomize=True)

MAC = 0x525400000001
OTHER_MAC = 0x525400000002
SERVER_MAC = 0xFE163E000001
BROADCAST_MAC = 0xFFFFFFFFFFFF
XID = 0x3903F326
IP, SERVER, OTHER_IP, OTHER_SERVER = "10.1.1.7", "10.1.1.1", "10.1.1.8", "10.1.1.2"
LEASE = Lease(
    ip=Ip.parse(IP),
    prefix_bits=20,
    server=Ip.parse(SERVER),
    router=Ip.parse("10.1.1.254"),
    dns=(Ip.parse("9.9.9.9"), Ip.parse("1.1.1.1")),
    mtu_bytes=1450,
    lease_s=86400,
    hostname="web-1",
)
DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE, INFORM = range(1, 9)
BROADCAST_FLAG = 0x8000


def ip4(text):
    return bytes(int(part) for part in text.split("."))


def option(code, value):
    return bytes((code, len(value))) + value


def summed(data):
    """The ones' complement sum, as RFC 1071 defines it, one word after the other."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


# What VMs send.


def bootp(kind=DISCOVER, *more, **fields):
    """A client's message; ``more`` are options in bytes, ``fields`` what is unlike a good one."""
    good = {
        "op": 1,
        "htype": 1,
        "hlen": 6,
        "hops": 0,
        "flags": 0,
        "ciaddr": "0.0.0.0",
        "giaddr": "0.0.0.0",
        "chaddr": MAC,
        "sname": b"",
        "file": b"",
        "cookie": b"\x63\x82\x53\x63",
        "end": b"\xff",
    }
    f = good | fields
    assert f.keys() == good.keys(), "a field that no message has"
    head = bytes((f["op"], f["htype"], f["hlen"], f["hops"])) + struct.pack("!I", XID)
    head += struct.pack("!HH", 4, f["flags"]) + ip4(f["ciaddr"]) + bytes(8) + ip4(f["giaddr"])
    head += f["chaddr"].to_bytes(6, "big") + bytes(10)
    head += f["sname"].ljust(64, b"\0") + f["file"].ljust(128, b"\0") + f["cookie"]
    named = b"" if kind is None else option(53, bytes((kind,)))
    return head + named + b"".join(more) + f["end"]


def frame(message, **fields):
    """The message as a frame of a VM; ``fields`` say what is unlike a good one."""
    good = {
        "eth_dst": BROADCAST_MAC,
        "eth_src": MAC,
        "tag": b"",
        "eth_type": 0x0800,
        "version": 4,
        "ihl": None,
        "ip_options": b"",
        "ip_bytes": None,
        "fragment": 0,
        "protocol": 17,
        "ip_sum": None,
        "ip_dst": "255.255.255.255",
        "port": 67,
        "udp_bytes": None,
        "padding": b"",
    }
    f = good | fields
    assert f.keys() == good.keys(), "a field that no frame has"

    def given_or(name, value):
        return value if f[name] is None else f[name]

    udp_bytes = given_or("udp_bytes", 8 + len(message))
    udp = struct.pack("!HHHH", 68, f["port"], udp_bytes, 0x1234) + message  # an offloaded checksum
    ihl = given_or("ihl", 5 + len(f["ip_options"]) // 4)
    ip_bytes = given_or("ip_bytes", 20 + len(f["ip_options"]) + len(udp))
    head = bytes((f["version"] << 4 | ihl, 0x10))
    head += struct.pack("!HHHBB", ip_bytes, 7, f["fragment"], 64, f["protocol"])
    tail = ip4("0.0.0.0") + ip4(f["ip_dst"]) + f["ip_options"]
    ip_sum = given_or("ip_sum", summed((head + bytes(2) + tail + udp)[: ihl * 4]) ^ 0xFFFF)
    ip = head + struct.pack("!H", ip_sum) + tail
    ethernet = f["eth_dst"].to_bytes(6, "big") + f["eth_src"].to_bytes(6, "big")
    ethernet += f["tag"] + struct.pack("!H", f["eth_type"])
    return ethernet + ip + udp + f["padding"]


def discover(*more, **fields):
    return frame(bootp(DISCOVER, *more, **fields))


def selecting(ip=IP, server=SERVER, *more, **fields):
    return frame(bootp(REQUEST, option(50, ip4(ip)), option(54, ip4(server)), *more, **fields))


def rebooting(ip=IP, *more, **fields):
    return frame(bootp(REQUEST, option(50, ip4(ip)), *more, **fields))


def renewing(ip=IP, *more, **fields):
    message = bootp(REQUEST, *more, ciaddr=ip, **fields)
    return frame(message, eth_dst=SERVER_MAC, ip_dst=SERVER)


def rebinding(ip=IP, *more, **fields):
    return frame(bootp(REQUEST, *more, ciaddr=ip, **fields))


def informing(ip=IP, *more, **fields):
    return frame(bootp(INFORM, *more, ciaddr=ip, **fields))


# What they are told.


@dataclass(frozen=True)
class Told:
    eth_dst: int
    ip_dst: bytes
    xid: int
    flags: int
    ciaddr: bytes
    yiaddr: bytes
    codes: list[int]
    options: dict[int, bytes]

    @property
    def kind(self):
        return self.options[53][0]


def read(data, mac=MAC, lease=LEASE, server_mac=SERVER_MAC):
    """An answer; asserts everything that holds for every answer."""
    assert len(data) <= 14 + 576
    assert data[6:12] == server_mac.to_bytes(6, "big")
    assert data[12:14] == b"\x08\x00"
    ip = data[14:]
    assert ip[:2] == b"\x45\x00"
    assert int.from_bytes(ip[2:4], "big") == len(ip)
    assert ip[4:10] == b"\x00\x00\x40\x00\x40\x11"  # id 0, DF; ttl 64, UDP
    assert summed(ip[:20]) == 0xFFFF
    assert ip[12:16] == lease.server.packed
    udp = ip[20:]
    assert udp[:4] == b"\x00\x43\x00\x44"
    assert int.from_bytes(udp[4:6], "big") == len(udp)
    assert udp[6:8] != b"\x00\x00"
    assert summed(ip[12:20] + b"\x00\x11" + udp[4:6] + udp) == 0xFFFF
    message = udp[8:]
    assert len(message) >= 300
    assert message[:4] == b"\x02\x01\x06\x00"
    assert message[8:10] == bytes(2)  # secs
    assert message[20:28] == bytes(8)  # siaddr, giaddr
    assert message[28:34] == mac.to_bytes(6, "big")
    assert message[44:236] == bytes(192)  # sname, file
    assert message[236:240] == b"\x63\x82\x53\x63"
    codes, options, at = [], {}, 240
    while message[at] != 255:
        assert message[at] != 0, "no padding before the end"
        codes.append(message[at])
        size = message[at + 1]
        options[message[at]] = message[at + 2 : at + 2 + size]
        at += 2 + size
    assert not any(message[at + 1 :]), "only padding after the end"
    assert at + 1 - 236 <= 312, "more options than a client need take"
    assert len(set(codes)) == len(codes)
    assert options[54] == lease.server.packed
    return Told(
        int.from_bytes(data[0:6], "big"),
        ip[16:20],
        int.from_bytes(message[4:8], "big"),
        int.from_bytes(message[10:12], "big"),
        message[12:16],
        message[16:20],
        codes,
        options,
    )


def ask(request, lease=LEASE):
    told = answer(request, MAC, lease, SERVER_MAC)
    assert told is not None, "no answer"
    return read(told, lease=lease)


def test_a_vm_that_discovers_is_offered_its_address():
    told = answer(discover(option(55, b"\x01\x03\x06\x1a")), MAC, LEASE, SERVER_MAC)

    assert told is not None
    assert told[:14].hex(" ") == "52 54 00 00 00 01 fe 16 3e 00 00 01 08 00"
    assert told[14:34].hex(" ") == (
        "45 00 01 49 00 00 40 00 40 11 23 9b 0a 01 01 01 0a 01 01 07"  # summed by hand
    )
    assert told[34:40].hex(" ") == "00 43 00 44 01 35"
    bootp_head = told[42:282]
    assert bootp_head[:28].hex(" ") == (
        "02 01 06 00 39 03 f3 26 00 00 00 00 00 00 00 00 0a 01 01 07 00 00 00 00 00 00 00 00"
    )
    assert bootp_head[28:44].hex(" ") == "52 54 00 00 00 01" + " 00" * 10
    assert bootp_head[44:].hex(" ") == "00 " * 192 + "63 82 53 63"
    assert told[282:].rstrip(b"\0").hex(" ") == (
        "35 01 02 36 04 0a 01 01 01 33 04 00 01 51 80 3a 04 00 00 a8 c0 3b 04 00 01 27 50 "
        "01 04 ff ff f0 00 03 04 0a 01 01 fe 1a 02 05 aa 06 08 09 09 09 09 01 01 01 01 "
        "0c 05 77 65 62 2d 31 ff"
    )
    read(told)  # its checksums, lengths and padding


def test_the_options_of_an_offer_say_the_lease():
    told = ask(discover())

    assert told.kind == OFFER
    assert (told.xid, told.ciaddr, told.yiaddr) == (XID, bytes(4), ip4(IP))
    assert {code: value.hex() for code, value in told.options.items()} == {
        53: "02",
        54: "0a010101",
        51: "00015180",  # 86400
        58: "0000a8c0",  # 43200
        59: "00012750",  # 75600
        1: "fffff000",
        3: "0a0101fe",
        6: "0909090901010101",
        26: "05aa",  # 1450
        12: b"web-1".hex(),
    }
    assert told.codes.index(1) < told.codes.index(3)  # RFC 2132, 3.3


@pytest.mark.parametrize(
    ("request_frame", "kind", "yiaddr", "ciaddr"),
    [
        pytest.param(discover(), OFFER, IP, "0.0.0.0", id="INIT"),
        pytest.param(discover(option(50, ip4(OTHER_IP))), OFFER, IP, "0.0.0.0", id="INIT, a wish"),
        pytest.param(selecting(), ACK, IP, "0.0.0.0", id="SELECTING"),
        pytest.param(rebooting(), ACK, IP, "0.0.0.0", id="INIT-REBOOT"),
        pytest.param(renewing(), ACK, IP, IP, id="RENEWING"),
        pytest.param(rebinding(), ACK, IP, IP, id="REBINDING"),
        pytest.param(renewing(IP, option(54, ip4(SERVER))), ACK, IP, IP, id="RENEWING, server"),
        pytest.param(renewing(IP, option(50, ip4(IP))), ACK, IP, IP, id="RENEWING, both"),
        pytest.param(informing(), ACK, "0.0.0.0", IP, id="INFORM"),
        pytest.param(informing(OTHER_IP), ACK, "0.0.0.0", OTHER_IP, id="INFORM, any address"),
        pytest.param(selecting(OTHER_IP), NAK, "0.0.0.0", "0.0.0.0", id="SELECTING another"),
        pytest.param(rebooting(OTHER_IP), NAK, "0.0.0.0", "0.0.0.0", id="INIT-REBOOT another"),
        pytest.param(renewing(OTHER_IP), NAK, "0.0.0.0", "0.0.0.0", id="RENEWING another"),
        pytest.param(rebinding(OTHER_IP), NAK, "0.0.0.0", "0.0.0.0", id="REBINDING another"),
        pytest.param(
            renewing(IP, option(50, ip4(OTHER_IP))), NAK, "0.0.0.0", "0.0.0.0", id="two claims"
        ),
    ],
)
def test_every_state_of_a_client_gets_its_answer(request_frame, kind, yiaddr, ciaddr):
    told = ask(request_frame)

    assert (told.kind, told.xid) == (kind, XID)
    assert (told.yiaddr, told.ciaddr) == (ip4(yiaddr), ip4(ciaddr))


def test_an_ack_says_what_the_offer_said():
    offer, ack = ask(discover()).options, ask(selecting()).options

    assert ack == offer | {53: bytes((ACK,))}


def test_inform_is_told_everything_but_times():
    told = ask(informing())

    assert told.codes == [53, 54, 1, 3, 26, 6, 12]


def test_a_nak_tells_nothing_of_the_lease():
    told = ask(rebooting(OTHER_IP))

    assert told.codes == [53, 54, 56]
    assert b"address" in told.options[56]


@pytest.mark.parametrize(
    ("request_frame", "eth_dst", "ip_dst"),
    [
        pytest.param(discover(), MAC, IP, id="OFFER, to yiaddr"),
        pytest.param(selecting(), MAC, IP, id="ACK, to yiaddr"),
        pytest.param(
            discover(flags=BROADCAST_FLAG), BROADCAST_MAC, "255.255.255.255", id="OFFER, flag"
        ),
        pytest.param(
            selecting(flags=BROADCAST_FLAG), BROADCAST_MAC, "255.255.255.255", id="ACK, flag"
        ),
        pytest.param(discover(flags=0x7FFF), MAC, IP, id="OFFER, other flags"),
        pytest.param(renewing(), MAC, IP, id="ACK, to ciaddr"),
        pytest.param(rebinding(flags=BROADCAST_FLAG), MAC, IP, id="ciaddr goes before the flag"),
        pytest.param(informing(OTHER_IP), MAC, OTHER_IP, id="INFORM, to ciaddr"),
        pytest.param(rebooting(OTHER_IP), BROADCAST_MAC, "255.255.255.255", id="NAK"),
        pytest.param(renewing(OTHER_IP), BROADCAST_MAC, "255.255.255.255", id="NAK, ciaddr"),
    ],
)
def test_the_answer_goes_where_the_client_can_take_it(request_frame, eth_dst, ip_dst):
    told = ask(request_frame)

    assert (told.eth_dst, told.ip_dst) == (eth_dst, ip4(ip_dst))


def test_the_flags_come_back():
    assert ask(discover(flags=BROADCAST_FLAG)).flags == BROADCAST_FLAG


IDENTIFIER = b"\xff\x00\x00\x00\x01\x00\x02"
EXTRA = (option(61, IDENTIFIER), option(82, b"\x01\x01x"))


@pytest.mark.parametrize(
    ("request_frame", "kind"),
    [
        (discover(*EXTRA), OFFER),
        (selecting(IP, SERVER, *EXTRA), ACK),
        (informing(IP, *EXTRA), ACK),
        (rebooting(OTHER_IP, *EXTRA), NAK),
    ],
)
def test_the_client_identifier_comes_back_and_the_relay_information_does_not(request_frame, kind):
    told = ask(request_frame)

    assert told.kind == kind
    assert told.options[61] == IDENTIFIER
    assert 82 not in told.options


@pytest.mark.parametrize("tag", [b"\x81\x00\x00\x0a", b"\x81\x00\xe0\x00"])
def test_a_tagged_request_gets_the_same_untagged_answer(tag):
    plain = answer(discover(), MAC, LEASE, SERVER_MAC)

    assert plain is not None
    assert answer(frame(bootp(), tag=tag), MAC, LEASE, SERVER_MAC) == plain


@pytest.mark.parametrize(
    "request_frame",
    [
        pytest.param(frame(bootp(), padding=b"\xee" * 20), id="padded by the wire"),
        pytest.param(frame(bootp(), ip_options=b"\x94\x04\x00\x00"), id="with IP options"),
        pytest.param(frame(bootp(), fragment=0x4000), id="that must not be fragmented"),
        pytest.param(frame(bootp() + bytes(300)), id="padded after its end"),
        pytest.param(frame(bootp(end=b"")), id="without an end"),
        pytest.param(discover(b"\0" * 9, option(55, b"\x01"), b"\0"), id="padded between options"),
        pytest.param(frame(bootp() + b"\x32\xff"), id="nonsense after its end"),
        pytest.param(discover(option(200, b"")), id="an empty option"),
        pytest.param(discover(option(82, b"\x01\x01x")), id="relay information"),
    ],
)
def test_a_request_that_is_odd_but_right_is_answered(request_frame):
    assert ask(request_frame).kind == OFFER


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(
            bootp(None, option(52, b"\1"), file=option(53, b"\1") + b"\xff"), id="in file"
        ),
        pytest.param(
            bootp(None, option(52, b"\2"), sname=option(53, b"\1") + b"\xff"), id="in sname"
        ),
        pytest.param(
            bootp(
                None,
                option(52, b"\3") + option(61, b"a"),
                file=option(61, b"b") + b"\xff",
                sname=option(53, b"\1") + option(61, b"c"),
            ),
            id="in both, one option in three parts",
        ),
    ],
)
def test_options_in_the_other_fields_are_read(message):
    told = ask(frame(message))

    assert told.kind == OFFER
    assert told.options.get(61, b"abc") == b"abc"


@pytest.mark.parametrize(("field", "bit"), [("file", b"\1"), ("sname", b"\2")])
def test_the_other_fields_are_no_options_unless_the_client_says_so(field, bit):
    elsewhere = {field: option(54, ip4(OTHER_SERVER))}

    assert ask(rebooting(IP, **elsewhere)).kind == ACK
    assert answer(rebooting(IP, option(52, bit), **elsewhere), MAC, LEASE, SERVER_MAC) is None


@pytest.mark.parametrize(
    "request_frame",
    [
        # another's, or for another
        pytest.param(frame(bootp(), eth_src=OTHER_MAC), id="another sender"),
        pytest.param(discover(chaddr=OTHER_MAC), id="for another client"),
        pytest.param(discover(giaddr=OTHER_SERVER), id="relayed"),
        pytest.param(selecting(IP, OTHER_SERVER), id="another server is chosen"),
        pytest.param(selecting(OTHER_IP, OTHER_SERVER), id="another server's offer is chosen"),
        pytest.param(frame(bootp(), ip_dst=OTHER_SERVER), id="to another server's IP"),
        # nothing to answer
        pytest.param(frame(bootp(DECLINE, option(50, ip4(IP)))), id="DECLINE"),
        pytest.param(frame(bootp(RELEASE, ciaddr=IP)), id="RELEASE"),
        *(pytest.param(frame(bootp(kind)), id=f"kind {kind}") for kind in (0, 2, 5, 6, 9, 255)),
        pytest.param(frame(bootp(None)), id="BOOTP, no kind"),
        pytest.param(frame(bootp(REQUEST)), id="REQUEST of nothing"),
        pytest.param(informing("0.0.0.0"), id="INFORM from nowhere"),
        pytest.param(informing("224.0.0.1"), id="INFORM from a group"),
        pytest.param(informing("255.255.255.255"), id="INFORM from everybody"),
        # not DHCP
        pytest.param(frame(bootp(op=2)), id="a reply"),
        pytest.param(frame(bootp(htype=6)), id="another hardware"),
        pytest.param(frame(bootp(hlen=16)), id="another address length"),
        pytest.param(frame(bootp(cookie=b"\x63\x82\x53\x64")), id="another cookie"),
        pytest.param(frame(bootp(), port=68), id="to a client's port"),
        pytest.param(frame(bootp(), protocol=6), id="TCP"),
        pytest.param(frame(bootp(), eth_type=0x86DD), id="IPv6's type"),
        pytest.param(frame(bootp(), tag=b"\x81\x00\x00\x0a" * 2), id="two tags"),
        pytest.param(frame(bootp(), tag=b"\x88\xa8\x00\x0a"), id="a provider's tag"),
        pytest.param(frame(bootp(), version=6), id="IP version 6"),
        # malformed
        pytest.param(frame(bootp(), ihl=4), id="IP header too short"),
        pytest.param(frame(bootp(), ihl=15), id="IP header into the message"),
        pytest.param(frame(bootp(), ip_sum=0xBAD), id="IP header checksum"),
        pytest.param(frame(bootp(), fragment=0x2000), id="first fragment"),
        pytest.param(frame(bootp(), fragment=0x0001), id="later fragment"),
        pytest.param(frame(bootp(), ip_bytes=10), id="IP length below its header"),
        pytest.param(frame(bootp(), ip_bytes=27), id="IP length without UDP"),
        pytest.param(frame(bootp(), ip_bytes=0xFFFF), id="IP length over the end"),
        pytest.param(frame(bootp(), udp_bytes=0), id="UDP length zero"),
        pytest.param(frame(bootp(), udp_bytes=7), id="UDP length below its header"),
        pytest.param(frame(bootp(), udp_bytes=8), id="UDP of nothing"),
        pytest.param(frame(bootp(), udp_bytes=8 + len(bootp()) - 2), id="UDP cuts an option"),
        pytest.param(
            frame(bootp(), udp_bytes=8 + len(bootp()) + 1, padding=bytes(9)), id="UDP over IP's end"
        ),
        pytest.param(discover(end=b"\x37\x02\x01"), id="option over the end"),
        pytest.param(discover(end=b"\x37"), id="option without its length"),
        pytest.param(discover(option(53, b"\1")), id="two kinds"),
        pytest.param(frame(bootp(None, option(53, b""))), id="an empty kind"),
        pytest.param(rebooting(IP, option(50, ip4(IP))), id="two requested addresses"),
        pytest.param(frame(bootp(REQUEST, option(50, b"\x0a\1\1"))), id="3 bytes of an address"),
        pytest.param(discover(option(54, b"")), id="an empty server"),
        pytest.param(discover(option(52, b"")), id="an empty overload"),
        pytest.param(discover(option(52, b"\1\1")), id="a long overload"),
        pytest.param(discover(option(52, b"\1"), file=b"\x0c" * 128), id="file over its end"),
        pytest.param(discover(option(52, b"\2"), sname=b"\x0c\xff"), id="sname over its end"),
    ],
)
def test_what_is_not_exactly_ours_to_answer_is_not_answered(request_frame):
    assert answer(request_frame, MAC, LEASE, SERVER_MAC) is None


def test_a_cut_request_is_not_answered():
    whole = selecting(IP, SERVER, option(55, b"\x01\x03"))

    assert ask(whole).kind == ACK
    assert [
        size for size in range(len(whole)) if answer(whole[:size], MAC, LEASE, SERVER_MAC)
    ] == []


def test_a_cut_request_whose_lengths_agree_does_no_harm():
    whole = frame(bootp(DISCOVER, end=b""))
    udp_at = 34
    for size in range(len(whole)):
        cut = whole[:size]
        if size >= 18:
            cut = cut[:16] + (size - 14).to_bytes(2, "big") + cut[18:]
        if size >= udp_at + 6:
            cut = cut[:38] + (size - udp_at).to_bytes(2, "big") + cut[40:]
        assert answer(summed_up(cut), MAC, LEASE, SERVER_MAC) is None


def test_an_ip_header_too_short_for_its_addresses_is_none():
    """Without its last word, UDP's ports would read as the destination, 10.1.0.67."""
    lease = replace(LEASE, server=Ip.parse("10.1.0.67"))
    long = frame(bootp(), ip_dst="10.1.0.67")
    ports_at = 14 + 16
    short = long[:14] + b"\x44" + long[15:ports_at] + b"\x0a\x01\x00\x43" + long[38:]
    short = short[:16] + (len(short) - 14).to_bytes(2, "big") + short[18:24] + bytes(2) + short[26:]
    ip_sum = summed(short[14:30]) ^ 0xFFFF
    short = short[:24] + ip_sum.to_bytes(2, "big") + short[26:]

    assert ask(long, lease).kind == OFFER
    assert answer(short, MAC, lease, SERVER_MAC) is None


@pytest.mark.parametrize(
    ("change", "absent"), [({"router": None}, 3), ({"dns": ()}, 6), ({"hostname": None}, 12)]
)
def test_what_the_lease_does_not_have_is_not_said(change, absent):
    told = ask(discover(), replace(LEASE, **change))

    assert set(ask(discover()).codes) - set(told.codes) == {absent}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("web-1", True),
        ("1web", True),
        ("web-1.example.org", True),
        ("a" * 63, True),
        ("10", True),
        ("", False),
        ("a" * 64, False),
        (".".join(["a" * 63] * 3 + ["a" * 61]), True),
        (".".join(["a" * 63] * 3 + ["a" * 62]), False),
        ("-web", False),
        ("web-", False),
        ("web_1", False),
        ("web 1", False),
        ("web-1\n", False),
        ("web..org", False),
        ("web.", False),
        ("wéb", False),
        ("$(reboot)", False),
        ("10.1.1.7", False),
    ],
)
def test_only_a_host_name_is_told_as_one(name, told):
    options = ask(discover(), replace(LEASE, dns=(), hostname=name)).options

    assert options.get(12) == (name.encode() if told else None)


@pytest.mark.parametrize(
    ("bits", "mask"), [(0, "00000000"), (1, "80000000"), (24, "ffffff00"), (32, "ffffffff")]
)
def test_the_mask_has_as_many_ones_as_the_prefix(bits, mask):
    assert ask(discover(), replace(LEASE, prefix_bits=bits)).options[1].hex() == mask


def test_a_lease_for_ever_fits():
    options = ask(discover(), replace(LEASE, lease_s=0xFFFFFFFF)).options

    assert options[51] == b"\xff" * 4
    assert options[58] < options[59] < options[51]


def test_what_no_client_need_have_room_for_is_left_out_and_the_lease_is_whole():
    many = replace(LEASE, dns=LEASE.dns * 40, hostname="a" * 63)
    identifier = option(61, b"i" * 255)

    told = ask(discover(identifier), many)

    assert told.codes == [53, 54, 61, 51, 58, 59, 1, 3, 26]
    assert told.options[61] == b"i" * 255


def test_answers_may_be_as_long_as_any_client_takes_and_no_longer():
    """read() asserts that none is longer; the hostname goes first, then DNS."""
    lease = replace(LEASE, hostname="a" * 63)
    sizes, codes = set(), []
    for size in range(2, 256):
        request = discover(option(61, b"i" * size))
        told = answer(request, MAC, lease, SERVER_MAC)
        assert told is not None
        sizes.add(len(told) - 14 - 20 - 8 - 236)
        codes.append({6, 12} & set(ask(request, lease).codes))

    assert max(sizes) == 312
    assert [said for at, said in enumerate(codes) if at == 0 or said != codes[at - 1]] == [
        {6, 12},
        {6},
        set(),
    ]


def test_an_identifier_too_long_to_come_back_does_no_harm():
    assert 61 not in ask(discover(option(61, b"i" * 255), option(61, b"i"))).codes


@pytest.mark.parametrize(
    "wrong",
    [
        {"ip": Ip.parse("fd00::7")},
        {"server": Ip.parse("fd00::1")},
        {"router": Ip.parse("fd00::1")},
        {"router": Ip(0)},
        {"dns": (Ip.parse("fd00::1"),)},
        {"prefix_bits": 33},
        {"prefix_bits": -1},
        {"mtu_bytes": 65536},
        {"lease_s": 1 << 32},
        {"lease_s": -1},
    ],
)
def test_a_lease_that_cannot_be_told_cannot_be_made(wrong):
    with pytest.raises(InvalidValue):
        replace(LEASE, **wrong)


@pytest.mark.parametrize("over", range(24))
def test_the_checksum_is_right_where_carries_meet(over):
    """Just past all ones the sum carries twice; at all ones it goes as such, not as the zero that
    would say that there is none (RFC 768)."""
    request = discover()
    word_at = (
        request.index(XID.to_bytes(4, "big")) + 2
    )  # it comes back, and is summed with the rest
    told = answer(request, MAC, LEASE, SERVER_MAC)
    assert told is not None
    word = summed(request[word_at : word_at + 2] + told[40:42]) + over

    tried = request[:word_at] + word.to_bytes(2, "big") + request[word_at + 2 :]
    told = answer(tried, MAC, LEASE, SERVER_MAC)

    assert told is not None
    assert told[40:42] == (0xFFFF - over).to_bytes(2, "big")
    read(told)


# Whatever bytes come.


def check(data, lease=LEASE):
    """Not answered, or answered well and to nobody but the VM."""
    told = answer(data, MAC, lease, SERVER_MAC)
    if told is None:
        return None
    message = read(told, lease=lease)
    assert message.kind in (OFFER, ACK, NAK)
    assert message.eth_dst in (MAC, BROADCAST_MAC)
    assert (message.eth_dst == BROADCAST_MAC) == (message.ip_dst == b"\xff" * 4)
    assert message.yiaddr in (bytes(4), lease.ip.packed)
    assert 51 not in message.options or message.yiaddr == lease.ip.packed
    return message


def summed_up(data):
    """The frame with its IP header's checksum put right, so that changes reach what is behind."""
    at = 18 if data[12:14] == b"\x81\x00" else 14
    end = at + (data[at] & 0xF) * 4 if len(data) > at else at
    if end < at + 20 or end > len(data):
        return data
    good = summed(data[at : at + 10] + bytes(2) + data[at + 12 : end]) ^ 0xFFFF
    return data[: at + 10] + good.to_bytes(2, "big") + data[at + 12 :]


requests = st.sampled_from(
    [
        discover(option(61, b"\x01abc"), option(55, b"\x01\x03\x06")),
        selecting(),
        rebooting(OTHER_IP),
        renewing(),
        informing(),
        frame(bootp(), tag=b"\x81\x00\x00\x0a", padding=bytes(10)),
        frame(
            bootp(REQUEST, option(52, b"\3"), file=option(50, ip4(IP)), sname=option(61, b"xyz"))
        ),
    ]
)


@bounded
@given(st.binary(max_size=700))
def test_random_bytes_do_no_harm(data):
    check(data)
    check(summed_up(discover()[:42] + data))


@bounded
@given(
    requests,
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6),
    st.integers(0, 400),
)
def test_changed_and_cut_requests_do_no_harm(request_frame, changes, cut):
    changed = bytearray(request_frame)
    for at, value in changes:
        changed[at % len(changed)] = value
    check(bytes(changed))
    check(summed_up(bytes(changed)))
    check(summed_up(bytes(changed[: len(changed) - cut])))


options_soup = st.lists(
    st.one_of(
        st.just(b"\0"),
        st.just(b"\xff"),
        st.builds(
            option,
            st.sampled_from([1, 12, 50, 51, 52, 53, 54, 55, 57, 61, 80, 82, 255]),
            st.one_of(
                st.sampled_from([b"", b"\1", b"\3", ip4(IP), ip4(SERVER), ip4(OTHER_IP)]),
                st.binary(max_size=255),
            ),
        ),
        st.binary(max_size=4),
    ),
    max_size=8,
).map(b"".join)
addresses = st.integers(1, 0xDFFFFFFF).map(Ip.v4)
leases = st.builds(
    Lease,
    ip=addresses,
    prefix_bits=st.integers(0, 32),
    server=addresses,
    router=st.none() | addresses,
    dns=st.lists(addresses, max_size=100).map(tuple),
    mtu_bytes=st.integers(68, 65535),
    lease_s=st.integers(0, 0xFFFFFFFF),
    hostname=st.none() | st.text(max_size=80) | st.from_regex(r"\A[a-z0-9.-]{1,80}\Z"),
)


@bounded
@given(
    st.sampled_from([None, DISCOVER, REQUEST, INFORM]),
    options_soup,
    options_soup,
    st.sampled_from(["0.0.0.0", IP, OTHER_IP, "224.0.0.1"]),
    st.sampled_from([0, BROADCAST_FLAG, 0xFFFF]),
    leases,
)
def test_any_options_do_no_harm_under_any_lease(kind, soup, fields, ciaddr, flags, lease):
    message = bootp(
        kind, soup, ciaddr=ciaddr, flags=flags, file=fields[:128], sname=fields[128:192]
    )
    check(frame(message), lease)


@bounded
@given(leases)
def test_any_lease_is_told(lease):
    message = check(discover(), lease)

    assert message is not None
    assert (message.kind, message.yiaddr) == (OFFER, lease.ip.packed)
    assert {1, 26, 51, 53, 54, 58, 59} <= message.options.keys()


def test_a_request_of_the_greatest_size_ends():
    """Joining the parts of options takes time in proportion, not squared."""
    most = 65535 - 28 - 240
    soup = (option(53, b"\1") + option(61, b"i") * most)[:most]

    assert answer(frame(bootp(None, soup, end=b"")), MAC, LEASE, SERVER_MAC) is None
    assert ask(frame(bootp(DISCOVER, bytes(most - 3), end=b""))).kind == OFFER
