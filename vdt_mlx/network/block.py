"""The blocks of a VDT: attention along time and within frames, MLP, and their modulation by the timestep.

Everything that counts, converts, optimises or copies a network reads it off these modules (`network.parts`): a layer
that is added to `Block` is known everywhere. A class says what cannot be seen from the outside: `PARTS`, which part of
the network a child serves, in the order of the official release's files; `READS`, what its matrices are applied to.
"""

from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from vdt_mlx.device.cpu_streams import over_axis
from vdt_mlx.device.kernels import attention, gelu, layer_norm, on_cpu
from vdt_mlx.device.linear import Linear

TOKENS, CLIP, NOTHING = "tokens", "clip", "nothing"
"""What a matrix is applied to: every token, one vector a clip, or nothing (a table whose rows are looked up)."""


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm`, computed by the kernel that suits the device."""

    def __call__(self, x: mx.array) -> mx.array:
        weight, bias = (self.weight, self.bias) if "weight" in self else (None, None)
        return layer_norm(x, weight, bias, self.eps)


class Modulation(Linear):
    """The matrix that makes adaLN's shifts, scales and gates, each as wide as the stream, from a vector a clip."""

    READS = CLIP

    def __init__(self, size: int, parts: int, gates: tuple[int, ...] = ()):
        super().__init__(size, parts * size)
        self.parts = parts
        self.gates = gates
        """Which of the parts are gates, that a branch of the block goes through."""


class Attention(nn.Module):
    """Multi-head self-attention along one axis of (B, T, N, D): 1, time, or 2, space; the other one is a batch."""

    LAST = "proj"

    def __init__(self, size: int, num_heads: int, axis: int):
        super().__init__()
        self.num_heads = num_heads
        self.axis = axis
        self.qkv = Linear(size, 3 * size)
        self.proj = Linear(size, size)

    def products(self, frames: int, patches: int) -> int:
        """Multiplications of queries with keys and of weights with values, for the tokens of one clip."""
        return 2 * frames * patches * (frames if self.axis == 1 else patches) * self.proj.weight.shape[0]

    def __call__(self, x: mx.array) -> mx.array:
        """(B, T, N, D) -> (B, T, N, D)."""
        axis = self.axis
        if not on_cpu():
            return self.proj(self._attend_by_views(self.qkv(x), axis))
        batch, frames, patches, size = x.shape
        head = size // self.num_heads
        # (3, B, T, N, heads, head), then the attended axis next to the head dimension.
        qkv = self.qkv(x).reshape(batch, frames, patches, 3, self.num_heads, head)
        length, other = (frames, patches) if axis == 1 else (patches, frames)
        order = (3, 0, 2, 4, 1, 5) if axis == 1 else (3, 0, 1, 4, 2, 5)
        q, k, v = qkv.transpose(order).reshape(3, batch * other, self.num_heads, length, head)
        out = attention(q, k, v, scale=head**-0.5)
        out = out.reshape(batch, other, self.num_heads, length, head)
        out = out.transpose(0, 3, 1, 2, 4) if axis == 1 else out.transpose(0, 1, 3, 2, 4)
        return self.proj(out.reshape(batch, frames, patches, size))

    def _attend_by_views(self, qkv: mx.array, axis: int) -> mx.array:
        """(B, T, N, 3D) -> (B, T, N, D), with transposed views in place of copies, which a GPU's kernels read as well.

        Along time, the patches count as more heads: a head of a patch is one in a frame's N D numbers.
        """
        batch, frames, patches, _ = qkv.shape
        head = qkv.shape[-1] // 3 // self.num_heads
        if axis == 1:
            shape = (batch, frames, patches * self.num_heads, head)
        else:
            shape = (batch * frames, patches, self.num_heads, head)
        q, k, v = (part.reshape(shape).transpose(0, 2, 1, 3) for part in mx.split(qkv, 3, axis=-1))
        out = attention(q, k, v, scale=head**-0.5).transpose(0, 2, 1, 3)
        return out.reshape(batch, frames, patches, -1)


class MLP(nn.Module):
    """Two linear layers with a tanh GELU between."""

    LAST = "fc2"

    def __init__(self, size: int, hidden: int):
        super().__init__()
        self.fc1 = Linear(size, hidden)
        self.fc2 = Linear(hidden, size)

    def __call__(self, x: mx.array) -> mx.array:
        return self.fc2(gelu(self.fc1(x)))


class Block(nn.Module):
    """Temporal attention, spatial attention, MLP, each added to the stream (paper, figure 2)."""

    PARTS: ClassVar[dict[str, str]] = {
        "attn": "spatial attention",
        "mlp": "MLP",
        "adaLN_modulation": "timestep modulation",
        "temporal_norm1": "temporal attention",
        "temporal_attn": "temporal attention",
        "temporal_fc": "temporal attention",
    }
    GATED: ClassVar[tuple[str, ...]] = ("attn", "mlp", "temporal_attn")
    """The children whose results reach the stream through a gate, or through another child (`temporal_fc`)."""

    def __init__(self, size: int, num_heads: int, mlp_ratio: float):
        super().__init__()
        self.temporal_norm1 = LayerNorm(size, eps=1e-5)
        self.temporal_attn = Attention(size, num_heads, axis=1)
        self.temporal_fc = Linear(size, size)
        self.norm1 = LayerNorm(size, eps=1e-6, affine=False)
        self.attn = Attention(size, num_heads, axis=2)
        self.norm2 = LayerNorm(size, eps=1e-6, affine=False)
        self.mlp = MLP(size, int(size * mlp_ratio))
        self.adaLN_modulation = [nn.SiLU(), Modulation(size, 6, gates=(2, 5))]

    def __call__(self, x: mx.array, condition: mx.array) -> mx.array:
        """x (B, T, N, D), condition (B, D) -> (B, T, N, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation(self.adaLN_modulation, condition, 6)

        def along_time(x: mx.array) -> mx.array:
            return x + self.temporal_fc(self.temporal_attn(self.temporal_norm1(x)))

        def within_frames(x: mx.array) -> mx.array:
            x = x + gate1 * self.attn(modulate(self.norm1(x), shift1, scale1))
            return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))

        return over_axis(within_frames, over_axis(along_time, x, axis=2), axis=1)

    def last_layers(self) -> dict[str, nn.Linear]:
        """The linear layers, by their dotted names, whose result is added to the stream as it is.

        Where these and the gates are zero the block is the identity. Found by the rule, not by a list: the last layer
        of every child that is not `GATED`.
        """
        found: dict[str, nn.Linear] = {}
        for name, child in self.children().items():
            if name in self.GATED or not isinstance(child, nn.Module):
                continue
            last = getattr(child, "LAST", None)
            if last is not None:
                found[f"{name}.{last}"] = child[last]
            elif isinstance(child, nn.Linear):
                found[name] = child
        return found


def modulation(layers: list[nn.Module], condition: mx.array, parts: int) -> list[mx.array]:
    """adaLN's shifts, scales and gates, each (B, 1, 1, D)."""
    for layer in layers:
        condition = layer(condition)
    return list(mx.split(condition[:, None, None], parts, axis=-1))


def modulate(x: mx.array, shift: mx.array, scale: mx.array) -> mx.array:
    return x * (1 + scale) + shift
