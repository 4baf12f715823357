"""What holds on every path: status codes, media types, limits, the token, receipts."""

from __future__ import annotations

import io
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from webob import Request

from controller.api.app import ROUTES, Api

MAC1 = "52:54:00:00:00:01"
VM = {"mac": MAC1, "host": "hv-1"}


def test_health_and_readiness(client: Any, fabric: Any) -> None:
    assert client.get("/healthz").json_body == {"status": "alive", "version": "1.2.3"}
    assert client.get("/readyz").status_int == 200
    fabric.is_ready = False
    assert client.get("/healthz").status_int == 200
    for path in ("/readyz", "/v1/hosts", "/v1/vms"):
        response = client.get(path)
        assert response.status_int == 503
        assert response.headers["Retry-After"] == "1"
    fabric.loops_ended = ["the clock"]
    response = client.get("/healthz")
    assert (response.status_int, response.json_body["title"]) == (503, "Not alive")
    assert "the clock" in response.json_body["detail"]
    assert client.get("/nowhere").status_int == 404


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/", "/v1/vms/", "/v1/vms/0", "/v1/hosts//flows", "/v1//vms", "/v2/vms",
     "/v1/vips/0", "/v1/vips/0/", "/v1/vteps/", "/v1/vteps/192.168.33.20/x",
     "/v1/vms/0/52:54:00:00:00:01/x", "/V1/vms", "/%00", "/%FF%FE", "/v1/%F0%9F%A6%84", "//",
     "/v1/hosts/../vms", "/healthz/", "/v1/hosts/%2F/flows/"],
)  # fmt: skip
def test_unknown_path_is_404(client: Any, path: str) -> None:
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert client(method, path).status_int == 404


@pytest.mark.parametrize(
    ("path", "allow"),
    [
        ("/v1/hosts", {"GET", "HEAD"}),
        ("/v1/hosts/hv-1", {"GET", "HEAD", "PUT", "DELETE"}),
        ("/v1/hosts/hv-1/flows", {"GET", "HEAD"}),
        ("/v1/vms", {"GET", "HEAD", "POST"}),
        ("/v1/vms/batch", {"POST"}),
        ("/v1/vms/0/" + MAC1, {"GET", "HEAD", "PUT", "DELETE"}),
        ("/v1/networks/0", {"GET", "HEAD", "PUT", "DELETE"}),
        ("/v1/learned", {"GET", "HEAD"}),
        ("/v1/vteps", {"GET", "HEAD"}),
        ("/v1/vteps/192.168.33.20", {"GET", "HEAD", "PUT", "DELETE"}),
        ("/v1/vips", {"GET", "HEAD"}),
        ("/v1/vips/0/10.1.1.9", {"GET", "HEAD", "PUT", "DELETE"}),
        ("/healthz", {"GET", "HEAD"}),
        ("/readyz", {"GET", "HEAD"}),
    ],
)
def test_other_methods_are_405(client: Any, path: str, allow: set[str]) -> None:
    every = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "SPAM"}
    for method in every - allow:
        response = client(method, path)
        assert response.status_int == 405
        assert set(response.headers["Allow"].split(", ")) == allow


@pytest.mark.parametrize("path", ["/v1/hosts", "/v1/vms?limit=1", "/v1/networks/0", "/healthz"])
def test_head_is_get_without_its_body(client: Any, path: str) -> None:
    head, get = client("HEAD", path), client.get(path)
    assert head.status_int == 200
    assert head.headers["Content-Length"] == get.headers["Content-Length"]
    assert client("HEAD", "/v1/vms/0/" + MAC1).status_int == 404


def test_answers_are_for_this_client_only(client: Any) -> None:
    response = client.get("/v1/hosts")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


WRITES = [
    ("POST", "/v1/vms"),
    ("PUT", "/v1/vms/0/" + MAC1),
    ("PUT", "/v1/hosts/0000000000000099"),
    ("PUT", "/v1/networks/9"),
    ("PUT", "/v1/vteps/192.168.33.20"),
    ("PUT", "/v1/vips/0/10.1.1.9"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
class TestBodies:
    @pytest.mark.parametrize(
        "content_type",
        [None, "text/plain", "application/x-www-form-urlencoded",
         "application/json; charset=latin-1", "application/jsonp",
         "application/msgpack", "", ";", "json", "é"],
    )  # fmt: skip
    def test_415(self, client: Any, method: str, path: str, content_type: str | None) -> None:
        response = client(method, path, b"{}", content_type=content_type)
        assert response.status_int == 415
        assert "application/json" in response.json_body["detail"]

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"}", b"nonsense", b"\xff\xfe", b'{"a": "\xff"}', b'{"vni": NaN}',
         b'{"vni": Infinity}', b'{"vni": -Infinity}', b'{"a": 1, "a": 2}', b"[" * 100_00,
         b'{"a":' * 10_000 + b"1" + b"}" * 10_000, b'{"vni": ' + b"9" * 5000 + b"}", b"{} {}",
         b"\xef\xbb\xbf{}", b"{'mac': 1}", b"{\"a\": 1,}", b"\0", b'{"a": "\n"}'],
    )  # fmt: skip
    def test_400(self, client: Any, fabric: Any, method: str, path: str, body: bytes) -> None:
        assert client(method, path, body).status_int == 400
        assert fabric.commits == 0

    @pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"x"', b"true", b"1e999", b"[[[]]]"])
    def test_422_when_no_object(self, client: Any, method: str, path: str, body: bytes) -> None:
        response = client(method, path, body)
        assert response.status_int == 422
        assert response.json_body["errors"] == [{"field": "body", "reason": "must be an object"}]

    def test_413(self, client: Any, fabric: Any, method: str, path: str) -> None:
        fits = b"{" + b" " * (65536 - 2) + b"}"
        assert client(method, path, fits).status_int in (201, 422, 409)
        fabric.commits = 0
        assert client(method, path, fits + b" ").status_int == 413
        assert fabric.commits == 0

    @pytest.mark.parametrize(
        "wait", ["x", "-1", "61", "60.1", "nan", "inf", "1e2", "", "1_0", "%D9%A3", "9" * 5000]
    )
    def test_invalid_wait_changes_nothing(
        self, client: Any, fabric: Any, method: str, path: str, wait: str
    ) -> None:
        response = client(method, f"{path}?wait={wait}", VM)
        assert response.status_int == 422
        assert response.json_body["errors"][0]["field"] == "wait"
        assert fabric.commits == 0


