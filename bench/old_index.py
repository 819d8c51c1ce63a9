"""Writes a LlamaIndex JSON index as an application's users have it: text, metadata and vectors of many documents.

python bench/old_index.py FOLDER [--documents 104] [--chunks 25000] [--dim 1024]

The layout and every key are those that llama-index-core 0.12 to 0.14 writes (default `persist`); vectors are float32 written as
float64, as every embedder's are. Texts are made of a Zipf-distributed vocabulary, about 2 KB each. Nothing is held in memory.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import uuid
from pathlib import Path

import numpy as np

CHUNK_WORDS = 300


def write(folder: Path, *, documents: int, chunks: int, dim: int, seed: int = 7) -> int:
    """Returns the bytes written."""
    folder.mkdir(parents=True)
    rng, words = random.Random(seed), vocabulary()
    ids = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(chunks)]
    owners = [at * documents // chunks for at in range(chunks)]
    names = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(documents)]
    about = [metadata(number, rng) for number in range(documents)]
    write_vectors(folder / "default__vector_store.json", ids, owners, names, about, dim, seed)
    write_docstore(folder / "docstore.json", ids, owners, names, about, words, seed)
    struct = {
        "index_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        "summary": None,
        "nodes_dict": dict(zip(ids, ids, strict=True)),
        "doc_id_dict": {},
        "embeddings_dict": {},
    }
    dump(
        folder / "index_store.json",
        {"index_store/data": {struct["index_id"]: {"__type__": "vector_store", "__data__": json.dumps(struct)}}},
    )
    dump(folder / "graph_store.json", {"graph_dict": {}})
    dump(folder / "image__vector_store.json", {"embedding_dict": {}, "text_id_to_ref_doc_id": {}, "metadata_dict": {}})
    return sum(path.stat().st_size for path in folder.iterdir())


def vocabulary() -> list[str]:
    rng = random.Random(1)
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "in", "on")]
    return ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(20_000)]


def passage(words: list[str], rng: np.random.Generator) -> str:
    picked = np.minimum(rng.zipf(1.2, CHUNK_WORDS), len(words)) - 1
    lines = [" ".join(words[at] for at in picked[first : first + 15]) for first in range(0, CHUNK_WORDS, 15)]
    return ". ".join(line.capitalize() for line in lines) + "."


def metadata(number: int, rng: random.Random) -> dict[str, object]:
    name = f"Report {number:04d} on {rng.choice(['logs', 'gardens', 'markets', 'vaults', 'rivers'])}.pdf"
    return {
        "file_path": f"/home/reader/Documents/{name}",
        "file_name": name,
        "file_type": "application/pdf",
        "file_size": rng.randint(50_000, 5_000_000),
        "creation_date": f"2025-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
        "last_modified_date": f"2025-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}",
    }


EXCLUDED = ["file_name", "file_type", "file_size", "creation_date", "last_modified_date", "last_accessed_date"]


def write_vectors(
    path: Path,
    ids: list[str],
    owners: list[int],
    names: list[str],
    about: list[dict[str, object]],
    dim: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    with path.open("w", encoding="utf-8") as file:
        file.write('{"embedding_dict": {')
        for first in range(0, len(ids), 256):
            rows = rng.standard_normal((min(256, len(ids) - first), dim), dtype=np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            for at, row in enumerate(rows.tolist(), start=first):
                file.write(f"{', ' if at else ''}{json.dumps(ids[at])}: {json.dumps(row)}")
        file.write('}, "text_id_to_ref_doc_id": ')
        file.write(json.dumps({node: names[owner] for node, owner in zip(ids, owners, strict=True)}))
        file.write(', "metadata_dict": {')
        for at, (node, owner) in enumerate(zip(ids, owners, strict=True)):
            reference = dict.fromkeys(("document_id", "doc_id", "ref_doc_id"), names[owner])
            entry = {**about[owner], "page_label": str(at % 40 + 1), "_node_type": "TextNode", **reference}
            file.write(f"{', ' if at else ''}{json.dumps(node)}: {json.dumps(entry)}")
        file.write("}}")


def write_docstore(
    path: Path,
    ids: list[str],
    owners: list[int],
    names: list[str],
    about: list[dict[str, object]],
    words: list[str],
    seed: int,
) -> None:
    rng = np.random.default_rng(seed + 1)
    start = 0
    with path.open("w", encoding="utf-8") as file:
        file.write('{"docstore/data": {')
        for at, (node, owner) in enumerate(zip(ids, owners, strict=True)):
            text = passage(words, rng)
            start = 0 if at == 0 or owners[at - 1] != owner else start
            described = {**about[owner], "page_label": str(at % 40 + 1)}
            relationships = {"1": related(names[owner], "4", about[owner])}
            if at and owners[at - 1] == owner:
                relationships["2"] = related(ids[at - 1], "1", described)
            if at + 1 < len(ids) and owners[at + 1] == owner:
                relationships["3"] = related(ids[at + 1], "1", {})
            body = {
                "id_": node,
                "embedding": None,
                "metadata": described,
                "excluded_embed_metadata_keys": EXCLUDED,
                "excluded_llm_metadata_keys": EXCLUDED,
                "relationships": relationships,
                "metadata_template": "{key}: {value}",
                "metadata_separator": "\n",
                "text": text,
                "mimetype": "text/plain",
                "start_char_idx": start,
                "end_char_idx": start + len(text),
                "text_template": "{metadata_str}\n\n{content}",
                "class_name": "TextNode",
            }
            start += len(text)
            entry = {"__data__": body, "__type__": "1"}
            file.write(f"{', ' if at else ''}{json.dumps(node)}: {json.dumps(entry)}")
        file.write('}, "docstore/metadata": {')
        for node, owner in zip(ids, owners, strict=True):
            file.write(f"{json.dumps(node)}: {json.dumps({'doc_hash': digest(node), 'ref_doc_id': names[owner]})}, ")
        file.write(", ".join(f"{json.dumps(name)}: {json.dumps({'doc_hash': digest(name)})}" for name in names))
        file.write('}, "docstore/ref_doc_info": ')
        children: dict[str, dict[str, object]] = {
            name: {"node_ids": [], "metadata": described} for name, described in zip(names, about, strict=True)
        }
        for node, owner in zip(ids, owners, strict=True):
            listed = children[names[owner]]["node_ids"]
            assert isinstance(listed, list)
            listed.append(node)
        json.dump(children, file)
        file.write("}")


def related(node: str, kind: str, described: dict[str, object]) -> dict[str, object]:
    return {
        "node_id": node,
        "node_type": kind,
        "metadata": described,
        "hash": digest(node),
        "class_name": "RelatedNodeInfo",
    }


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def dump(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=104)
    parser.add_argument("--chunks", type=int, default=25_000)
    parser.add_argument("--dim", type=int, default=1024)
    given = parser.parse_args()
    written = write(given.folder, documents=given.documents, chunks=given.chunks, dim=given.dim)
    print(f"{written / 1e6:,.0f} MB in {given.folder}")


if __name__ == "__main__":
    main()
