"""What pip-audit reports fails the check unless it has a reason, and what has one is documented."""

from __future__ import annotations

import re

from tests import audit
from tests.apps.process import ROOT
from tests.apps.test_advisories import KNOWN

RYU = {"name": "ryu", "version": "4.34"}


def vulnerability(name: str, *aliases: str) -> dict[str, object]:
    return {"id": name, "aliases": list(aliases), "fix_versions": []}


def test_an_advisory_passes_by_its_id_or_an_alias_that_has_a_reason():
    reasons = audit.reasons_in("# why\nCVE-1  it is never called\n")
    packages = [
        {**RYU, "vulns": [vulnerability("PYSEC-1", "CVE-1"), vulnerability("GHSA-2", "CVE-2")]},
        {"name": "odd", "skip_reason": "not on PyPI"},
    ]
    (left,) = audit.without_reason(packages, reasons)
    assert left.startswith("ryu 4.34: GHSA-2 (CVE-2)")


def test_every_reason_is_shown_by_a_message_and_told_in_the_docs():
    told = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    shown = {known.advisory for known in KNOWN}
    reasons = audit.reasons_in(audit.AUDITED.read_text(encoding="utf-8"))
    assert reasons.keys() == {name for name in shown if name.startswith("CVE-")}
    for name in shown:
        assert re.search(rf"{re.escape(name)}\b", told), name


def test_where_no_database_is_reached_that_is_said_and_no_failure(monkeypatch, capsys):
    monkeypatch.setattr(audit, "_ask", lambda *_asked: None)
    assert audit.main() == 0
    assert "nothing was audited" in capsys.readouterr().out


def test_a_database_that_knows_nothing_of_ryu_is_none(monkeypatch, capsys):
    asked = []

    def ask(arguments, _limit_s):
        asked.append(arguments)
        return [{**RYU, "skip_reason": "not found"}]

    monkeypatch.setattr(audit, "_ask", ask)
    assert audit.main() == 0
    assert len(asked) == 1
    assert "nothing was audited" in capsys.readouterr().out


def test_an_advisory_without_a_reason_fails(monkeypatch, capsys):
    packages = [{**RYU, "vulns": [vulnerability("CVE-9999-1")]}]
    monkeypatch.setattr(audit, "_ask", lambda *_asked: packages)
    assert audit.main() == 1
    assert "CVE-9999-1" in capsys.readouterr().out
