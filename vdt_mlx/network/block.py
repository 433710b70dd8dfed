"""The blocks of a VDT: attention along time and within frames, MLP, and their modulation by the timestep.

Everything that counts, converts, optimises or copies a network reads it off these modules (`network.parts`): a layer
that is added to `Block` is known everywhere. A class says what cannot be seen from the outside: `PARTS`, which part of
the network a child serves, in the order of the official release's files; `READS`, what its matrices are applied to.
"""

from typing import ClassVar

import mlx.core as mx
import mlx.nn as nn

from vdt_mlx.config import VDTConfig
from vdt_mlx.device.cpu_streams import over_axis
from vdt_mlx.device.kernels import attention, gelu, layer_norm, on_cpu
from vdt_mlx.device.linear import Linear
from vdt_mlx.network.position import CLIP as WHOLE
from vdt_mlx.network.position import SPACE, TIME, rotate

Context = dict[str, mx.array]
"""What blocks need besides tokens and condition, by name; see `Block`."""

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
    """Multi-head self-attention of (B, T, N, D) along `time`, `space` (within each frame) or the whole `clip`."""

    LAST = "proj"

    def __init__(self, size: int, num_heads: int, along: str):
        super().__init__()
        self.num_heads = num_heads
        self.along = along
        self.qkv = Linear(size, 3 * size)
        self.proj = Linear(size, size)

    def products(self, frames: int, patches: int) -> int:
        """Multiplications of queries with keys and of weights with values, for the tokens of one clip."""
        length = {TIME: frames, SPACE: patches, WHOLE: frames * patches}[self.along]
        return 2 * frames * patches * length * self.proj.weight.shape[0]

    def __call__(self, x: mx.array, context: Context | None = None) -> mx.array:
        """(B, T, N, D) -> (B, T, N, D); queries and keys are turned by the context's rotation of this kind, if any."""
        batch, frames, patches, size = x.shape
        rotation = (context or {}).get(self.along)
        if self.along == WHOLE:
            out = self._attend(self.qkv(x).reshape(batch, 1, frames * patches, 3 * size), 2, rotation)
        else:
            out = self._attend(self.qkv(x), 1 if self.along == TIME else 2, rotation)
        return self.proj(out.reshape(x.shape))

    def _attend(self, qkv: mx.array, axis: int, rotation: mx.array | None) -> mx.array:
        """(B, T, N, 3D) -> (B, T, N, D), attending along axis 1 or 2; the other one is a batch."""
        if not on_cpu():
            return self._attend_by_views(qkv, axis, rotation)
        batch, frames, patches, width = qkv.shape
        head = width // 3 // self.num_heads
        # (3, B, T, N, heads, head), then the attended axis next to the head dimension.
        qkv = qkv.reshape(batch, frames, patches, 3, self.num_heads, head)
        length, other = (frames, patches) if axis == 1 else (patches, frames)
        order = (3, 0, 2, 4, 1, 5) if axis == 1 else (3, 0, 1, 4, 2, 5)
        q, k, v = qkv.transpose(order).reshape(3, batch * other, self.num_heads, length, head)
        out = self._scored(q, k, v, rotation)
        out = out.reshape(batch, other, self.num_heads, length, head)
        out = out.transpose(0, 3, 1, 2, 4) if axis == 1 else out.transpose(0, 1, 3, 2, 4)
        return out.reshape(batch, frames, patches, -1)

    def _scored(self, q: mx.array, k: mx.array, v: mx.array, rotation: mx.array | None) -> mx.array:
        """Softmax attention over (batch, heads, length, head), queries and keys turned by the rotation."""
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return attention(q, k, v, scale=q.shape[-1] ** -0.5, learning=self.training)

    def _attend_by_views(self, qkv: mx.array, axis: int, rotation: mx.array | None) -> mx.array:
        """`_attend` with transposed views in place of copies, which a GPU's kernels read as well.

        Along time, the patches count as more heads: a head of a patch is one in a frame's N D numbers.
        """
        batch, frames, patches, _ = qkv.shape
        head = qkv.shape[-1] // 3 // self.num_heads
        if axis == 1:
            shape = (batch, frames, patches * self.num_heads, head)
        else:
            shape = (batch * frames, patches, self.num_heads, head)
        q, k, v = (part.reshape(shape).transpose(0, 2, 1, 3) for part in mx.split(qkv, 3, axis=-1))
        out = self._scored(q, k, v, rotation).transpose(0, 2, 1, 3)
        return out.reshape(batch, frames, patches, -1)


