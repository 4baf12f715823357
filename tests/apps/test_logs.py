"""The log as people and programs read it."""

from __future__ import annotations

import json
import logging
import re
import sys

import eventlet
import pytest

from apps.logs import formatter
from tests.apps.process import running


def test_json_lines(tmp_path):
    with running(tmp_path, {"log_format": "json"}) as controller:
        visitor = eventlet.connect(("127.0.0.1", controller.openflow_port))
        visitor.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while visitor.recv(100):
            pass
        other = eventlet.connect(("127.0.0.1", int(controller.url.rpartition(":")[2])))
        other.sendall(b"\x16\x03\x01 \x02\r\n\r\n")
        assert b"400" in other.recv(1000)
        assert controller.stop() == 0
        lines = [json.loads(line) for line in controller.log.splitlines()]
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
        assert {"level", "logger", "message"} <= line.keys()
    messages = [line["message"] for line in lines]
    assert any(message.startswith("REST: http://127.0.0.1:") for message in messages)
    (refused,) = [line for line in lines if "does not speak OpenFlow" in line["message"]]
    assert (refused["level"], refused["peer"]) == ("WARNING", "127.0.0.1")


def test_text_lines_stay_as_they_are(tmp_path):
    with running(tmp_path) as controller:
        assert controller.stop() == 0
        lines = controller.log.splitlines()
    assert lines
    for line in lines:
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ \S", line), line


def test_a_format_that_is_none_is_refused(tmp_path):
    with (
        pytest.raises(AssertionError, match=r"cannot start: .*log_format"),
        running(tmp_path, {"log_format": "xml"}),
    ):
        pass


def record_of(message: str, *arguments: object, **more: object) -> dict[str, object]:
    made = logging.LogRecord("vxlan_l2", logging.INFO, "x.py", 1, message, arguments, None)
    made.__dict__.update(more)
    return json.loads(formatter("json").format(made))


def test_who_it_is_about():
    line = record_of("host %s connected from %s", "00006e12f4fd6949", "192.168.33.12")
    assert (line["host"], line["peer"]) == ("00006e12f4fd6949", "192.168.33.12")
    line = record_of("switch 00006e12f4fd6949 at 192.168.33.12:4711: closed: no")
    assert (line["host"], line["peer"]) == ("00006e12f4fd6949", "192.168.33.12")
    assert record_of("connection from fd00::1: closed")["peer"] == "fd00::1"
    assert not {"host", "peer"} & record_of("the host at home is from here").keys()
    assert record_of("moved", host="0000000000000011")["host"] == "0000000000000011"


def test_a_traceback_is_on_the_same_line():
    try:
        raise ValueError("two\nlines, ünd more")
    except ValueError:
        made = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info())
    text = formatter("json").format(made)
    assert "\n" not in text
    assert json.loads(text)["exception"].endswith("ValueError: two\nlines, ünd more")
