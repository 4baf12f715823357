"""The REST port under clients that are slow, many, or not who they should be."""

from __future__ import annotations

import os
import re
import resource
import socket
import ssl
import subprocess
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.apps.process import BIN, ROOT, Running, running

HANG_S = 60.0
HOST = b"Host: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
VM = {"mac": "52:54:00:00:00:01", "host": "hv-1"}

SLOW = {
    "idle": b"",
    "head": b"GET /v1/hosts HT",
    "body": b"POST /v1/vms HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: 1000\r\n\r\n{",
    "chunk": b"POST /v1/vms/batch HTTP/1.1\r\n"
    + (HOST + JSON + b"Transfer-Encoding: chunked\r\n\r\n5\r\n[{"),
    "events": b"GET /v1/events HTTP/1.1\r\n" + HOST + b"\r\n",
    "export": b"GET /v1/export HTTP/1.1\r\n" + HOST + b"\r\n",
    "kept": b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
}


def port_of(controller: Running) -> int:
    return int(controller.url.rpartition(":")[2])


def visit(port: int, sent: bytes = b"") -> socket.socket:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(HANG_S)
    client.connect(("127.0.0.1", port))
    client.sendall(sent)
    return client


def read_all(client: socket.socket) -> bytes:
    answer = b""
    while some := client.recv(1 << 16):
        answer += some
    return answer


@contextmanager
def narrow(directory: Path, files: int, **options: object):
    """A controller that may have so many files open."""
    script = directory / "narrow"
    command = f'ulimit -n {files}\nexec {BIN}/ryu-manager "$@"\n'
    script.write_text("#!/bin/sh\n" + command, encoding="ascii")
    script.chmod(0o755)
    argv = (str(script), str(ROOT / "apps" / "vxlan_l2.py"))
    with running(directory, argv=argv, **options) as controller:
        yield controller


def test_who_takes_every_connection_and_uses_none_makes_room(tmp_path):
    """128 files: 32 connections. Twice as many of each kind come and stay."""
    with narrow(tmp_path, 128) as controller, ExitStack() as clients:
        host = {"name": "hv-1", "vtep": "192.168.33.11"}
        assert controller("PUT", "/v1/hosts/0000000000000011", host).status == 201
        for number, sent in enumerate(SLOW.values()):
            for _ in range(64):
                clients.enter_context(visit(port_of(controller), sent))
            assert controller("GET", "/v1/hosts").status == 200
            vm = {**VM, "mac": f"52:54:00:00:00:{number:02x}"}
            assert controller("POST", "/v1/vms", vm).status == 201
        ended = controller("GET", "/metrics").body
        assert 'vxlan_l2_http_ended_total{reason="too_many"}' in ended
        assert "Traceback" not in controller.log


def test_both_ports_outlive_the_end_of_files(tmp_path):
    """40 files, and more connections on each port than these: others are still answered."""
    with narrow(tmp_path, 40) as controller, ExitStack() as clients:
        for _ in range(30):
            clients.enter_context(visit(controller.openflow_port))
            clients.enter_context(visit(port_of(controller)))
        for _ in range(3):
            assert controller("GET", "/v1/status").status == 200
    with running(tmp_path) as controller:
        assert controller("GET", "/v1/status").status == 200


def test_who_drips_is_told_so(tmp_path):
    """A byte a second is no progress: the time is of all of it, not of each byte."""
    parts = {"head": b"x", "body": b"x", "chunk": b"1\r\nx\r\n"}
    with running(tmp_path) as controller, ExitStack() as stack:
        clients = {
            kind: stack.enter_context(visit(port_of(controller), SLOW[kind])) for kind in parts
        }
        clients["chunk"].sendall(b'"ab')  # what its first chunk lacks
        clients["chunk"].sendall(b"\r\n")
        answers = dict.fromkeys(parts, b"")
        end_s = time.monotonic() + HANG_S
        while not all(answers.values()) and time.monotonic() < end_s:
            time.sleep(1)
            for kind, client in clients.items():
                if not answers[kind]:
                    client.setblocking(False)
                    with suppress(BlockingIOError):
                        client.sendall(parts[kind])
                        answers[kind] = client.recv(4096)
        for kind, answer in answers.items():
            part = "head" if kind == "head" else "body"
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert f"request's {part} did not come".encode() in answer


def test_a_body_that_is_too_large_is_not_waited_for(tmp_path):
    head = b"POST /v1/vms HTTP/1.1\r\n" + HOST + JSON + b"Content-Length: %d\r\n\r\n"
    with running(tmp_path) as controller:
        with visit(port_of(controller), head % 10**11) as client:
            assert client.recv(4096).startswith(b"HTTP/1.1 413 ")
        with visit(port_of(controller), head % (8 << 20)) as client:
            client.sendall(b" " * (8 << 20))  # and yet its answer can be read by who sends it all
            assert read_all(client).startswith(b"HTTP/1.1 413 ")


def test_a_large_batch_is_read_as_it_comes(tmp_path):
    """Of 64 MiB that say nothing, no more than some are ever in memory; others are answered."""
    with running(tmp_path) as controller:
        assert controller("GET", "/v1/vms").status == 200
        before_kb = peak_kb(controller)
        head = b"POST /v1/vms/batch HTTP/1.1\r\nConnection: close\r\n" + HOST + JSON
        head += b"Content-Length: %d\r\n\r\n["
        with visit(port_of(controller), head % (64 << 20)) as client:
            for _ in range(63):
                client.sendall(b" " * (1 << 20))
            assert controller("GET", "/v1/hosts").status == 200
            client.sendall(b"x" + b" " * ((1 << 20) - 2))
            assert read_all(client).startswith(b"HTTP/1.1 400 ")
        assert peak_kb(controller) - before_kb < 16_000


