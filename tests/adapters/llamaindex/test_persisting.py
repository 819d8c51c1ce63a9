"""`persist` as old code calls it: without a folder, beside the old index."""

from __future__ import annotations

from pathlib import Path

import pytest

from old_index import OldIndex, contents
from stackroom.adapters.llamaindex import storage_context


def test_the_default_folder_is_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LlamaIndex fills in `./storage`; an application that moved to a library may still have its old index there."""
    monkeypatch.chdir(tmp_path)
    context = storage_context("library")
    context.persist()
    assert not (tmp_path / "storage").exists()
    OldIndex().write(tmp_path / "storage")
    before = contents(tmp_path / "storage")
    context.persist()
    assert contents(tmp_path / "storage") == before
    context.persist("elsewhere")
    assert (tmp_path / "elsewhere" / "catalogue.db").exists()
