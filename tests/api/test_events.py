"""/v1/events as server-sent events, and /v1/status: read as a client would, without a socket."""

from __future__ import annotations

import json
from typing import Any

import eventlet
import pytest
from webob import Request

from controller.api import resources_events
from controller.api.app import Api
from controller.happenings import Happening


class Stream:
    """An open answer of /v1/events; ``next()`` is what comes next: comment, or event's fields."""

    def __init__(self, api: Api, path: str, **headers: str) -> None:
        request = Request.blank(path)
        for name, value in headers.items():
            request.headers[name.replace("_", "-")] = value
        self.response = request.get_response(api)
        self._parts = iter(self.response.app_iter)
        self._text = ""

    def next(self) -> dict[str, Any]:
        while "\n\n" not in self._text:
            self._text += next(self._parts).decode()
        block, _end, self._text = self._text.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line[0] != ":")
        if "data" in fields:
            fields["data"] = json.loads(fields["data"])
        return fields

    def close(self) -> None:
        self.response.app_iter.close()


@pytest.fixture
def listen(fabric):
    api, streams = Api(fabric, "1.2.3"), []

    def opened(path: str = "/v1/events", **headers: str) -> Stream:
        stream = Stream(api, path, **headers)
        streams.append(stream)
        return stream

    yield opened
    for stream in streams:
        if hasattr(stream.response.app_iter, "close"):
            stream.close()


def happen(fabric, *vnis: int) -> None:
    fabric.journal.publish([Happening("vm", {"vni": vni, "name": "wéb"}) for vni in vnis])


def test_an_event_has_id_type_and_data_with_the_time(fabric, listen):
    stream = listen()
    assert stream.response.content_type == "text/event-stream"
    assert stream.response.headers["Cache-Control"] == "no-store"
    assert stream.response.headers["X-Accel-Buffering"] == "no"
    assert stream.next() == {"id": "b007-0"}
    happen(fabric, 7)
    data = {"at": "2026-11-21T10:00:00.123Z", "vni": 7, "name": "wéb"}
    assert stream.next() == {"id": "b007-1", "event": "vm", "data": data}


def test_who_comes_back_gets_what_was_missed(fabric, listen):
    happen(fabric, 1, 2, 3)
    for stream in (listen(Last_Event_ID="b007-1"), listen("/v1/events?after=b007-1")):
        assert stream.next() == {"id": "b007-1"}
        assert [stream.next()["data"]["vni"] for _ in range(2)] == [2, 3]


@pytest.mark.parametrize("seen", ["dead-1", "b007-4", "b007-x", "nonsense", "b007--1"])
def test_an_id_that_is_not_known_is_told_first(fabric, listen, seen):
    happen(fabric, 1, 2, 3)
    stream = listen(Last_Event_ID=seen)
    reset = stream.next()
    assert (reset["event"], reset["id"]) == ("reset", "b007-3")
    assert reset["data"].keys() == {"at", "reason"}
    happen(fabric, 4)
    assert stream.next()["data"]["vni"] == 4


def test_an_id_whose_followers_are_not_kept_is_told_first(fabric, listen):
    happen(fabric, *range(102))
    assert listen(Last_Event_ID="b007-1").next()["event"] == "reset"
    assert listen(Last_Event_ID="b007-2").next() == {"id": "b007-2"}


def test_a_listener_that_falls_behind_loses_its_place_and_nobody_else_does(fabric, listen):
    slow, quick = listen(), listen()
    assert slow.next() == quick.next()
    for _ in range(3):
        happen(fabric, *range(50))
        assert [quick.next()["data"]["vni"] for _ in range(50)] == list(range(50))
    assert slow.next()["event"] == "reset"
    happen(fabric, 9)
    assert slow.next()["id"] == quick.next()["id"] == "b007-151"


