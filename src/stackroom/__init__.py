"""Stackroom: one index over all of a person's documents that opens in milliseconds and is never lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stackroom import errors, filters
    from stackroom.index import Index
    from stackroom.migration import migrate
    from stackroom.opening import open, repair
    from stackroom.progress import CancelToken, ProgressEvent
    from stackroom.reports import Collection, Damage, Inventory, MigrationReport, Repair, Report, Stats
    from stackroom.types import Chunk, Document, EmbedderIdentity, Hit, Passage, Place, Source

__version__ = "0.1.0"

_HOME = {
    "errors": "stackroom.errors",
    "filters": "stackroom.filters",
    "Index": "stackroom.index",
    "open": "stackroom.opening",
    "repair": "stackroom.opening",
    "migrate": "stackroom.migration",
    "CancelToken": "stackroom.progress",
    "ProgressEvent": "stackroom.progress",
    "Chunk": "stackroom.types",
    "Collection": "stackroom.reports",
    "Damage": "stackroom.reports",
    "Document": "stackroom.types",
    "EmbedderIdentity": "stackroom.types",
    "Hit": "stackroom.types",
    "Inventory": "stackroom.reports",
    "MigrationReport": "stackroom.reports",
    "Passage": "stackroom.types",
    "Place": "stackroom.types",
    "Repair": "stackroom.reports",
    "Report": "stackroom.reports",
    "Source": "stackroom.types",
    "Stats": "stackroom.reports",
}

__all__ = [  # noqa: RUF022 - in the order a reader needs them
    "open", "migrate", "repair", "Index", "Document", "Chunk", "Place", "Hit", "Passage", "Source", "Report", "Stats", "Repair", "Damage", "Collection", "EmbedderIdentity",
    "Inventory", "MigrationReport", "CancelToken", "ProgressEvent", "errors", "filters", "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name at its first use (PEP 562), so that `import stackroom` costs next to nothing."""
    import importlib

    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'stackroom' has no attribute {name!r}")
    module = importlib.import_module(home)
    return module if home.rpartition(".")[2] == name else getattr(module, name)


def __dir__() -> list[str]:
    return list(__all__)
