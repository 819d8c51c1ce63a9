"""The example application, for real: its back end step by step, and the whole program with scripted input."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from llama_index.core import SimpleDirectoryReader, StorageContext, VectorStoreIndex
from llama_index.core.llms import MockLLM

from old_index import contents
from stackroom.adapters.llamaindex import StackroomEmbedding
from stackroom.errors import NotFoundError
from support import write_files

PROGRAM = Path(__file__).parents[3] / "examples" / "chat_application.py"
TEXTS = {
    "logs.txt": "Rotate the logs with logrotate, every week, and keep seven of them.",
    "bread.txt": "Bread rises slowly where it is cold, and faster beside the oven.",
}
QUESTION = "how do I rotate logs"


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("chat_application", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["chat_application"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["chat_application"]


@pytest.fixture
def texts(folder: Path) -> Path:
    write_files(folder, TEXTS)
    return folder


@pytest.fixture
def old(tmp_path: Path, texts: Path) -> Path:
    """What an application left that kept its index with LlamaIndex's own stores."""
    documents = SimpleDirectoryReader(str(texts)).load_data()
    for document in documents:
        document.metadata["page_label"] = "7"
    storage = StorageContext.from_defaults()
    VectorStoreIndex.from_documents(documents, storage_context=storage, embed_model=StackroomEmbedding())
    storage.persist(str(tmp_path / "old"))
    return tmp_path / "old"


class Applications:
    """Makes assistants, and closes them at the end of a test."""

    def __init__(self, example: ModuleType) -> None:
        self._example = example
        self._made: list[Any] = []

    def __call__(self, folder: Path, **options: Any) -> Any:
        self._made.append(self._example.Assistant(str(folder), **options))
        return self._made[-1]

    def close(self) -> None:
        while self._made:
            self._made.pop().close()


@pytest.fixture
def assistant(example: ModuleType) -> Iterator[Applications]:
    # LlamaIndex uses the thread's event loop to count tokens, or makes one that nobody closes.
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    made = Applications(example)
    yield made
    made.close()
    asyncio.set_event_loop(None)
    loop.close()


def answer(assistant: Any, question: str = QUESTION) -> tuple[list[str], str]:
    """The titles that were cited, and what the model said."""
    found = assistant.ask(question)
    return [citation.title for citation in found.citations], "".join(found.text)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import chat_application
