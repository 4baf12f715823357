"""/v1/trace and /v1/why: what may be asked, and how the answers look."""

from __future__ import annotations

import pytest

from controller.service import Question


def test_a_trace(client, fabric):
    body = client.get("/v1/trace?src=web-1&dst=db-1&vni=0&kind=udp&live=true").json_body

    assert fabric.questions == [Question("web-1", "db-1", 0, "udp", None, True)]
    assert body["question"] == {
        "vni": 0,
        "src": "web-1",
        "dst": "db-1",
        "kind": "udp",
        "live": True,
    }
    assert body["delivered"] is True
    assert body["cause"] is None
    (stage,) = body["stages"]
    (hop,) = stage["hops"]
    assert hop["table_name"] == "UNICAST"
    assert hop["packets"] == 3
    assert hop["flow"]["cookie"].startswith("0x")
    assert stage["ends"] == [{"host": "0000000000000011", "how": "answered", "detail": "x"}]


def test_a_frame_in_any_usual_spelling(client, fabric):
    for text in ("ffffffffffff5254000000010806", "ff:ff:ff:ff:ff:ff:52:54:00:00:00:01:08:06"):
        assert client.get(f"/v1/trace?src=web-1&frame={text}").status_int == 200

    assert {question.frame for question in fabric.questions} == {
        bytes.fromhex("ffffffffffff5254000000010806")
    }


def test_why(client):
    body = client.get("/v1/why?src=web-1&dst=db-1").json_body

    assert body["reachable"] is False
    assert (body["cause"], body["command"]) == ("silent", "look")
    assert body["evidence"] == [{"what": "VM web-1", "status": "error", "detail": "is down"}]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/trace?dst=b", "src"),
        ("/v1/trace?src=&dst=b", "src"),
        ("/v1/trace?src=a&dst=b&kind=sctp", "kind"),
        ("/v1/trace?src=a&dst=b&live=yes", "live"),
        ("/v1/trace?src=a&dst=b&vni=x", "vni"),
        ("/v1/trace?src=a&frame=abc", "frame"),
        ("/v1/trace?src=a&frame=zz", "frame"),
        ("/v1/trace?src=a&frame=" + "00" * 10_000, "frame"),
        ("/v1/trace?src=a&dst=b&host=c", "host"),
        ("/v1/why?src=a", "dst"),
        ("/v1/why?src=a&dst=b&live=true", "live"),
    ],
)
def test_what_cannot_be_asked(client, fabric, path, field):
    response = client.get(path)

    assert response.status_int == 422
    assert [error["field"] for error in response.json_body["errors"]] == [field]
    assert fabric.questions == []
