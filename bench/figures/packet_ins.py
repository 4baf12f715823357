"""New MACs: how many packet-ins are decided in a second, and how long one takes alone."""

from __future__ import annotations

from bench.farm import Farm
from bench.farm.fabric import Fabric
from bench.farm.learners import Learner, beside, simple_switch, testcontroller
from bench.harness import Broken, Report, Scale

TITLE = "packet-ins of new MACs from 16 switches, and one outstanding"

SWITCHES = 16
EACH, PINGS = 1_250, 1_000
SHORT_EACH, SHORT_PINGS = 20, 20
VNI, VLAN = 100, 10
NO_LIMITS = {"learn_limit_host": 1_000_000, "learn_limit_network": 1_000_000}
DEFAULT_LIMITS_EACH = 2_500
"""More than learn_limit_host, and 16 times that is more than learn_limit_network."""


def measure(scale: Scale, report: Report) -> None:
    each, pings = (SHORT_EACH, SHORT_PINGS) if scale.short else (EACH, PINGS)
    learners = [learner for learner in (simple_switch(), testcontroller()) if learner.argv]
    for _round in range(scale.rounds):
        _ours(report, each, pings)
        for learner in learners:
            _theirs(report, learner, each, pings)
        _ours_at_the_limit(report, SHORT_EACH if scale.short else DEFAULT_LIMITS_EACH)
    report.note(f"{SWITCHES} switches, {each} new MACs of each, {pings} one at a time")
    report.note(
        "ours is decided when another switch has the flow, and 15 get one; the others' when the"
        " same switch has it, towards one known destination"
    )
    if testcontroller().argv is None:
        report.note(
            "ovs-testcontroller is not installed: apt-get install openvswitch-testcontroller"
        )
    ryu = simple_switch().name
    report.goal(
        "packet-ins decided, times Ryu's simple_switch_13",
        lambda medians: medians["vxlan-l2"] / medians[ryu],
        at_least=8,
    )
    report.goal(
        "one outstanding, p50 in ms",
        lambda medians: medians["vxlan-l2, one p50"],
        at_most=0.15,
    )


def _ours(report: Report, each: int, pings: int) -> None:
    with Fabric(SWITCHES, options=NO_LIMITS) as fabric:
        _ready(fabric)
        _measured(report, "vxlan-l2", fabric.farm, VNI, each, pings)
        _check_learned(fabric, SWITCHES * each + pings)


def _theirs(report: Report, learner: Learner, each: int, pings: int) -> None:
    with beside(learner, SWITCHES) as farm:
        _measured(report, learner.name, farm, None, each, pings)


def _measured(
    report: Report, series: str, farm: Farm, vni: int | None, each: int, pings: int
) -> None:
    storm = farm.storm(vni, each)
    if storm.decided != storm.sent:
        raise Broken(f"{series}: {storm.decided} of {storm.sent} new MACs were decided")
    farm.wait_quiet(0.3)
    report.sample(series, storm.decided / storm.seconds, "packet-ins/s")
    report.distribution(f"{series}, one", farm.ping(vni, pings))


def _ours_at_the_limit(report: Report, each: int) -> None:
    """With limits as they come: who is forgotten again before it was sent is not decided."""
    with Fabric(SWITCHES) as fabric:
        _ready(fabric)
        storm = fabric.farm.storm(VNI, each, quiet_s=2.0)
        report.sample("vxlan-l2, default limits", storm.decided / storm.seconds, "packet-ins/s")
        forgotten = storm.sent - storm.decided
        report.sample("vxlan-l2, default limits: forgotten before it was sent", forgotten, "MACs")
        fabric.farm.wait_quiet(0.5)
        fabric.check_in_sync()


def _ready(fabric: Fabric) -> None:
    fabric.declare()
    fabric.network(VNI, VLAN, everywhere=True)
    fabric.connect()
    fabric.settle()


def _check_learned(fabric: Fabric, expected: int) -> None:
    learned = fabric.rest.get(f"/v1/learned?vni={VNI}&limit=1")["total"]
    if learned != expected:
        raise Broken(f"{learned} MACs are learned, {expected} were new")
    fabric.farm.wait_quiet(0.5)
    fabric.check_in_sync()