def test_body_of_unknown_length(fabric: Any, client: Any) -> None:
    """Chunked: the server marks the input, and gives no length."""

    def send(body: bytes) -> int:
        request = Request.blank("/v1/vms", method="POST")
        request.environ.pop("CONTENT_LENGTH", None)
        request.environ["CONTENT_TYPE"] = "application/json"
        request.environ["HTTP_TRANSFER_ENCODING"] = "chunked"
        request.environ["wsgi.input"] = io.BytesIO(body)
        status: int = request.get_response(Api(fabric, "1")).status_int
        return status

    assert send(b'{"mac": "52:54:00:00:00:01", "host": "hv-1"}') == 201
    assert send(b" " * 65537) == 413


def test_body_that_ends_early(fabric: Any, client: Any) -> None:
    for length in ("100", "-1", "x", "1" * 5000):
        request = Request.blank("/v1/vms", method="POST")
        request.environ["CONTENT_TYPE"] = "application/json"
        request.environ["CONTENT_LENGTH"] = length
        request.environ["wsgi.input"] = io.BytesIO(b"{}")
        assert request.get_response(Api(fabric, "1")).status_int == 400


def test_wait_until_everywhere(client: Any, fabric: Any) -> None:
    fabric.connected = {0x11, 0x12, 0x13}
    response = client.post("/v1/vms?wait=10", VM)
    assert response.status_int == 201
    assert response.json_body["applied"] == {"hosts": 3, "of": 3}


def test_wait_in_vain_is_202_and_durable(client: Any, fabric: Any) -> None:
    fabric.connected = {0x11, 0x12, 0x13}
    fabric.lagging = {0x13}
    response = client.post("/v1/vms?wait=2.5", VM)
    assert response.status_int == 202
    assert response.json_body["applied"] == {"hosts": 2, "of": 3}
    assert response.headers["Location"] == "/v1/vms/0/" + MAC1
    assert fabric.waits == [2.5]
    assert len(fabric.stored()) == 4
    assert client.post("/v1/vms?wait=0", VM).status_int == 202
    assert fabric.waits == [2.5]
    assert client.post("/v1/vms", VM).status_int == 200  # did not ask to wait
    assert client.put("/v1/networks/0?wait=1", {}).status_int == 202
    assert client.delete(f"/v1/vms/0/{MAC1}?wait=1").status_int == 202
    fabric.lagging = set()
    assert client.put("/v1/hosts/hv-1?wait=60", {}).status_int == 200


def test_wait_is_for_writes(client: Any) -> None:
    assert client.get("/v1/hosts?wait=1").status_int == 422


def test_store_that_takes_no_writes_is_503(client: Any, fabric: Any) -> None:
    fabric.store._db.execute("PRAGMA query_only = ON")
    for method, path, body in (
        ("POST", "/v1/vms", VM),
        ("POST", "/v1/vms/batch", [VM]),
        ("PUT", "/v1/vms/0/" + MAC1, {"host": "hv-1"}),
        ("PUT", "/v1/hosts/hv-1", {}),
        ("PUT", "/v1/networks/0", {"learning": False}),
        ("PUT", "/v1/vteps/192.168.33.20", {"vnis": [0]}),
        ("PUT", "/v1/vips/0/10.1.1.9", {"macs": [MAC1]}),
        ("DELETE", "/v1/hosts/hv-3", None),
    ):
        response = client(method, path, body)
        assert response.status_int == 503
        assert "nothing was changed" in response.json_body["detail"]
        assert "Retry-After" in response.headers
    assert client.get("/v1/vms").json_body["total"] == 0
    assert client.get("/v1/hosts").json_body["total"] == 3
    fabric.store._db.execute("PRAGMA query_only = OFF")
    assert client.post("/v1/vms", VM).status_int == 201


