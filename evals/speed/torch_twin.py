"""VDT in PyTorch, written for timing beside the MLX one: the network a PyTorch user would write, with its fused
attention. Parameter names are those of the official checkpoints, so that the weights can be shared. Needs torch.
"""

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdt_mlx.config import VDTConfig


class Attention(nn.Module):
    def __init__(self, size: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(size, 3 * size)
        self.proj = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, length, D) -> the same."""
        batch, length, size = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.num_heads, size // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(batch, length, size))


class MLP(nn.Module):
    def __init__(self, size: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(size, hidden)
        self.fc2 = nn.Linear(hidden, size)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, size: int, num_heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(size, eps=1e-6, elementwise_affine=False)
        self.attn = Attention(size, num_heads)
        self.norm2 = nn.LayerNorm(size, eps=1e-6, elementwise_affine=False)
        self.mlp = MLP(size, int(size * mlp_ratio))
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(size, 6 * size))
        self.temporal_norm1 = nn.LayerNorm(size, eps=1e-5)
        self.temporal_attn = Attention(size, num_heads)
        self.temporal_fc = nn.Linear(size, size)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """(B, T, N, D), (B, D) -> (B, T, N, D)."""
        batch, frames, patches, size = x.shape
        along_time = self.temporal_norm1(x.transpose(1, 2).reshape(batch * patches, frames, size))
        along_time = self.temporal_fc(self.temporal_attn(along_time))
        x = x + along_time.view(batch, patches, frames, size).transpose(1, 2)
        parts = self.adaLN_modulation(condition)[:, None, None].chunk(6, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        hidden = self.norm1(x) * (1 + scale1) + shift1
        x = x + gate1 * self.attn(hidden.view(batch * frames, patches, size)).view(x.shape)
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)


class FinalLayer(nn.Module):
    def __init__(self, size: int, patch: int, channels: int):
        super().__init__()
        self.norm_final = nn.LayerNorm(size, eps=1e-6, elementwise_affine=False)
        self.linear = nn.Linear(size, patch * patch * channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(size, 2 * size))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(condition)[:, None, None].chunk(2, dim=-1)
        return self.linear(self.norm_final(x) * (1 + scale) + shift)


class PatchEmbedder(nn.Module):
    def __init__(self, patch: int, channels: int, size: int):
        super().__init__()
        self.proj = nn.Conv2d(channels, size, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, T, N, D)."""
        batch, frames = x.shape[:2]
        return self.proj(x.flatten(0, 1)).flatten(2).transpose(1, 2).unflatten(0, (batch, frames))


class TimestepEmbedder(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, size), nn.SiLU(), nn.Linear(size, size))

    def forward(self, t: Tensor) -> Tensor:
        frequencies = torch.exp(torch.arange(128, dtype=torch.float32) * (-math.log(10000) / 128))
        angles = t.float()[:, None] * frequencies
        return self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))


class LabelEmbedder(nn.Module):
    def __init__(self, classes: int, size: int):
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, size)

    def forward(self, batch: int) -> Tensor:
        return self.embedding_table(torch.zeros(batch, dtype=torch.long))


class TorchVDT(nn.Module):
    """The whole network, in channels-first layout: (B, T, C, H, W) and (B,) -> (B, T, out, H, W)."""

    pos_embed: Tensor
    time_embed: Tensor

    def __init__(self, config: VDTConfig):
        super().__init__()
        self.config = config
        size = config.hidden_size
        self.x_embedder = PatchEmbedder(config.patch_size, config.in_channels, size)
        self.t_embedder = TimestepEmbedder(size)
        self.y_embedder = LabelEmbedder(config.num_classes, size)
        self.register_buffer("pos_embed", torch.zeros(1, config.grid[0] * config.grid[1], size))
        self.register_buffer("time_embed", torch.zeros(1, config.num_frames, size))
        self.blocks = nn.ModuleList(Block(size, config.num_heads, config.mlp_ratio) for _ in range(config.depth))
        self.final_layer = FinalLayer(size, config.patch_size, config.out_channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        batch, frames = x.shape[:2]
        hidden = self.x_embedder(x) + self.pos_embed[:, None] + self.time_embed[:, :, None]
        condition = self.t_embedder(t) + self.y_embedder(batch)
        for block in self.blocks:
            hidden = block(hidden, condition)
        hidden = self.final_layer(hidden, condition)
        patch, (rows, columns) = self.config.patch_size, self.config.grid
        hidden = hidden.view(batch, frames, rows, columns, patch, patch, -1).permute(0, 1, 6, 2, 4, 3, 5)
        return hidden.reshape(batch, frames, -1, rows * patch, columns * patch)


def with_weights(config: VDTConfig, weights: dict[str, Any]) -> TorchVDT:
    """The network with the parameters of an MLX one (`checkpoint.flat_parameters`), every one of them used."""
    state = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}
    kernel = "x_embedder.proj.weight"
    state[kernel] = state[kernel].permute(0, 3, 1, 2).contiguous()
    model = TorchVDT(config)
    model.load_state_dict(state)
    return model
