"""GET /metrics: what Prometheus makes of it, and what contrib/ relies on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from controller.ledger import tally
from controller.measures import Histogram
from controller.pipeline import Kind
from controller.service import TunnelSummary
from tests.api.conftest import HV1, HV2

CONTRIB = Path(__file__).parents[2] / "contrib"
DASHBOARD = CONTRIB / "grafana" / "vxlan-l2.json"
ALERTS = CONTRIB / "prometheus" / "alerts.yml"
OPEN = "application/openmetrics-text; version=1.0.0"


def samples(client, **wanted):
    """{(name, labels): value} of what /metrics says."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in plain(client.get("/metrics").text)
        for sample in family.samples
    }


def test_facts_hosts_and_counts(client, fabric, vm):
    fabric.connected = {int(HV1, 16)}
    fabric.measured.packet_ins = 12
    fabric.measured.packet_ins_shed = 7
    fabric.counts.count(0, 0x11, tally(Kind.ARP_RESPONDER, 4, 240, 2, floods=False))
    now = samples(client)

    assert now["vxlan_l2_vms", ()] == 1
    assert now["vxlan_l2_hosts", (("state", "LIVE"),)] == 1
    assert now["vxlan_l2_hosts", (("state", "DISCONNECTED"),)] == 2
    assert now["vxlan_l2_host_connected", (("host", HV2),)] == 0
    assert now["vxlan_l2_host_flows", (("host", HV1),)] == 31
    labels = (("host", HV1), ("name", "hv-1"), ("vtep", "192.168.33.11"))
    assert now["vxlan_l2_host_info", labels] == 1
    assert now["vxlan_l2_packet_ins_total", ()] == 12
    assert now["vxlan_l2_packet_ins_shed_total", ()] == 7
    assert now["vxlan_l2_bum_frames_total", (("vni", "0"), ("what", "answered"))] == 4
    assert now["vxlan_l2_saved_bytes_total", (("vni", "0"),)] == 2 * (240 + 4 * 50)
    assert now["vxlan_l2_build_info", (("version", "1.2.3"),)] == 1
    assert now["process_resident_memory_bytes", ()] > 0


def test_tunnels_are_counted_by_host_and_not_listed_one_by_one(client, fabric, vm):
    fabric.summaries[int(HV1, 16)] = TunnelSummary(up=2, down=1, slowest_s=0.0125)
    now = samples(client)

    assert now["vxlan_l2_tunnels", (("host", HV1), ("state", "up"))] == 2
    assert now["vxlan_l2_tunnels", (("host", HV1), ("state", "down"))] == 1
    assert now["vxlan_l2_tunnels", (("host", HV2), ("state", "unknown"))] == 0
    assert now["vxlan_l2_tunnel_rtt_max_seconds", (("host", HV1),)] == 0.0125
    assert ("vxlan_l2_tunnel_rtt_max_seconds", (("host", HV2),)) not in now
    assert now["vxlan_l2_drift_flows_total", (("how", "extra"),)] == 2
    assert fabric.tunnels_asked == 0


def test_requests_are_counted_by_method_and_class_of_status(client):
    before = samples(client)
    client.get("/v1/vms")
    client.get("/v1/nothing")
    client("FROB", "/v1/vms")
    now = samples(client)

    def more(method, status):
        key = ("vxlan_l2_http_requests_total", (("method", method), ("status", status)))
        return now[key] - before.get(key, 0)

    assert (more("GET", "4xx"), more("other", "4xx")) == (1, 1)
    assert more("GET", "2xx") == 2  # this one, and the scrape before it
    assert now["vxlan_l2_http_request_seconds_count", ()] >= 4


def test_every_family_has_help_and_follows_the_conventions(client):
    families = list(plain(client.get("/metrics").text))
    ours = [family for family in families if family.name.startswith("vxlan_l2_")]

    assert len(ours) > 30
    for family in ours:
        assert family.documentation.endswith("."), family.name
        for sample in family.samples:
            assert not {"mac", "vm", "ip"} & sample.labels.keys()
            assert sample.name.endswith("_total") == (family.type == "counter"), sample.name


def test_openmetrics_for_who_asks_for_it(client):
    client.headers["Accept"] = OPEN
    response = client.get("/metrics")

    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert response.text.count("# EOF\n") == 1
    assert {family.name for family in openmetrics(response.text)} >= {
        "vxlan_l2_packet_ins",
        "vxlan_l2_apply_seconds",
    }


@pytest.mark.parametrize("accept", ["", OPEN])
def test_a_family_of_many_samples_is_one_family(client, fabric, monkeypatch, accept):
    from controller.api import resources_metrics

    for vni in range(20):
        fabric.counts.count(vni, 0x11, tally(Kind.ARP_RESPONDER, vni, 60, 2, floods=False))
    monkeypatch.setattr(resources_metrics, "SAMPLES_AT_ONCE", 7)
    client.headers["Accept"] = accept
    parse = openmetrics if accept else plain
    families = [f for f in parse(client.get("/metrics").text) if f.name == "vxlan_l2_bum_frames"]

    assert len(families) == 1
    answered = [s.value for s in families[0].samples if s.labels["what"] == "answered"]
    assert answered == list(range(20))


def test_a_token_is_wanted_as_everywhere(fabric):
    from controller.api.app import Api
    from tests.api.conftest import Client

    assert Client(Api(fabric, "1", token="secret")).get("/metrics").status_int == 401


def test_buckets_hold_what_is_up_to_their_bound():
    there = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):
        there.observe(value)

    assert list(there.buckets()) == [("1.0", 2), ("2.0", 3), ("+Inf", 4)]
    assert (there.count, there.sum) == (4, 12.0)


# contrib/


def expressions():
    """Every query of the dashboard and of the alerts."""
    text = json.loads(DASHBOARD.read_text())
    for panel in text["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]
    for variable in text["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["expr"]


def test_contrib_names_only_metrics_that_there_are(client):
    text = client.get("/metrics").text
    there = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        there |= {name + suffix for suffix in suffixes}
    used = {
        name
        for expression in expressions()
        for name in re.findall(r"\b(?:vxlan_l2|process)_[a-z0-9_]+", expression)
    }

    assert len(used) > 20
    assert used - there == set()


def test_alerts_say_what_to_do():
    operations = (CONTRIB.parent / "docs" / "operations.md").read_text()
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("warning", "critical"), rule
            assert rule["annotations"].keys() >= {"summary", "description", "runbook"}, rule
            path, anchor = rule["annotations"]["runbook"].split("#")
            assert path == "docs/operations.md"
            headings = re.findall(r"^#+ (.+)$", operations, re.MULTILINE)
            assert anchor in {
                re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in headings
            }


@pytest.fixture
def promtool():
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return found


def test_promtool_takes_the_rules(promtool):
    done = subprocess.run(
        [promtool, "check", "rules", ALERTS], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_takes_the_metrics(promtool, client, fabric, vm):
    fabric.connected = {int(HV1, 16)}
    fabric.counts.count(0, 0x11, tally(Kind.ARP_RESPONDER, 4, 240, 2, floods=False))
    text = client.get("/metrics").text
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
