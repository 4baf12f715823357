"""What figures report, and what becomes of it."""

from __future__ import annotations

from bench.harness import Report, number


def test_goals_are_judged_on_medians_and_ratios_are_ours_by_theirs() -> None:
    said: list[str] = []
    report = Report("some", "Some figure", said.append)
    for ours, peer in ((10.0, 40.0), (12.0, 60.0), (90.0, 50.0)):
        report.sample("ours", ours, "s")
        report.sample("peer", peer, "s")
    report.goal("faster", lambda m: m["peer"] / m["ours"], at_least=4)
    report.goal("much faster", lambda m: m["peer"] / m["ours"], at_least=5, at_most=9)
    report.goal("than who is absent", lambda m: m["absent"] / m["ours"], at_least=1)

    assert report.medians == {"ours": 12.0, "peer": 50.0}
    assert (report.ratio("ours"), report.ratio("peer")) == (None, 12 / 50)
    reached = [goal.reached(report.medians) for goal in report.goals]
    assert reached == [50 / 12, 50 / 12, None]
    assert [goal.met(50 / 12) for goal in report.goals[:2]] == [True, False]
    assert [goal["met"] for goal in report.as_json()["goals"]] == [True, False, None]
    assert said[0] == "ours: 10.00 s"


def test_a_distribution_is_kept_as_its_percentiles() -> None:
    report = Report("some", "Some figure", lambda text: None)
    report.distribution("post", [i / 1000 for i in range(1, 101)])

    assert report.medians == {"post p50": 50.0, "post p99": 99.0}


def test_numbers_are_short() -> None:
    assert [number(value) for value in (285312.4, 41.236, 0.0421)] == ["285,312", "41.24", "0.042"]