def peak_kb(controller: Running) -> int:
    status = Path(f"/proc/{controller.child.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def test_every_answer_is_guarded_and_none_shows_a_stack(tmp_path):
    with running(tmp_path) as controller:
        for sent in (
            b"GET /healthz HTTP/1.0\r\n\r\n",
            b"GET /none HTTP/1.0\r\n\r\n",
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.0\r\n" + b"X: y\r\n" * 200 + b"\r\n",
            b"BREW /v1/vms HTTP/1.0\r\n\r\n",
        ):
            with visit(port_of(controller), sent) as client:
                answer = read_all(client)
            for header in (b"X-Content-Type-Options: nosniff", b"default-src 'none'"):
                assert header in answer, answer
            assert b"\r\nServer:" not in answer
            assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 4")), answer


# TLS


@pytest.fixture
def certificate(tmp_path):
    """Of localhost, and who signed it: itself."""

    def make(name: str = "localhost") -> None:
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"),
                *("ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")),
            ],
            check=True,
            capture_output=True,
        )

    make()
    return make


def test_rest_over_tls(tmp_path, certificate):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    kept = tmp_path / "first.pem"
    kept.write_bytes(cert.read_bytes())
    trust = ssl.create_default_context(cafile=str(cert))
    with running(tmp_path, {"api_cert": cert, "api_key": key}, tls=trust) as controller:
        assert controller.url.startswith("https://")
        assert f"REST: {controller.url} " in controller.log
        idle = [visit(port_of(controller)) for _ in range(20)]  # no handshake delays another
        assert controller("PUT", "/v1/networks/5", {"vlan": 5}).status == 201
        argv = [str(BIN / "vxlanctl"), "--url", controller.url, "network", "list"]
        env = {**os.environ, "NO_COLOR": "1"}
        refused = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
        assert refused.returncode == 1
        assert "--cacert FILE" in refused.stderr
        trusted = [*argv, "--cacert", str(cert)]
        done = subprocess.run(trusted, capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stderr
        with visit(port_of(controller)) as plain:
            old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
            old.maximum_version = ssl.TLSVersion.TLSv1_1
            with pytest.raises(OSError):  # noqa: PT011 - which one depends on the OpenSSL here
                old.wrap_socket(plain)
        certificate("renewed")
        renewed = ssl.create_default_context(cafile=str(cert))
        end_s = time.monotonic() + HANG_S
        while "REST's certificate: renewed" not in controller.log and time.monotonic() < end_s:
            time.sleep(0.2)
        with urllib.request.urlopen(
            f"{controller.url}/healthz", context=renewed, timeout=HANG_S
        ) as answer:
            assert answer.status == 200
        for each in idle:
            each.close()


# Tokens, names, origins


def test_tokens_by_what_they_may(tmp_path):
    full, read = tmp_path / "token", tmp_path / "read-token"
    full.write_text("writes\n", encoding="ascii")
    read.write_text("reads\n", encoding="ascii")
    options = {"api_token_file": full, "api_read_token_file": read}
    with running(tmp_path, options) as controller:
        controller.token = "reads"
        assert controller("GET", "/v1/export").status == 200
        refused = controller("PUT", "/v1/networks/5", {"vlan": 5})
        assert (refused.status, refused.body["title"]) == (403, "Forbidden")
        controller.token = "wrong"
        statuses = [controller("GET", "/v1/hosts").status for _ in range(12)]
        assert statuses == [401] * 12
        assert controller.log.count("127.0.0.1 sends wrong API tokens: 11 in 60 s") == 1
        controller.token = "writes"
        assert controller("PUT", "/v1/networks/5", {"vlan": 5}).status == 201
        full.write_text("renewed\n", encoding="ascii")
        end_s = time.monotonic() + HANG_S
        while "REST's tokens: renewed" not in controller.log and time.monotonic() < end_s:
            time.sleep(0.2)
        assert controller("GET", "/v1/hosts").status == 401
        controller.token = "renewed"
        assert controller("GET", "/v1/hosts").status == 200
        shown = str(controller("GET", "/v1/status").body) + controller("GET", "/metrics").body
        for secret in ("reads", "writes", "renewed"):
            assert f'"{secret}"' not in shown
            assert not re.search(rf"\b{secret}\b(?! from)", controller.log)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Host: localhost:1\r\n", 422),
        (b"Host: [::1]:8080\r\n", 422),
        (b"Host: 192.0.2.1\r\n", 422),
        (b"Host: VXLAN.example.com.\r\n", 422),
        (b"Host: evil.example\r\n", 421),
        (b"Host: 192.0.2.1.evil.example\r\n", 421),
        (b"Host: localhost@evil.example\r\n", 421),
        (b"Host: localhost\r\nOrigin: http://localhost\r\n", 422),
        (b"Host: 10.0.0.1\r\nOrigin: https://vxlan.example.com\r\n", 422),
        (b"Host: localhost:8080\r\nOrigin: http://localhost:3000\r\n", 403),
        (b"Host: localhost\r\nOrigin: null\r\n", 403),
        (b"Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", 403),
        (b"Host: localhost\r\nSec-Fetch-Site: same-origin\r\n", 422),
    ],
)
def test_pages_of_others_write_nothing(named, headers, status):
    call = b"POST /v1/vms HTTP/1.1\r\n" + headers + JSON + b"Content-Length: 2\r\n"
    with visit(port_of(named), call + b"Connection: close\r\n\r\n{}") as client:
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert (b"api_hosts" in answer) == (status == 421)


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    with running(tmp_path_factory.mktemp("named"), {"api_hosts": "vxlan.example.com"}) as one:
        yield one


def test_files_enough_for_this():
    """Else the tests above would fail for want of files here, not there."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 256
