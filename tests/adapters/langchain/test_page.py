"""The page about LangChain is true: its examples run, its tables are complete, and importing costs little."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from stackroom.adapters import langchain
from stackroom.adapters.langchain import filters

PAGE = (Path(__file__).parents[3] / "docs" / "langchain.md").read_text(encoding="utf-8")


def run(code: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_examples_run(tmp_path: Path) -> None:
    printed = run("\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)), tmp_path).splitlines()
    assert printed[:3] == ["A cat purrs and hunts mice at night.", "['logs']", "logs.md"]
    assert printed[3].endswith("logs.md")


def test_every_operator_is_on_the_page() -> None:
    for operator in [*filters._OPERATORS, "$and", "$or", "$not"]:
        assert f"`{operator}`" in PAGE, operator


def test_what_is_exported() -> None:
    assert set(langchain.__all__) == {name for name in vars(langchain) if name.startswith("Stackroom")}


def test_importing_and_opening_loads_nothing_heavy(tmp_path: Path) -> None:
    heavy = (
        "onnxruntime",
        "tokenizers",
        "faiss",
        "pypdfium2",
        "lxml",
        "torch",
        "llama_index",
        "stackroom.migration.run",
    )
    imported = "import sys; import stackroom.adapters.langchain as adapter\n"
    unwanted = f"print([name for name in {heavy} if name in sys.modules])\n"
    numpy = "print('numpy' in sys.modules)\n"
    opened = "adapter.StackroomVectorStore('library', mode='text').similarity_search('word')\n"
    assert run(imported + numpy + unwanted + opened + unwanted, tmp_path).splitlines() == ["False", "[]", "[]"]


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['langchain_core'] = None\n"
        "from stackroom.errors import MissingExtraError\n"
        "try:\n    import stackroom.adapters.langchain\n"
        "except MissingExtraError as error:\n    print(error)\n"
    )
    assert "stackroom[langchain]" in run(code, tmp_path)