class CrossAttention(nn.Module):
    """Multi-head attention of a clip's tokens (B, T, N, D) to those of its given cells.

    Beside the given tokens there is one key of zeros with a value of zeros, which is all that is left where nothing is
    given: the attention then adds nothing but its last layer's bias.
    """

    LAST = "proj"

    def __init__(self, size: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = Linear(size, size)
        self.kv = Linear(size, 2 * size)
        self.proj = Linear(size, size)

    def products(self, frames: int, patches: int) -> int:
        """As of `Attention`, all tokens counting as given ones; the key of zeros is one more."""
        return 2 * frames * patches * (frames * patches + 1) * self.proj.weight.shape[0]

    def __call__(self, x: mx.array, context: Context) -> mx.array:
        """x (B, T, N, D); the context holds `given` (B, S, D), `hidden` (B, S), 0 or -inf, and perhaps rotations."""
        batch, frames, patches, size = x.shape
        heads, head = self.num_heads, size // self.num_heads
        q = self.q(x).reshape(batch, frames * patches, heads, head).transpose(0, 2, 1, 3)
        k, v = (
            part.reshape(batch, -1, heads, head).transpose(0, 2, 1, 3)
            for part in mx.split(self.kv(context["given"]), 2, axis=-1)
        )
        rotation = context.get(WHOLE)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        nothing = mx.zeros((batch, heads, 1, head), dtype=k.dtype)
        k, v = (mx.concatenate([part, nothing], axis=2) for part in (k, v))
        bias = mx.concatenate([context["hidden"], mx.zeros((batch, 1))], axis=1)[:, None, None]
        out = attention(q, k, v, scale=head**-0.5, bias=bias.astype(q.dtype), learning=self.training)
        return self.proj(out.transpose(0, 2, 1, 3).reshape(x.shape))


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
    """Attention and MLP, each added to the stream (paper, figure 2).

    The official block attends along time, then within frames. `spatial-first` has the two in the other order, `joint`
    has one attention over all tokens in the place of both, and `cross-attention` one to the given tokens before the
    MLP. Parts that are the same have the same names.
    """

    PARTS: ClassVar[dict[str, str]] = {
        "attn": "spatial attention",
        "mlp": "MLP",
        "adaLN_modulation": "timestep modulation",
        "temporal_norm1": "temporal attention",
        "temporal_attn": "temporal attention",
        "temporal_fc": "temporal attention",
        "cross_norm": "cross-attention",
        "cross_attn": "cross-attention",
    }
    GATED: ClassVar[tuple[str, ...]] = ("attn", "mlp", "temporal_attn")
    """The children whose results reach the stream through a gate, or through another child (`temporal_fc`)."""

    def __init__(self, config: VDTConfig):
        super().__init__()
        size, num_heads = config.hidden_size, config.num_heads
        self.order = config.attention
        if config.attention != "joint":
            self.temporal_norm1 = LayerNorm(size, eps=1e-5)
            self.temporal_attn = Attention(size, num_heads, TIME)
            self.temporal_fc = Linear(size, size)
        self.norm1 = LayerNorm(size, eps=1e-6, affine=False)
        self.attn = Attention(size, num_heads, WHOLE if config.attention == "joint" else SPACE)
        self.norm2 = LayerNorm(size, eps=1e-6, affine=False)
        self.mlp = MLP(size, int(size * config.mlp_ratio))
        self.adaLN_modulation = [nn.SiLU(), Modulation(size, 6, gates=(2, 5))]
        if config.conditioning == "cross-attention":
            self.cross_norm = LayerNorm(size, eps=1e-6)
            self.cross_attn = CrossAttention(size, num_heads)

    def __call__(self, x: mx.array, condition: mx.array, context: Context | None = None) -> mx.array:
        """x (B, T, N, D), condition (B, D) -> (B, T, N, D).

        `context` holds what some ways of position and conditioning need: the rotations by TIME, SPACE and CLIP, the
        `given` tokens and which of them are `hidden`.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation(self.adaLN_modulation, condition, 6)
        context = context or {}

        def along_time(x: mx.array) -> mx.array:
            return x + self.temporal_fc(self.temporal_attn(self.temporal_norm1(x), context))

        def attended(x: mx.array) -> mx.array:
            return x + gate1 * self.attn(modulate(self.norm1(x), shift1, scale1), context)

        def processed(x: mx.array) -> mx.array:
            return x + gate2 * self.mlp(modulate(self.norm2(x), shift2, scale2))

        crossing = "cross_attn" in self

        def within_frames(x: mx.array) -> mx.array:
            return attended(x) if crossing else processed(attended(x))

        if self.order == "factorized":
            x = over_axis(within_frames, over_axis(along_time, x, axis=2), axis=1)
        elif self.order == "spatial-first":
            x = over_axis(along_time, over_axis(attended, x, axis=1), axis=2)
            x = x if crossing else over_axis(processed, x, axis=1)
        else:
            x = attended(x)
            x = x if crossing else over_axis(processed, x, axis=1)
        if crossing:
            x = over_axis(processed, x + self.cross_attn(self.cross_norm(x), context), axis=1)
        return x

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
