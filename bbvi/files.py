"""Files that are whole or not there: written beside, flushed to disk, and moved into place."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import secrets
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bbvi.threads import forks_wait_for

fcntl: Any
msvcrt: Any
try:
    import fcntl
except ModuleNotFoundError:
    fcntl = None
try:
    import msvcrt
except ModuleNotFoundError:
    msvcrt = None

logger = logging.getLogger("bbvi")

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
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A fresh file beside, to be written to by its name, which takes the place of `path` when all went well.

    Raises
    ------
    OSError
        If it cannot be written; the old file is still there then.
    """
    place = Path(os.path.realpath(path))
    check_folder(path)
    temporary = place.with_name(f".{place.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        descriptor = os.open(temporary, _FRESH, 0o666)
        try:
            _same_mode(place, descriptor)
            yield temporary
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, place)
    except BaseException as error:
        # Whoever gave a path knows nothing of another beside it.
        if isinstance(error, OSError) and str(error.filename) == str(temporary):
            error.filename = str(path)
            del error.filename2
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    flush_folder(place.parent)


def check_folder(path: Path) -> None:
    """That a file can be where `path` says, through a link where there is one.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        Naming the path and the folder.
    """
    folder = Path(os.path.realpath(path)).parent
    if not folder.exists():
        raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}", str(path))
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder", str(path))


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


# ---- one writer at a time ------------------------------------------------------------------------------------------

# Files that fits of this process hold. Locks of the system are of a process, and know no threads.
_held: set[tuple[int, int, int]] = set()
_guard = forks_wait_for(threading.Lock())


class Alone:
    """A file open for reading and writing that nobody else holds meanwhile; see `open_alone`."""

    def __init__(self, file: io.FileIO, place: tuple[int, int, int]) -> None:
        self.file, self._place = file, place

    def close(self) -> None:
        """Close it, and let others have it."""
        with _guard:
            _held.discard(self._place)
            _lock(self.file.fileno(), False)
            self.file.close()


def open_alone(path: Path) -> Alone | None:
    """Open a file, which is made if it is not there; None where another thread or process holds it.

    The system lets go of it when the process ends, however it ends. One that was forked from this one holds nothing.
    """
    check_folder(path)
    with _guard:
        # Asked before it is opened: closing it again would end this process's own lock.
        if path.exists() and _place(os.stat(path)) in _held:
            return None
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        file = io.FileIO(descriptor, "r+b")
        if not _lock(descriptor, True):
            file.close()
            return None
        alone = Alone(file, _place(os.fstat(descriptor)))
        _held.add(alone._place)
        return alone


def _place(status: os.stat_result) -> tuple[int, int, int]:
    return os.getpid(), status.st_dev, status.st_ino


def _lock(descriptor: int, wanted: bool) -> bool:
    """Lock or unlock for this process; False where another one has the lock."""
    try:
        if fcntl is not None:
            fcntl.lockf(descriptor, (fcntl.LOCK_EX | fcntl.LOCK_NB) if wanted else fcntl.LOCK_UN)
        elif msvcrt is not None:
            # A byte far behind all content, since what is locked there cannot be read.
            os.lseek(descriptor, 2**40, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK if wanted else msvcrt.LK_UNLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        # Some network file systems have no locks, and then nobody can be asked.
        logger.info("a file cannot be locked: %s", error)
    return True
