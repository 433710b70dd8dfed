"""Graphs of what runs on a GPU, written down without running them, and held against what Metal has.

`traced(build)` calls `build` with the forms for a GPU and gets every operation of the arrays that it returns. On a
machine without a GPU MLX takes its fused functions (`mx.fast`) apart, so their calls are written down as they are made.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlx.core as mx
from mlx.utils import tree_flatten

from vdt_mlx.device.kernels import forms

TABLE: dict[str, Any] = json.loads((Path(__file__).parent / "metal.json").read_text(encoding="utf-8"))
MANY = 2**31
"""Arrays of so many values have been silently wrong: kernels count with 32 bits."""
FEW_QUERIES = 8
"""Up to so many queries, fused attention has kernels of its own."""

Array = tuple[tuple[int, ...], str]
"""Shape and dtype."""

MOVES = frozenset(
    (
        *("AsStrided", "AsType", "Broadcast", "BroadcastAxes", "Concatenate", "Contiguous", "Copy", "Depends"),
        *("DynamicSlice", "ExpandDims", "Flatten", "Full", "Gather", "GatherAxis", "NumberOfElements", "Pad"),
        *("Reshape", "Slice", "SliceUpdate", "Split", "Squeeze", "StopGradient", "Transpose", "Unflatten", "View"),
    )
)
COPIES = frozenset(
    (
        *("AsType", "Concatenate", "Contiguous", "Copy", "DynamicSlice", "Full", "Gather", "GatherAxis"),
        *("Pad", "SliceUpdate"),
    )
)
"""Those of them that are kernels all the same."""
REDUCTIONS = ("and", "or", "sum", "prod", "min", "max")


@dataclass(frozen=True)
class Node:
    """One operation."""

    name: str
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    arguments: tuple[Any, ...] = ()

    def __str__(self) -> str:
        said = [", ".join(f"{dtype}{list(shape)}" for shape, dtype in side) for side in (self.inputs, self.outputs)]
        return f"{self.name}({said[0]}) -> {said[1]}"


def traced(build: Callable[[], Any], whole: bool = False) -> list[Node]:
    """The operations behind the arrays (any tree of them) that `build` returns.

    Fused functions are written down beside what MLX makes of them here; with `whole` without it (no gradients then).
    """
    nodes: list[Node] = []

    def outputs() -> list[mx.array]:
        return [value for _, value in tree_flatten(build()) if isinstance(value, mx.array)]

    def write_down(entry: dict[str, Any]) -> None:
        if entry["type"] == "primitive":
            nodes.append(
                Node(
                    entry["name"],
                    tuple(_array(shape, dtype) for _, shape, dtype in entry["inputs"]),
                    tuple(_array(shape, dtype) for _, shape, dtype in entry["outputs"]),
                    tuple(entry["arguments"]),
                )
            )

    mx.disable_compile()
    try:
        with forms("gpu"), _lazily(), _fast_calls(nodes, whole):
            mx.export_function(write_down, outputs)
    finally:
        mx.enable_compile()
    return nodes


@contextmanager
def _lazily() -> Iterator[None]:
    """Nothing is computed on the way, so that the graph is whole; what is asked whether it is finite, is."""
    with (
        patch.object(mx, "eval", lambda *_: None),
        patch.object(mx, "async_eval", lambda *_: None),
        patch.object(mx, "isfinite", lambda x: mx.ones(x.shape, mx.bool_)),
    ):
        yield


@contextmanager
def _fast_calls(nodes: list[Node], whole: bool) -> Iterator[None]:
    """Writes down the calls of MLX's fused functions, and of what cannot be exported."""

    def wrapped(name: str, function: Callable[..., mx.array]) -> Callable[..., mx.array]:
        def call(*arguments: Any, **options: Any) -> mx.array:
            arrays = [value for value in (*arguments, *options.values()) if isinstance(value, mx.array)]
            result = mx.depends(arrays[0], arrays[1:]) if whole else function(*arguments, **options)
            nodes.append(
                Node(name, tuple(_array(a.shape, a.dtype) for a in arrays), (_array(result.shape, result.dtype),))
            )
            return result

        return call

    names = {
        "scaled_dot_product_attention": "ScaledDotProductAttention",
        "layer_norm": "LayerNorm",
        "rms_norm": "RMSNorm",
    }
    patches = [patch.object(mx.fast, name, wrapped(title, getattr(mx.fast, name))) for name, title in names.items()]
    patches.append(patch.object(mx, "checkpoint", lambda function: function))  # its backward pass does the same again
    patches.append(patch.object(mx, "contiguous", wrapped("Contiguous", lambda array, *_: array)))
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def _array(shape: Any, dtype: mx.Dtype) -> Array:
    name = str(dtype).removeprefix("mlx.core.")
    return tuple(shape), "bool_" if name == "bool" else name


