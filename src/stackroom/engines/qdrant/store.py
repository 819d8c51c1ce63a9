"""A library on a Qdrant server: a Backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stackroom.engines.qdrant.database import QdrantDatabase
from stackroom.engines.versioned.store import VersionedStore

if TYPE_CHECKING:
    from stackroom.backend import Capability


class QdrantStore(VersionedStore):
    engine = QdrantDatabase.name
    instead: dict[Capability, str] = {  # noqa: RUF012 - a table of constants
        "verify": "`push` compares every passage and vector with the library they came from.",
        "repair": "Restore it from a snapshot of the server, or push it again from a library that is whole.",
        "compact": "The server does that by itself; what was removed is given back to it a day later.",
        "backup": "Use Qdrant's snapshots, or: stackroom --library NEW pull URL",
        "purge": "Removed rows are deleted a day later; when the server's files lose them is its optimizer's to say. Its snapshots are its own.",
        "reembed": "Pull it into a local library, change the model there, and push it under another name.",
    }

    def _open(self) -> QdrantDatabase:
        return QdrantDatabase(self.url)
