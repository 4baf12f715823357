"""REST calls that nobody should send: each made of a seed and a number, and the same again."""

from __future__ import annotations

import json
import random
from typing import Any
from urllib.parse import quote_from_bytes

HOST, MAC = "0000000000000011", "52:54:00:00:00:01"
GOOD: dict[str, Any] = {
    "host": HOST,
    "vni": 100,
    "mac": MAC,
    "ip": "10.1.1.1",
}
BODIES: dict[str, Any] = {
    "/v1/hosts/{host}": {"name": "hv-9", "vtep": "192.168.33.19", "tunnel_ports": []},
    "/v1/networks/{vni}": {"name": "red", "vlan": 7, "subnets": ["10.7.0.0/16"], "dns": []},
    "/v1/vms": {"mac": MAC, "host": HOST, "vni": 100, "ips": ["10.1.1.1"], "name": "web-1"},
    "/v1/vms/{vni}/{mac}": {"host": HOST, "ips": ["10.1.1.1", "fd00::1"]},
    "/v1/vteps/{ip}": {"vnis": [100], "name": "rack-1", "learning": True},
    "/v1/vips/{vni}/{ip}": {"macs": [MAC], "name": "lb"},
    "/v1/vms/batch": [{"mac": MAC, "host": HOST, "vni": 100}] * 2,
    "/v1/import": [{"kind": "vxlan-l2", "version": 1}, {"kind": "network", "vni": 9}],
}
TEXTS = [
    *("", "\x00", "a\x00b", "\ud800", "é", "x" * 300, "x" * 70_000, "../..", "%00", "-1", "1e999"),
    *(
        "NaN",
        "0x10",
        "9" * 5000,
        "٣",
        "::",
        "::ffff:10.1.1.1",
        "10.1.1.1/33",
        "fe80::1%eth0",
        "null",
    ),
    *(
        "52:54:00:00:00",
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
        "a\r\nX: y",
        "\u202e",
        "{}",
        "[]",
    ),
]
SHORT = [text.encode("utf-8", "replace")[:300] for text in TEXTS]
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 4095, 2**24, 2**31, 2**63, 2**64, 10**4000, 1.5, 1e308, -0.0),
    *([], {}, [[]], [None], {"": None}, [1] * 2000, {"mac": MAC}),
    *TEXTS,
]
TYPES = [
    *("application/json", "application/x-ndjson", "application/msgpack", "text/plain", ""),
    *("application/json; charset=utf-16", "APPLICATION/JSON", "application/json, text/plain"),
    *("multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "/", ";;;", "\xff"),
]
HEADERS = [
    *("Authorization: Bearer x", "Authorization: Basic AAAA", "Cookie: vxlan_l2_session=;;=\xff"),
    *("Accept: ;q=x,*/*;q=9", "Accept-Encoding: gzip;q=x", "If-None-Match: W/", "Range: bytes=-1-"),
    *("Expect: 100-continue", "Expect: nothing", "Connection: upgrade", "Upgrade: websocket"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Content-Length: 5"),
    *("Content-Length: -1", "Content-Length: 1_0", "Content-Length: 99999999999999999999"),
    *("Host: evil.example", "Host: [::1", "Origin: null", "Origin: http://[", "Sec-Fetch-Site: x"),
    *("Last-Event-ID: \xff", "Content-Encoding: gzip", "X-HTTP-Method-Override: DELETE"),
    *(" folded", "No colon", "Spa ce: x", "Tab\t: x", ": x", "X: \x00", "X: " + "y" * 9000),
    *("X-Forwarded-Host: evil", "X-Forwarded-For: ::1, \xff", "Content-Type: application/json"),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"]
QUERIES = [
    *("vni", "host", "mac", "ip", "name", "q", "sort", "limit", "cursor", "wait", "types", "after"),
    *("dry_run", "mode", "on_existing", "prune", "src", "dst", "kind", "frame", "state", "fresh"),
    *("table", "live", "nobody"),
]
CHUNKS = [
    *(b"0\r\n\r\n", b"-1\r\n", b"ffffffffffffffff\r\nx", b"1_0\r\nx", b"\r\n", b"5\nabcde\n0\n\n"),
    *(
        b"2;x=" + b"y" * 2000 + b"\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}XX0\r\n\r\n",
        b"0x2\r\n{}\r\n",
        b"5\r\nab",
    ),
    *(b"2\r\n{}\r\n0\r\n" + b"T: x\r\n" * 100, b"fffffff\r\n" + b" " * 70_000, b"1\r\n{\r\n" * 500),
]


class Calls:
    """paths: as /openapi.json has them, each with its methods."""

    def __init__(self, seed: int, paths: dict[str, list[str]]) -> None:
        self._seed = seed
        self._paths = sorted((path, method) for path in paths for method in paths[path])

    def make(self, number: int) -> bytes:
        """What is sent for this call, to the last byte."""
        chance = random.Random(f"{self._seed}.{number}")
        call = self._call(chance)
        for _ in range(chance.choice((0, 0, 0, 0, 0, 1, 1, 3))):
            call = _damaged(chance, call)
        return call

    def _call(self, chance: random.Random) -> bytes:
        path, method = chance.choice(self._paths)
        body, media_type = _body(chance, path), "application/json"
        if chance.random() < 0.2:
            method = chance.choice(METHODS)
        if chance.random() < 0.15:
            media_type = chance.choice(TYPES)
        lines = [f"{method.upper()} ".encode() + _target(chance, path) + b" HTTP/1.1"]
        lines.append(b"Host: localhost")
        for _ in range(chance.choice((0, 0, 0, 0, 1, 2))):
            lines.append(chance.choice(HEADERS).encode("latin-1"))
        if media_type and (body or chance.random() < 0.1):
            lines.append(b"Content-Type: " + media_type.encode("latin-1"))
        if chance.random() < 0.1:
            lines.append(b"Transfer-Encoding: chunked")
            body = chance.choice(CHUNKS)
        elif body:
            lines.append(b"Content-Length: %d" % (len(body) + chance.choice((0, 0, 0, 0, -1, 7))))
        return b"\r\n".join([*lines, b"", body])


def _target(chance: random.Random, path: str) -> bytes:
    for name, value in GOOD.items():
        text = chance.choice(TEXTS) if chance.random() < 0.15 else str(value)
        raw = text.encode("utf-8", "surrogatepass")[:6000]
        path = path.replace("{" + name + "}", quote_from_bytes(raw, safe=""))
    pairs = [
        f"{chance.choice(QUERIES)}={quote_from_bytes(chance.choice(SHORT))}"
        for _ in range(chance.choice((0, 0, 0, 0, 0, 1, 2, 40)))
    ]
    return (path + ("?" + "&".join(pairs) if pairs else "")).encode("ascii")


def _body(chance: random.Random, path: str) -> bytes:
    if path not in BODIES:
        return chance.choice((b"", b"", b"{}", b"x" * 100_000))
    value = json.loads(json.dumps(BODIES[path]))
    for _ in range(chance.randint(1, 3)):
        value = _spoilt(chance, value)
    text = json.dumps(value).encode()
    return chance.choice(
        (
            *(text, text, text, text, text[: len(text) // 2], text + text, b"\xef\xbb\xbf" + text),
            text.replace(b"{", b'{"mac":1,"mac":2,', 1),
            text.replace(b":", b":" + b"[" * chance.choice((5, 17, 3000, 30_000)), 1),
            text.replace(b'"', b"\xff", 1),
            text.replace(
                b"1", chance.choice((b"1e999", b"-1E-999", b"NaN", b"01", b"1" * 6000)), 1
            ),
            bytes(chance.randrange(256) for _ in range(chance.randrange(200))),
            b"\xdd\xff\xff\xff\xff" * chance.choice((1, 500)),
            b"\x91\x81\xa3mac\xdf\xff\xff\xff\xff",
        )
    )


def _spoilt(chance: random.Random, value: Any) -> Any:
    """The same with something in it that does not belong there."""
    if isinstance(value, dict) and value:
        name = chance.choice(sorted(value))
        done = chance.randrange(6)
        if done == 0:
            return {other: each for other, each in value.items() if other != name}
        if done == 1:
            return {**value, chance.choice(TEXTS)[:100]: chance.choice(VALUES)}
        return {**value, name: _spoilt(chance, value[name])}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], _spoilt(chance, value[at]), *value[at + 1 :]]
    return chance.choice(VALUES)


def _damaged(chance: random.Random, call: bytes) -> bytes:
    at = chance.randrange(min(len(call), 400) + 1)
    return chance.choice(
        (
            call[:at] + bytes([chance.randrange(256)]) + call[at + 1 :],
            call[:at] + call[at + chance.randrange(20) :],
            call[:at] + call[max(0, at - 50) :],
            call[:at] + bytes(chance.randrange(256) for _ in range(8)) + call[at:],
            call[:at],
            call.replace(b"\r\n", chance.choice((b"\n", b"\r", b"\r\n ", b"\r\n\r\n")), 1),
            call.replace(
                b"HTTP/1.1", chance.choice((b"HTTP/1.0", b"HTTP/2.0", b"HTTP/0.9", b"", b"X")), 1
            ),
            call.replace(
                b" /", chance.choice((b" http://localhost/", b" //", b" \\", b"  /", b" *")), 1
            ),
            call + call,
        )
    )
