"""A library on a Chroma server: a Backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stackroom.engines.chroma.database import ChromaDatabase
from stackroom.engines.versioned.store import VersionedStore

if TYPE_CHECKING:
    from stackroom.backend import Capability


class ChromaStore(VersionedStore):
    engine = ChromaDatabase.name
    instead: dict[Capability, str] = {  # noqa: RUF012 - a table of constants
        "verify": "`push` compares every passage and vector with the library they came from.",
        "repair": "Push it again under another name, from a library that is whole.",
        "compact": "Removed rows are deleted a day later; the server's file gets smaller with: chroma vacuum",
        "backup": "Copy the server's folder while it is stopped, or: stackroom --library NEW pull URL",
        "purge": "Removed rows are deleted a day later; then, with the server stopped: chroma vacuum",
        "reembed": "Pull it into a local library, change the model there, and push it under another name.",
    }

    def _open(self) -> ChromaDatabase:
        return ChromaDatabase(self.url)
