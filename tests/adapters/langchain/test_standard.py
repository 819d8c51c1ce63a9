"""LangChain's own tests of vector stores, all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from stackroom.adapters.langchain import StackroomVectorStore


class TestStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, library: Path) -> VectorStore:  # type: ignore[override]
        return StackroomVectorStore(library, embedding=self.get_embeddings())
