"""Full text at 25,000, 250,000 and a million passages: FTS5 alone, postings files, and tantivy.

    python bench/words.py --data DIR --work DIR [--sizes 25000 250000 1000000] [--keep] [--report docs/benchmarks/words.md]

DIR of `--data` holds `scifact/` in BEIR's form. Passages are made of its sentences in random order (1,900 characters each, none twice), so that words are
more frequent than in life; the questions are three to eight content words of its claims, any of which may match. tantivy gets the words that FTS5's
tokenizer makes, as one field that is cut at spaces, with counts and without positions; a field `third` that a filter can use; and the passages' keys.
Everything runs on one thread, each measurement in a process of its own. A million passages take 6 GB of disk and half an hour.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import machine
from stackroom.backend import DocumentRecord, Scope, SourceRecord
from stackroom.filters import as_filter
from stackroom.storage.catalogue.sql import Connection
from stackroom.storage.store import LocalStore
from stackroom.storage.words import fulltext, tokenizer, word_files
from stackroom.types import Chunk
from store import passages

DOCUMENT, COMMIT = 240, 2_400
QUERIES, SLOW_QUERIES, ROUNDS, SLOW_ROUNDS = 100, 10, 7, 2
ENGINES = ("fts5", "postings", "tantivy")


def batches(data: Path, size: int) -> Iterator[tuple[range, list[str], list[bool]]]:
    """Numbers of passages, their texts, and which of them are among the third of each ten that a filter keeps."""
    texts, choose = passages(data / "scifact" / "corpus.jsonl.gz"), random.Random(3)
    for at in range(0, size, COMMIT):
        numbers = range(at, min(at + COMMIT, size))
        yield numbers, [next(texts) for _ in numbers], [choose.random() < 0.3 for _ in numbers]


def questions(data: Path) -> list[str]:
    lines = (data / "scifact" / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    choose, found = random.Random(4), []
    for line in lines:
        terms = [term for term in tokenizer.parse_query(json.loads(line)["text"]).terms if " " not in term]
        if len(terms) >= 3:
            found.append(" ".join(terms[: choose.randint(3, 8)]))
    choose.shuffle(found)
    return found[:QUERIES]


def build_library(folder: Path, data: Path, size: int) -> dict[str, Any]:
    """What FTS5 alone and postings files are asked in."""
    shutil.rmtree(folder, ignore_errors=True)
    store, spent, insert = LocalStore(folder), 0.0, fulltext.add

    def timed_insert(connection: Connection, texts: Iterable[tuple[int, str]]) -> None:
        nonlocal spent
        begun = time.process_time()
        insert(connection, texts)
        spent += time.process_time() - begun

    fulltext.add = timed_insert
    with store.lease("bench"):
        for numbers, texts, third in batches(data, size):
            with store.commit() as commit:
                for at in range(0, len(numbers), DOCUMENT):
                    name = f"document {numbers[at]}"
                    key = commit.put_document(DocumentRecord(name, commit.put_source(SourceRecord(name=name))))
                    part = range(at, min(at + DOCUMENT, len(numbers)))
                    commit.add_chunks(key, [Chunk(texts[i], metadata={"third": third[i]}) for i in part])
        begun = time.process_time()
    made = time.process_time() - begun
    store.close()
    connection = Connection(str(folder / "catalogue.db"))
    tables = connection.value("SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'words%'")
    connection.close()
    return {
        "fts5 build": spent,
        "fts5 MB": tables / 1e6,
        "postings build": made,
        "postings MB": sum(path.stat().st_size for path in (folder / "sketches").glob("words.*")) / 1e6,
    }


def tantivy_schema() -> Any:
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("key", indexed=True, fast=True)
    builder.add_unsigned_field("document", indexed=True, fast=True)
    builder.add_boolean_field("third", indexed=True, fast=True)
    builder.add_text_field("text", tokenizer_name="spaces", index_option="freq")
    return builder.build()


def tantivy_index(folder: Path) -> Any:
    import tantivy

    index = tantivy.Index(tantivy_schema(), path=str(folder))
    index.register_tokenizer("spaces", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())
    return index


def build_tantivy(folder: Path, data: Path, size: int) -> dict[str, Any]:
    import tantivy

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shape, words, spent, cutting = tantivy_schema(), Connection(":memory:"), 0.0, 0.0
    writer = tantivy_index(folder).writer(heap_size=256_000_000, num_threads=1)
    for numbers, texts, third in batches(data, size):
        begun = time.process_time()
        cut = [" ".join(tokenizer.indexed(words, text)) for text in texts]
        cutting += time.process_time() - begun
        for number, text, keep in zip(numbers, cut, third, strict=True):
            row = {"key": number + 1, "document": number // DOCUMENT, "third": keep, "text": text}
            writer.add_document(tantivy.Document.from_dict(row, shape))
        spent += time.process_time() - begun
    begun = time.process_time()
    writer.commit()
    writer.wait_merging_threads()
    spent += time.process_time() - begun
    return {
        "tantivy build": spent,
        "cutting": cutting,
        "tantivy MB": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6,
    }


def timed(ask: Callable[[str], list[int]], asked: list[str], rounds: int) -> tuple[list[float], list[list[int]]]:
    """Milliseconds, each question's quickest time: the middle one and the 95th of a hundred; the mean of processor time; and what was found."""
    ask(asked[0])
    spent, processor, found = [], [], []
    for question in asked:
        walls, own, keys = [], [], []
        for _ in range(rounds):
            begun, busy = time.perf_counter(), time.process_time()
            keys = ask(question)
            own.append(time.process_time() - busy)
            walls.append(time.perf_counter() - begun)
        found.append(keys)
        spent.append(min(walls) * 1e3)
        processor.append(min(own) * 1e3)
    spent.sort()
    return [statistics.median(spent), spent[int(len(spent) * 0.95)], statistics.mean(processor)], found


