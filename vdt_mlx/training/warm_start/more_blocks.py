"""A deeper network that begins as a shallower one, so that hours of training are not lost to a better size."""

import mlx.core as mx

from vdt_mlx.errors import VDTError

_GATES = (2, 5)  # of adaLN's six parts: after attention within frames, and after the MLP


def deepen(weights: dict[str, mx.array], depth: int, wanted: int) -> dict[str, mx.array]:
    """Weights by name of a VDT of `depth` blocks, with more blocks behind them; it computes what it did.

    The new blocks are copies of the last ones, in their order, that add nothing yet: their gates and the layer after
    their attention along time are zero, as in a new network, while what these will let through is trained already
    (progressive stacking, Gong et al. 2019, with the identity at its start).

    Raises VDTError where blocks would be lost, or more than as many again are asked for.
    """
    if not depth <= wanted <= 2 * depth:
        raise VDTError(f"A network of {depth} blocks can begin as one of {depth} to {2 * depth} blocks, not {wanted}.")
    grown = dict(weights)
    added = wanted - depth
    for index in range(added):
        source, target = f"blocks.{wanted - 2 * added + index}.", f"blocks.{depth + index}."
        for name, value in weights.items():
            if not name.startswith(source):
                continue
            part = name[len(source) :]
            if part.startswith("temporal_fc."):
                value = mx.zeros_like(value)
            elif part.startswith("adaLN_modulation."):
                parts = mx.split(value, 6)
                value = mx.concatenate([mx.zeros_like(p) if i in _GATES else p for i, p in enumerate(parts)])
            grown[target + part] = value
    return grown
