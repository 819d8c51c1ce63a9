"""Which files there are under the given paths: in order, each once, whatever links and loops lie in the way."""

from __future__ import annotations

import fnmatch
import glob
import os
import shlex
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stackroom.errors import NotFoundError, UsageError
from stackroom.ingest.readers import NAMES, ON_REQUEST, SUFFIXES
from stackroom.reports import Failure
from stackroom.storage.disk import fsio

IGNORE_FILE = ".stackroomignore"
_IGNORE_BYTES = 64 * 1024

_JUNK_FOLDERS = frozenset({"node_modules", "__pycache__", "__MACOSX", "venv", "site-packages"})
_JUNK_FILES = ("~$*", "Thumbs.db", "desktop.ini", "*.tmp", "*.part", "*.crdownload", "*~")


@dataclass(frozen=True, slots=True)
class Found:
    """A file to look at. `path` is absolute, as the user reaches it; links on the way are kept."""

    path: Path
    size: int
    mtime_ns: int


@dataclass(slots=True)
class Discovery:
    """One walk. `also` names kinds that a walk picks up only on request, `more` suffixes of other readers; `follow` goes after links
    that lead out of the given folders; `known` are files that it takes although it would pass over them. After it, `unreadable` lists the folders that could not be entered, `outside` counts the links
    that were left alone, and `skipped` counts files by suffix that no reader knows."""

    paths: Sequence[str | os.PathLike[str]]
    ignore: Sequence[str] = ()
    exclude: Collection[Path] = ()
    also: Sequence[str] = ()
    more: Collection[str] = ()
    follow: bool = False
    known: Collection[str] = ()
    outside: int = 0
    unreadable: list[Failure] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    roots: list[Path] = field(default_factory=list)
    _seen: set[int | str] = field(default_factory=set)
    _suffixes: frozenset[str] = SUFFIXES
    _trees: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises NotFoundError for a path that is not there, or a glob that matches nothing; UsageError for an unknown kind."""
        self._suffixes |= frozenset(self.more)
        for kind in self.also:
            if kind not in ON_REQUEST:
                raise UsageError(f"There is no kind {kind!r}.", hint=f"There are: {', '.join(sorted(ON_REQUEST))}.")
            self._suffixes |= ON_REQUEST[kind]
        for given in self.paths:
            text = os.path.expanduser(os.fspath(given))
            if os.path.lexists(text):
                self.roots.append(Path(os.path.abspath(text)))
                continue
            matched = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []
            if not matched:
                raise NotFoundError(f"There is no file or folder {text}.", hint="Check the spelling.", path=text)
            self.roots += [Path(os.path.abspath(name)) for name in matched]
        # What is named is meant, wherever it leads.
        self._trees = tuple(os.path.join(os.path.realpath(root), "") for root in self.roots)

    def __iter__(self) -> Iterator[Found]:
        excluded = {os.path.realpath(path) for path in self.exclude}
        for root in self.roots:
            if root.is_dir():
                yield from self._walk(root, excluded)
            elif not _Rules(str(root.parent), tuple(self.ignore)).ignores(str(root), False):
                yield from self._file(str(root), named=True)

    def passes_over(self, path: str) -> bool:
        """Whether a walk leaves this file alone, unless it is known."""
        return not self._wanted(path) or is_junk(os.path.basename(path), False)

    def _wanted(self, path: str) -> bool:
        suffix = os.path.splitext(path)[1].lower()
        return suffix in self._suffixes or os.path.basename(path).lower() in NAMES

    def _walk(self, root: Path, excluded: set[str]) -> Iterator[Found]:
        """Folder by folder, without recursion; a folder is entered once, however many links lead to it."""
        pending: list[tuple[str, tuple[_Rules, ...]]] = [(str(root), (_Rules(str(root), tuple(self.ignore)),))]
        while pending:
            folder, rules = pending.pop()
            if os.path.realpath(folder) in excluded:
                continue
            try:
                status = os.stat(folder)
                if _number(status) in self._seen:
                    continue
                self._seen.add(_number(status))
                with os.scandir(folder) as entries:
                    listed = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                self.unreadable.append(Failure(folder, f"The folder can't be read: {error.strerror}.", "OSError"))
                continue
            if any(entry.name == IGNORE_FILE for entry in listed):
                rules = (*rules, _Rules.from_file(folder))
            folders = []
            for entry in listed:
                is_folder = _is_folder(entry)
                known = not is_folder and entry.path in self.known
                if is_junk(entry.name, is_folder) and not known:
                    continue
                if any(rule.ignores(entry.path, is_folder) for rule in rules):
                    continue
                if not self.follow and entry.is_symlink() and self._leads_out(entry.path):
                    self.outside += 1
                    continue
                if is_folder:
                    folders.append((entry.path, rules))
                else:
                    yield from self._file(entry.path, named=known)
            pending.extend(reversed(folders))

    def _leads_out(self, link: str) -> bool:
        """Whether a link leads to something that is in none of the given folders. One that leads nowhere does not."""
        target = os.path.join(os.path.realpath(link), "")
        return os.path.exists(link) and not target.startswith(self._trees)

    def _file(self, path: str, *, named: bool) -> Iterator[Found]:
        suffix = os.path.splitext(path)[1].lower()
        # A link without a suffix that leads nowhere may have been one to a folder.
        lost = not suffix and os.path.islink(path) and not os.path.exists(path)
        if not (named or lost or self._wanted(path)):
            self.skipped[suffix] += 1
            return
        try:
            status = os.stat(path)
        except OSError as error:
            self.unreadable.append(Failure(path, _why_not(path, error), "OSError"))
            return
        if not stat.S_ISREG(status.st_mode):
            return
        # Hard links are files of their own; a symbolic link to a file that was given already is not.
        known = _number(status) if status.st_nlink < 2 else os.path.realpath(path)
        if known in self._seen:
            return
        self._seen.add(known)
        yield Found(Path(path), status.st_size, status.st_mtime_ns)


def _why_not(path: str, error: OSError) -> str:
    try:
        target = os.readlink(path)
    except OSError:
        return f"It can't be read: {error.strerror}."
    where = "which is not there" if isinstance(error, FileNotFoundError) else f"which can't be read: {error.strerror}"
    name = shlex.quote(os.path.basename(path))
    return f"It is a link to {target}, {where}. Mend it or delete it, or pass over it with --ignore {name}."


def _number(status: os.stat_result) -> int:
    """A file by its device and inode, in one number: there may be a million of them."""
    return status.st_dev << 64 | status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_junk(name: str, is_folder: bool) -> bool:
    """Whether a walk leaves everything of this name alone."""
    if name.startswith("."):
        return True
    if is_folder:
        return name in _JUNK_FOLDERS
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _JUNK_FILES)


@dataclass(frozen=True, slots=True)
class _Rules:
    """Patterns that apply below a folder, as in a simple .gitignore: `*.log`, `drafts/`, `/top`, `a/b*`; no negation."""

    folder: str
    patterns: tuple[str, ...]

    @classmethod
    def from_file(cls, folder: str) -> _Rules:
        try:
            with fsio.open_regular(Path(folder, IGNORE_FILE)) as file:
                text = file.read(_IGNORE_BYTES).decode("utf-8-sig", "replace")
        except OSError:
            return cls(folder, ())
        lines = (line.strip() for line in text.splitlines())
        return cls(folder, tuple(line for line in lines if line and not line.startswith("#")))

    def ignores(self, path: str, is_folder: bool) -> bool:
        relative = os.path.relpath(path, self.folder).replace(os.sep, "/") if self.patterns else ""
        name = relative.rpartition("/")[2]
        for pattern in self.patterns:
            if pattern.endswith("/") and not is_folder:
                continue
            bare = pattern.strip("/")
            anchored = "/" in pattern.rstrip("/")
            if fnmatch.fnmatchcase(relative if anchored else name, bare):
                return True
        return False
