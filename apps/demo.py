"""``make demo``: three hosts with hand-made flows, taken over under running pings.

Every line of the ledger is measured while it is shown; the exit status is 0 only if all held.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from topology.lab import Fabric, Lab
from topology.lab.errors import LabError
from topology.lab.ping import Ping

TAKEOVER = Path(__file__).resolve().parents[1] / "contrib" / "takeover.sh"
CALM_S = 1.0


@dataclass
class Ledger:
    """What was claimed and what was seen; ``console`` shows each as it comes."""

    console: Console
    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def step(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/bold]")

    def note(self, text: str) -> None:
        self.console.print(f"  {text}")

    def claim(self, what: str, seen: str, held: bool) -> None:
        self.rows.append((what, seen, held))
        self.console.print(f"  {_mark(held)} {what}: [bold]{seen}[/bold]")

    @property
    def held(self) -> bool:
        return all(held for _what, _seen, held in self.rows)

    def show(self) -> None:
        table = Table(title="The ledger", title_justify="left", title_style="bold")
        table.add_column("what was claimed")
        table.add_column("what was seen", justify="right")
        table.add_column("")
        for what, seen, held in self.rows:
            table.add_row(what, seen, _mark(held))
        self.console.print()
        self.console.print(table)


def _mark(held: bool) -> str:
    return "[green]✓[/green]" if held else "[red]✗[/red]"


def _everybody_pings(lab: Lab) -> tuple[int, int]:
    """(pairs that answered, pairs)."""
    results = lab.ping_all(count=2, interval_s=0.05)
    return sum(result.ok for result in results.values()), len(results)


def _cold_start(lab: Lab) -> tuple[int, int, int]:
    """(pairs that answered, pairs, copies of ARP requests on the underlay), from cold caches."""
    lab.flush_arp()
    with lab.capture() as capture:
        answered, pairs = _everybody_pings(lab)
        time.sleep(CALM_S)
    return answered, pairs, len(capture.arp_requests())


def _start_pings(lab: Lab, interval_s: float) -> list[Ping]:
    """Each VM pings the next, all the time."""
    vms = lab.vms
    return [vm.ping_start(vms[at - 1].ip, interval_s=interval_s) for at, vm in enumerate(vms)]


def _finish(pings: list[Ping]) -> tuple[int, int]:
    """(packets lost, packets sent) of all of them."""
    results = [ping.finish() for ping in pings]
    return sum(result.lost for result in results), sum(result.sent for result in results)


def _before(lab: Lab, ledger: Ledger) -> int:
    ledger.step("Before: flows made by hand; each host learn()s for itself")
    lab.seed_flows()
    lab.warm_underlay()
    answered, pairs, copies = _cold_start(lab)
    ledger.note(f"{len(lab.hosts)} hosts, {len(lab.vms)} VMs, ARP caches cold")
    ledger.note(f"{answered} of {pairs} pairs ping")
    ledger.note(f"{copies} copies of broadcast ARP requests crossed the underlay")
    return copies


def _take_over(fabric: Fabric, ledger: Ledger) -> None:
    lab = fabric.lab
    ledger.step("The controller takes over, while every VM pings another 100 times a second")
    ready_s = fabric.controller.start()
    ledger.note(f"ryu-manager apps/vxlan_l2.py is ready after {ready_s:.1f} s")
    pings = _start_pings(lab, 0.01)
    time.sleep(CALM_S)
    for host in lab.hosts:
        ledger.note(f"{host.name}: contrib/takeover.sh br-tun {fabric.controller.target}")
        host.exec(str(TAKEOVER), "br-tun", fabric.controller.target)
    fabric.wait_settled()
    time.sleep(CALM_S)
    lost, sent = _finish(pings)
    ledger.claim("pings lost in the takeover", f"{lost} of {sent}", lost == 0)
    learns = sum("learn(" in flow for host in lab.hosts for flow in host.dump_flows())
    ledger.claim("learn() flows left", str(learns), learns == 0)


def _register(fabric: Fabric, ledger: Ledger, copies_before: int) -> None:
    lab = fabric.lab
    ledger.step("The VMs are registered over REST: POST /v1/vms?wait=10")
    began_s = time.monotonic()
    everywhere = 0
    for vm in lab.vms:
        answer = fabric.register(vm)
        applied = answer["applied"]
        done = answer.status == 201 and applied["hosts"] == applied["of"] == len(lab.hosts)
        everywhere += done
        ledger.note(
            f"{vm.name} {vm.mac} {vm.ip}: {answer.status},"
            f" on {applied['hosts']} of {applied['of']} hosts"
        )
    took_ms = (time.monotonic() - began_s) * 1000 / len(lab.vms)
    ledger.note(f"{took_ms:.0f} ms each: on disk, and confirmed by every switch")
    seen = f"{everywhere} of {len(lab.vms)}"
    ledger.claim("registrations on every host", seen, everywhere == len(lab.vms))

    ledger.step("After: ARP caches cold again")
    answered, pairs, copies = _cold_start(lab)
    ledger.claim("pairs that ping", f"{answered} of {pairs}", answered == pairs)
    ledger.claim("ARP requests on the underlay", f"{copies}, were {copies_before}", copies == 0)
    copies, sent = _copies_of_a_ping(lab)
    ledger.claim("copies of a packet", f"{copies / sent:.0f}", copies == sent)


def _copies_of_a_ping(lab: Lab) -> tuple[int, int]:
    """(copies of one VM's pings that crossed the underlay, pings sent)."""
    one, two, *_rest = lab.vms
    with lab.capture() as capture:
        result = one.ping(two.ip, count=5, interval_s=0.02)
    return sum(seen.ip_dst == two.ip for seen in capture.vxlan()), result.sent


def _kill(fabric: Fabric, ledger: Ledger) -> None:
    ledger.step("The controller is killed (-9) and started again, while the VMs ping")
    vms_before = fabric.rest.items("/v1/vms")
    pings = _start_pings(fabric.lab, 0.02)
    time.sleep(CALM_S)
    fabric.controller.kill()
    ledger.note("killed: the switches carry on alone")
    time.sleep(3 * CALM_S)
    ready_s = fabric.controller.start()
    fabric.wait_settled(20)
    ledger.note(f"ready again after {ready_s:.1f} s, and every host is in hand")
    time.sleep(CALM_S)
    lost, sent = _finish(pings)
    ledger.claim("pings lost while it was away", f"{lost} of {sent}", lost == 0)
    vms = fabric.rest.items("/v1/vms")
    kept = sum(vm in vms for vm in vms_before)
    ledger.claim("registrations kept", f"{kept} of {len(vms_before)}", vms == vms_before)
    ledger.claim("hosts hold what they should", "by their own dumps", fabric.in_sync())


def main() -> int:
    """Run the demo; 0 when every claim held, 1 when one did not, 130 when interrupted."""
    console = Console(highlight=False)
    ledger = Ledger(console)
    began_s = time.monotonic()
    console.print("[bold]vxlan-l2[/bold]: three hosts with real Open vSwitch, on this machine")
    try:
        with (
            tempfile.TemporaryDirectory(prefix="vxlan-l2-demo-") as directory,
            Lab(hosts=3, name="demo", vtep_ofports=5) as lab,
        ):
            fabric = Fabric(lab, Path(directory))
            copies = _before(lab, ledger)
            _take_over(fabric, ledger)
            _register(fabric, ledger, copies)
            _kill(fabric, ledger)
    except KeyboardInterrupt:
        console.print("\ninterrupted; everything was taken down again")
        return 130
    except (LabError, OSError, ValueError) as error:
        console.print(f"\n[red]the demo could not go on:[/red] {error}")
        return 1
    ledger.show()
    verdict = "All of it held" if ledger.held else "[red]Not all of it held[/red]"
    console.print(f"{verdict}. {time.monotonic() - began_s:.0f} s, and nothing is left behind.")
    return 0 if ledger.held else 1


if __name__ == "__main__":
    sys.exit(main())
