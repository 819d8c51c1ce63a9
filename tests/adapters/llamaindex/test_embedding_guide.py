"""The guide for authors of applications, and what the README shows of it, run as they are written."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from stackroom.adapters import llamaindex

ROOT = Path(__file__).parents[3]
BEGINNING = """
from llama_index.core import Document, Settings, VectorStoreIndex, load_index_from_storage
from stackroom.adapters.llamaindex import StackroomEmbedding
Settings.embed_model = StackroomEmbedding()
documents = [Document(text="Rotate the logs every week."), Document(text="Bread rises slowly.")]
"""
END = """
print(index.as_retriever(similarity_top_k=1).retrieve("logs")[0].text)
"""


def blocks(page: str, name: str = "") -> list[str]:
    return re.findall(rf"```python{name}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


def run(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_guide_runs_from_top_to_bottom(tmp_path: Path) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    printed = run("\n".join(blocks("docs/embedding.md")), tmp_path)
    steps = [
        "Rotate the logs every week.\nRotate the logs every week.\n",
        "packaging-tutorial.pdf ",
        "LlamaIndex, 0.8 or newer: 2 passages",
        "3 added, 0 failed",
        "nodes are new",
        "Debian Packaging Tutorial",
        "5 5 10",
        "['logs']",
    ]
    places = [printed.find(step) for step in steps]
    assert -1 not in places, (places, printed)
    assert places == sorted(places)
    assert (tmp_path / "backup" / "catalogue.db").exists()


def test_the_readme_of_llamaindex_runs(tmp_path: Path) -> None:
    (shown,) = blocks("README.md", " llamaindex")
    assert run(BEGINNING + shown + END, tmp_path) == "Rotate the logs every week.\n"


def test_every_example_is_python() -> None:
    for page in ("README.md", "docs/embedding.md"):
        for shown in blocks(page, r"[ a-z]*"):
            ast.parse(shown)


def test_the_options_that_are_listed_are_those_there_are() -> None:
    text = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\*\*`(\w+)\((.*?)\)`\*\*", text, re.MULTILINE))
    assert set(listed) == set(llamaindex.__all__)
    for name, options in listed.items():
        made = getattr(llamaindex, name)
        parameters = inspect.signature(made.__init__ if inspect.isclass(made) else made).parameters.values()
        assert options.split(", ") == list(_told(parameters)), name


def _told(parameters: Iterable[inspect.Parameter]) -> Iterator[str]:
    """Parameters as a person writes them down."""
    starred = False
    for parameter in parameters:
        if parameter.name == "self" or parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            starred = True
            yield "*"
        known = parameter.default is not parameter.empty
        yield parameter.name + (f"={parameter.default!r}".replace("'", '"') if known else "")
