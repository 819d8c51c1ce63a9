"""Passages and questions that people wrote, embedded with Stackroom's default model: made once, kept in a folder, read by every measurement.

What they are made of is either a folder with scifact/ (BEIR's form: abstracts and claims; the claims are the questions), or a library that
`stackroom add` made (its own vectors; a question is twelve words in a row of one of its passages, embedded as a query).
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from passages import PER_DOCUMENT, Part, Passage

if TYPE_CHECKING:
    import stackroom

QUESTIONS, TOGETHER, MOST = 300, 12, 25_000


class Real:
    """What `make` wrote into `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = np.load(folder / "vectors.npy", mmap_mode="r")
        self.size, self.dim = self._rows.shape

    def documents(self) -> Iterator[Part]:
        with (self._folder / "passages.jsonl").open(encoding="utf-8") as file:
            first = 0
            for number, line in enumerate(file):
                name, texts = f"document-{number:06d}", json.loads(line)
                passages = [
                    Passage(
                        f"{name}-{i}",
                        name,
                        text,
                        {
                            "document": name,
                            "page": i + 1,
                            "author": f"author {number % 17}",
                            "year": 1990 + number % 35,
                        },
                    )
                    for i, text in enumerate(texts)
                ]
                yield Part(name, passages, np.array(self._rows[first : first + len(texts)]))
                first += len(texts)

    def queries(self) -> NDArray[np.float32]:
        found: NDArray[np.float32] = np.load(self._folder / "queries.npy")
        return found

    def questions(self) -> list[str]:
        found: list[str] = json.loads((self._folder / "questions.json").read_text(encoding="utf-8"))
        return found


def make(data: Path, folder: Path) -> None:
    """Nothing where it was made before."""
    if (folder / "queries.npy").exists():
        return
    import stackroom
    from stackroom.ingest.embedders.onnx import shipped

    folder.mkdir(parents=True, exist_ok=True)
    if (data / "catalogue.db").exists():
        with stackroom.open(data, mode="r") as index:
            texts, vectors, asked = _of_library(index)
            embedder = index.embedder()
    elif (data / "scifact").is_dir():
        texts, asked = _of_scifact(data / "scifact")
        embedder = shipped()
        vectors = np.concatenate([embedder.embed_passages(several) for several in texts])
    else:
        raise SystemExit(f"{data} is neither a library nor a folder with scifact/.")
    lines = [json.dumps(several) + "\n" for several in texts]
    (folder / "passages.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "questions.json").write_text(json.dumps([_words(text) for text in asked]), encoding="utf-8")
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "queries.npy", np.stack([embedder.embed_query(text) for text in asked]))


def _words(text: str) -> str:
    """Without what means something in a language of queries."""
    return " ".join(re.findall(r"\w+", text.lower()))


def _of_scifact(folder: Path) -> tuple[list[list[str]], list[str]]:
    """Its abstracts, 240 a document in the order of the file; its claims."""
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as file:
        texts = [f"{item['title']}. {item['text']}" for item in map(json.loads, file)]
    claims = [json.loads(line)["text"] for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    return [texts[at : at + PER_DOCUMENT] for at in range(0, len(texts), PER_DOCUMENT)], claims[:QUESTIONS]


def _of_library(index: stackroom.Index) -> tuple[list[list[str]], NDArray[np.float32], list[str]]:
    """Sources in a fixed random order, whole ones, to 25,000 passages."""
    rng = np.random.default_rng(4)
    texts, vectors, asked, total = [], [], [], 0
    for source in rng.permutation([source.id for source in index.sources() if source.chunks]).tolist():
        chunks = [chunk for chunk in index.get(source) if chunk.text.strip()]
        if not chunks or total + len(chunks) > MOST:
            continue
        total += len(chunks)
        texts.append([chunk.text for chunk in chunks])
        vectors.append(index.vectors([chunk.chunk_id for chunk in chunks]))
        for at in rng.choice(len(chunks), min(len(chunks), 3), replace=False).tolist():
            words = chunks[at].text.split()
            begin = int(rng.integers(0, max(len(words) - TOGETHER, 0) + 1))
            asked += [" ".join(words[begin : begin + TOGETHER])] if len(words) >= TOGETHER else []
    return texts, np.concatenate(vectors), asked[:QUESTIONS]