def measure_library(folder: Path, asked: list[str], *, postings: bool) -> dict[str, Any]:
    if not postings:
        word_files.Shelf.take = lambda *_: {}  # type: ignore[method-assign]
        asked = asked[:SLOW_QUERIES]
    with contextlib.closing(LocalStore(folder, mode="r")) as store:
        names = [f"document {DOCUMENT * number}" for number in range(5)]
        scopes = {"all": Scope(), "five": Scope(sources=names), "filter": Scope(where=as_filter("third == true"))}

        def ask(k: int, scope: Scope) -> Callable[[str], list[int]]:
            def one(question: str) -> list[int]:
                with store.view() as view:
                    found: list[int] = view.matching(question, k, scope)[0].keys.tolist()
                    return found

            return one

        ask(1, scopes["all"])(asked[0])
        ks = (10, 100) if postings else (100,)
        return measured(lambda k, kind: ask(k, scopes[kind]), ("all", "five", "filter"), asked, ks)


def measure_tantivy(folder: Path, asked: list[str]) -> dict[str, Any]:
    from tantivy import Occur, Query

    index, shape, words = tantivy_index(folder), tantivy_schema(), Connection(":memory:")
    searcher, size = index.searcher(), index.searcher().num_docs
    choose = random.Random(5)
    keys = [key for key in range(1, size + 1) if choose.random() < 0.3]

    def within(kind: str) -> Any:
        if kind == "five":
            chosen = Query.term_set_query(shape, "document", list(range(5)))
        elif kind == "filter":
            chosen = Query.term_query(shape, "third", True)
        else:
            chosen = Query.term_set_query(shape, "key", keys)
        return Query.const_score_query(chosen, 0.0)

    def ask(k: int, kind: str) -> Callable[[str], list[int]]:
        def one(question: str) -> list[int]:
            parsed = tokenizer.parse_query(question)
            stems = [stem for term in parsed.terms for stem in tokenizer.stem(words, term)]
            wanted = Query.boolean_query(
                [(Occur.Should, Query.term_query(shape, "text", stem, "freq")) for stem in stems]
            )
            if kind != "all":
                wanted = Query.boolean_query([(Occur.Must, wanted), (Occur.Must, within(kind))])
            found = [address for _, address in searcher.search(wanted, k, count=False).hits]
            return list(map(int, searcher.fast_field_values("key", found)))

        return one

    return measured(ask, ("all", "five", "filter", "keys"), asked)


def measured(
    ask: Callable[[int, str], Callable[[str], list[int]]],
    kinds: tuple[str, ...],
    asked: list[str],
    ks: tuple[int, ...] = (10, 100),
) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for kind in kinds:
        for k in ks:
            few = asked[:SLOW_QUERIES] if kind == "keys" else asked
            told[f"{kind} {k}"], found = timed(ask(k, kind), few, ROUNDS if len(few) == QUERIES else SLOW_ROUNDS)
            told[f"{kind} found"] = [keys[:10] for keys in found]
    return {**told, "memory": machine.anonymous()}


def agreement(mine: list[list[int]], theirs: list[list[int]]) -> float:
    """The share of FTS5's ten that are among the ten."""
    pairs = list(zip(mine, theirs, strict=False))
    return sum(len(set(found) & set(best)) / max(len(best), 1) for found, best in pairs) / len(pairs)


