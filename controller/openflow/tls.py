"""OpenFlow over TLS: who is let in, and sockets that wait as plain ones do.

A connection is encrypted in memory, and its socket is read and written by whoever reads and writes
a plain one, in the same two places. So nothing in TLS (key updates, alerts, a handshake that never
ends) can wait for a socket by itself, and a switch that does not read delays nobody.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket as sockets
import ssl
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from controller.certificates import Certificate
from topology.errors import VxlanError
from topology.types import Fingerprint

LOG = logging.getLogger("vxlan_l2.openflow")

LOOK_EVERY_S: Final = 1.0
SEAL_BYTES: Final = 64 * 1024
RECORD_BYTES: Final = 16 * 1024  # RFC 8446, 5.1
UNASKED_MAX_BYTES: Final = 64 * 1024

_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
_CRL: Final = b"-----BEGIN X509 CRL-----"
_HANDSHAKE_RECORD: Final = 0x16  # RFC 8446, 5.1
_OPENFLOW_VERSIONS: Final = range(1, 7)

_WORDS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it presents no certificate; give it one by set-ssl",
    "UNSUPPORTED_PROTOCOL": "it speaks neither TLS 1.2 nor 1.3",
    "NO_SHARED_CIPHER": "it has no cipher in common: none with ECDHE and AES-GCM or ChaCha20",
}


class CannotSecure(VxlanError):
    """Keys and certificates that cannot be used."""


class NotSecured(OSError):
    """A TLS connection that does not come about, or breaks; says why in words."""


class Tls:
    """What switches connect with: read from files, and read again when these change.

    ``ca``: who signs the switches' certificates, and maybe (in the same file) what was revoked.
    """

    def __init__(self, key: str, cert: str, ca: str | None) -> None:
        self._key, self._cert, self._ca = key, cert, ca
        self._looked_s = time.monotonic()
        self._files = self._stamps()
        self._context = self._read()

    def __str__(self) -> str:
        if self._ca is None:
            return "TLS"
        return f"TLS; switches present a certificate that {self._ca} vouches for"

    @property
    def asks(self) -> bool:
        """Whether switches have to present a certificate."""
        return self._ca is not None

    def wrap(self, socket: Any) -> TlsSocket:
        """A socket that was accepted; its handshake is still to be done."""
        self._look()
        return TlsSocket(socket, self._context)

    def _look(self) -> None:
        """Take new files for new connections; those that are there go on with the old ones."""
        now_s = time.monotonic()
        if now_s < self._looked_s + LOOK_EVERY_S:
            return
        self._looked_s = now_s
        files = self._stamps()
        if files == self._files:
            return
        self._files = files
        try:
            self._context = self._read()
        except CannotSecure as error:
            LOG.error("new keys and certificates are not used, the former ones are: %s", error)
        else:
            LOG.info("keys and certificates were read anew, for switches that connect from now on")

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(name) for name in (self._key, self._cert, self._ca) if name is not None]

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        # A resumed session would not look at the certificate again.
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
        context.num_tickets = 0
        with _named("ctl_cert", self._cert), open(self._cert, "rb"):
            pass
        with _named("ctl_privkey", self._key), open(self._key, "rb"):
            pass
        with _named("ctl_privkey and ctl_cert", f"{self._key}, {self._cert}"):
            context.load_cert_chain(self._cert, self._key, password=_no_password)
        if self._ca is not None:
            with _named("ca_certs", self._ca):
                context.load_verify_locations(self._ca)
                if _CRL in Path(self._ca).read_bytes():
                    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class TlsSocket:
    """The controller's end of a TLS connection, over a green socket.

    ``fd`` reads and writes without waiting, as a plain socket's does: recv and sendmsg raise
    BlockingIOError where they would have to. What sendmsg has not reported as sent has to be given
    to it again, as its first bytes.
    """

    def __init__(self, socket: Any, context: ssl.SSLContext) -> None:
        self._socket = socket
        self._plain = socket.fd
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._sealed = memoryview(b"")
        self._taken = 0  # bytes that are in what is sealed, and not reported as sent
        self.certificate: Certificate | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    @property
    def fd(self) -> TlsSocket:
        return self

    @property
    def plain(self) -> Any:
        """The socket below, without any waiting."""
        return self._plain

    def do_handshake(self) -> None:
        """Wait until both know each other; NotSecured says why not."""
        begun = False
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                done = False
            except ssl.SSLError as error:
                with contextlib.suppress(OSError):
                    self._socket.sendall(self._out.read())  # the alert that tells it why
                raise NotSecured(_in_words(error)) from error
            else:
                done = True
            self._socket.sendall(self._out.read())
            if done:
                break
            data = self._socket.recv(RECORD_BYTES)
            if not data:
                raise NotSecured("it hung up in the TLS handshake")
            if not begun and data[0] != _HANDSHAKE_RECORD:
                raise NotSecured(_no_tls(data))
            begun = True
            self._in.write(data)
        self.certificate = _certificate(self._tls)

    def recv(self, most: int, flags: int = 0) -> bytes:
        """Up to so many bytes, all that there are by now; empty when the connection has ended.

        With MSG_PEEK these are encrypted: they tell only whether it has ended.
        """
        if flags & sockets.MSG_PEEK:
            return bytes(self._plain.recv(most, flags))
        parts: list[bytes] = []
        size = read = 0
        while size < most:
            try:
                part = self._tls.read(min(most - size, RECORD_BYTES))
                if not part:
                    break  # it said goodbye (close_notify), and goes on saying so
                parts.append(part)
                size += len(part)
                continue
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                break
            except ssl.SSLError as error:
                raise NotSecured(_in_words(error)) from error
            try:
                if read >= most:  # of records that say nothing there may be no end: others' turn
                    raise BlockingIOError
                data = self._plain.recv(SEAL_BYTES)
            except BlockingIOError:
                if parts:
                    break
                raise
            if not data:
                break
            read += len(data)
            self._in.write(data)
            self._answer()
        return b"".join(parts)

    def sendmsg(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Send some of these bytes; how many, and 0 if none of them were left to send."""
        self._push()
        if not self._taken:
            data = _beginning(buffers)
            self._tls.write(data)
            self._seal(len(data))
            self._push()
        taken, self._taken = self._taken, 0
        return taken

    def send(self, data: bytes) -> int:
        return self.sendmsg([data])

    def shutdown(self, how: int) -> None:
        if how != sockets.SHUT_RD and self._tls.version() is not None:
            with contextlib.suppress(OSError):
                self._tls.unwrap()  # writes close_notify (RFC 8446, 6.1), and would wait for theirs
            with contextlib.suppress(OSError):
                self._answer()
        self._socket.shutdown(how)

    def _answer(self) -> None:
        """What TLS itself has to say; where the socket is full it goes with what is sent next."""
        if self._out.pending > UNASKED_MAX_BYTES:
            raise NotSecured("it has TLS answer, and does not read")
        if self._out.pending and not self._sealed:
            self._seal(0)
            with contextlib.suppress(BlockingIOError):
                self._push()

    def _seal(self, taken: int) -> None:
        self._sealed, self._taken = memoryview(self._out.read()), taken

    def _push(self) -> None:
        while self._sealed:
            self._sealed = self._sealed[self._plain.send(self._sealed) :]


