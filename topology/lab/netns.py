"""Network namespaces and the links in them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from topology.lab.command import run
from topology.lab.errors import LabError

_DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
# A userspace datapath loses half of a burst of thousands; at 4,000 a second hardly any.
_BATCH_FRAMES = 16
_BATCH_PAUSE_S = 0.004

T = TypeVar("T")


def exists(name: str) -> bool:
    return (_DIRECTORY / name).exists()


def add(name: str) -> None:
    run("ip", "netns", "add", name)
    ip(name, "link set lo up")


def delete(name: str) -> None:
    """Delete the namespace and, with it, every link in it."""
    if exists(name):
        run("ip", "netns", "del", name)


def argv_in(name: str, argv: Iterable[str]) -> list[str]:
    """The command line that runs `argv` in the namespace (same pid: ip execs it)."""
    return ["ip", "netns", "exec", name, *argv]


def ip(name: str | None, *lines: str) -> None:
    """Run ip(8) lines, in one batch, in the namespace (None: the caller's own)."""
    prefix = [] if name is None else ["-n", name]
    run("ip", *prefix, "-batch", "-", stdin="\n".join(lines) + "\n")


def delete_link(link: str) -> None:
    """Delete a link of the caller's namespace if it is there."""
    run("ip", "link", "del", link, check=False)


def tx_checksum_off(name: str | None, *links: str) -> None:
    """Make the kernel fill in checksums: Open vSwitch's userspace datapath does not."""
    for link in links:
        argv = ["ethtool", "-K", link, "tx", "off"]
        run(*(argv if name is None else argv_in(name, argv)))


def inside(name: str | None, work: Callable[[], T]) -> T:
    """Result of `work`, called by a thread that has entered the namespace."""
    if name is None:
        return work()
    results: list[T] = []
    errors: list[BaseException] = []

    def enter_and_work() -> None:
        try:
            handle = os.open(_DIRECTORY / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(handle, _CLONE_NEWNET) != 0:
                    code = ctypes.get_errno()
                    raise LabError(f"setns {name}: {os.strerror(code)}")
            finally:
                os.close(handle)
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter_and_work, name=f"in-{name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def write_sysctl(name: str, key: str, value: str) -> None:
    """Set net.KEY (slashes between its parts) in the namespace; no sysctl(8) needed."""
    path = Path("/proc/sys/net") / key

    def write() -> None:
        with contextlib.suppress(FileNotFoundError):
            path.write_text(value, encoding="ascii")

    inside(name, write)


def send_frames(name: str, link: str, frames: Iterable[bytes]) -> None:
    """Send raw Ethernet frames out of the link, many of them no faster than a switch reads."""

    def send() -> None:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL)) as sock:
            sock.bind((link, 0))
            for index, frame in enumerate(frames, 1):
                sock.send(frame)
                if index % _BATCH_FRAMES == 0:
                    time.sleep(_BATCH_PAUSE_S)

    inside(name, send)


def link_indexes(name: str) -> dict[str, int]:
    """Link name -> interface index in the namespace."""
    return inside(name, lambda: {link: index for index, link in socket.if_nameindex()})


def mac_of(name: str, link: str) -> str:
    """The link's MAC address, aa:bb:cc:dd:ee:ff."""
    words = run("ip", "-n", name, "-o", "link", "show", "dev", link).split()
    return words[words.index("link/ether") + 1]