def test_only_what_was_asked_for_comes(fabric, listen):
    by_type = listen("/v1/events?types=host,vms")
    by_vni = listen("/v1/events?vni=7")
    many = Happening("vms", {"vni": None, "added": 101})
    told = [
        Happening("vm", {"vni": 7}),
        Happening("vm", {"vni": 8}),
        Happening("host", {"host": "0000000000000011"}),
        many,
    ]
    fabric.journal.publish(told)
    assert [by_type.next().get("event") for _ in range(3)] == [None, "host", "vms"]
    assert [by_vni.next().get("event") for _ in range(3)] == [None, "vm", "vms"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("types=vm,cow", "types"),
        ("types=", "types"),
        ("vni=x", "vni"),
        ("typ=vm", "typ"),
        ("for=-1", "for"),
        ("for=x", "for"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused(client, query, field):
    answer = client.get(f"/v1/events?{query}")
    assert answer.status_int == 422
    assert answer.json_body["errors"][0]["field"] == field


def test_silence_is_broken_by_a_comment(fabric, listen, monkeypatch):
    monkeypatch.setattr(resources_events, "ALIVE_EVERY_S", 0.01)
    stream = listen()
    assert stream.next() == {"id": "b007-0"}
    assert stream.next() == {"id": "b007-0"}


def test_who_wants_none_of_many_events_hears_that_it_is_alive_and_keeps_its_place(
    fabric, listen, monkeypatch
):
    monkeypatch.setattr(resources_events, "ALIVE_EVERY_S", 0.05)
    stream = listen("/v1/events?types=host")
    assert stream.next() == {"id": "b007-0"}
    busy = eventlet.spawn(_happen_for_ever, fabric)
    try:
        with eventlet.Timeout(20):
            seen = stream.next()["id"]
    finally:
        busy.kill()
    assert int(seen.removeprefix("b007-")) > 0
    assert listen("/v1/events?types=host", Last_Event_ID=seen).next() == {"id": seen}


def _happen_for_ever(fabric) -> None:
    while True:
        happen(fabric, 7)
        eventlet.sleep(0.005)


def test_a_stream_ends_when_its_time_is_up(fabric, listen):
    happen(fabric, 1)
    stream = listen("/v1/events?for=0.05&after=b007-0")
    text = b"".join(stream.response.app_iter).decode()
    assert text.count("event: vm") == 1
    assert b"".join(listen("/v1/events?for=0").response.app_iter).startswith(b": listening")


def test_a_listener_too_many_is_sent_away_until_one_leaves(fabric, listen, monkeypatch):
    monkeypatch.setattr(resources_events, "LISTENERS_MAX", 1)
    one = listen()
    refused = listen()
    assert refused.response.status_int == 503
    assert refused.response.headers["Retry-After"]
    one.close()
    one.close()
    assert listen().response.status_int == 200
    assert fabric.journal.listeners == 1


def test_head_listens_to_nothing(fabric):
    answer = Request.blank("/v1/events", method="HEAD").get_response(Api(fabric, "1.2.3"))
    assert (answer.status_int, answer.body) == (200, b"")
    assert fabric.journal.listeners == 0


def test_status_is_the_controller_on_one_page(client, fabric, vm):
    happen(fabric, 1)
    fabric.connected = {0x11}
    assert client.get("/v1/status").json_body == {
        "version": "1.2.3",
        "started_at": "2026-11-21T09:58:20.000Z",
        "now": "2026-11-21T10:00:00.000Z",
        "uptime_s": 100.0,
        "store": {"url": "sqlite:///state.db", "bytes": 4096, "free_bytes": 1 << 30},
        "openflow": "0.0.0.0:6653",
        "hosts": {"total": 3, "connected": 1, "live": 1, "degraded": 0, "held": 0},
        "networks": 1,
        "vms": 1,
        "learned": 0,
        "vteps": 0,
        "vips": 0,
        "drifts": {"missing": 1, "extra": 2, "changed": 3},
        "last_event_id": "b007-1",
    }
