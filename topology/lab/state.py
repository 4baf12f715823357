"""What a lab has made, on disk, so that any process can take it down.

DIRECTORY/NAME/state.json:
  {"version": 1, "name": str, "keep": bool, "owner": [pid, start],
   "namespaces": [str], "links": [str], "processes": [[pid, start], ...],
   "nodes": {"h1": {"netns": str, "rundir": str}, "vm1": {"netns": str, "rundir": ""}}}

`start` is the process's start time in clock ticks since boot (/proc/PID/stat): a pid that was
given to another process since is never signalled. `keep` marks a lab meant to outlive its maker.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from dataclasses import asdict, dataclass, field
from pathlib import Path

VERSION = 1
DIRECTORY = Path(os.environ.get("VXLAN_LAB_DIR", "/run/vxlan-l2-lab"))


@dataclass
class Node:
    """A host (rundir: its OVS_RUNDIR) or a VM (rundir empty)."""

    netns: str
    rundir: str = ""


@dataclass
class LabState:
    name: str
    keep: bool = False
    owner: tuple[int, int] = (0, 0)
    namespaces: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    processes: list[tuple[int, int]] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lock = threading.RLock()

    @property
    def directory(self) -> Path:
        return DIRECTORY / self.name

    def create(self) -> None:
        """Take the name; FileExistsError if another lab holds it."""
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        self.directory.mkdir(mode=0o755)
        self._save()

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def add_namespace(self, name: str) -> None:
        with self._lock:
            self.namespaces.append(name)
            self._save()

    def add_link(self, name: str) -> None:
        with self._lock:
            self.links.append(name)
            self._save()

    def add_process(self, pid: int, start: int) -> None:
        with self._lock:
            self.processes.append((pid, start))
            self._save()

    def drop_process(self, pid: int) -> None:
        with self._lock:
            self.processes = [entry for entry in self.processes if entry[0] != pid]
            self._save()

    def add_node(self, name: str, node: Node) -> None:
        with self._lock:
            self.nodes[name] = node
            self._save()

    def _save(self) -> None:
        if not self.directory.is_dir():
            return
        body = {"version": VERSION, **asdict(self)}
        part = self.directory / "state.json.part"
        part.write_text(json.dumps(body, indent=1), encoding="utf-8")
        part.replace(self.directory / "state.json")


def load(name: str) -> LabState | None:
    """The lab of that name, or None; an unreadable state file yields an empty state."""
    directory = DIRECTORY / name
    if not directory.is_dir():
        return None
    try:
        body = json.loads((directory / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return LabState(name=name)
    return LabState(
        name=name,
        keep=bool(body["keep"]),
        owner=(body["owner"][0], body["owner"][1]),
        namespaces=list(body["namespaces"]),
        links=list(body["links"]),
        processes=[(pid, start) for pid, start in body["processes"]],
        nodes={key: Node(**node) for key, node in body["nodes"].items()},
    )


def load_all() -> list[LabState]:
    if not DIRECTORY.is_dir():
        return []
    found = (load(entry.name) for entry in sorted(DIRECTORY.iterdir()) if entry.is_dir())
    return [state for state in found if state is not None]
