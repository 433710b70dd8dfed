"""VDT, the Video Diffusion Transformer (Lu et al., arXiv 2305.13311, section 3).

A DiT over the frames of a clip. Every block attends along time first (each patch position sees itself in all frames),
then along space (each frame sees its own patches), then applies an MLP; space and MLP are modulated by the diffusion
timestep (adaLN-Zero), time is not. Parameter names are those of the official checkpoints. Other ways of conditioning,
attention and position are keys of the configuration; the official network has the default of each.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from vdt_mlx.config import VDTConfig, packable
from vdt_mlx.device.cpu_streams import over_batch
from vdt_mlx.device.linear import Linear, linear
from vdt_mlx.errors import VDTError
from vdt_mlx.network import block as layers
from vdt_mlx.network.block import Block, Context, LayerNorm, Modulation, modulate, modulation
from vdt_mlx.network.conditioning import Given, GivenEmbedder, blanked, nothing_given, visible_patches
from vdt_mlx.network.position import CLIP, SPACE, TIME, resampled, rotations, spatial_table, temporal_table

TABLES = ("pos_embed", "time_embed")


class VDT(nn.Module):
    """The network: noisy latents and a timestep in, the prediction (and perhaps the variance values) out."""

    PARTS: ClassVar[dict[str, str]] = {
        "pos_embed": "position tables",
        "time_embed": "position tables",
        "x_embedder": "embeddings",
        "t_embedder": "embeddings",
        "y_embedder": "embeddings",
        "given_embedder": "given frames",
        "blocks": "",
        "final_layer": "final layer",
    }

    def __init__(self, config: VDTConfig):
        super().__init__()
        self.config = config
        size = config.hidden_size
        self.x_embedder = PatchEmbedder(config.patch_size, config.in_channels, size)
        self.t_embedder = TimestepEmbedder(size)
        self.y_embedder = LabelEmbedder(config.num_classes, size)
        if config.position == "sincos":
            self.pos_embed, self.time_embed = tables(config)
        if config.conditioning != "tokens":
            self.x_embedder.times = 2  # noisy frames, and given ones
        if config.conditioning == "adaln":
            self.given_embedder = GivenEmbedder(size)
        self.blocks = [Block(config) for _ in range(config.depth)]
        self.final_layer = FinalLayer(size, config.patch_size, config.out_channels)
        self.freeze(recurse=False, keys=[name for name in TABLES if name in self])
        _initialize(self)

    def __call__(
        self,
        x: mx.array,
        t: mx.array,
        given: Given | None = None,
        y: mx.array | None = None,
    ) -> mx.array:
        """Runs the network once.

        Args:
            x: latents, (B, T, H, W, C), given cells in place. H and W divide by the patch; any T.
            t: timesteps in [0, 1000), (B,), integers or floats.
            given: the clip that holds the given cells, and its mask (B, T, H, W), 0 = given; not looked at by the
                official way of conditioning, whose given cells are in x.
            y: class labels, (B,); the released models only know class 0, the default. `num_classes` is "no class".

        Returns:
            (B, T, H, W, C), or (B, T, H, W, 2C) where the variance is learned: prediction first, then variance values.
            In the dtype of the weights.
        """
        config = self.config
        if x.ndim != 5 or x.shape[-1] != config.in_channels:
            raise VDTError(f"The network takes (B, T, H, W, {config.in_channels}) latents, not {x.shape}.")
        batch, _, height, width, _ = x.shape
        patch = config.patch_size
        if height % patch or width % patch:
            raise VDTError(f"Latents of {height} x {width} do not divide into patches of {patch} x {patch}.")
        if t.shape != (batch,):
            raise VDTError(f"The network takes one timestep a clip, ({batch},), not {t.shape}.")
        clean, mask = given or (None, None)
        return over_batch(self._forward, x, t, clean, mask, y)

    def _forward(
        self, x: mx.array, t: mx.array, clean: mx.array | None, mask: mx.array | None, y: mx.array | None
    ) -> mx.array:
        config = self.config
        grid = x.shape[2] // config.patch_size, x.shape[3] // config.patch_size
        given = None if clean is None or mask is None else (clean, mask)
        output = self.final_layer.linear(self.features(x, t, given, y))  # (B, T, N, p * p * out)
        return unpatchify(output, grid, config.patch_size, config.out_channels)

    def features(self, x: mx.array, t: mx.array, given: Given | None = None, y: mx.array | None = None) -> mx.array:
        """(B, T, N, D) what the last linear layer reads, for the input of a call."""
        config = self.config
        batch, frames, height, width, _ = x.shape
        grid = height // config.patch_size, width // config.patch_size
        dtype = self.x_embedder.proj.weight.dtype  # what the network computes in; never quantized
        x = x.astype(dtype)
        condition = self.t_embedder(t, dtype) + self.y_embedder(y, batch)
        context = self._rotations(frames, grid)
        if config.conditioning != "tokens":
            given = given or nothing_given(x)
            tokens, visible = self._given_tokens(given, grid, frames), visible_patches(given[1], config.patch_size)
            if config.conditioning == "adaln":
                condition = condition + self.given_embedder(tokens, visible)
            else:
                context |= {"given": tokens, "hidden": mx.where(visible, 0.0, -mx.inf)}
            x = blanked(x, given)
        hidden = self.x_embedder(x)  # (B, T, N, D)
        if config.position == "sincos":
            pos_embed, time_embed = self._tables(grid, frames, dtype)
            hidden = hidden + pos_embed[:, None] + time_embed[:, :, None]
        for block in self.blocks:
            hidden = block(hidden, condition, context) if context else block(hidden, condition)
        return self.final_layer.features(hidden, condition)

    def _given_tokens(self, given: Given, grid: tuple[int, int], frames: int) -> mx.array:
        """(B, T * N, D) the given clip's patches, with the tables of their places where nothing else tells these."""
        tokens = self.x_embedder(given[0].astype(self.x_embedder.proj.weight.dtype))
        if self.config.position == "sincos" or self.config.conditioning == "adaln":
            pos_embed, time_embed = self._tables(grid, frames, tokens.dtype)
            tokens = tokens + pos_embed[:, None] + time_embed[:, :, None]
        return tokens.reshape(tokens.shape[0], -1, tokens.shape[-1])

    def _rotations(self, frames: int, grid: tuple[int, int]) -> Context:
        """What rotary positions turn queries and keys by, for each way of attending that there is."""
        config = self.config
        if config.position != "rotary":
            return {}
        ways = {CLIP} if config.attention == "joint" else {TIME, SPACE}
        ways |= {CLIP} if config.conditioning == "cross-attention" else set()
        return {along: rotations(along, config.head_size, frames, grid) for along in sorted(ways)}

    def _tables(self, grid: tuple[int, int], frames: int, dtype: mx.Dtype) -> tuple[mx.array, mx.array]:
        """The position tables for this clip: the stored ones, or interpolated to its size (as ViT and DiT do)."""
        config = self.config
        if config.position == "sincos":
            pos_embed, time_embed = self.pos_embed, self.time_embed
        else:
            pos_embed, time_embed = tables(config)
        if grid != config.grid:
            rows = resampled(pos_embed.reshape(*config.grid, -1), grid[0], axis=0)
            pos_embed = resampled(rows, grid[1], axis=1).reshape(1, grid[0] * grid[1], -1)
        if frames != config.num_frames:
            time_embed = resampled(time_embed[0], frames, axis=0)[None]
        return pos_embed.astype(dtype), time_embed.astype(dtype)