class TestToken:
    @pytest.fixture
    def api(self, fabric: Any, client: Any) -> Api:
        return Api(fabric, "1", token="s3cret-ünïcode")

    @pytest.mark.parametrize(
        "header",
        [
            None,
            "",
            "Bearer",
            "Bearer ",
            "Bearer s3cret",
            "Basic s3cret",
            "s3cret-\u00fcn\u00efcode",
        ],
    )
    @pytest.mark.parametrize("path", ["/v1/hosts", "/v1/vms", "/nowhere", "/metrics"])
    def test_401(self, api: Api, header: str | None, path: str) -> None:
        request = Request.blank(path)
        if header is not None:
            request.environ["HTTP_AUTHORIZATION"] = header
        response = request.get_response(api)
        assert response.status_int == 401
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="vxlan-l2"')
        assert response.content_type == "application/problem+json"

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
    def test_known(self, api: Api, scheme: str) -> None:
        request = Request.blank("/v1/hosts")
        token = "s3cret-ünïcode".encode().decode("latin-1")
        request.environ["HTTP_AUTHORIZATION"] = f"{scheme} {token}"
        assert request.get_response(api).status_int == 200

    @pytest.mark.parametrize("path", ["/healthz", "/readyz"])
    def test_health_is_public(self, api: Api, path: str) -> None:
        assert Request.blank(path).get_response(api).status_int == 200

    def test_empty_token_is_refused(self, fabric: Any) -> None:
        with pytest.raises(ValueError, match="empty API token"):
            Api(fabric, "1", token="")


def test_fault_of_ours_is_a_500_that_tells_nothing(
    fabric: Any, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fabric.flow_views = None
    response = Request.blank("/v1/hosts/hv-1/flows").get_response(Api(fabric, "1"))
    assert response.status_int == 500
    assert "NoneType" not in response.text
    assert "NoneType" in caplog.text


ANY_TEXT = st.text(max_size=20)
FIELDS = [
    *("mac", "vni", "host", "ips", "name", "vtep", "tunnel_ports", "vlan", "vnis", "macs"),
    *("hosts", "subnets", "dhcp", "gateway", "dns", "mtu", "lease_s"),
]
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.just("hv-1"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS) | ANY_TEXT,
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
QUIET = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUIET
@given(
    # An answer that does not end is test_events.py's.
    route=st.sampled_from([route for route in ROUTES if route.path != "/v1/events"]),
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE"]),
    parts=st.lists(st.binary(max_size=12), min_size=3, max_size=3),
    possible=st.booleans(),
    query=st.binary(max_size=30),
    body=ANY_JSON,
)
def test_no_request_is_a_500(
    client: Any,
    route: Any,
    method: str,
    parts: list[bytes],
    possible: bool,
    query: bytes,
    body: Any,
) -> None:
    """Any bytes in the path and query, any JSON in the body."""
    path = route.path
    if possible:  # so that bodies and queries have their turn
        parts, query = [b"0000000000000099", b"0", b"10.1.1.9"], b""
    host, vni, end = parts
    filled = {
        "{host}": host,
        "{vni}": vni,
        "{mac}": MAC1.encode() if possible else end,
        "{ip}": end,
    }
    for name, part in filled.items():
        path = path.replace(name, part.decode("latin-1"))
    environ = {"PATH_INFO": path, "QUERY_STRING": query.decode("latin-1")}
    sent = body if method in ("POST", "PUT") else None
    assert client(method, "/", sent, **environ).status_int < 500


@QUIET
@given(body=st.binary(max_size=60), kind=st.sampled_from(["json", "x-ndjson", "msgpack"]))
def test_no_batch_is_a_500(client: Any, body: bytes, kind: str) -> None:
    content_type = f"application/{kind}"
    assert client.post("/v1/vms/batch", body, content_type=content_type).status_int < 500


def test_everything_is_still_there_after_a_restart(
    client: Any, fabric: Any, tmp_path: Path
) -> None:
    client.put("/v1/networks/100", {"vlan": 10, "name": "blue", "hosts": ["hv-2"]})
    client.post("/v1/vms", VM)
    client.delete("/v1/hosts/hv-3")
    client.put("/v1/vteps/192.168.33.20", {"vnis": [100], "name": "rack"})
    client.post("/v1/vms", {"mac": MAC1, "vni": 100, "host": "rack"})
    client.put("/v1/vips/100/10.1.1.9", {"macs": [MAC1]})
    lists = [f"/v1/{name}" for name in ("hosts", "networks", "vms", "vteps", "vips")]
    before = [client.get(path).json_body for path in lists]
    assert [page["total"] for page in before] == [2, 2, 2, 1, 1]
    fabric.stop()
    fabric.store.close()
    assert sqlite3.connect(tmp_path / "state.db").execute("SELECT count(*) FROM facts")
    assert os.path.exists(tmp_path / "state.db")
    fabric.store.open()
    again = type(fabric)(fabric.store)
    again.start()
    fresh = type(client)(Api(again, "1"))
    after = [fresh.get(path).json_body for path in lists]
    again.stop()
    fabric.start()
    assert after == before
