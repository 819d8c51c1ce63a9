"""Bytes that are on the disk when a call returns, and the file system's refusals as our errors."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from stackroom.errors import DiskFullError, ReadOnlyError, StorageError

NETWORK_FILE_SYSTEMS = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "coda",
        "9p",
        "ncpfs",
        "davfs",
        "ceph",
        "lustre",
        "beegfs",
        "gpfs",
        "glusterfs",
        "vboxsf",
        "vmhgfs",
        "prl_fs",
        "fuse.sshfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.gvfsd-fuse",
        "fuse.vmhgfs-fuse",
        "fuse.davfs2",
        "fuse.smbnetfs",
        "fuse.curlftpfs",
        "fuse.gcsfuse",
        "fuse.juicefs",
    ]
)
"""As Linux calls them: drives of other machines, and folders that a virtual machine's host shares."""

NETWORK_ALLOWED = "STACKROOM_NETWORK_DRIVES"
"""Set to `allow`, a library may be written on such a drive, by one machine at a time: its user vouches for locks and syncs."""

_TOO_MANY = "Close what this process or others hold open, or raise the limit (ulimit -n), and try again."
_HINTS = {
    errno.EMFILE: _TOO_MANY,
    errno.ENFILE: _TOO_MANY,
    errno.ENOMEM: "Close other programs, and try again.",
    errno.ENOLCK: "The file system gives no locks. Keep the library on a local disk.",
}


@contextlib.contextmanager
def translated(path: Path, *, passing: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn an OSError into the StorageError that says what happened to which file; one that is `passing` goes through."""
    try:
        yield
    except passing:
        raise
    except OSError as error:
        named = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
        # Removing a folder names what is in it by its last part alone.
        where = named if named.is_absolute() else path
        raise refusal(error.errno or 0, where, error.strerror or str(error)) from error


def refusal(number: int, where: Path, said: str) -> StorageError:
    """What an error number of the operating system means for a file, and what to do about it."""
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"No space is left to write {where}.",
            hint="Nothing that was committed is lost. Free some space and run the same command again.",
            path=where,
        )
    if number in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnlyError(
            f"{where} can't be opened or written: {said}.",
            hint="Check its permissions and its medium.",
            path=where,
        )
    hint = _HINTS.get(number, "Check the disk.")
    return StorageError(f"{where}: {said}.", hint=hint, path=where)


NO_LINK = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
"""How a library's own files are opened to be written: in a stranger's, a link may lead to somebody's file."""


def open_regular(path: Path, *, follow: bool = False) -> BufferedReader:
    """Open a file for reading; OSError for what is none. A pipe or a device in a stranger's library is not waited for, a link not followed."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | (getattr(os, "O_BINARY", 0) if follow else NO_LINK)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "It is no file", os.fspath(path))
    return os.fdopen(descriptor, "rb")


def make_file(path: Path) -> None:
    """Make an empty file that only its owner may read. SQLite, which opens it next, would not say why it could not. Raises StorageError."""
    with translated(path):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o600))


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


def sync_path(path: Path) -> None:
    """The same for a file that was written and closed. Raises StorageError."""
    with translated(path):
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            sync_file(descriptor)
        finally:
            os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Make a new or renamed entry of this folder durable; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make a folder and all that is in it durable, before it is renamed into its place."""
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_directory(path)
        else:
            sync_path(path)
    sync_directory(folder)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, and have the drive know of them."""
    made = [path, *(above for above in path.parents if not above.exists())]
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in made:
        # Who may pass through a folder may not always open it.
        with contextlib.suppress(PermissionError):
            sync_directory(folder.parent)


def network_file_system(path: Path) -> str | None:
    """The kind of network drive that `path` lies on, or None for a local one and where such drives are allowed.

    On Linux from /proc/self/mountinfo (the longest mount point that leads to the path); elsewhere unknown, None.
    """
    if os.environ.get(NETWORK_ALLOWED) == "allow":
        return None
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    target = os.path.realpath(path)
    best, kind = "", None
    for line in lines:
        left, _, right = line.partition(" - ")
        # Blanks, line ends and backslashes are written in octal.
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), left.split(" ")[4])
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
