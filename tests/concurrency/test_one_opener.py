"""SQLite alone opens a catalogue's file: whoever else closes it takes SQLite's locks on it from the whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import apsw
import pytest

from stackroom.storage.catalogue import database
from stackroom.storage.disk import layout
from stackroom.storage.store import LocalStore

EVERYTHING = """
    import json, os, sys
    from pathlib import Path

    import stackroom, stackroom.migration
    from old_index import OldIndex
    from stackroom.progress import CancelToken, silent
    from stackroom.storage.disk import layout
    from stackroom.storage.store import LocalStore
    from support import WordEmbedder, write_files

    def of_a_catalogue(path):
        # By its number: a second name of the file is the file. What has a name that nobody opens yet, or any more, is none.
        try:
            found = os.stat(path)
            return not Path(path).parent.name.startswith(".") and any(
                os.path.samestat(found, os.stat(other))
                for name in (layout.CATALOGUE, layout.CATALOGUE + "-shm")
                for other in home.rglob(name)
                if not other.parent.name.startswith(layout.DAMAGED)
            )
        except OSError:
            return False

    def opened(event, arguments):
        if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)) and of_a_catalogue(arguments[0]):
            seen.append(os.fsdecode(arguments[0]))

    home, seen = Path(sys.argv[1]), []
    library, embedder = home / "library", WordEmbedder()
    write_files(home, {f"{n}.txt": f"words of file {n}" for n in range(5)})
    sys.addaudithook(opened)
    with stackroom.open(library, embedder=embedder) as index:
        index.add(home)
        index.search("words")
        index.remove([str(home / "1.txt")])
        index.rebuild(embedder=WordEmbedder("other", dim=20))
        index.compact()
        index.compact(purge=True)
        assert index.verify().ok
        index.backup(home / "backup")
        index.export(home / "export")
        index.search("words")
        (home / "2.txt").write_text("other words")
        index.add(home)
        index.backup(home / "backup", refresh=True)
    stackroom.migration.migrate(OldIndex().write(home / "old"))
    stackroom.migration.roll_back(home / "old")

    def first_page_is_lost():
        descriptor = os.open(library / layout.CATALOGUE, os.O_WRONLY)
        os.pwrite(descriptor, bytes(100), 0)
        os.close(descriptor)
        seen.pop()

    for names in (True, False):
        if not names:
            os.link = lambda *_: (_ for _ in ()).throw(OSError("There are no second names here."))
        first_page_is_lost()
        done = stackroom.repair(library, embedder=WordEmbedder("other", dim=20))
        assert done.aside and not done.cancelled, done
    print(json.dumps(seen))
"""


def test_nothing_but_sqlite_opens_a_catalogue(tmp_path: Path) -> None:
    """Whatever is done in one process: what Python opens is looked at, and SQLite's own opening is none of that."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(EVERYTHING), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]),
        },
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def _locks(path: Path) -> int:
    number = path.stat().st_ino
    return sum(f":{number} " in line for line in Path("/proc/locks").read_text(encoding="ascii").splitlines())


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="Linux tells of locks")
def test_a_copy_of_a_catalogue_leaves_its_locks(library: Path, tmp_path: Path) -> None:
    LocalStore(library).close()
    catalogue, copy = layout.catalogue(library), tmp_path / "copy"
    reader = LocalStore(library, mode="r")
    with reader.view():
        assert _locks(catalogue) > 0
        database.copy_file(catalogue, copy)
        assert _locks(catalogue) > 0
        assert copy.read_bytes() == catalogue.read_bytes()
        assert _locks(catalogue) == 0, "as it must not be done"
    reader.close()
    assert apsw.Connection(str(copy)).execute("PRAGMA integrity_check").fetchall() == [("ok",)]
