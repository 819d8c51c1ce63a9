"""The encoder of a packed model as an ONNX graph with int8 matrices, for one text at a time.

It takes summed embeddings, float32 of shape (1, tokens, hidden), and gives the text's vector, of unit length and shape (1, hidden). No
padding, so no attention mask, and a text's vector never depends on what it was batched with. `tools/build_model.py` is its like for
the shipped model.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackroom._optional import needing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from stackroom.ingest.embedders.packed import PackedModel

RECIPE = 1
"""Raised when the graph would give other vectors."""

_OPSET, _IR_VERSION = 20, 9


def write(model: PackedModel, target: Path) -> None:
    """Make the graph, which takes some seconds. Raises MissingExtraError."""
    with needing("multilingual"):
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        graph = _Graph(model)
        with tempfile.TemporaryDirectory() as scratch:
            plain = Path(scratch) / "float32.onnx"
            onnx.save(graph.build(), str(plain))
            quantize_dynamic(
                plain,
                target,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options={"MatMulConstBOnly": True},
            )


class _Graph:
    def __init__(self, model: PackedModel) -> None:
        self._model = model
        self._nodes: list[Any] = []
        self._tensors: list[Any] = []

    def build(self) -> Any:
        from onnx import TensorProto, helper

        hidden = self._normed("embeddings", "emb.ln")
        for layer in range(self._model.layers):
            hidden = self._layer(hidden, f"l{layer}.")
        mean = self._apply("ReduceMean", hidden, self._constant("tokens", np.array([1])), keepdims=0)
        self._nodes.append(helper.make_node("LpNormalization", [mean], ["vector"], axis=1, p=2))
        size = self._model.hidden
        model = helper.make_model(
            helper.make_graph(
                self._nodes,
                "encoder",
                [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, "tokens", size])],
                [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, size])],
                self._tensors,
            ),
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR_VERSION,
        )
        # Else onnxruntime recommends, on standard error, to prepare the graph, which is written as it should be.
        helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
        return model

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self._tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _apply(self, operation: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{operation}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operation, list(inputs), [name], name=name, **attributes))
        return name

    def _normed(self, hidden: str, name: str) -> str:
        gamma, beta = (self._constant(f"{name}.{part}", self._model.tensor(f"{name}.{part}")) for part in ("w", "b"))
        return self._apply("LayerNormalization", hidden, gamma, beta, axis=-1, epsilon=self._model.epsilon)

    def _linear(self, hidden: str, name: str) -> str:
        bias = self._model.tensor(f"{name}.b")
        matrix = self._model.tensor(f"{name}.w").reshape(len(bias), -1)
        product = self._apply("MatMul", hidden, self._constant(f"{name}.w", matrix.T))
        return self._apply("Add", product, self._constant(f"{name}.b", bias))

    def _layer(self, hidden: str, name: str) -> str:
        size, heads = self._model.hidden, self._model.heads
        split = self._constant(f"{name}split", np.array([1, -1, heads, size // heads]))
        flat = self._constant(f"{name}flat", np.array([1, -1, size]))

        def of_heads(part: str, order: list[int]) -> str:
            return self._apply(
                "Transpose", self._apply("Reshape", self._linear(hidden, name + part), split), perm=order
            )

        query, key, value = of_heads("q", [0, 2, 1, 3]), of_heads("k", [0, 2, 3, 1]), of_heads("v", [0, 2, 1, 3])
        root = self._constant(f"{name}root", np.array(1 / np.sqrt(size // heads), dtype=np.float32))
        attention = self._apply("Softmax", self._apply("Mul", self._apply("MatMul", query, key), root), axis=-1)
        mixed = self._apply("Transpose", self._apply("MatMul", attention, value), perm=[0, 2, 1, 3])
        mixed = self._linear(self._apply("Reshape", mixed, flat), f"{name}ao")
        hidden = self._normed(self._apply("Add", hidden, mixed), f"{name}aln")
        outer = self._linear(self._apply("Gelu", self._linear(hidden, f"{name}fi")), f"{name}fo")
        return self._normed(self._apply("Add", hidden, outer), f"{name}oln")
