"""How given frames reach the network (paper, section 3.3): a key of the configuration, not a fork of the model.

`tokens`: they stand in the sequence where they belong; nothing here is needed. `cross-attention` and `adaln`: the
sequence has blanks in their places, and they come in by another way.
"""

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from vdt_mlx.config import VDTConfig
from vdt_mlx.device.linear import Linear
from vdt_mlx.errors import VDTError
from vdt_mlx.network.block import TOKENS

Given = tuple[mx.array, mx.array]
"""A clip (B, T, H, W, C) that holds the given cells, and the mask (B, T, H, W), 1 = generate, 0 = given."""


class GivenEmbedder(nn.Module):
    """Features of the given frames for `adaln`: an MLP over their tokens, then the mean over all that are given."""

    READS = TOKENS

    def __init__(self, size: int):
        super().__init__()
        self.mlp = [Linear(size, size), nn.SiLU(), Linear(size, size)]

    def __call__(self, tokens: mx.array, visible: mx.array) -> mx.array:
        """(B, S, D) of which `visible` (B, S) are given -> (B, D); zeros where nothing is."""
        for layer in self.mlp:
            tokens = layer(tokens)
        weights = visible.astype(tokens.dtype)[..., None]
        return (tokens * weights).sum(axis=1) / mx.maximum(weights.sum(axis=1), 1)


def blanked(x: mx.array, given: Given) -> mx.array:
    """x (B, T, H, W, C) with zeros in the given cells."""
    return mx.where(given[1][..., None] > 0.5, x, mx.zeros((), dtype=x.dtype))


def visible_patches(mask: mx.array, patch: int) -> mx.array:
    """(B, T, H, W) -> (B, T * N) bool: the patches of which no cell is to be generated."""
    batch, frames, height, width = mask.shape
    cells = mask.reshape(batch, frames, height // patch, patch, width // patch, patch)
    return (cells.max(axis=(3, 5)) < 0.5).reshape(batch, -1)


def nothing_given(x: mx.array) -> Given:
    """For x (B, T, H, W, C), of which all is to be generated."""
    return mx.zeros(x.shape, dtype=x.dtype), mx.ones(x.shape[:-1])


def check_mask(config: VDTConfig, mask: np.ndarray) -> None:
    """Raises VDTError for a mask (..., h, w) that this way of conditioning cannot express."""
    if config.conditioning == "adaln" and (mask.min(axis=(-2, -1)) != mask.max(axis=(-2, -1))).any():
        raise VDTError(
            "This network is conditioned by adaln, on features of whole frames: a mask that hides a part of a frame "
            "cannot be given to it."
        )
