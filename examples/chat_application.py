"""A chat application over a person's documents: LlamaIndex answers, Stackroom keeps.

    pip install 'stackroom[documents,llamaindex]'
    python examples/chat_application.py --library FOLDER --documents FOLDER

`Assistant` is the back end of a desktop application. It knows no window and no terminal: what takes time runs in threads of its own, and
signals say how far it is. `Terminal` is the smallest face that it can have. docs/embedding.md tells the why of each step.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import stackroom
from stackroom import CancelToken, ProgressEvent, migration
from stackroom.errors import EmbedderMismatchError, MigrationNeeded, NotALibraryError, NotFoundError, StackroomError
from stackroom.reports import Inventory, MigrationReport, Report
from stackroom.types import Source

if TYPE_CHECKING:
    # LlamaIndex takes a second or more to import: that is for the background.
    from llama_index.core.base.base_retriever import BaseRetriever
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.chat_engine.types import BaseChatEngine
    from llama_index.core.llms import LLM
    from llama_index.core.schema import NodeWithScore

PASSAGES = 4
"""How many passages an answer is made of."""
ROLE = "Answer from the passages alone. Say so where they do not answer the question."

Result = TypeVar("Result")


class Signal:
    """A GUI toolkit's signal in ten lines: whoever is connected is called, in the thread that emits."""

    def __init__(self) -> None:
        self._slots: list[Callable[[Any], None]] = []

    def connect(self, slot: Callable[[Any], None]) -> None:
        self._slots.append(slot)

    def emit(self, value: Any) -> None:
        for slot in self._slots:
            slot(value)


@dataclass(frozen=True)
class Citation:
    """A passage that an answer rests on. `page` is None where the document has no pages."""

    title: str
    page: str | None
    path: str | None
    passage: str

    def __str__(self) -> str:
        return self.title if self.page is None else f"{self.title}, page {self.page}"


@dataclass(frozen=True)
class Answer:
    """`citations` are there at once; `text` comes word by word, and is empty without a language model."""

    citations: list[Citation]
    text: Iterator[str]


