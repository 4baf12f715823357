"""What the running controller says of itself in /openapi.json, and what it does."""

from __future__ import annotations

import json
import urllib.request

import jsonschema_rs

from tests.apps.process import running

HV1, HV2 = "0000000000000011", "0000000000000012"
MAC = "52:54:00:00:00:01"


def test_each_event_is_as_described(tmp_path):
    """Everything that can happen without a switch, asked for afterwards."""
    with running(tmp_path) as controller:
        document = controller("GET", "/openapi.json").body
        first = controller("GET", "/v1/status").body["last_event_id"]
        many = [{"mac": f"52:54:00:00:01:{n:02x}", "vni": 7, "host": HV1} for n in range(101)]
        for method, path, body in (
            ("PUT", f"/v1/hosts/{HV1}", {"name": "compute-1", "vtep": "192.168.33.11"}),
            ("PUT", f"/v1/hosts/{HV2}", {}),
            ("PUT", "/v1/networks/7", {"name": "blue", "vlan": 10}),
            ("PUT", "/v1/vteps/192.168.33.20", {"vnis": [7], "name": "rack-7"}),
            ("PUT", f"/v1/vms/7/{MAC}", {"host": HV1, "ips": ["10.1.1.1"]}),
            ("PUT", f"/v1/vms/7/{MAC}", {"host": HV1, "name": "web-1"}),
            ("PUT", f"/v1/vms/7/{MAC}", {"host": "rack-7"}),
            ("PUT", "/v1/vips/7/10.1.1.100", {"macs": [MAC]}),
            ("POST", "/v1/vms/batch", many),
            ("DELETE", "/v1/vips/7/10.1.1.100", None),
            ("DELETE", f"/v1/vms/7/{MAC}", None),
            ("DELETE", f"/v1/hosts/{HV2}", None),
        ):
            assert controller(method, path, body).status in (200, 201), path
        events = listened(f"{controller.url}/v1/events?for=0.2&after={first}")
        lost = listened(f"{controller.url}/v1/events?for=0.2&after=gone-1")
    assert [one["event"] for one in lost] == ["reset"]
    kinds = {one["event"] for one in events}
    assert {"host", "network", "vtep", "vip", "vm", "vms", "moved"} == kinds
    schemas = {**document["components"]["schemas"]}
    for one in [*events, *lost]:
        name = one["event"].title().replace("_", "") + "Event"
        schema = {**schemas[name], "additionalProperties": False}
        described = {**schema, "components": {"schemas": schemas}}
        jsonschema_rs.validate(described, json.loads(one["data"]))
        jsonschema_rs.validate({**schemas["Event"], "components": {"schemas": schemas}}, one)


def listened(url: str) -> list[dict[str, str]]:
    """The events that an answer has until it ends."""
    with urllib.request.urlopen(url, timeout=30) as response:
        text = response.read().decode()
    blocks = [block.splitlines() for block in text.split("\n\n")]
    found = [dict(line.split(": ", 1) for line in block if line[0] != ":") for block in blocks]
    return [one for one in found if "data" in one]
