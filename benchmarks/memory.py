"""The peak memory of this process above what it had at a moment."""

import resource
import sys
from pathlib import Path

CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class HostMemory:
    """What the process took since this was made.

    Linux forgets the peak so far when asked to; elsewhere what follows counts only where it goes
    beyond the peak of loading and of the warm-up.
    """

    def __init__(self) -> None:
        if CLEAR.exists():
            CLEAR.write_text("5")
        self._before = peak_bytes()

    def added_mb(self) -> float:
        """Return the peak above the start, in units of 2^20 bytes."""
        return max(0, peak_bytes() - self._before) / 2**20


def peak_bytes() -> int:
    if STATUS.exists():  # ru_maxrss may be that of the process that started this one
        lines = STATUS.read_text().splitlines()
        (peak,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return int(peak) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