def tables(config: VDTConfig) -> tuple[mx.array, mx.array]:
    """The sin-cos tables (1, N, D) of places within a frame and (1, T, D) of frames."""
    size = config.hidden_size
    spatial, temporal = spatial_table(size, config.grid), temporal_table(size, np.arange(config.num_frames))
    return mx.array(spatial)[None], mx.array(temporal)[None]


class FinalLayer(nn.Module):
    """adaLN and the projection back to patches."""

    PARTS: ClassVar[dict[str, str]] = {"linear": "final layer", "adaLN_modulation": "timestep modulation"}

    def __init__(self, size: int, patch: int, out_channels: int):
        super().__init__()
        self.norm_final = LayerNorm(size, eps=1e-6, affine=False)
        self.linear = Linear(size, patch * patch * out_channels)
        self.adaLN_modulation = [nn.SiLU(), Modulation(size, 2)]

    def features(self, x: mx.array, condition: mx.array) -> mx.array:
        """What is projected."""
        shift, scale = modulation(self.adaLN_modulation, condition, 2)
        return modulate(self.norm_final(x), shift, scale)


class PatchEmbedder(nn.Module):
    """Non-overlapping patches to tokens: a strided convolution, computed as the matrix product that it is."""

    def __init__(self, patch: int, channels: int, size: int):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(channels, size, kernel_size=patch, stride=patch)

    def __call__(self, x: mx.array) -> mx.array:
        """(B, T, H, W, C) -> (B, T, N, D)."""
        weight = self.proj.weight  # (D, p, p, C)
        x = patchify(x, self.patch)
        return linear(x, weight.reshape(weight.shape[0], -1), self.proj.bias)