def faults(nodes: list[Node], table: dict[str, Any] = TABLE, training: bool = False) -> list[str]:
    """What of a graph Metal lacks, or is known to get wrong: a sentence each, with the operation.

    In `training` MLX takes attention apart on a GPU as well, and no head size lacks a kernel.
    """
    found = []
    for node in nodes:
        fault = _fault(node, table, training)
        if fault is not None:
            found.append(f"{fault}: {node}")
    return list(dict.fromkeys(found))


def _fault(node: Node, table: dict[str, Any], training: bool) -> str | None:
    name = _kernel(node)
    dtypes = table["primitives"].get(name)
    arrays = (*node.inputs, *node.outputs)
    if dtypes is None:
        return f"Metal has no {name}"
    if not dtypes:
        return f"{name} only throws on Metal"
    for _, dtype in arrays:
        if dtype not in table["dtypes"]:
            return f"Metal has no {dtype}"
    if any(math.prod(shape) >= MANY for shape, _ in arrays):
        return f"an array of 2^{math.log2(max(math.prod(shape) for shape, _ in arrays)):.1f} values"
    counted = [shape for shape, dtype in node.outputs if dtype in ("int64", "uint64")]
    if name not in MOVES and any(math.prod(shape) > 1 for shape in counted):  # an optimizer counts its steps so
        return "arithmetic of 64-bit integers"
    if dtypes != "any" and _decisive(node) not in dtypes:
        return f"{name} has no kernel for {_decisive(node)}"
    if name == "ScaledDotProductAttention" and not training:
        return _attention_fault(node, table["attention"])
    if name == "QuantizedMatmul":
        return _quantized_fault(node, table["quantized"])
    if name == "Convolution" and len(node.outputs[0][0]) > 5:
        return "a convolution in more than three dimensions"
    return None


def _kernel(node: Node) -> str:
    """The name in the table: some primitives are several kernels, by an argument."""
    if node.name == "Reduce":
        return f"Reduce {REDUCTIONS[node.arguments[0]]}"
    if node.name == "Sqrt" and node.arguments and node.arguments[0] is True:
        return "Rsqrt"
    return node.name


def _decisive(node: Node) -> str:
    """The dtype by which a kernel is chosen: the result's where numbers are made or summed up, else the operands'."""
    if node.name in ("Reduce", "Arange", "RandomBits") or not node.inputs:
        return node.outputs[0][1]
    if node.name == "Select":
        return node.inputs[1][1]
    return node.inputs[0][1]


def _attention_fault(node: Node, sizes: dict[str, Any]) -> str | None:
    (_, _, queries, head), _ = node.inputs[0]
    known = sizes["full"] if queries > FEW_QUERIES else sizes["vector"]
    if head not in known:
        return f"no fused attention for heads of {head} and {queries} queries (there is for {known})"
    return None


def _quantized_fault(node: Node, kinds: dict[str, list[int]]) -> str | None:
    group, bits = node.arguments[0], node.arguments[1]
    if group not in kinds["group_sizes"] or bits not in kinds["bits"]:
        return f"no product with weights of {bits} bits in groups of {group}"
    return None


SUMS = {"Scatter": (2, 3), "ScatterAxis": (0,)}
"""Scatters that add or multiply, by their first argument: where an index comes twice, atomics decide the order."""


def unordered(nodes: list[Node]) -> list[str]:
    """What would give other last bits in every run: an exact resume must not have it."""
    return [str(node) for node in nodes if node.arguments[:1] and node.arguments[0] in SUMS.get(node.name, ())]


def dispatches(nodes: list[Node]) -> int:
    """About how many kernels a GPU is sent: the operations that are no views."""
    return sum(node.name not in MOVES or node.name in COPIES for node in nodes)
