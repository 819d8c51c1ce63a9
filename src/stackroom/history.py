"""Up to which commit a library has come, and which of two histories is the beginning of the other."""

from __future__ import annotations

import json
from typing import NamedTuple

Branches = tuple[tuple[int, bytes], ...]
"""The number and the id of each commit that was the first one to a copy, in order."""


class History(NamedTuple):
    """Up to which commit a library has come. The counter alone names none: two copies that part count on alike."""

    library: bytes
    commits: int
    commit_id: bytes | None
    branches: Branches

    def precedes(self, other: History) -> bool:
        """Whether this is the beginning of that: fewer commits of the same library, all of which are in it."""
        before = tuple(one for one in other.branches if one[0] <= self.commits)
        return self.library == other.library and self.commits < other.commits and self.branches == before

    def dump(self) -> bytes:
        commit_id = None if self.commit_id is None else self.commit_id.hex()
        branches = [(commits, its_id.hex()) for commits, its_id in self.branches]
        return json.dumps([self.library.hex(), self.commits, commit_id, branches]).encode()

    @classmethod
    def load(cls, data: bytes) -> History | None:
        """What `dump` made; None where it is something else: it may come from a stranger."""
        try:
            library, commits, commit_id, branches = json.loads(data)
            known = tuple((int(first), bytes.fromhex(its_id)) for first, its_id in branches)
            return cls(
                bytes.fromhex(library), int(commits), None if commit_id is None else bytes.fromhex(commit_id), known
            )
        except (ValueError, TypeError, RecursionError):
            return None
