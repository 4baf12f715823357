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
        mark = "[green]yes[/green]" if held else "[red]NO[/red]"
        self.console.print(f"  {what}: [bold]{seen}[/bold] {mark}")

    @property
    def held(self) -> bool:
        return all(held for _what, _seen, held in self.rows)

    def show(self) -> None:
        table = Table(title="\nThe ledger", title_justify="left", title_style="bold")
        table.add_column("claim")
        table.add_column("seen", justify="right")
        table.add_column("held")
        for what, seen, held in self.rows:
            table.add_row(what, seen, "[green]yes[/green]" if held else "[red]NO[/red]")
        self.console.print(table)


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
    ledger.step("Before: the hand-made flows, with learn()")
    lab.seed_flows()
    lab.warm_underlay()
    answered, pairs, copies = _cold_start(lab)
    ledger.note(f"{len(lab.hosts)} hosts, {len(lab.vms)} VMs, {answered} of {pairs} pairs ping")
    ledger.note(f"{copies} copies of broadcast ARP requests crossed the underlay")
    return copies


def _take_over(fabric: Fabric, ledger: Ledger) -> None:
    lab = fabric.lab
    ledger.step("The controller takes over, while every VM pings another 100 times a second")
    ready_s = fabric.controller.start()
    ledger.note(f"ryu-manager apps/vxlan_l2.py was ready in {ready_s:.1f} s")
    pings = _start_pings(lab, 0.01)
    time.sleep(CALM_S)
    for host in lab.hosts:
        host.exec(str(TAKEOVER), "br-tun", fabric.controller.target)
    fabric.wait_settled()
    time.sleep(3 * CALM_S)
    lost, sent = _finish(pings)
    ledger.claim("lost at takeover", f"{lost} of {sent}", lost <= 10 * len(pings))
    learns = sum("learn(" in flow for host in lab.hosts for flow in host.dump_flows())
    ledger.claim("learn() flows left", str(learns), learns == 0)


def _register(fabric: Fabric, ledger: Ledger, copies_before: int) -> None:
    lab = fabric.lab
    ledger.step("The VMs are registered over REST")
    began_s = time.monotonic()
    for vm in lab.vms:
        answer = fabric.register(vm)
        applied = answer["applied"]
        held = answer.status == 201 and applied["hosts"] == applied["of"] == len(lab.hosts)
        seen = f"on {applied['hosts']} of {applied['of']} hosts"
        ledger.claim(f"{vm.name} {vm.mac} {vm.ip}", seen, held)
    took_ms = (time.monotonic() - began_s) * 1000 / len(lab.vms)
    ledger.note(f"{took_ms:.0f} ms each, stored on disk and confirmed by every host")
    ledger.step("After: cold ARP caches again")
    answered, pairs, copies = _cold_start(lab)
    ledger.claim("pairs that ping", f"{answered} of {pairs}", answered == pairs)
    ledger.claim("ARP requests on the underlay", f"{copies} (before: {copies_before})", copies == 0)


def _kill(fabric: Fabric, ledger: Ledger) -> None:
    ledger.step("The controller is killed (-9) and comes back, while the VMs ping")
    vms_before = fabric.rest.items("/v1/vms")
    pings = _start_pings(fabric.lab, 0.02)
    time.sleep(CALM_S)
    fabric.controller.kill()
    ledger.note("killed; the switches carry on alone")
    time.sleep(3 * CALM_S)
    fabric.controller.start()
    fabric.wait_settled(20)
    time.sleep(CALM_S)
    lost, sent = _finish(pings)
    ledger.claim("lost while it was away", f"{lost} of {sent}", lost == 0)
    kept = fabric.rest.items("/v1/vms") == vms_before
    ledger.claim("registrations kept", f"{len(vms_before)} of {len(vms_before)}", kept)
    ledger.claim("hosts hold what they should", "by their own dumps", fabric.in_sync())


def main() -> int:
    """Run the demo; 0 when every claim held, 1 when one did not, 130 when interrupted."""
    console = Console(highlight=False)
    ledger = Ledger(console)
    console.print("[bold]vxlan-l2[/bold]: three hosts with real Open vSwitch, in namespaces")
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
    except LabError as error:
        console.print(f"\n[red]the demo could not go on:[/red] {error}")
        return 1
    ledger.show()
    console.print("All of it held." if ledger.held else "[red]Not all of it held.[/red]")
    return 0 if ledger.held else 1


if __name__ == "__main__":
    sys.exit(main())