class TimestepEmbedder(nn.Module):
    """Sinusoidal features of the timestep (cosines first), then a two-layer MLP."""

    READS = layers.CLIP
    FREQUENCIES = 256
    MAX_PERIOD = 10000

    def __init__(self, size: int):
        super().__init__()
        self.mlp = [Linear(self.FREQUENCIES, size), nn.SiLU(), Linear(size, size)]

    def __call__(self, t: mx.array, dtype: mx.Dtype) -> mx.array:
        """(B,) -> (B, D)."""
        half = self.FREQUENCIES // 2
        frequencies = mx.exp(mx.arange(half, dtype=mx.float32) * (-math.log(self.MAX_PERIOD) / half))
        angles = t.astype(mx.float32)[:, None] * frequencies
        x = mx.concatenate([mx.cos(angles), mx.sin(angles)], axis=-1).astype(dtype)
        for layer in self.mlp:
            x = layer(x)
        return x


class LabelEmbedder(nn.Module):
    """One row a class, and one more for "no class", as classifier-free guidance uses."""

    READS = layers.NOTHING

    def __init__(self, num_classes: int, size: int):
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, size)

    def __call__(self, y: mx.array | None, batch: int) -> mx.array:
        """Labels (B,), or None for class 0 throughout -> (B, D)."""
        table = self.embedding_table.weight
        if y is None:
            return mx.broadcast_to(table[:1], (batch, table.shape[1]))
        # Looking a row up has a gradient that adds row by row with atomics on a GPU, in an order that changes from run
        # to run. A product with the rows' indicators gives the same numbers both ways, in one order.
        return (y[:, None] == mx.arange(table.shape[0])).astype(table.dtype) @ table


def patchify(x: mx.array, patch: int) -> mx.array:
    """(B, T, H, W, C) -> (B, T, H/p * W/p, p * p * C), each patch read row by row."""
    batch, frames, height, width, channels = x.shape
    x = x.reshape(batch, frames, height // patch, patch, width // patch, patch, channels)
    return x.transpose(0, 1, 2, 4, 3, 5, 6).reshape(batch, frames, -1, patch * patch * channels)


def unpatchify(x: mx.array, grid: tuple[int, int], patch: int, channels: int) -> mx.array:
    """(B, T, h * w, p * p * C) -> (B, T, h * p, w * p, C)."""
    batch, frames, _, _ = x.shape
    x = x.reshape(batch, frames, *grid, patch, patch, channels).transpose(0, 1, 2, 4, 3, 5, 6)
    return x.reshape(batch, frames, grid[0] * patch, grid[1] * patch, channels)


def quantizable(path: str, module: nn.Module, group_size: int = 64) -> bool:
    """Which layers `nn.quantize` may take; see `config.packable`."""
    return isinstance(module, nn.Linear) and packable(f"{path}.weight", module.weight.shape, group_size)


def _initialize(model: VDT) -> None:
    """DiT's initialisation, and VDT's zero for the temporal branch: every block starts as the identity."""
    glorot: Callable[..., mx.array] = nn.init.glorot_uniform()
    normal: Callable[[mx.array], mx.array] = nn.init.normal(std=0.02)
    for _, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.weight = glorot(module.weight)
            module.bias = mx.zeros_like(module.bias)
    embedder = model.x_embedder.proj
    flat = glorot(embedder.weight.reshape(embedder.weight.shape[0], -1))
    embedder.weight = flat.reshape(embedder.weight.shape)
    embedder.bias = mx.zeros_like(embedder.bias)
    model.y_embedder.embedding_table.weight = normal(model.y_embedder.embedding_table.weight)
    for index in (0, 2):
        model.t_embedder.mlp[index].weight = normal(model.t_embedder.mlp[index].weight)
    zeroed = [model.final_layer.adaLN_modulation[1], model.final_layer.linear]
    for block in model.blocks:
        zeroed += [block.adaLN_modulation[1], *block.last_layers().values()]
    for layer in zeroed:
        layer.weight = mx.zeros_like(layer.weight)
