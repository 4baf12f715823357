"""Switches over TLS: who is let in, who is refused and why, and that none delays another."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess

import pytest

from controller.openflow.tls import CannotSecure, Tls
from tests.apps.process import running
from tests.apps.secured import connected, until
from tests.pki import Authority, Pair, self_signed

ONE, TWO, THREE = 0x11, 0x12, 0x13
NAME = "{:016x}".format


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki") / "ca")


@pytest.fixture(scope="module")
def own(authority):
    return authority.sign("controller")


@pytest.fixture(scope="module")
def files(tmp_path_factory, authority, own):
    """The controller's key, certificate and CA file; tests may change what is in them."""
    place = tmp_path_factory.mktemp("etc")
    pair = Pair(place / "own.key", place / "own.pem")
    shutil.copy(own.key, pair.key)
    shutil.copy(own.cert, pair.cert)
    (place / "ca.pem").write_text(authority.cert.read_text() + authority.crl())
    return pair, place / "ca.pem"


@pytest.fixture(scope="module")
def controller(tmp_path_factory, files):
    pair, ca = files
    tls = [f"--ctl-privkey={pair.key}", f"--ctl-cert={pair.cert}", f"--ca-certs={ca}"]
    with running(tmp_path_factory.mktemp("run"), {"hold_unknown": True}, more=tls) as one:
        for dpid in (ONE, TWO, THREE):
            vtep = f"192.168.33.{dpid}"
            assert one("PUT", f"/v1/hosts/{NAME(dpid)}", {"vtep": vtep}).status == 201
        yield one


@pytest.fixture(autouse=True)
def _no_traceback(controller):
    yield
    assert "Traceback" not in controller.log


