"""The one error of the lab."""

from __future__ import annotations


class LabError(Exception):
    """Something the lab needs is missing, or a command of it failed; the text says which."""
