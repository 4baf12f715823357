"""Many VMs in one request: three formats, all or nothing, and the culprit named by its index."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest

PATH = "/v1/vms/batch"


def _vm(number: int, **other: object) -> dict[str, object]:
    return {"mac": f"52:54:00:00:00:{number:02x}", "host": "hv-1"} | other


def _post(client: Any, items: list[Any], form: str) -> Any:
    body, content_type = {
        "json": (json.dumps(items).encode(), "application/json; charset=UTF-8"),
        "ndjson": (b"\r\n\n".join(json.dumps(i).encode() for i in items), "application/x-ndjson"),
        "msgpack": (msgpack.packb(items), "application/msgpack"),
    }[form]
    return client.post(PATH, body, content_type=content_type)


@pytest.mark.parametrize("form", ["json", "ndjson", "msgpack"])
def test_formats(client: Any, fabric: Any, form: str) -> None:
    fabric.connected = {0x11, 0x12}
    items = [_vm(number, ips=[f"10.1.1.{number}"], name=f"web-{number}") for number in (3, 1, 2)]
    response = _post(client, items, form)
    assert response.status_int == 201
    assert response.json_body == {
        "items": 3,
        "created": 3,
        "unchanged": 0,
        "applied": {"hosts": 2, "of": 2},
    }
    assert client.get("/v1/vms/0/52:54:00:00:00:02").json_body["ips"] == ["10.1.1.2"]
    assert fabric.commits == 1
    response = _post(client, [*items, _vm(4)], form)
    assert response.status_int == 201
    assert (response.json_body["created"], response.json_body["unchanged"]) == (1, 3)
    response = _post(client, items, form)
    assert response.status_int == 200
    assert len(fabric.stored()) == 7


@pytest.mark.parametrize("form", ["json", "ndjson", "msgpack"])
@pytest.mark.parametrize(
    ("culprit", "status", "field"),
    [
        (_vm(200, mac="x"), 422, "[17].mac"),
        (_vm(200, host="nobody"), 422, "[17].host"),
        (_vm(200, vni=5), 422, "[17].vni"),
        (_vm(200, vni=True), 422, "[17].vni"),
        (_vm(200, ips=["10.9.9.9", "x"]), 422, "[17].ips[1]"),
        ({"host": "hv-1"}, 422, "[17].mac"),
        (_vm(200, size=1), 422, "[17].size"),
        (7, 422, "[17]"),
        (None, 422, "[17]"),
        ([_vm(200)], 422, "[17]"),
        (_vm(3, host="hv-2"), 409, None),
        (_vm(200, ips=["10.1.1.3"]), 409, None),
    ],
)
def test_all_or_nothing(
    client: Any, fabric: Any, form: str, culprit: object, status: int, field: str | None
) -> None:
    items: list[Any] = [_vm(number, ips=[f"10.1.1.{number}"]) for number in range(1, 31)]
    items[17] = culprit
    response = _post(client, items, form)
    problem = response.json_body
    assert response.status_int == status
    assert problem["index"] == 17
    if field is None:
        assert problem["detail"].startswith("[17]: ")
        assert "52:54:00:00:00:03" in problem["detail"]
    else:
        assert [error["field"] for error in problem["errors"]] == [field]
    assert fabric.topology.vms == {}
    assert len(fabric.stored()) == 3


def test_conflict_with_a_registered_vm(client: Any, fabric: Any, vm: dict[str, Any]) -> None:
    response = _post(client, [_vm(9), _vm(10, ips=["10.1.1.1"])], "json")
    assert response.status_int == 409
    assert response.json_body["index"] == 1
    assert vm["mac"] in response.json_body["detail"]
    assert len(fabric.topology.vms) == 1


def test_many_faults_are_listed_up_to_100(client: Any) -> None:
    problem = _post(client, [{"mac": "x"}] * 300, "json").json_body
    assert len(problem["errors"]) == 100
    assert problem["index"] == 0
    assert {error["field"] for error in problem["errors"][:2]} == {"[0].mac", "[0].host"}
    assert len(problem["detail"]) < 1000


def test_empty(client: Any) -> None:
    for form in ("json", "ndjson", "msgpack"):
        response = _post(client, [], form)
        assert response.status_int == 200
        assert response.json_body["items"] == 0


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 422),
        ("application/json", b'"x"', 422),
        ("application/json", b"[", 400),
        ("application/json", b"", 400),
        ("application/x-ndjson", b'{"mac": "x"}\nnonsense\n', 400),
        ("application/x-ndjson", b"\xff\n", 400),
        ("application/x-ndjson", b"[1]\n", 422),
        ("application/msgpack", b"", 400),
        ("application/msgpack", b"\xc1", 400),
        ("application/msgpack", b"\x80", 422),
        ("application/msgpack", b"\x91\x81\xa3mac", 400),
        ("application/msgpack", b"\x91\x81\x01\x02", 400),
        ("application/msgpack", b"\x91\x82\xa1a\x01\xa1a\x02", 400),
        ("application/msgpack", b"\xdd\xff\xff\xff\xff", 400),
        ("application/msgpack", b"\x91" * 5000 + b"\x90", 400),
        ("application/msgpack", b"\x90\x90", 400),
        ("application/msgpack", b"\x91\xd6\xff\0\0\0\0", 422),
        ("application/msgpack", b"\x91\xa1\xff", 400),
        ("application/msgpack", b"\x91\x81\xa3mac\xc4\x01a", 422),
        ("text/csv", b"mac,host", 415),
    ],
)
def test_malformed(client: Any, content_type: str, body: bytes, status: int) -> None:
    response = client.post(PATH, body, content_type=content_type)
    assert response.status_int == status
    if body == b'{"mac": "x"}\nnonsense\n':
        assert "line 2" in response.json_body["detail"]


def test_larger_than_64_kib_is_fine_and_than_64_mib_is_not(client: Any) -> None:
    padding = b" " * (1 << 20)
    body = b"[" + padding + json.dumps(_vm(1)).encode() + b"]"
    assert client.post(PATH, body).status_int == 201
    assert client.post(PATH, b"[" + b" " * (64 << 20) + b"]").status_int == 413


def test_20000_vms(client: Any, fabric: Any) -> None:
    items = [
        {"mac": f"52:54:00:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}", "host": "hv-1",
         "ips": [f"10.2.{n >> 8}.{n & 255}"]}
        for n in range(1, 20_001)
    ]  # fmt: skip
    response = _post(client, items, "msgpack")
    assert response.status_int == 201, response.text
    assert len(fabric.stored()) == 20_003