def context(authority: Authority, pair: Pair | None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(authority.cert)
    if pair is not None:
        made.load_cert_chain(pair.cert, pair.key)
    return made


def shown(controller, dpid):
    return controller("GET", f"/v1/hosts/{NAME(dpid)}").body


def live(controller, dpid):
    return lambda: shown(controller, dpid)["connected"]


def refusal(controller, port, tls, dpid=TWO):
    """What the log says when such a switch connects; it must be hung up on."""
    before = len(controller.log)
    with contextlib.suppress(OSError), connected(port, dpid, tls) as switch:
        assert switch.ended.wait(20)
    pattern = r"WARNING (?:connection from|switch .*? at) 127\.\S*: closed: (.*)"
    until(lambda: re.search(pattern, controller.log[before:]) is not None, "the log says why")
    return re.search(pattern, controller.log[before:])[1]


@pytest.fixture(scope="module")
def working(controller, authority):
    """A switch that is served all the while."""
    pair = authority.sign(NAME(ONE))
    with connected(controller.openflow_port, ONE, context(authority, pair)) as switch:
        until(live(controller, ONE), "switch one is served")
        yield switch
        assert not switch.ended.is_set()


def test_the_start_says_what_is_asked_of_switches(controller, files):
    assert f"(TLS; switches present a certificate that {files[1]} vouches for)" in controller.log


def test_what_a_switch_presented_is_shown_and_can_be_bound(controller, authority, working):
    mine, other = authority.sign("compute-2"), authority.sign("compute-2")
    port = controller.openflow_port
    with connected(port, TWO, context(authority, mine)) as switch:
        until(live(controller, TWO), "switch two is served")
        seen = shown(controller, TWO)["certificate_seen"]
        assert seen == mine.fingerprint
        body = {"certificate": seen}
        assert controller("PUT", f"/v1/hosts/{NAME(TWO)}", body).body["certificate"] == seen
        assert live(controller, TWO)()
        body = {"certificate": other.fingerprint}
        assert controller("PUT", f"/v1/hosts/{NAME(TWO)}", body).status == 200
        assert switch.ended.wait(20)
    until(lambda: not live(controller, TWO)(), "switch two is gone")
    said = refusal(controller, port, context(authority, mine))
    assert f"it presents {mine.fingerprint} (compute-2)" in said
    assert f"host {NAME(TWO)} is bound to {other.fingerprint}" in said
    assert controller("PUT", f"/v1/hosts/{NAME(TWO)}", {"certificate": None}).status == 200


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("wrong CA", "its certificate is refused: unable to get local issuer certificate"),
        ("self-signed", "its certificate is refused: self-signed certificate"),
        ("expired", "its certificate is refused: certificate has expired"),
        ("early", "its certificate is refused: certificate is not yet valid"),
        ("server's", "its certificate is refused: unsuitable certificate purpose"),
        ("none", "it presents no certificate"),
        ("another's", f"it says it is {NAME(TWO)}, and its certificate sha256:"),
        ("TLS 1.1", "it speaks neither TLS 1.2 nor 1.3"),
        ("plain", "it speaks OpenFlow without TLS"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_who_cannot_prove_it_is_refused(controller, authority, working, tmp_path, how, said):
    pair = {
        "wrong CA": lambda: Authority(tmp_path / "ca", "another CA").sign(NAME(TWO)),
        "self-signed": lambda: self_signed(tmp_path / "self", NAME(TWO)),
        "expired": lambda: authority.sign(
            NAME(TWO), start="20200101000000Z", end="20200201000000Z"
        ),
        "early": lambda: authority.sign(NAME(TWO), start="20960101000000Z", end="20970101000000Z"),
        "server's": lambda: authority.sign(NAME(TWO), usage="serverAuth"),
        "none": lambda: None,
        "another's": lambda: authority.sign("compute-1", san=f"DNS:{NAME(ONE)}.example"),
        "TLS 1.1": lambda: authority.sign(NAME(TWO)),
        "plain": lambda: None,
    }[how]()
    tls = None if how == "plain" else context(authority, pair)
    if tls is not None and how == "TLS 1.1":
        tls.minimum_version = tls.maximum_version = ssl.TLSVersion.TLSv1_1
        tls.set_ciphers("DEFAULT:@SECLEVEL=0")
    assert said in refusal(controller, controller.openflow_port, tls)
    assert not live(controller, TWO)()
    assert not working.ended.is_set()


def test_a_switch_that_says_goodbye_is_gone(controller, authority, working):
    pair = authority.sign(NAME(TWO))
    with connected(controller.openflow_port, TWO, context(authority, pair)) as switch:
        until(live(controller, TWO), "switch two is served")
        switch.say_goodbye()
        until(lambda: not live(controller, TWO)(), "switch two is gone")
    assert live(controller, ONE)()


def test_new_files_hold_for_new_connections(controller, authority, working, files):
    pair = authority.sign(NAME(TWO))
    port, (own_files, ca) = controller.openflow_port, files
    with connected(port, TWO, context(authority, pair)) as switch:
        until(live(controller, TWO), "switch two is served")
        authority.revoke(pair)
        ca.write_text("no certificate at all")
        until(lambda: not tried(port, authority) and "are not used" in controller.log, "noticed")
        ca.write_text(authority.cert.read_text() + authority.crl())
        renewed = authority.sign("renewed")
        own_files.key.write_bytes(renewed.key.read_bytes())
        own_files.cert.write_bytes(renewed.cert.read_bytes())
        until(lambda: tried(port, authority) == "renewed", "the new certificate is presented")
        assert not switch.ended.is_set()
    until(lambda: not live(controller, TWO)(), "switch two is gone")
    assert refusal(controller, port, context(authority, pair)).endswith("certificate revoked")
    assert not working.ended.is_set()


def tried(port: int, authority: Authority) -> str | None:
    """The name of the controller's certificate, if it is another than at first."""
    raw = socket.create_connection(("127.0.0.1", port), 20)
    with contextlib.suppress(OSError), context(authority, None).wrap_socket(raw) as sock:
        name = dict(part[0] for part in sock.getpeercert()["subject"])["commonName"]
        return None if name == "controller" else name
    return None


def test_who_never_finishes_its_handshake_delays_nobody(controller, authority, working):
    """Nothing said; half a ClientHello; one byte now and then; and one that comes meanwhile."""
    port = controller.openflow_port
    with contextlib.ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(20)
        ]
        hello = _client_hello(authority)
        for number, sock in enumerate(idle[:15]):
            sock.sendall(hello[: 1 + number * 7])
        pair = authority.sign(NAME(TWO))
        for at in range(10):
            idle[14].sendall(hello[99 + at : 100 + at])
            with connected(port, TWO, context(authority, pair)):
                until(live(controller, TWO), "switch two is served beside them")
            until(lambda: not live(controller, TWO)(), "switch two is gone")
        assert not working.ended.is_set()
        for sock in idle:
            sock.settimeout(40)
            with contextlib.suppress(ConnectionError):
                assert sock.recv(1) == b""  # by the deadline of the handshake


def _client_hello(authority: Authority) -> bytes:
    out = ssl.MemoryBIO()
    client = context(authority, None).wrap_bio(ssl.MemoryBIO(), out)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def test_a_switch_that_stops_reading_delays_nobody(controller, authority, working):
    """It is owed more than its socket holds, and gets all of it when it reads again."""
    pair = authority.sign(NAME(TWO))
    items = [
        {"mac": f"52:54:01:00:{n >> 8:02x}:{n & 255:02x}", "host": NAME(ONE), "ips": [ip(n)]}
        for n in range(10000)
    ]
    with connected(controller.openflow_port, TWO, context(authority, pair)) as switch:
        until(live(controller, TWO), "switch two is served")
        switch.reads.clear()
        assert controller("POST", "/v1/vms/batch", items).status == 201
        until(lambda: lagging(controller, items[-1]) == [NAME(TWO)], "only switch two lags")
        assert working.switch.counts.flow_mods > len(items)
        switch.reads.set()
        until(lambda: lagging(controller, items[-1]) == [], "switch two has caught up")
        for dpid in (ONE, TWO):
            assert controller("GET", f"/v1/hosts/{NAME(dpid)}/diff").body["in_sync"]


def lagging(controller, vm):
    """The hosts that have not confirmed a write of this VM, as it is, within a second."""
    answer = controller(
        "PUT", f"/v1/vms/0/{vm['mac']}?wait=1", {"host": vm["host"], "ips": vm["ips"]}
    )
    return [host["host"] for host in answer.body.get("waiting_for", [])]


def ip(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


# -- what cannot be meant --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (["--ctl-privkey={own.key}"], {}, "ctl_privkey and ctl_cert go together"),
        (["--ca-certs={ca}"], {}, "without ctl_privkey and ctl_cert switches would connect"),
        ([], {"bind_certificates": True}, "bind_certificates wants TLS"),
    ],
)
def test_what_cannot_be_meant_ends_the_start(tmp_path, authority, own, arguments, options, said):
    more = [each.format(own=own, ca=authority.cert) for each in arguments]
    refused = pytest.raises(AssertionError, match="cannot start: .*" + said)
    with refused, running(tmp_path, options, more=more):
        pass


