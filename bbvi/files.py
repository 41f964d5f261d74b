"""Files that are whole or not there: written beside, flushed to disk, and moved into place."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path
from typing import Any

# Where a name ends in a link, the file behind it is meant; a temporary file is never opened through one.
_FRESH = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


def as_path(name: str, path: Any) -> Path:
    """A path that somebody gave as the argument `name`.

    Raises
    ------
    TypeError
        If it is none.
    """
    try:
        return Path(path)
    except TypeError:
        raise TypeError(f"{name}: expected a path, got {path!r}") from None


def write(path: Path, content: bytes) -> None:
    """Write a file, or leave the old one as it is: half a file is never seen, and a link stays a link.

    Raises
    ------
    OSError
        If it cannot be written; the old file is still there then.
    """
    place = Path(os.path.realpath(path))
    temporary = place.with_name(f".{place.name[:100]}.{secrets.token_hex(8)}.part")
    descriptor = os.open(temporary, _FRESH, 0o666)
    try:
        with open(descriptor, "wb") as file:
            _same_mode(place, descriptor)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, place)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    flush_folder(place.parent)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to disk, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        # Windows opens no folders, and flushes names by itself.
        return
    try:
        os.fsync(descriptor)
    except OSError:
        # Nor do some network file systems flush them; the file itself is on disk.
        return
    finally:
        os.close(descriptor)


def _same_mode(place: Path, descriptor: int) -> None:
    """Give the new file the permissions of the one that it takes the place of."""
    if place.exists() and hasattr(os, "fchmod"):
        os.fchmod(descriptor, stat.S_IMODE(place.stat().st_mode))
