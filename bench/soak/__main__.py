"""``python -m bench.soak --minutes N``: faults at random on a fabric under traffic, until it ends.

Exit status 0 when every invariant held, 1 when one did not, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.soak import faults, invariants
from bench.soak.facts import Facts
from bench.soak.failed import Failed
from bench.soak.faults import Fault
from bench.soak.gauges import Gauges
from bench.soak.world import INTERVAL_S, Stream, Traffic, World, world
from topology.lab import LabError
from topology.lab.ping import PingResult

STALLED = 2
"""Packets that the controls lose in a round from which nothing can be said: the machine stood."""


class Soak:
    """Rounds of churn and one fault each; ``report`` at any time."""

    def __init__(self, on: World, seed: int) -> None:
        self._world = on
        self._random = random.Random(seed)
        self._facts = Facts(on, self._random)
        self._log = invariants.Log(on)
        self._began_s = time.monotonic()
        self.gauges = Gauges()
        self.rounds: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.sent = self.unexpected = self.by_machine = self.unjudged = 0
        self.slowest_s = 0.0
        self.outages_s: dict[str, list[float]] = {}

    def begin(self) -> None:
        self._facts.begin()
        invariants.all_reach(self._world)
        invariants.check(self._world, self._facts, self._log)

    def round(self, name: str) -> None:
        """One fault, by name of its maker; Failed if it costs what it must not."""
        fault = self._fault(name)
        self.rounds[name] += 1
        say(f"{self._elapsed_s():5.0f} s  {fault.text}")
        drifted = invariants.drifts(self._world)
        pid = self._world.fabric.controller.pid
        traffic = Traffic(self._world)
        self._facts.churn(self._random.randint(1, 6), wait=True)
        fault.run(lambda: self._facts.churn(self._random.randint(0, 4), wait=False))
        self.slowest_s = max(self.slowest_s, invariants.settle(self._world))
        self._facts.churn(self._random.randint(1, 4), wait=True)
        time.sleep(0.5)
        self._account(name, fault, traffic.finish())
        invariants.all_reach(self._world)
        invariants.check(self._world, self._facts, self._log)
        same = pid == self._world.fabric.controller.pid
        if same and not fault.drifts and (now := invariants.drifts(self._world)) != drifted:
            raise Failed(f"{fault.text}: {now - drifted} flows had drifted, by nobody")
        self._gauge()

    def _fault(self, name: str) -> Fault:
        if name != "moved":
            return faults.MAKERS[name](self._world, self._random)
        mover = self._world.mover
        assert mover is not None
        to = self._random.choice([host for host in self._world.lab.hosts if host != mover.host])
        return faults.moved(mover, to, self._facts.move)

    def _account(self, name: str, fault: Fault, results: dict[Stream, PingResult]) -> None:
        controls = [
            result.lost
            for stream, result in results.items()
            if stream.is_control and not fault.exposed(stream)
        ]
        stood = sum(controls) >= STALLED
        wrong = []
        worst_s = 0.0
        for stream, result in results.items():
            self.sent += result.sent
            if not result.lost:
                continue
            if fault.exposed(stream):
                self.lost[name] += result.lost
                if not stream.is_control:
                    worst_s = max(worst_s, result.longest_outage_s)
            elif stood or stream.is_control:
                self.by_machine += result.lost
                say(f"         {stream}: {result.lost} of {result.sent} lost, as the controls did")
            else:
                self.unexpected += result.lost
                wrong.append(f"{stream}: {result.lost} of {result.sent}, {result.missing[:5]}")
        self.unjudged += stood
        self.outages_s.setdefault(name, []).append(worst_s)
        if wrong:
            raise Failed(f"{fault.text}, and these lost packets: {'; '.join(wrong)}")

    def _gauge(self) -> None:
        pid = self._world.fabric.controller.pid
        assert pid is not None
        self.gauges.read(self._elapsed_s(), pid)

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def report(self) -> str:
        growth = self.gauges.growth_kib()
        grown = "too short to tell" if growth is None else f"{growth / 1024:+.1f} MiB"
        by_kind = ", ".join(f"{name} {count}" for name, count in sorted(self.rounds.items()))
        lost = ", ".join(f"{name} {count}" for name, count in sorted(self.lost.items())) or "none"
        outages = ", ".join(
            f"{name} {median(all_s):.2f} s {max(all_s):.2f} s"
            for name, all_s in sorted(self.outages_s.items())
        )
        calls = ", ".join(f"{name} {count}" for name, count in sorted(self._facts.calls.items()))
        return "\n".join(
            (
                f"{self.rounds.total()} rounds in {self._elapsed_s():.0f} s: {by_kind}",
                f"pings: {self.sent} sent, one each {INTERVAL_S * 1000:.0f} ms of each stream;"
                f" lost by the fault itself: {lost}",
                f"longest outage of a stream, median and worst of the rounds: {outages}",
                f"lost otherwise: {self.unexpected}; while the machine stood still:"
                f" {self.by_machine}, in {self.unjudged} rounds",
                f"calls: {calls}",
                f"slowest to settle: {self.slowest_s:.1f} s",
                f"checked after each: {', '.join(invariants.named())}",
                f"memory and open files: {grown}; s:MiB/files {self.gauges.curve()}",
            )
        )


def plan(rng: random.Random, tenants: bool) -> list[str]:
    """Every kind of fault once, in some order."""
    names = [*faults.MAKERS, *(["moved"] if tenants else [])]
    rng.shuffle(names)
    return names


def soak(one: Soak, args: argparse.Namespace) -> None:
    """Rounds until time is up, or as many as were asked for."""
    one.begin()
    order = random.Random(args.seed ^ 0x5EED)
    began_s, whole_s = time.monotonic(), args.minutes * 60
    ahead: list[str] = []
    done = 0
    while time.monotonic() - began_s < whole_s and (args.rounds is None or done < args.rounds):
        ahead = ahead or plan(order, args.tunnels == "flow")
        name = ahead.pop()
        late = time.monotonic() - began_s > whole_s / 2
        if args.faults and name not in args.faults:
            continue
        if name in faults.KILLS and late and not args.faults:
            continue  # memory is watched in one process
        one.round(name)
        done += 1
    one.gauges.check()


def say(text: str) -> None:
    print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, help="end after so many, if that is sooner")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--hosts", type=int, default=4)
    parser.add_argument("--tunnels", choices=("flow", "peer"), default="flow")
    kinds = [*faults.MAKERS, "moved"]
    parser.add_argument("--faults", nargs="*", choices=kinds, help="only these, in turns")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))
    again = f"make soak MINUTES={args.minutes:g} SEED={args.seed}"
    more = [f"--hosts {args.hosts}"] * (args.hosts != 4) + ["--tunnels peer"] * (
        args.tunnels == "peer"
    )
    more += [f"--rounds {args.rounds}"] if args.rounds is not None else []
    more += [f"--faults {' '.join(args.faults)}"] if args.faults else []
    again += f' ARGS="{" ".join(more)}"' if more else ""
    say(f"seed {args.seed}")
    with (
        tempfile.TemporaryDirectory(prefix="vxlan-l2-soak-") as directory,
        world(args.hosts, args.tunnels, Path(directory)) as on,
    ):
        one = Soak(on, args.seed)
        try:
            soak(one, args)
        except (Failed, LabError, OSError, ValueError) as error:
            say(on.fabric.controller.log_tail(40))
            say(one.report())
            say(f"FAILED, seed {args.seed}: {error}\nagain: {again}")
            return 1
        except KeyboardInterrupt:
            say(one.report())
            say(f"interrupted; again: {again}")
            return 1
        say(one.report())
    say("every invariant held")
    return 0


if __name__ == "__main__":
    sys.exit(main())
