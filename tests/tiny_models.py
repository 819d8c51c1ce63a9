"""Models as fastembed takes them, of a few kilobytes: a vector or a number a word."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
LIMIT = 40


def embedding_model(folder: Path, words: Sequence[str]) -> Path:
    """Four numbers a word; what runs it takes their mean."""
    known = _known(words)
    table = np.random.default_rng(5).normal(size=(len(known), 4)).astype(np.float32)
    _write(folder, known, table, ["batch", "tokens", 4], total=False)
    return folder


def cross_encoder(folder: Path, worth: Mapping[str, float]) -> Path:
    """A pair is worth what its words are worth together."""
    known = _known(worth)
    table = np.array([[worth.get(word, 0.0)] for word in known], dtype=np.float32)
    _write(folder, known, table, ["batch", 1], total=True)
    return folder


def _known(words: Sequence[str] | Mapping[str, float]) -> list[str]:
    return list(dict.fromkeys([*SPECIAL.values(), *words, "query", "passage", ":"]))


def _write(folder: Path, known: list[str], table: np.ndarray, shape: list[str | int], *, total: bool) -> None:
    import onnx
    import tokenizers
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["rows" if total else "found"])]
    constants = [numpy_helper.from_array(table, "table")]
    if total:
        nodes.append(helper.make_node("ReduceSum", ["rows", "axes"], ["found"], keepdims=0))
        constants.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, shape)],
        constants,
    )
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(folder / "model.onnx"))
    numbers = {word: at for at, word in enumerate(known)}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, numbers[token]) for token in ("[CLS]", "[SEP]")],
    )
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    (folder / "special_tokens_map.json").write_text(json.dumps(SPECIAL))
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": LIMIT, **SPECIAL}))
