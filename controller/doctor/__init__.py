"""Everything that commonly goes wrong with a fabric, one function each: evidence in, findings out.

A check is named for what it looks at, and its docstring's first line says what that is when all is
well. It yields findings, each with what is wrong, why, and the command that mends it. Commands that
begin with ovs-, ip or ping are for the host that is the subject.
"""

from __future__ import annotations

from controller.doctor import bridges, sessions, underlay, upkeep, vms
from controller.doctor.evidence import Evidence, StoreEvidence
from controller.doctor.findings import CHECKS, results
from controller.doctor.gather import gather

__all__ = ["CHECKS", "Evidence", "StoreEvidence", "gather", "results"]

_ALL = (sessions, bridges, underlay, vms, upkeep)  # in the order in which they are told
