"""When is a question not in the documents? The best hybrid score of questions that a library answers, beside that of questions it does not.

    python bench/asking.py --data DIR [--work DIR] [--report docs/benchmarks/asking.md]

DIR is as for quality.py; own_questions.toml has questions of the samples, in other words than theirs. Of the others a question counts as one that the library answers where a passage of what is known to answer it is among the first
eight; those that are answered must not be refused. Questions of another field (XQuAD's to SciFact, SciFact's claims to XQuAD) and questions about articles that
were left out of the library are those that should be.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import machine
import stackroom
from quality import Question, scifact, xquad
from stackroom import Document
from stackroom.chat.answering import least_score

K = 8
THRESHOLDS = (0.03, 0.05, 0.07, 0.1, 0.12, 0.15, 0.2)


class Group(NamedTuple):
    """Best scores of questions of one kind. `answered`: the library answers them."""

    name: str
    answered: bool
    scores: list[tuple[float, float]]
    """Each with the weight of meaning in it."""


def asked(index: stackroom.Index, questions: list[Question], *, answered: bool) -> list[tuple[float, float]]:
    scores = []
    for question in questions:
        hits = index.search(question.text, k=K, mode="hybrid", explain=True)
        there = any(hit.document.id in question.relevant for hit in hits)
        if hits and there == answered and hits[0].explain is not None:
            scores.append((hits[0].score, hits[0].explain.weights["vector"]))
    return scores


def own(folder: Path) -> Iterator[Group]:
    """Questions of the samples: what answers them was not looked for, so all of them count."""
    questions = tomllib.loads(Path(__file__).with_name("own_questions.toml").read_text(encoding="utf-8"))
    with stackroom.open(folder / "samples") as index:
        index.add(Path(__file__).parents[1] / "samples")
        for kind, name in (("answered", "that they answer"), ("not_answered", "that they don't")):
            hits = [index.search(text, k=1, mode="hybrid", explain=True) for text in questions[kind]]
            scores = [(hit.score, hit.explain.weights["vector"]) for (hit,) in hits if hit.explain is not None]
            yield Group(f"questions of the samples, {name}", kind == "answered", scores)


def halves(
    documents: list[Document], questions: list[Question]
) -> tuple[list[Document], list[Question], list[Question]]:
    """The first half of the documents, the questions about these, and those about the rest."""
    first = documents[: len(documents) // 2]
    known = {document.document_id for document in first}
    here = [question for question in questions if known & question.relevant.keys()]
    return first, here, [question for question in questions if not known & question.relevant.keys()]


def groups(data: Path, work: Path) -> Iterator[Group]:
    def filled(name: str, documents: list[Document]) -> stackroom.Index:
        index = stackroom.open(work / name)
        if index.stats().documents != len(documents):
            index.add_documents(documents)
        return index

    yield from own(work)
    articles, claims = scifact(data / "scifact")
    questions = {language: xquad(data / "xquad", language)[1] for language in ("en", "de", "zh")}
    with filled("scifact", articles) as index:
        yield Group("SciFact's claims, of SciFact", True, asked(index, claims, answered=True))
        yield Group("XQuAD's questions, of SciFact", False, asked(index, questions["en"], answered=False))
    for language in ("en", "de", "zh"):
        first, here, away = halves(*xquad(data / "xquad", language))
        with filled(f"half-{language}", first) as index:
            yield Group(f"XQuAD {language}, of articles that are there", True, asked(index, here, answered=True))
            yield Group(f"XQuAD {language}, of articles that are not", False, asked(index, away, answered=False))
            known = {str(n) for n in range(len(first))}
            others = {
                other: [question for question in questions[other] if known & question.relevant.keys()]
                for other in ("en", "de")
            }
            if language == "en":
                yield Group("SciFact's claims, of XQuAD", False, asked(index, claims, answered=False))
                german = asked(index, others["de"], answered=True)
                yield Group("XQuAD de, of English articles that are there", True, german)
            if language == "de":
                english = asked(index, others["en"], answered=True)
                yield Group("XQuAD en, of German articles that are there", True, english)


def report(found: list[Group]) -> str:
    lines = [
        "# When a question is not in the documents",
        "",
        f"Made by `bench/asking.py` ({machine.describe()}).",
        "The best hybrid score of each question. Questions of the samples were written for this, in words of our own. Of the others one counts as",
        f"answered where a passage that is known to answer it is among the first {K}. The columns at the right say how many would be told that it",
        "is not in the documents, without asking a model: below one score for all, and below that of `ask`, which grows with the weight that",
        "meaning has for a question (its median is in the column before).",
        "",
        f"| questions | answered | number | lowest | 1 % below | median | 95 % below | {' | '.join(f'< {one}' for one in THRESHOLDS)} | weight | `ask` |",
        f"|---|---|---|---|---|---|---|{'---|' * len(THRESHOLDS)}---|---|",
    ]
    for group in found:
        scores, weights = np.array(group.scores).T
        quantiles = " | ".join(f"{value:.3f}" for value in np.quantile(scores, [0, 0.01, 0.5, 0.95]))
        refused = " | ".join(f"{100 * float((scores < one).mean()):.1f} %" for one in THRESHOLDS)
        below = [score < least_score(weight) for score, weight in group.scores]
        ours = f"{np.median(weights):.3f} | {100 * float(np.mean(below)):.1f} %"
        kind = "yes" if group.answered else "no"
        lines.append(f"| {group.name} | {kind} | {len(scores)} | {quantiles} | {refused} | {ours} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="keep the libraries here, to measure again without embedding")
    parser.add_argument("--report", type=Path, help="write the table to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = []
        for group in groups(options.data, options.work or Path(scratch)):
            found.append(group)
            quantiles = np.quantile(np.array(group.scores)[:, 0], [0, 0.01, 0.05, 0.5, 0.95]).round(4).tolist()
            print(json.dumps({"questions": group.name, "answered": group.answered, "scores": quantiles}), flush=True)
    text = report(found)
    print(text)
    if options.report is not None:
        options.report.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