print([name for name in ("llama_index", "onnxruntime", "tokenizers", "faiss", "pydantic") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_new_library_opens_at_once(assistant: Applications, library: Path) -> None:
    ready = assistant(library).start()
    assert ready.done()
    assert ready.result() is None


def test_without_consent_nothing_is_touched(
    example: ModuleType, old: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(old)
    asked = []
    monkeypatch.setattr("builtins.input", lambda prompt: asked.append(prompt) or "n")
    assert example.main(["--library", str(old)]) == 0
    assert asked == ["Convert it? [y/N] "]
    assert contents(old) == before
    printed = capsys.readouterr().out
    assert "2 passages of 2 documents" in printed
    assert "Nothing was changed." in printed


def test_an_old_index_is_migrated_with_consent(assistant: Applications, old: Path) -> None:
    before = contents(old)
    first = assistant(old)
    stages, finished = [], []
    first.progress.connect(lambda event: stages.append(event.stage))
    first.finished.connect(finished.append)
    inventory = first.start().result()
    assert (inventory.documents, inventory.chunks) == (2, 2)
    assert "LlamaIndex" in inventory.made_by
    assert contents(old) == before

    report = first.migrate().result()
    assert finished == [report]
    assert report.proof.ok
    assert {"migrate", "verify"} <= set(stages)
    assert before.items() <= contents(old).items()
    cited = first.ask(QUESTION).citations[0]
    assert (cited.title, cited.page, cited.passage) == ("logs.txt", "7", TEXTS["logs.txt"])
    assert str(cited) == "logs.txt, page 7"


def test_a_migration_can_be_cancelled(assistant: Applications, old: Path) -> None:
    before = contents(old)
    first = assistant(old)
    first.progress.connect(lambda event: first.cancel())
    assert first.start().result() is not None
    assert first.migrate().result().cancelled
    assert before.items() <= contents(old).items()

    again = assistant(old)
    assert again.start().result() is not None, "it asks again"
    assert not again.migrate().result().cancelled


def test_the_next_start_reads_no_json(assistant: Applications, old: Path) -> None:
    first = assistant(old)
    first.start().result()
    first.migrate().result()
    assistant.close()
    code = f"""
import json, sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
from chat_application import Assistant
opened = []
sys.addaudithook(lambda event, values: opened.append(str(values[0])) if event == "open" else None)
assistant = Assistant({str(old)!r})
ready = assistant.start()
at_once = ready.done() and ready.result() is None
cited = assistant.ask({QUESTION!r}).citations[0].title
assistant.close()
print(json.dumps([at_once, cited, [name for name in opened if name.startswith({str(old)!r}) and name.endswith("store.json")]]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, "logs.txt", []]


def test_questions_are_answered_while_documents_are_indexed(
    assistant: Applications, library: Path, texts: Path, tmp_path: Path
) -> None:
    chat = assistant(library)
    chat.start().result()
    assert chat.ask(QUESTION).citations == []
    chat.add([str(texts)]).result()
    write_files(tmp_path / "more", {f"{n}.txt": f"Number {n} of many notes about nothing." for n in range(20)})

    reached, answered = threading.Event(), threading.Event()
    events = []

    def hold(event: Any) -> None:
        """The run stands still until the question is answered."""
        events.append(event)
        reached.set()
        assert answered.wait(60)

    chat.progress.connect(hold)
    run = chat.add([str(tmp_path / "more")])
    assert reached.wait(60)
    titles, text = answer(chat)
    assert not run.done()
    answered.set()
    assert titles[0] == "logs.txt"
    assert text == ""
    assert run.result().added == 20
    assert events[-1].done == events[-1].total == 20


def test_indexing_can_be_cancelled_and_goes_on_later(assistant: Applications, library: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    write_files(many, {f"{n}.txt": f"Note {n}. " + "Something worth a note. " * 9 for n in range(150)})
    chat = assistant(library)
    chat.start().result()
    stop = threading.Event()
    chat.progress.connect(lambda event: event.chunks and (stop.is_set() or (stop.set(), chat.cancel())))
    first = chat.add([str(many)])
    behind = chat.add([str(tmp_path)])
    report = first.result()
    assert report.cancelled
    assert report.added < 150
    assert behind.result().cancelled, "what waits is cancelled too"

    rest = chat.add([str(many)]).result()
    assert not rest.cancelled
    assert len(chat.documents()) == 150
    assert rest.added + rest.updated <= 150 - report.unchanged


def test_a_failed_run_is_signalled(assistant: Applications, library: Path) -> None:
    chat = assistant(library)
    chat.start().result()
    failed = []
    chat.failed.connect(failed.append)
    assert isinstance(chat.add(["/nowhere/at/all"]).exception(), NotFoundError)
    assert [type(error) for error in failed] == [NotFoundError]


def test_answers_come_from_the_active_documents(assistant: Applications, library: Path, texts: Path) -> None:
    """The model says what it was told, so that the passages are seen in its answer."""
    chat = assistant(library, llm=MockLLM)
    chat.start().result()
    chat.add([str(texts)]).result()
    titles, text = answer(chat)
    assert titles == ["logs.txt", "bread.txt"]
    assert TEXTS["logs.txt"] in text
    assert TEXTS["bread.txt"] in text
    assert QUESTION in text

    assert chat.use(["bread*"]) == 1
    titles, text = answer(chat)
    assert titles == ["bread.txt"]
    assert TEXTS["logs.txt"] not in text, "neither found nor remembered"
    with pytest.raises(NotFoundError):
        chat.use(["logs*", "no such document"])
    assert answer(chat)[0] == ["bread.txt"]
    assistant.close()

    again = assistant(library)
    assert again.start().result() is None
    assert [source.active for source in again.documents()] == [True, False]
    assert answer(again) == (["bread.txt"], "")
    assert again.use() == 2
    assert answer(again)[0] == ["logs.txt", "bread.txt"]


def test_an_answer_comes_word_by_word(assistant: Applications, library: Path, texts: Path) -> None:
    chat = assistant(library, llm=lambda: MockLLM(max_tokens=5))
    chat.start().result()
    chat.add([str(texts)]).result()
    found = chat.ask(QUESTION)
    assert [citation.title for citation in found.citations] == ["logs.txt", "bread.txt"]
    assert list(found.text) == ["text "] * 4 + ["text"]


def test_the_whole_program(old: Path, texts: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "new", {"garden.txt": "Water the tomatoes in the morning."})
    script = ["y", "/wait", QUESTION, "/list", "/use garden*", QUESTION, "/use nothing", "/add /nowhere", "/wait", "/?"]
    command = [sys.executable, "-W", "error", str(PROGRAM), "--library", str(old), "--documents", str(tmp_path / "new")]
    done = subprocess.run(
        command, input="\n".join([*script, "/quit"]) + "\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    printed = done.stdout
    steps = [
        "Here is an index by LlamaIndex",
        "Migration done: 2 passages, 0 failures.",
        "Indexing done: 1 passages, 0 failures.",
        "[1] logs.txt, page 7\n    Rotate the logs with logrotate",
        "* garden.txt",
        "Answers come from 1 documents.",
        "[1] garden.txt\n    Water the tomatoes",
        "No source is called 'nothing'.",
        "That failed: ",
        "/quit",
    ]
    position = -1
    for step in steps:
        found = printed.find(step, position + 1)
        assert found > position, (step, printed)
        position = found
