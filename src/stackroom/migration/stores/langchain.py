"""LangChain's FAISS folder: index.faiss, and a pickle that is read without running anything in it."""

from __future__ import annotations

import io
import pickle
import pickletools
import uuid
from pathlib import Path
from typing import Any

from stackroom.errors import DamagedError
from stackroom.migration.records import Anomalies
from stackroom.migration.stores import faiss_file
from stackroom.migration.stores.flat import FlatStore

_DOCUMENTS = {
    ("langchain.schema", "Document"),
    ("langchain.docstore.document", "Document"),
    ("langchain.schema.document", "Document"),
    ("langchain_core.documents.base", "Document"),
}
_STORES = {
    ("langchain.docstore.in_memory", "InMemoryDocstore"),
    ("langchain_community.docstore.in_memory", "InMemoryDocstore"),
}


class _Record:
    """Stands for a Document or a docstore: takes the state, runs nothing."""

    def __init__(self, *arguments: Any, **fields: Any) -> None:
        del arguments
        self.state: dict[str, Any] = dict(fields)

    def __setstate__(self, state: Any) -> None:
        # pydantic 1 and 2 wrap the fields, each in its own way.
        if isinstance(state, dict):
            inner = state.get("__dict__", state)
            self.state = dict(inner) if isinstance(inner, dict) else {}


class _Document(_Record):
    pass


class _Store(_Record):
    pass


class _Uuid(_Record):
    """uuid.UUID as it is pickled: one integer."""

    def __str__(self) -> str:
        number = self.state.get("int")
        return str(uuid.UUID(int=number)) if isinstance(number, int) and 0 <= number < 1 << 128 else ""


class _Refused(pickle.UnpicklingError):
    """It would do more than hold documents."""


class _Restricted(pickle.Unpickler):
    """Knows Document, InMemoryDocstore, UUID and set, and gives inert records for the first three; any other name ends it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _DOCUMENTS:
            return _Document
        if (module, name) in _STORES:
            return _Store
        if (module, name) == ("uuid", "UUID"):
            return _Uuid
        if (module, name) == ("builtins", "set"):
            return set
        raise _Refused(f"it names {module}.{name}, which has no place there")

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"it refers to something outside ({pid!r})")


def from_folder(folder: Path, name: str = "index") -> FlatStore:
    """Raises DamagedError for a pickle that would do anything but hold documents, and where the two files disagree."""
    pickled, index = folder / f"{name}.pkl", folder / f"{name}.faiss"
    documents, positions = load_pickle(pickled)
    found = faiss_file.read(index)
    notes = Anomalies()
    entries: list[tuple[str, str, dict[str, Any], int | None]] = []
    rows = {int(position): row for row, position in enumerate(found.ids)}
    for position, chunk_id in sorted(positions.items()):
        document = documents.get(chunk_id)
        row = rows.pop(position, None)
        if document is None:
            notes.note("a vector whose text is gone", chunk_id)
            continue
        entries.append((chunk_id, *document, row))
    notes.note("a vector that no node has", str(index), count=len(rows))
    if len(positions) != len(found.rows) or not entries:
        found.close()
        raise DamagedError(
            f"{pickled} names {len(positions)} passages, {index.name} has {len(found.rows)} vectors.",
            hint="The two files are not of the same save. Nothing was changed.",
            path=pickled,
        )
    return _LangChainStore(found, [index, pickled], entries, notes)


class _LangChainStore(FlatStore):
    def __init__(
        self,
        found: faiss_file.FaissRows,
        files: list[Path],
        entries: list[tuple[str, str, dict[str, Any], int | None]],
        notes: Anomalies,
    ) -> None:
        super().__init__("langchain-faiss", f"LangChain FAISS ({found.kind})", files, entries, found.rows, notes=notes)
        self._found = found

    def close(self) -> None:
        self._found.close()


def load_pickle(path: Path) -> tuple[dict[str, tuple[str, dict[str, Any]]], dict[int, str]]:
    """Documents by id, and the id of each position."""
    data = path.read_bytes()
    try:
        _require_modest(data)
        docstore, positions = _Restricted(io.BytesIO(data)).load()
        held: dict[Any, Any] = docstore.state["_dict"] if isinstance(docstore, _Store) else docstore
        documents = {str(chunk_id): _document(item) for chunk_id, item in held.items()}
        return documents, {int(at): str(chunk_id) for at, chunk_id in positions.items()}
    except Exception as error:  # a pickle can raise whatever its bytes make Python do
        if _is_cut_off(error):
            raise DamagedError(
                f"{path} breaks off at byte {len(data):,}.",
                hint="Nothing was changed. Restore the file from a backup.",
                path=path,
                actual=len(data),
            ) from error
        reason = (
            str(error) if isinstance(error, pickle.UnpicklingError) else f"it can't be read ({type(error).__name__})"
        )
        raise DamagedError(
            f"{path} was refused: {reason}.",
            hint="A pickle can run code, so only LangChain's own content is accepted. Nothing was changed.",
            path=path,
        ) from error


def _is_cut_off(error: Exception) -> bool:
    """As pickle and pickletools say it, each in several ways."""
    if isinstance(error, _Refused):
        return False
    said = str(error)
    return isinstance(error, EOFError) or any(
        words in said for words in ("truncated", "exhausted", "remain", "not enough data", "no newline found")
    )


def is_pickle(path: Path) -> bool:
    """Whether a file is LangChain's pickle, as far as its first bytes say."""
    if path.suffix != ".pkl":
        return False
    try:
        with path.open("rb") as file:
            return b"langchain" in file.read(4096)
    except OSError:
        return False


def _require_modest(data: bytes) -> None:
    """A pickle may name any length or place, and the unpickler makes room for it before it looks: so this looks first."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > len(data):
            raise _Refused(f"it claims {argument:,} values in {len(data):,} bytes")


def _document(item: Any) -> tuple[str, dict[str, Any]]:
    fields = item.state if isinstance(item, _Document) else {}
    text, metadata = fields.get("page_content"), fields.get("metadata")
    metadata = {str(name): _plain(value) for name, value in metadata.items()} if isinstance(metadata, dict) else {}
    return text if isinstance(text, str) else "", metadata


def _plain(value: Any) -> Any:
    """What JSON can hold; anything else as its text."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return str(value)
