"""What an engine can't do it declares, and refuses with a way out; the local store can do everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from stackroom.backend import EVERY_CAPABILITY, Backend
from stackroom.errors import UsageError
from stackroom.progress import CancelToken, silent
from stackroom.storage.store import LocalStore
from stackroom.types import EmbedderIdentity

RUN = {"progress": silent, "cancel": CancelToken()}
CALLS = {
    "verify": lambda backend: backend.verify(**RUN),
    "repair": lambda backend: backend.repair(dry_run=True, **RUN),
    "compact": lambda backend: backend.compact(**RUN),
    "backup": lambda backend: backend.backup(Path("nowhere"), refresh=False, **RUN),
    "purge": lambda backend: backend.purge(**RUN),
    "reembed": lambda backend: backend.reembed(EmbedderIdentity("m", 4), lambda texts: None, **RUN),
}


def test_what_it_has_not_it_refuses(backend: Backend) -> None:
    assert backend.capabilities <= EVERY_CAPABILITY
    assert CALLS.keys() == EVERY_CAPABILITY
    for capability in EVERY_CAPABILITY - backend.capabilities:
        with pytest.raises(UsageError, match=capability) as caught:
            CALLS[capability](backend)
        assert caught.value.hint
        with pytest.raises(UsageError, match=capability) as before:
            backend.require(capability)
        assert str(before.value) == str(caught.value)
    for capability in backend.capabilities:
        backend.require(capability)


def test_the_local_store_has_all() -> None:
    assert LocalStore.capabilities == EVERY_CAPABILITY
