"""CPU time of processes, as the kernel counts it."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that these processes have used so far; those that are gone count nothing."""
    return sum(_ticks(pid) for pid in pids) / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Return the memory of a process that is in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return what was used between two readings, by name."""
    return {name: after[name] - before.get(name, 0.0) for name in after}


def _ticks(pid: int) -> int:
    try:
        # The name of the command may hold anything; the fields begin after its closing bracket.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])