def _stamp(name: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextlib.contextmanager
def _named(option: str, files: str) -> Iterator[None]:
    """An error says which option it is about."""
    try:
        yield
    except ssl.SSLError as error:
        raise CannotSecure(f"{option} ({files}): {_reason(error)}") from error
    except OSError as error:
        raise CannotSecure(f"{option}: {files}: {error.strerror or error}") from error
    except ValueError as error:
        raise CannotSecure(f"{option} ({files}): {error}") from error


def _no_password() -> str:
    raise ValueError("the key has a passphrase, and nobody is here to type it")


def _beginning(buffers: Sequence[bytes | memoryview]) -> bytes:
    """The first of these bytes, not too many to be sealed at once."""
    found, size = [], 0
    for buffer in buffers:
        found.append(memoryview(buffer)[: SEAL_BYTES - size])
        size += len(found[-1])
        if size == SEAL_BYTES:
            break
    return b"".join(found)


def _certificate(tls: ssl.SSLObject) -> Certificate | None:
    der = tls.getpeercert(binary_form=True)
    if der is None:
        return None
    told: dict[str, Any] = tls.getpeercert() or {}
    names = [
        value for part in told.get("subject", ()) for name, value in part if name == "commonName"
    ]
    names += [value for kind, value in told.get("subjectAltName", ()) if kind in ("DNS", "URI")]
    return Certificate(Fingerprint.unpack(hashlib.sha256(der).digest()), tuple(names))


def _in_words(error: ssl.SSLError) -> str:
    """Why a connection failed, for whoever reads the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    name = str(error.reason)
    if name in _WORDS:
        return _WORDS[name]
    _, alert, said = name.partition("_ALERT_")
    if alert:
        said = said.lower().replace("_", " ")
        return f"it refuses TLS with the controller, maybe its certificate: {said}"
    return f"TLS failed: {_reason(error)}"


def _reason(error: ssl.SSLError) -> str:
    return str(error.reason or error.strerror or error).lower().replace("_", " ")


def _no_tls(data: bytes) -> str:
    if data[0] in _OPENFLOW_VERSIONS and data[1:2] == b"\0":
        return "it speaks OpenFlow without TLS, which is wanted here: set-controller ssl:..."
    return f"it does not speak TLS, it says {data[:12]!r}"