def report(path: Path, found: dict[int, dict[str, Any]]) -> None:
    names = {"fts5": "FTS5 alone", "postings": "postings files", "tantivy": "tantivy"}
    lines = [
        "# Full text", "",
        "Made by `bench/words.py`: passages of 1,900 characters, made of SciFact's sentences in random order, so that words are more frequent than in life. Builds are given in processor time, FTS5's without what it merges between commits. A question is three to eight content words of a SciFact claim, any of "
        f"which may match. Milliseconds on one thread, of a question's quickest of {ROUNDS} times: median / 95th of a hundred questions; the mean of processor time. Where they differ much, other programs had the processor. FTS5 and tantivy's choice by keys were asked {SLOW_QUERIES} questions, {SLOW_ROUNDS} times. *Filter* keeps a scattered 30 %: for Stackroom any condition on metadata, for tantivy "
        "a field of its index that says which (*filter*), or a set of as many keys (*by keys*), which is what a condition that its index does not know comes to. *Agreement* is the share of FTS5's best ten that are among the best ten. Memory is RssAnon after all searches. "
        f"tantivy {tantivy_version()} (Python package), the words of FTS5's tokenizer, counts without positions. {machine.describe()}.",
    ]  # fmt: skip
    for size, told in found.items():
        lines += ["", f"## {size:,} passages", "", "| | " + " | ".join(names.values()) + " |", "|---" * 4 + "|"]
        for kind, what in (
            ("all", "everything"), ("five", "five documents"), ("filter", "filter"), ("keys", "filter, by keys"),
        ):  # fmt: skip
            for k in (10, 100):
                cells = [
                    "{:.2f} / {:.2f}; {:.2f}".format(*told[name][f"{kind} {k}"]) if f"{kind} {k}" in told[name] else ""
                    for name in ENGINES
                ]
                lines.append(f"| {what}, best {k} | " + " | ".join(cells) + " |")
        truth = {kind: told["fts5"][f"{kind} found"] for kind in ("all", "five", "filter")}
        for kind, what in (
            ("all", "agreement"),
            ("five", "agreement, five documents"),
            ("filter", "agreement, filter"),
        ):
            cells = [f"{agreement(told[name][f'{kind} found'], truth[kind]):.3f}" for name in ENGINES]
            lines.append(f"| {what} | " + " | ".join(cells) + " |")
        lines.append("| memory, MB | " + " | ".join(f"{told[name]['memory']:.0f}" for name in ENGINES) + " |")
        lines.append("| disk, MB | " + " | ".join(f"{told[f'{name} MB']:.0f}" for name in ENGINES) + " |")
        lines.append(
            "| build, s of processor time | " + " | ".join(f"{told[f'{name} build']:.0f}" for name in ENGINES) + " |"
        )
        lines.append(f"| of which cutting texts into words, s | | | {told['cutting']:.0f} |")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def tantivy_version() -> str:
    from importlib.metadata import version

    return version("tantivy")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="*", default=[25_000, 250_000, 1_000_000])
    parser.add_argument("--keep", action="store_true", help="leave the libraries there, and use those that are")
    parser.add_argument("--report", type=Path)
    parser.add_argument("--stage", nargs=2)
    arguments = parser.parse_args()
    data, work = arguments.data, arguments.work
    if arguments.stage:
        stage, size = arguments.stage[0], int(arguments.stage[1])
        library, other = work / f"words-{size}", work / f"tantivy-{size}"
        told = {
            "build-library": lambda: build_library(library, data, size),
            "build-tantivy": lambda: build_tantivy(other, data, size),
            "fts5": lambda: measure_library(library, questions(data), postings=False),
            "postings": lambda: measure_library(library, questions(data), postings=True),
            "tantivy": lambda: measure_tantivy(other, questions(data)),
        }[stage]()
        print(json.dumps(told))
        return

    def run(stage: str, size: int) -> dict[str, Any]:
        command = [sys.executable, __file__, "--data", data, "--work", work, "--stage", stage, str(size)]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
        told = dict(json.loads(done.stdout.splitlines()[-1]))
        print(stage, size, {name: value for name, value in told.items() if "found" not in name}, flush=True)
        return told

    work.mkdir(parents=True, exist_ok=True)
    found: dict[int, dict[str, Any]] = {}
    for size in arguments.sizes:
        built = work / f"built-{size}.json"
        if not (arguments.keep and built.exists()):
            stages = [run(stage, size) for stage in ("build-library", "build-tantivy")]
            built.write_text(json.dumps({name: value for told in stages for name, value in told.items()}))
        found[size] = {**json.loads(built.read_text()), **{engine: run(engine, size) for engine in ENGINES}}
        if not arguments.keep:
            shutil.rmtree(work / f"words-{size}")
            shutil.rmtree(work / f"tantivy-{size}")
            built.unlink()
    if arguments.report:
        report(arguments.report, found)


if __name__ == "__main__":
    main()
