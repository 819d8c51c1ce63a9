"""A library on a Milvus server: a Backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stackroom.engines.milvus.database import MilvusDatabase
from stackroom.engines.versioned.store import VersionedStore

if TYPE_CHECKING:
    from stackroom.backend import Capability


class MilvusStore(VersionedStore):
    engine = MilvusDatabase.name
    instead: dict[Capability, str] = {  # noqa: RUF012 - a table of constants
        "verify": "Milvus keeps checksums of its files itself; `push` compares every passage and vector with the library they came from.",
        "repair": "Restore it with milvus-backup, or push it again from a library that is whole.",
        "compact": "The server does that by itself; what was removed is given back to it a day later.",
        "backup": "Use milvus-backup, or: stackroom --library NEW pull URL",
        "purge": "Removed rows are deleted a day later; how long the server's files keep them is its own setting (dataCoord.gc).",
        "reembed": "Pull it into a local library, change the model there, and push it under another name.",
    }

    def _open(self) -> MilvusDatabase:
        return MilvusDatabase(self.url)