class Assistant:
    """One library, and the chat about it.

    `llm` makes the language model: a function, because it is called in the background. `embedder` is for applications that have
    always used one model; without it the library's own is used, and a new library gets the one that is shipped.

    One thread asks questions. Signals are emitted in other threads: `progress` with a ProgressEvent, `finished` with a Report,
    `failed` with the error.
    """

    index: stackroom.Index
    """The library; there is one as soon as `start`, or else `migrate`, is done."""

    def __init__(self, folder: str, *, llm: Callable[[], LLM] | None = None, embedder: str | None = None) -> None:
        self.folder = folder
        self.progress, self.finished, self.failed = Signal(), Signal(), Signal()
        self._llm = llm
        self._embedder = embedder
        self._token = CancelToken()
        # Two threads: one writes, a run after the other; one imports LlamaIndex, so that questions never wait for a run.
        self._writer = ThreadPoolExecutor(1, "writer")
        self._importer = ThreadPoolExecutor(1, "importer")
        self._chat: Future[tuple[BaseRetriever, BaseChatEngine | None]] | None = None

    def start(self) -> Future[Inventory | None]:
        """Open the library, which takes milliseconds: the result is None, and is there at once.

        Where the folder holds an old index, the result is what is in there: show it, and ask. Reading that may take seconds, so it is done
        in the background.
        """
        try:
            self._opened(stackroom.open(self.folder, embedder=self._embedder, migrate="never"))
        except NotALibraryError:
            return self._writer.submit(self._look)
        ready: Future[Inventory | None] = Future()
        ready.set_result(None)
        return ready

    def _look(self) -> Inventory | None:
        try:
            self._opened(stackroom.open(self.folder, embedder=self._embedder))
        except MigrationNeeded as needed:
            return needed.inventory
        return None

    def migrate(self) -> Future[MigrationReport]:
        """Make the old index a library, and open it. The old files stay as they are; nothing is embedded again."""
        return self._run(self._migrate)

    def _migrate(self, token: CancelToken) -> MigrationReport:
        report = migration.migrate(self.folder, embedder=self._embedder, progress=self.progress.emit, cancel=token)
        if not report.cancelled:
            self._opened(stackroom.open(self.folder, embedder=self._embedder))
        return report

    def _opened(self, index: stackroom.Index) -> None:
        self.index = index
        self._chat = self._importer.submit(self._prepare)

    def _prepare(self) -> tuple[BaseRetriever, BaseChatEngine | None]:
        """Import LlamaIndex and load the models, while the user reads and types."""
        from llama_index.core import MockEmbedding, VectorStoreIndex
        from llama_index.core.chat_engine import ContextChatEngine
        from llama_index.core.memory import ChatMemoryBuffer

        from stackroom.adapters.llamaindex import StackroomEmbedding, StackroomVectorStore

        store = StackroomVectorStore(self.index, active=True)
        model: BaseEmbedding
        try:
            model, mode = StackroomEmbedding(self.index.embedder()), "hybrid"
            model.get_query_embedding("The first call loads the model.")
        except EmbedderMismatchError as error:
            # An old index whose model is not at hand: passages are found by their words, until somebody names it.
            self.failed.emit(error)
            model, mode = MockEmbedding(1), "text_search"
        retriever = VectorStoreIndex.from_vector_store(store, embed_model=model).as_retriever(
            similarity_top_k=PASSAGES, vector_store_query_mode=mode
        )
        if self._llm is None:
            return retriever, None
        llm = self._llm()
        memory = ChatMemoryBuffer.from_defaults(llm=llm)
        return retriever, ContextChatEngine.from_defaults(retriever, memory=memory, llm=llm, system_prompt=ROLE)

    def add(self, paths: Sequence[str]) -> Future[Report]:
        """Index files and folders in the background; what has not changed costs nothing.

        Questions are answered meanwhile, from what is committed.
        """
        return self._run(lambda token: self.index.add(paths, progress=self.progress.emit, cancel=token))

    def cancel(self) -> None:
        """Stop what runs and what waits, within a second. What is committed stays, and the next run goes on from there."""
        self._token.cancel()
        self._token = CancelToken()

    def _run(self, work: Callable[[CancelToken], Result]) -> Future[Result]:
        token = self._token

        def job() -> Result:
            try:
                result = work(token)
            except Exception as error:
                self.failed.emit(error)
                raise
            self.finished.emit(result)
            return result

        return self._writer.submit(job)

    def documents(self) -> list[Source]:
        """Every document, with its title, and whether it is active."""
        return self.index.sources()

    def use(self, names: Sequence[str] = ()) -> int:
        """Answer from these documents only: titles, paths or patterns; from all of them where none is named. Returns how many.

        The choice is in the library: it is there at the next start, and for other programs. What was said so far is forgotten, because it
        came from other documents. Raises NotFoundError, and then nothing has changed.
        """
        wanted = {source.id for name in names for source in self.index.find(name)} if names else None
        others = [] if wanted is None else [source.id for source in self.documents() if source.id not in wanted]
        # In this order a question in between finds too much rather than nothing.
        count = self.index.set_active(None if wanted is None else sorted(wanted), True)
        self.index.set_active(others, False)
        self._forget()
        return count

    def _forget(self) -> None:
        if self._chat is not None and self._chat.done() and self._chat.exception() is None:
            _, engine = self._chat.result()
            if engine is not None:
                engine.reset()

    def ask(self, question: str) -> Answer:
        """Answer from the active documents. The first question may wait for LlamaIndex, no question waits for indexing."""
        retriever, engine = self._ready()
        if engine is None:
            return Answer(self._cited(retriever.retrieve(question)), iter(()))
        response = engine.stream_chat(question)
        return Answer(self._cited(response.source_nodes), response.response_gen)

    def _ready(self) -> tuple[BaseRetriever, BaseChatEngine | None]:
        if self._chat is None:
            raise NotFoundError("There is no library yet.", hint="Call start() first.", path=self.folder)
        return self._chat.result()

    def _cited(self, found: list[NodeWithScore]) -> list[Citation]:
        """Titles as the library has them, which knows those of PDFs and books."""
        citations = []
        for node in (hit.node for hit in found):
            name = node.metadata.get("file_path") or node.ref_doc_id or node.node_id
            try:
                title = self.index.find(name)[0].title
            except NotFoundError:
                title = node.metadata.get("file_name") or name
            page = node.metadata.get("page_label")
            citations.append(Citation(title, page, node.metadata.get("file_path"), node.get_content()))
        return citations

    def close(self) -> None:
        """Stop what runs, and close the library. Nothing has to be saved."""
        self.cancel()
        self._writer.shutdown(cancel_futures=True)
        self._importer.shutdown()
        if self._chat is not None:
            self.index.close()


