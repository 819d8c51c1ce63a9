"""A library in a database that has no transactions: versions of rows, and a commit that is one change of a name.

`database.py` says what a database must offer, which is little; each engine of this kind is a room that offers it, beside this one. What stands for
transactions here:

- **Versions.** A row is never changed. It says which version brought it (`born`) and which one removed it (`died`); a change of a
  passage is a new row with the same key. A reader asks for the rows of its version (`asking.py`), so that what is written and removed
  meanwhile changes nothing of what it sees.
- **Commits.** A commit is collected in the client's memory (`writing.py`, `drafts.py`). At its end its rows are written under the next
  version's number, which no reader asks for yet, and the rows that it ends are marked with it (`sending.py`). Then one rename makes that the current
  version (`gate.py`): the database changes a name if and only if it is the one that is asked for, for one client alone.
- **One writer.** The same name says who writes. Whoever was taken for dead and is not can't publish any more, since its name is gone.
- **Stopped writers.** Numbers of attempts that came to nothing are never used again. The next commit deletes their rows, and names them to
  readers, who pass over what of them may still come.
- **Removal.** Rows that ended stay for a day, for those who still read an older version; then they are deleted (`purging.py`).

What of this rests on clocks: a writer is taken for dead after a minute without a sign of life, and writes nothing itself after
half a minute in which it could give none. A server that carries out a writer's mark of removal later than that could bring back a row that the next
writer removed; rows that come late are passed over.

`tables.py` says what a row is made of; `records.py` has what is small; `facts.py` metadata and filters; `words.py` full text; `nearest.py` vectors; `scoping.py` what a search looks at.
"""
