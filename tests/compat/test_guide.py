"""The migration guide's before and after: both run, the second over what the first one left."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "migration.md"


def block(name: str) -> str:
    found = re.search(rf"```python {name}\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


BEFORE = """
import sys
from llama_index.core import Settings
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import MockLLM
from stackroom.ingest.embedders import resolve
model = resolve("minilm")


class Shipped(BaseEmbedding):
    def _get_text_embedding(self, text):
        return [float(value) for value in model.embed_passages([text])[0]]

    def _get_query_embedding(self, query):
        return [float(value) for value in model.embed_query(query)]

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)


Settings.embed_model, Settings.llm = Shipped(), MockLLM()
told = []
search = OldSearch(sys.argv[1])
assert not search.detect_old_index()
search.rebuild(sys.argv[2:], lambda done, total: told.append((done, total)))
assert search.detect_old_index()
search.load_index()
found = search.index.as_retriever(similarity_top_k=1).retrieve("how do I rotate logs")[0]
print(found.node.get_content())
"""

AFTER = """
import json
import sys
told = []
search = Search(sys.argv[1])
search.load_index(lambda done, total: told.append((done, total)))
hit = search.index.search("how do I rotate logs", k=1)[0]
again = search.index.add(sys.argv[2:])
search.rebuild(sys.argv[2:], lambda done, total: told.append((done, total)))
print(json.dumps({"text": hit.text, "path": hit.document.path, "unchanged": again.unchanged, "embedded": again.embedded}))
"""


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.rstrip("\n")


def test_an_application_before_and_after(tmp_path: Path, folder: Path) -> None:
    texts = {
        "logs.txt": "Rotate the logs with logrotate, every week, and keep seven of them.",
        "bread.txt": "Bread rises slowly where it is cold, and faster beside the oven.",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    paths = [str(folder / name) for name in texts]
    old = str(tmp_path / "unified_index")
    before = run(block("before") + BEFORE, old, *paths)
    printed = run(block("after") + AFTER, old, *paths).splitlines()
    assert printed[0].startswith("One-time migration of 2 passages")
    found = json.loads(printed[-1])
    assert found["text"] == before == texts["logs.txt"]
    assert found["path"] == paths[0]
    assert (found["unchanged"], found["embedded"]) == (2, 0)
