"""A library in collections of a Milvus server (2.6.2 or newer): versions of rows, and a commit that is one change of a name.

Milvus has no transactions. What stands for them here:

- **Versions.** A row is never changed. It says which version brought it (`born`) and which one removed it (`died`); a change of a
  passage is a new row with the same key. A reader asks for the rows of its version (`asking.py`), so that what is written and removed
  meanwhile changes nothing of what it sees.
- **Commits.** A commit is collected in the client's memory (`writing.py`, `drafts.py`). At its end its rows are written under the next
  version's number, which no reader asks for yet, and the rows that it ends are marked with it (`sending.py`). Then one rename makes that the current
  version (`gate.py`): Milvus renames a collection if and only if it has the name that is asked for, to one client alone.
- **One writer.** The same name says who writes. Whoever was taken for dead and is not can't publish any more, since its name is gone.
- **Stopped writers.** Numbers of attempts that came to nothing are never used again. The next commit deletes their rows, and names them to
  readers, who pass over what of them may still come.
- **Removal.** Rows that ended stay for a day, for those who still read an older version; then they are deleted (`purging.py`).

What of this rests on clocks: a writer is taken for dead after a minute without a sign of life, and writes nothing itself after
half a minute in which it could give none. A server that carries out a writer's mark of removal later than that could bring back a row that the next
writer removed; rows that come late are passed over.

`records.py` has what is small; `facts.py` metadata and filters; `words.py` full text; `nearest.py` vectors; `scoping.py` what a search looks at.
"""
