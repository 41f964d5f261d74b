"""Attributes that share an entry of a docstring, as fields of their own."""

from __future__ import annotations

import re

SHARED = re.compile(r":(ivar|vartype) (\w+(?:, \w+)+):")


def apart(lines: list[str]) -> list[str]:
    """Fields such as ``:ivar lower, upper:`` once for each name; else the first name would be taken for a type."""
    fields = re.split(r"^(?=:)", "\n".join(lines), flags=re.M)
    for i, field in enumerate(fields):
        shared = SHARED.match(field)
        if shared:
            text = field[shared.end() :].rstrip()
            fields[i] = "".join(f":{shared[1]} {name}:{text}\n" for name in shared[2].split(", "))
    return "".join(fields).split("\n")
