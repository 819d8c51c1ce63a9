"""Bytes that are on the disk when a call returns, and the file system's refusals as our errors."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from stackroom.errors import DiskFullError, ReadOnlyError, StorageError

NETWORK_FILE_SYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ncpfs", "fuse.sshfs", "davfs"})


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an OSError into the StorageError that says what happened to which file."""
    try:
        yield
    except OSError as error:
        where = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"No space is left to write {where}.",
                hint="Nothing that was committed is lost. Free some space and run the same command again.",
                path=where,
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ReadOnlyError(
                f"{where} can't be opened for writing: {error.strerror}.",
                hint="Check its permissions, or open the library read-only.",
                path=where,
            ) from error
        raise StorageError(f"{where}: {error.strerror or error}.", hint="Check the disk.", path=where) from error


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; OSError for what is none. A link, a pipe or a device in a stranger's library is not followed."""
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is no file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`."""
    view = memoryview(data).cast("B")
    if hasattr(os, "pwrite"):
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
    else:
        os.lseek(descriptor, offset, os.SEEK_SET)
        while view:
            view = view[os.write(descriptor, view) :]


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Read exactly `length` bytes at `offset`; fewer only where the file ends."""
    parts: list[bytes] = []
    while length:
        if hasattr(os, "pread"):
            part = os.pread(descriptor, length, offset)
        else:
            os.lseek(descriptor, offset, os.SEEK_SET)
            part = os.read(descriptor, length)
        if not part:
            break
        parts.append(part)
        length, offset = length - len(part), offset + len(part)
    return b"".join(parts)


def sync_file(descriptor: int) -> None:
    """Have the drive confirm the file's bytes and length; on macOS plain fsync does not reach the platter."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    elif hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)


def sync_directory(path: Path) -> None:
    """Make a new or renamed entry of this folder durable; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def network_file_system(path: Path) -> str | None:
    """The kind of network drive that `path` lies on, or None for a local one.

    On Linux from /proc/self/mountinfo (the longest mount point that leads to the path); elsewhere unknown, None.
    """
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    target = os.path.realpath(path)
    best, kind = "", None
    for line in lines:
        left, _, right = line.partition(" - ")
        point = left.split(" ")[4].replace("\\040", " ")
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split(" ")[0]
    return kind if kind in NETWORK_FILE_SYSTEMS else None


def size_of(path: Path) -> int:
    """Bytes in a file, 0 when it is not there."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
