"""What a salvage has found so far: records by key, what came back, what did not, and what needs a model or a file."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from stackroom.backend import DocumentRecord, SourceRecord
from stackroom.reports import Damage
from stackroom.storage.catalogue.keysets import KeySet


@dataclass
class Findings:
    restored: list[str] = field(default_factory=list)
    lost: list[Damage] = field(default_factory=list)
    sources: dict[int, SourceRecord] = field(default_factory=dict)
    documents: dict[int, DocumentRecord] = field(default_factory=dict)
    hurt: set[int] = field(default_factory=set)
    """documents of which passages are lost"""
    gone: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))
    """ids of their lost passages, as far as they are known, by document"""
    more: set[int] = field(default_factory=set)
    """documents that lost what has no id that is known"""
    invented: set[int] = field(default_factory=set)
    """documents whose own id is lost"""
    bereft: set[int] = field(default_factory=set)
    """sources of which nobody knows what they held"""
    named_alone: set[int] = field(default_factory=set)
    """collections of which no more than the name is known: one may have had vectors of its own"""
    identities: dict[int, str] = field(default_factory=dict)
    """what is known of the models of spaces whose record was mended, by space"""
    missing: KeySet = field(default_factory=KeySet.empty)
    """passages whose vectors are lost"""
    made: list[Path] = field(default_factory=list)
    """vector files that were written anew"""
    replaced: list[Path] = field(default_factory=list)
    """those that they stand for"""

    def is_lost(self, structure: str, message: str, document_key: int = 0) -> None:
        document = self.documents.get(document_key)
        source = None if document is None else self.sources.get(document.source_key)
        self.lost.append(
            Damage(
                structure,
                message,
                None if document is None else document.document_id,
                None if source is None else source.name,
            )
        )
