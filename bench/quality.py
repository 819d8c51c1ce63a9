"""Retrieval quality on SciFact and XQuAD, each mode beside the others: one JSON line a set, then a table.

    python bench/quality.py --data DIR [--embedder NAME] [--report docs/benchmarks/quality.md]

DIR holds `scifact/` (BEIR's form: corpus.jsonl.gz, queries.jsonl, qrels/test.tsv) and `xquad/` (xquad.LANG.json). Everything goes through
the public interface: documents are split, embedded and stored, and a document's rank is that of its best passage. For XQuAD the documents
are the paragraphs of one language, the queries the questions of another; a pair's only relevant paragraph is the question's own.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import stackroom
from stackroom import Document, Index
from stackroom.types import Mode

MODES: tuple[Mode, ...] = ("vector", "text", "hybrid")
LANGUAGES = ("en", "de", "es", "zh", "ar", "ru")
K = 10

Relevance = dict[str, float]


class Question(NamedTuple):
    text: str
    relevant: Relevance


def scifact(folder: Path) -> tuple[list[Document], list[Question]]:
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        found = [json.loads(line) for line in file]
    documents = [Document(item["_id"], text=f"{item['title']}. {item['text']}") for item in found]
    relevant: dict[str, Relevance] = {}
    for line in (folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        relevant.setdefault(query, {})[document] = float(grade)
    queries = map(json.loads, (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines())
    return documents, [Question(query["text"], relevant[query["_id"]]) for query in queries if query["_id"] in relevant]


def xquad(folder: Path, language: str) -> tuple[list[Document], list[Question]]:
    data = json.loads((folder / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    documents, questions = [], []
    for number, paragraph in enumerate(paragraph for article in data for paragraph in article["paragraphs"]):
        documents.append(Document(str(number), text=paragraph["context"]))
        questions += [Question(item["question"], {str(number): 1.0}) for item in paragraph["qas"]]
    return documents, questions


def ndcg(ranked: list[str], relevant: Relevance) -> float:
    """nDCG with linear gains, as trec_eval has it."""
    gained = sum(relevant.get(document, 0.0) / math.log2(rank + 2) for rank, document in enumerate(ranked))
    ideal = sum(grade / math.log2(rank + 2) for rank, grade in enumerate(sorted(relevant.values(), reverse=True)[:K]))
    return gained / ideal


def measure(index: Index, questions: list[Question]) -> dict[str, dict[str, float]]:
    figures = {}
    for mode in MODES:
        gains, recalls = [], []
        for question in questions:
            hits = index.search(question.text, k=K, mode=mode, per_document=1)
            ranked = [hit.document.id for hit in hits]
            gains.append(ndcg(ranked, question.relevant))
            recalls.append(len(set(ranked) & question.relevant.keys()) / min(len(question.relevant), K))
        figures[mode] = {"ndcg@10": sum(gains) / len(gains), "recall@10": sum(recalls) / len(recalls)}
    return figures


def sets(data: Path, work: Path, embedder: str, every: int, only: str) -> Iterator[dict[str, object]]:
    """Each set's figures as they are measured."""

    def filled(name: str, documents: list[Document]) -> Index:
        index = stackroom.open(work / name, embedder=embedder)
        if index.stats().documents != len(documents):
            index.add_documents(documents)
        return index

    if only in ("", "scifact"):
        documents, questions = scifact(data / "scifact")
        with filled("scifact", documents) as index:
            yield {"set": "SciFact", "queries": len(questions), **measure(index, questions)}
    if only in ("", "xquad"):
        yield from across(data, filled, every)


def across(data: Path, filled: Callable[[str, list[Document]], Index], every: int) -> Iterator[dict[str, object]]:
    """XQuAD, each language asked in each."""
    asked = {language: xquad(data / "xquad", language) for language in LANGUAGES}
    for of_documents, of_questions in itertools.product(LANGUAGES, LANGUAGES):
        questions = asked[of_questions][1]
        if of_documents != of_questions:
            questions = questions[::every]
        with filled(of_documents, asked[of_documents][0]) as index:
            name = f"XQuAD {of_questions}->{of_documents}"
            yield {"set": name, "queries": len(questions), **measure(index, questions)}


def table(rows: list[dict[str, object]], embedder: str) -> str:
    lines = [
        f"# Retrieval quality{'' if embedder == 'minilm' else f', {embedder}'}",
        "",
        f"Made by `bench/quality.py` with the model `{embedder}`. Figures are nDCG@10 (recall@10). The margin is hybrid against the better of",
        "the other two, in nDCG. XQuAD en->de means English questions and German paragraphs.",
        "",
        "| set | queries | vector | text | hybrid | margin |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = []
        for mode in MODES:
            figures = row[mode]
            assert isinstance(figures, dict)
            cells.append(f"{figures['ndcg@10']:.3f} ({figures['recall@10']:.3f})")
        lines.append(f"| {row['set']} | {row['queries']} | {' | '.join(cells)} | {margin(row):+.3f} |")
    return "\n".join(lines) + "\n"


def margin(row: dict[str, object]) -> float:
    vector, text, hybrid = (row[mode]["ndcg@10"] for mode in MODES)  # type: ignore[index]
    return float(hybrid - max(vector, text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--work", type=Path, help="keep the libraries here, to measure again without embedding")
    parser.add_argument("--every", type=int, default=4, help="across languages, ask every n-th question")
    parser.add_argument("--only", choices=("", "scifact", "xquad"), default="", help="one of the collections")
    parser.add_argument("--report", type=Path, help="write the table to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = []
        for row in sets(options.data, options.work or Path(scratch), options.embedder, options.every, options.only):
            rows.append(row)
            print(json.dumps({**row, "margin": round(margin(row), 4)}), flush=True)
    text = table(rows, options.embedder)
    print(text)
    if options.report is not None:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(text, encoding="utf-8")
    print(f"worst margin: {min(map(margin, rows)):+.4f}")


if __name__ == "__main__":
    main()
