"""What a network is made of, read off its built modules: every parameter, what it serves and what it is applied to.

The one source for whoever counts parameters or arithmetic, chooses an optimizer for a matrix, adds blocks, converts or
exports: a layer that is added to a block is here at once.

    for item in parts.of_config(config):      # or parts.of_model(model), for one that is built
        item.name, item.shape                 # "blocks.0.attn.qkv.weight", (3 * D, D)
        item.part, item.block                 # "spatial attention", 0
        item.carries_tokens                   # whether Muon orthogonalises it
        item.closing                          # the rows that are zero where the block adds nothing

`sum(item.size for item in ...)` is the number of parameters; `network.flops` has the arithmetic.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from vdt_mlx.config import VDTConfig
from vdt_mlx.network import vdt
from vdt_mlx.network.block import NOTHING, TOKENS, Attention, Block, CrossAttention, Modulation


@dataclass(frozen=True)
class Parameter:
    """One parameter of a network."""

    name: str
    """Dotted, as in our files and the official ones."""
    shape: tuple[int, ...]
    """In our layout: linear layers (outputs, inputs), the patch embedding (D, p, p, C)."""
    part: str
    """What it serves: `spatial attention`, `MLP`, ...; of a layer that no class names, the layer's own name."""
    block: int | None
    """The number of its block; None outside of the blocks."""
    reads: str
    """What a matrix is applied to, `block.TOKENS`, `CLIP` or `NOTHING`; `NOTHING` for vectors and tables too."""
    times: int = 1
    """How often a call of the network applies it: the patch embedding twice where given frames come in apart."""
    closing: tuple[tuple[int, int], ...] = ()
    """Ranges of rows (start, stop) that are zero in a block that adds nothing to the stream, as a new one does."""

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def carries_tokens(self) -> bool:
        """Whether it is a matrix that carries the tokens of a block to tokens (embeddings and modulations do not)."""
        return self.block is not None and self.reads == TOKENS and len(self.shape) == 2

    @property
    def in_block(self) -> str:
        """The name within its block, `attn.qkv.weight`; the whole name outside of the blocks."""
        return self.name if self.block is None else self.name.split(".", 2)[2]


def of_model(model: nn.Module) -> list[Parameter]:
    """Every parameter of a built VDT, in the order of the official release's files; added layers come last in a block.

    The fixed position tables are parameters too, as they are in the files. Quantized layers give their packed arrays.
    """
    return list(_walk(model, "", "", None, TOKENS, 1))


def of_config(config: VDTConfig) -> tuple[Parameter, ...]:
    """Every parameter of the network that this configuration describes; nothing is computed, whatever its size."""
    return _of_config(config, vdt.VDT, vdt.Block)


@lru_cache(maxsize=64)
def _of_config(config: VDTConfig, network: type[nn.Module], _block: type[nn.Module]) -> tuple[Parameter, ...]:
    return tuple(of_model(built(config, network)))


def built(config: VDTConfig, network: type[nn.Module] | None = None) -> Any:
    """A network whose arrays are never computed, to be looked at; leaves MLX's random numbers as they were."""
    state: Any = mx.random.state
    high, low = state[0].tolist()
    kind: Any = network or vdt.VDT
    try:
        return kind(config)
    finally:
        mx.random.seed(high << 32 | low)


def attentions(config: VDTConfig) -> tuple[tuple[str, Attention | CrossAttention], ...]:
    """Each attention of the network, as (part, module); its `products` tell what it costs besides its matrices."""
    return _attentions(config, vdt.VDT, vdt.Block)


@lru_cache(maxsize=64)
def _attentions(config: VDTConfig, network: type[nn.Module], block: type[nn.Module]) -> tuple[tuple[str, Any], ...]:
    serves = {item.name.rpartition(".proj.")[0]: item.part for item in _of_config(config, network, block)}
    modules = built(config, network).named_modules()
    return tuple((serves[name], module) for name, module in modules if isinstance(module, Attention | CrossAttention))


def _walk(module: nn.Module, prefix: str, part: str, block: int | None, reads: str, times: int) -> Iterator[Parameter]:
    """The parameters of a module, children in the order of its PARTS and then as they were made."""
    reads, times = getattr(module, "READS", reads), getattr(module, "times", times)
    known: dict[str, str] = getattr(module, "PARTS", {})
    names = sorted(module, key=lambda name: list(known).index(name) if name in known else len(known))
    closing = module.last_layers() if isinstance(module, Block) else {}
    for name in names:
        serves = known.get(name, part or name)
        for path, child in _leaves(module[name], name):
            index = int(path.rpartition(".")[2]) if isinstance(child, Block) else block
            if isinstance(child, nn.Module):
                for item in _walk(child, f"{prefix}{path}.", serves, index, reads, times):
                    yield _closed(item, {f"{prefix}{key}." for key in closing})
            elif isinstance(child, mx.array):
                yield _parameter(module, f"{prefix}{path}", child, serves, block, reads, times)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The modules and arrays in lists and tuples, with their dotted paths."""
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}.{index}")
    else:
        yield path, value


def _parameter(
    module: nn.Module, name: str, value: mx.array, part: str, block: int | None, reads: str, times: int
) -> Parameter:
    shape = tuple(value.shape)
    closing: tuple[tuple[int, int], ...] = ()
    if isinstance(module, Modulation) and module.gates:
        width = shape[0] // module.parts
        closing = tuple((gate * width, (gate + 1) * width) for gate in module.gates)
    matrix = len(shape) >= 2 and isinstance(module, nn.Linear | nn.QuantizedLinear | nn.Conv2d)
    return Parameter(name, shape, part, block, reads if matrix else NOTHING, times, closing)


def _closed(item: Parameter, last: set[str]) -> Parameter:
    """With all of its rows to be zero, where it belongs to one of these layers."""
    if any(item.name.startswith(prefix) for prefix in last):
        return replace(item, closing=((0, item.shape[0]),))
    return item
