"""How much memory is free."""

from __future__ import annotations

import os

# Where the system does not say: little enough for any machine of today.
_UNKNOWN = 4e9


def free() -> float:
    """Bytes that this machine has to spare, files that it only caches included."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            said = dict(line.split(":") for line in file)
        return 1024.0 * float(said["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN
