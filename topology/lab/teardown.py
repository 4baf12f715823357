"""Take a lab away by what its state says: recorded pids and namespaces, nothing by pattern."""

from __future__ import annotations

from topology.lab import netns
from topology.lab.process import kill_recorded, start_time
from topology.lab.state import LabState, load_all


def take_down(state: LabState) -> None:
    """End its processes, delete its namespaces and links, then its directory."""
    kill_recorded(list(state.processes))
    for link in state.links:
        netns.delete_link(link)
    for name in state.namespaces:
        netns.delete(name)
    state.remove()


def sweep() -> list[str]:
    """Take down labs whose maker was killed; gives their names."""
    swept = []
    for state in load_all():
        pid, start = state.owner
        if not state.keep and pid and start_time(pid) != start:
            take_down(state)
            swept.append(state.name)
    return swept
