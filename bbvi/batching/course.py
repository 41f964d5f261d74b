"""Which way the user's code goes: its lines in their order, and where two courses of it part."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from bbvi.batching.tape import NotRecordable, is_users

Line = tuple[str, int]

# Lines of a course that are followed.
_MOST = 100_000
_STANDARD = sysconfig.get_paths()["stdlib"]


def course(call: Callable[[], Any]) -> list[Line]:
    """The lines of the user's that a call carries out, whether or not it ends in an error."""
    lines: list[Line] = []

    def within(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and len(lines) < _MOST:
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        return within

    def entered(frame: FrameType, event: str, argument: Any) -> Any:
        # Methods that dataclasses make have no file.
        file = frame.f_code.co_filename
        return within if is_users(frame) and file != "<string>" and not file.startswith(_STANDARD) else None

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        call()
    except (Exception, NotRecordable):  # noqa: BLE001, S110
        # Where a course ends in an error, or a recording is refused, it parts from one that goes on.
        pass
    finally:
        sys.settrace(before)
    return lines


def parting(one: list[Line], other: list[Line]) -> str:
    """The last line that two courses have in common before they part, or one ends early; in words, empty if none."""
    parts = (k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    k = next(parts, len(one) if len(one) < len(other) else 0)
    return "" if k == 0 else f"{Path(one[k - 1][0]).name}, line {one[k - 1][1]}"
