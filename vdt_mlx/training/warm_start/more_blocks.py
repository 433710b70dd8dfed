"""A deeper network that begins as a shallower one, so that hours of training are not lost to a better size."""

import mlx.core as mx

from vdt_mlx.config import VDTConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network import parts


def deepen(weights: dict[str, mx.array], config: VDTConfig, wanted: VDTConfig) -> dict[str, mx.array]:
    """Weights by name of a VDT of `config`, with the blocks of `wanted` behind them; it computes what it did.

    The new blocks are copies of the last ones, in their order, that add nothing yet: the rows that close a block
    (`parts.Parameter.closing`) are zero, as in a new network, while what these will let through is trained already
    (progressive stacking, Gong et al. 2019, with the identity at its start).

    Raises VDTError where blocks would be lost, or more than as many again are asked for.
    """
    depth, count = config.depth, wanted.depth
    if not depth <= count <= 2 * depth:
        raise VDTError(f"A network of {depth} blocks can begin as one of {depth} to {2 * depth} blocks, not {count}.")
    grown = dict(weights)
    for item in parts.of_config(wanted):
        if item.block is None or item.block < depth:
            continue
        value = weights[f"blocks.{item.block + depth - count}.{item.in_block}"]
        for start, stop in item.closing:
            value = mx.concatenate([value[:start], mx.zeros_like(value[start:stop]), value[stop:]])
        grown[item.name] = value
    return grown