@pytest.mark.parametrize(
    ("key", "cert", "ca", "said"),
    [
        (
            "{other.key}",
            "{own.cert}",
            None,
            r"ctl_cert \(.*\): key values mismatch",
        ),
        ("{own.key}", "/nowhere.pem", None, "ctl_cert: /nowhere.pem: No such file"),
        ("/nowhere.key", "{own.cert}", None, "ctl_privkey: /nowhere.key: No such file"),
        ("{locked}", "{own.cert}", None, "the key has a passphrase"),
        ("{own.key}", "{own.cert}", "/nowhere.pem", "ca_certs: /nowhere.pem: No such file"),
        ("{own.key}", "{own.cert}", "{own.key}", r"ca_certs \(.*\): no certificate or crl found"),
    ],
)
def test_files_that_cannot_be_used_are_named(tmp_path, authority, own, key, cert, ca, said):
    locked = tmp_path / "locked.key"
    argv = ["openssl", "pkey", "-in", own.key, "-aes128", "-passout", "pass:sesame"]
    subprocess.run([*argv, "-out", locked], check=True, timeout=60)
    names = {"own": own, "other": authority.sign("other"), "locked": locked}
    with pytest.raises(CannotSecure, match=said):
        Tls(*(None if each is None else each.format(**names) for each in (key, cert, ca)))
