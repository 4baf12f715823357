"""The whole pipeline as ovs-ofctl would write it, line by line, beside this file."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from controller.flow import ofctl_buckets, ofctl_flow
from controller.pipeline import Kind
from tests.wire.samples import every_flow, every_group

GOLDEN = Path(__file__).with_name("flows.txt")


def lines() -> list[str]:
    flows = sorted(every_flow(), key=lambda flow: (flow.table, -flow.priority, flow.kind))
    return [
        *(f"{Kind(flow.kind).name:<22} {ofctl_flow(flow)}" for flow in flows),
        *(f"{'group':<22} {ofctl_buckets(group)}" for group in every_group()),
    ]


def test_the_pipeline_is_as_written_down():
    golden = [line for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]

    assert lines() == golden


def test_ovs_ofctl_reads_every_line(ovs_machine):
    text = "\n".join(ofctl_flow(flow) for flow in every_flow())
    ofctl = shutil.which("ovs-ofctl")
    assert ofctl is not None

    done = subprocess.run(
        [ofctl, "-O", "OpenFlow13", "parse-flows", "-"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("FLOW_MOD") == len(every_flow())