HELP = """A question, or
  /add PATH       index a file or folder          /stop   stop indexing
  /list           the documents; * is active      /wait   until indexing is done
  /use NAME ...   answer from these only          /use    answer from all
  /quit"""


class Terminal:
    """The face: prints what the assistant signals, and turns lines into calls."""

    def __init__(self, assistant: Assistant) -> None:
        self.assistant = assistant
        self._last: Future[Report] | None = None
        assistant.progress.connect(self.show_progress)
        assistant.finished.connect(self.show_report)

    def run(self, documents: Sequence[str]) -> int:
        old = self.assistant.start().result()
        if old is not None and not self.migrated(old):
            return 0
        # From here on a failure ends a run, not the program.
        self.assistant.failed.connect(lambda error: print(f"That failed: {error}"))
        if documents:
            self._last = self.assistant.add(documents)
        print(HELP)
        while (line := read("> ")) not in (None, "/quit"):
            try:
                self.obey(line.strip())
            except StackroomError as error:
                print(error)
        return 0

    def migrated(self, old: Inventory) -> bool:
        """Show what the old index holds, and make it a library if the user agrees."""
        print(f"Here is an index by {old.made_by}: {old.chunks:,} passages of {old.documents:,} documents.")
        for anomaly in old.anomalies:
            print(f"  {anomaly.count:,} x {anomaly.kind}: {anomaly.rule}")
        print(f"Converting it takes about {max(1, round(old.seconds))} s. The old files stay as they are.")
        if (read("Convert it? [y/N] ") or "").strip().lower() not in ("y", "yes"):
            print("Nothing was changed.")
            return False
        return not self.assistant.migrate().result().cancelled

    def obey(self, line: str) -> None:
        command, _, rest = line.partition(" ")
        if command == "/add":
            self._last = self.assistant.add([rest])
        elif command == "/stop":
            self.assistant.cancel()
        elif command == "/wait" and self._last is not None:
            self._last.exception()
        elif command == "/list":
            for source in self.assistant.documents():
                print("*" if source.active else " ", source.title)
        elif command == "/use":
            print(f"Answers come from {self.assistant.use(shlex.split(rest))} documents.")
        elif command.startswith("/"):
            print(HELP)
        elif line:
            self.answer(line)

    def answer(self, question: str) -> None:
        answer = self.assistant.ask(question)
        if not answer.citations:
            print("The active documents say nothing about that.")
            return
        spoken = False
        for part in answer.text:
            print(part, end="", flush=True)
            spoken = True
        print()
        for number, citation in enumerate(answer.citations, start=1):
            print(f"[{number}] {citation}")
            if not spoken:
                print("    " + " ".join(citation.passage.split())[:300])

    def show_progress(self, event: ProgressEvent) -> None:
        if sys.stderr.isatty():
            of = "" if event.total is None else f" of {event.total:,}"
            print(f"\r\033[K{event.stage} {event.done:,}{of}", end="", file=sys.stderr, flush=True)

    def show_report(self, report: Report) -> None:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        what = "Migration" if isinstance(report, MigrationReport) else "Indexing"
        end = "stopped" if report.cancelled else "done"
        print(f"{what} {end}: {report.chunks:,} passages, {report.failed} failures.")


def read(prompt: str) -> str | None:
    """A line, or None where there are no more."""
    try:
        return input(prompt)
    except EOFError:
        return None


def main(arguments: Sequence[str] | None = None, llm: Callable[[], LLM] | None = None) -> int:
    """`llm`, for example: `lambda: Ollama(model="llama3.2")`. Without it the passages are the answer."""
    parser = argparse.ArgumentParser(description="Chat about your documents.")
    parser.add_argument("--library", required=True, metavar="FOLDER", help="where the library is, or an old index")
    parser.add_argument("--documents", nargs="*", default=[], metavar="FOLDER", help="what to index at start")
    parser.add_argument("--embedder", metavar="NAME", help="the model that made the vectors of an old index")
    options = parser.parse_args(arguments)
    assistant = Assistant(options.library, llm=llm, embedder=options.embedder)
    try:
        return Terminal(assistant).run(options.documents)
    except StackroomError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    finally:
        assistant.close()


if __name__ == "__main__":
    sys.exit(main())
