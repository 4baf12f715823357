"""See what is on the wire: tcpdump in a namespace, its file read by us."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from topology.lab import netns, pcap
from topology.lab.dissect import ETH_ARP, Frame
from topology.lab.errors import LabError
from topology.lab.frame import ARP_REQUEST
from topology.lab.ovs import wait_until
from topology.lab.process import Processes

#: the default filter: the overlay's packets and ARP, not the OpenFlow sessions
OVERLAY = "udp port 4789 or udp port 6081 or ip proto 47 or arp"
_DROPPED = re.compile(r"(\d+) packets? dropped by kernel")
_SETTLED_S = 0.06


class Capture:
    """Frames as they enter the underlay (each once), or as one interface sees them.

    A context manager; the counts may be asked for during and after it. With `ports` (interface
    index -> name) it captures on all interfaces of the namespace what comes in by those; else on
    `link`, both directions.
    """

    def __init__(
        self,
        netns_name: str,
        file: Path,
        processes: Processes,
        ports: Mapping[int, str],
        link: str = "any",
        expression: str = OVERLAY,
    ) -> None:
        self._netns = netns_name
        self._file = file
        self._log = file.with_suffix(".out")
        self._processes = processes
        self._ports = dict(ports)
        self._link = link
        self._expression = expression
        self._child: subprocess.Popen[bytes] | None = None
        self._data = b""

    def __enter__(self) -> Capture:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Return when tcpdump listens."""
        where = ["-i", "any", "-y", "LINUX_SLL2", "-Q", "in"] if self._ports else ["-i", self._link]
        argv = ["tcpdump", "-n", "-U", "--immediate-mode", "-B", "16384", "-s", "512", "-Z", "root"]
        argv += [*where, "-w", str(self._file), self._expression]
        self._child = self._processes.start(netns.argv_in(self._netns, argv), self._log)
        wait_until(self._listens, f"tcpdump in {self._netns}")

    def stop(self) -> None:
        """Wait until no more comes in, then stop; LabError if frames were missed."""
        if self._child is None:
            return
        self._settle()
        self._processes.end(self._child, signal.SIGINT)
        self._child = None
        self._data = self._file.read_bytes() if self._file.exists() else b""
        said = self._log.read_text(encoding="utf-8", errors="replace")
        self._file.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        dropped = _DROPPED.search(said)
        if dropped is None or int(dropped[1]) > 0:
            raise LabError(f"the capture is not complete: {said.strip()[-200:]}")

    # -- what was seen ---------------------------------------------------------------------

    def frames(self) -> list[Frame]:
        """Everything so far, in order."""
        if self._child is not None:
            self._settle()
            self._data = self._file.read_bytes()
        return list(pcap.read(self._data, self._ports, self._link))

    def tunnelled(self, vni: int | None = None) -> list[Frame]:
        """Frames (of one network) inside VXLAN, GRE or Geneve."""
        return [
            seen for seen in self.frames() if seen.is_tunnelled and (vni is None or seen.vni == vni)
        ]

    #: the name of the time when there was only VXLAN
    vxlan = tunnelled

    def arp(self, vni: int | None = None) -> list[Frame]:
        """ARP packets in a tunnel, of any kind."""
        return [seen for seen in self.tunnelled(vni) if seen.eth_type == ETH_ARP]

    def arp_requests(self, vni: int | None = None) -> list[Frame]:
        """Broadcast ARP requests in a tunnel: one for each VTEP that one was flooded to."""
        return [seen for seen in self.arp(vni) if seen.arp_op == ARP_REQUEST and seen.is_multicast]

    def unicast_to(self, vtep: str, vni: int | None = None) -> list[Frame]:
        """Encapsulated unicast frames sent to that VTEP."""
        return [
            seen for seen in self.tunnelled(vni) if seen.outer_dst == vtep and not seen.is_multicast
        ]

    def unicast(self, eth_dst: str, vni: int | None = None) -> list[Frame]:
        """Encapsulated frames to that MAC; more copies than frames sent mean flooding."""
        return [seen for seen in self.tunnelled(vni) if seen.eth_dst == eth_dst]

    # -- tcpdump ---------------------------------------------------------------------------

    def _listens(self) -> bool:
        if self._child is not None and self._child.poll() is not None:
            said = self._log.read_text(encoding="utf-8", errors="replace")
            raise LabError(f"tcpdump ended: {said.strip()}")
        return self._log.exists() and b"listening on" in self._log.read_bytes()

    def _settle(self, timeout_s: float = 1.0) -> None:
        """Return when the file has not grown for a moment; traffic that goes on is cut off."""
        deadline_s = time.monotonic() + timeout_s
        size = -1
        while time.monotonic() < deadline_s:
            now = self._file.stat().st_size if self._file.exists() else 0
            if now == size:
                return
            size = now
            time.sleep(_SETTLED_S)


def on_ports(
    netns_name: str, file: Path, processes: Processes, ports: Mapping[str, str], expression: str
) -> Capture:
    """A capture of what comes in by these ports (link name -> name to report)."""
    indexes = netns.link_indexes(netns_name)
    by_index = {indexes[link]: who for link, who in ports.items()}
    return Capture(netns_name, file, processes, by_index, expression=expression)
