"""How much memory is free, and that what arrays free is kept for the next ones."""

from __future__ import annotations

import os
from functools import cache

import numpy as np

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


@cache
def kept_for_arrays() -> None:
    """Have the allocator keep the pages of freed arrays, up to some tens of megabytes, and not return each at once.

    The C library of Linux maps what is larger than 128 kB anew each time, whose pages the system clears: half of the
    time of a log joint of some thousand data. It stops at sizes up to that of a mapped block that was freed, 32 MB at
    the most (``M_MMAP_THRESHOLD`` in mallopt(3)); of an empty one no page is ever touched. Environment variables that
    say otherwise are respected, and elsewhere nothing happens.
    """
    np.empty(2**25 - 2**17, dtype=np.uint8)
