"""Ways of conditioning, attention and position: against NumPy, against each other, and what each must not see."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import ATTENTIONS, CONDITIONINGS, POSITIONS, VDTConfig
from vdt_mlx.device.kernels import forms
from vdt_mlx.errors import VDTError
from vdt_mlx.network.block import Attention
from vdt_mlx.network.conditioning import check_mask
from vdt_mlx.network.flops import flops, parameters
from vdt_mlx.network.position import CLIP, SPACE, TIME, angles, rotate, rotations, spatial_table, temporal_table
from vdt_mlx.network.vdt import VDT

SMALL = VDTConfig(hidden_size=24, depth=1, num_heads=2, latent_size=(4, 6), num_frames=5, in_channels=3)
WAYS = [
    (conditioning, attention, position)
    for conditioning in CONDITIONINGS
    for attention in ATTENTIONS
    for position in POSITIONS
]
GIVEN = 2


def configured(conditioning: str, attention: str, position: str, **more) -> VDTConfig:
    return replace(SMALL, conditioning=conditioning, attention=attention, position=position, **more)


def randomised(config: VDTConfig) -> VDT:
    mx.random.seed(0)
    model = VDT(config)
    model.load_weights([(k, v + 0.1 * mx.random.normal(v.shape)) for k, v in flat_parameters(model).items()])
    return model


def question(config: VDTConfig, given: int = GIVEN) -> tuple[mx.array, mx.array, tuple[mx.array, mx.array]]:
    shape = (2, config.num_frames, *config.latent_size, config.in_channels)
    noisy, clean = (mx.random.normal(shape, key=mx.random.key(k)) for k in (1, 2))
    mask = mx.broadcast_to((mx.arange(shape[1]) >= given).astype(mx.float32)[None, :, None, None], shape[:4])
    cells = mask[..., None]
    return noisy * cells + clean * (1 - cells), mx.array([3.0, 700.0]), (clean * (1 - cells), mask)


# The network again, in NumPy --------------------------------------------------------------------------------------


class Reference:
    """One block's network, written down without looking at ours."""

    def __init__(self, model: VDT):
        self.config = model.config
        self.w = {name: np.array(value, np.float64) for name, value in flat_parameters(model).items()}

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    @staticmethod
    def norm(x, eps=1e-6):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)

    def patches(self, x):
        p, weight = self.config.patch_size, self.w["x_embedder.proj.weight"]
        b, t, h, w, c = x.shape
        cut = x.reshape(b, t, h // p, p, w // p, p, c).transpose(0, 1, 2, 4, 3, 5, 6).reshape(b, t, -1, p * p * c)
        return cut @ weight.reshape(len(weight), -1).T + self.w["x_embedder.proj.bias"]

    def softmax(self, q, k, v, hidden=None):
        scores = np.einsum("blhd,bshd->bhls", q, k) / np.sqrt(q.shape[-1])
        if hidden is not None:
            scores = np.where(hidden[:, None, None], -np.inf, scores)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        return np.einsum("bhls,bshd->blhd", scores / scores.sum(-1, keepdims=True), v)

    def turned(self, x, along, frames, grid):
        """x (b, l, heads, d)."""
        if self.config.position == "sincos":
            return x
        turn = angles(along, x.shape[-1], frames, grid)[:, None]
        a, b = np.split(x, 2, -1)
        return np.concatenate([a * np.cos(turn) - b * np.sin(turn), b * np.cos(turn) + a * np.sin(turn)], -1)

    def attention(self, name, x, along):
        b, t, n, d = x.shape
        heads, grid = self.config.num_heads, self.config.grid
        x = {TIME: x.transpose(0, 2, 1, 3).reshape(b * n, t, d), SPACE: x.reshape(b * t, n, d)}.get(
            along, x.reshape(b, t * n, d)
        )
        q, k, v = (part.reshape(*x.shape[:2], heads, -1) for part in np.split(self.linear(f"{name}.qkv", x), 3, -1))
        q, k = (self.turned(part, along, t, grid) for part in (q, k))
        out = self.linear(f"{name}.proj", self.softmax(q, k, v).reshape(x.shape))
        return out.reshape(b, n, t, d).transpose(0, 2, 1, 3) if along == TIME else out.reshape(b, t, n, d)

    def cross(self, x, tokens, visible):
        b, t, n, _ = x.shape
        q = self.linear("blocks.0.cross_attn.q", x).reshape(b, t * n, self.config.num_heads, -1)
        kv = self.linear("blocks.0.cross_attn.kv", tokens)
        k, v = (part.reshape(b, t * n, self.config.num_heads, -1) for part in np.split(kv, 2, -1))
        q, k = (self.turned(part, CLIP, t, self.config.grid) for part in (q, k))
        nothing = np.zeros_like(k[:, :1])
        k, v = np.concatenate([k, nothing], 1), np.concatenate([v, nothing], 1)
        hidden = np.concatenate([~visible, np.zeros((b, 1), bool)], 1)
        return self.linear("blocks.0.cross_attn.proj", self.softmax(q, k, v, hidden).reshape(x.shape))

    def __call__(self, x, t, given):
        c = self.config
        clean, mask = given
        frequencies = np.exp(-np.log(10000) * np.arange(128) / 128)
        features = np.concatenate([np.cos(t[:, None] * frequencies), np.sin(t[:, None] * frequencies)], -1)
        silu = lambda x: x / (1 + np.exp(-x))  # noqa: E731
        condition = self.linear("t_embedder.mlp.2", silu(self.linear("t_embedder.mlp.0", features)))
        condition = condition + self.w["y_embedder.embedding_table.weight"][0]
        places = spatial_table(c.hidden_size, c.grid)[None, None], temporal_table(c.hidden_size, np.arange(x.shape[1]))
        if c.position == "sincos":  # stored, and made random here
            places = self.w["pos_embed"][:, None], self.w["time_embed"][0]
        tables = places[0] + places[1][None, :, None]
        b, frames = x.shape[:2]
        if c.conditioning != "tokens":
            x = np.where(mask[..., None] > 0.5, x, 0)
            tokens = self.patches(clean) + (tables if c.position == "sincos" or c.conditioning == "adaln" else 0)
            tokens = tokens.reshape(b, -1, c.hidden_size)
            visible = np.repeat(mask[:, :, 0, 0] < 0.5, c.grid[0] * c.grid[1], axis=1)
        if c.conditioning == "adaln":
            seen = self.linear("given_embedder.mlp.2", silu(self.linear("given_embedder.mlp.0", tokens)))
            condition = condition + (seen * visible[..., None]).sum(1) / visible.sum(1, keepdims=True)
        h = self.patches(x) + (tables if c.position == "sincos" else 0)
        parts = np.split(self.linear("blocks.0.adaLN_modulation.1", silu(condition))[:, None, None], 6, -1)

        def over_time(h):
            affine = self.w["blocks.0.temporal_norm1.weight"], self.w["blocks.0.temporal_norm1.bias"]
            seen = self.attention("blocks.0.temporal_attn", self.norm(h, 1e-5) * affine[0] + affine[1], TIME)
            return h + self.linear("blocks.0.temporal_fc", seen)

        def over_space(h):
            along = CLIP if c.attention == "joint" else SPACE
            return h + parts[2] * self.attention("blocks.0.attn", self.norm(h) * (1 + parts[1]) + parts[0], along)

        order = {
            "factorized": (over_time, over_space),
            "spatial-first": (over_space, over_time),
            "joint": (over_space,),
        }
        for step in order[c.attention]:
            h = step(h)
        if c.conditioning == "cross-attention":
            affine = self.w["blocks.0.cross_norm.weight"], self.w["blocks.0.cross_norm.bias"]
            h = h + self.cross(self.norm(h) * affine[0] + affine[1], tokens, visible)
        hidden = self.linear("blocks.0.mlp.fc1", self.norm(h) * (1 + parts[4]) + parts[3])
        hidden = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
        h = h + parts[5] * self.linear("blocks.0.mlp.fc2", hidden)
        shift, scale = np.split(self.linear("final_layer.adaLN_modulation.1", silu(condition))[:, None, None], 2, -1)
        out = self.linear("final_layer.linear", self.norm(h) * (1 + scale) + shift)
        rows, columns = c.grid
        out = out.reshape(b, frames, rows, columns, c.patch_size, c.patch_size, -1).transpose(0, 1, 2, 4, 3, 5, 6)
        return out.reshape(*x.shape[:4], -1)


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_every_way_is_the_one_written_down_in_numpy(way) -> None:
    model = randomised(configured(*way))
    x, t, given = question(model.config)
    expected = Reference(model)(*(np.array(a, np.float64) for a in (x, t)), [np.array(a, np.float64) for a in given])
    scale = max(1.0, np.abs(expected).max())
    assert np.abs(np.array(model(x, t, given)) - expected).max() <= 1e-5 * scale
    with forms("gpu"):
        assert np.abs(np.array(model(x, t, given)) - expected).max() <= 1e-5 * scale


@pytest.mark.parametrize("way", [way for way in WAYS if way[0] != "tokens"], ids=" ".join)
@pytest.mark.parametrize("count", range(SMALL.num_frames))
def test_any_number_of_given_frames(way, count) -> None:
    """Given frames come in by their own way alone, and what is to be generated not at all by it."""
    model = randomised(configured(*way))
    x, t, (clean, mask) = question(model.config, count)
    out = model(x, t, (clean, mask))
    assert mx.isfinite(out).all()
    other = mx.where(mask[..., None] > 0.5, x, x + 1)
    assert mx.array_equal(model(other, t, (clean, mask)), out)
    if count:
        changed = model(x, t, (clean + (1 - mask)[..., None], mask))
        assert mx.abs(changed - out)[:, count:].max() > 1e-4
    else:
        assert mx.allclose(model(x, t), out, atol=1e-5)


# Where they must agree --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("along", "shape"), [(SPACE, (2, 1, 6, 24)), (TIME, (2, 5, 1, 24))])
@pytest.mark.parametrize("rotary", [False, True])
def test_joint_attention_of_one_frame_or_one_patch_is_the_factorized_one(along, shape, rotary) -> None:
    mx.random.seed(2)
    single = Attention(24, 2, along)
    joint = Attention(24, 2, CLIP)
    joint.update(single.parameters())
    x = mx.random.normal(shape)
    turn = {along: rotations(along, 12, shape[1], (2, shape[2] // 2 or 1))} if rotary else {}
    assert mx.allclose(joint(x, {CLIP: turn[along]} if rotary else {}), single(x, turn), atol=1e-5)


def test_the_two_orders_agree_where_one_of_them_does_nothing() -> None:
    first, second = (randomised(configured("tokens", order, "sincos")) for order in ("factorized", "spatial-first"))
    x, t, given = question(SMALL)
    assert not mx.allclose(first(x, t, given), second(x, t, given), atol=1e-3)
    for model in (first, second):
        model.blocks[0].temporal_fc.weight = mx.zeros((24, 24))
        model.blocks[0].temporal_fc.bias = mx.zeros(24)
    assert mx.allclose(first(x, t, given), second(x, t, given), atol=1e-5)


@pytest.mark.parametrize(("along", "moved"), [(TIME, (3, 0, 0)), (SPACE, (0, 1, 2)), (CLIP, (2, 1, 3))])
def test_a_shift_leaves_rotary_scores_alone(along, moved) -> None:
    """Queries and keys of a clip, and of the same clip so many frames, rows and columns further on."""
    q, k = (mx.random.normal((4, 5, 6, 12), key=mx.random.key(key)) for key in range(2))
    whole = {TIME: (9, 1, 1), SPACE: (1, 6, 9), CLIP: (9, 6, 9)}[along]
    part = tuple(min(size, 4) for size in whole)
    turns = rotations(along, 12, whole[0], whole[1:]).reshape(2, *(n for n in whole if n > 1), 6)
    scores = []
    for start in ((0, 0, 0), moved):
        cut = [slice(a, a + n) for a, n, of in zip(start, part, whole, strict=True) if of > 1]
        turn = turns[(slice(None), *cut)].reshape(2, -1, 6)
        length = turn.shape[1]
        a, b = (mx.broadcast_to(x[:, :1, :1], (4, 1, length, 12)) for x in (q, k))
        scores.append(rotate(a, turn) @ rotate(b, turn).swapaxes(-1, -2))
    assert mx.allclose(*scores, atol=1e-4)


# Counts -------------------------------------------------------------------------------------------------------------


def counted(model: VDT) -> float:
    """Twice the multiplications of the matrix products in the graph that runs, for a batch of one."""
    products = []

    def write_down(entry) -> None:
        if entry["type"] == "primitive" and entry["name"] in ("Matmul", "AddMM"):
            (_, left, _), (_, out, _) = entry["inputs"][0], entry["outputs"][0]
            products.append(2 * np.prod(out) * left[-1])

    x, t, given = (question(model.config)[0][:1], mx.array([5.0]), question(model.config)[2])
    clean, mask = (part[:1] for part in given)
    mx.disable_compile()
    try:
        with forms("gpu"):
            mx.export_function(write_down, lambda *a: model(a[0], a[1], (a[2], a[3])), x, t, clean, mask)
    finally:
        mx.enable_compile()
    return float(sum(products))


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_parameters_and_operations_are_those_of_the_graph_that_runs(way) -> None:
    config = configured(*way, learn_sigma=False, depth=2)
    model = randomised(config)  # layers that begin alike, as zeros, would be counted once
    assert parameters(config) == sum(value.size for value in flat_parameters(model).values())
    if mx.default_device().type == mx.gpu:
        pytest.skip("fused attention hides its products")
    assert counted(model) == flops(config)


# Bad input ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"conditioning": "prayer"}, "tokens, cross-attention, adaln"),
        ({"attention": "none"}, "factorized, spatial-first, joint"),
        ({"position": "learned"}, "sincos, rotary"),
        ({"position": "rotary", "num_heads": 8}, "even size"),
        ({"labels": ("a", "b")}, "2 labels do not name 1 classes"),
        ({"labels": ("a", "a"), "num_classes": 2}, "a name of its own"),
    ],
)
def test_refusals(bad, words) -> None:
    with pytest.raises(VDTError, match=words):
        replace(SMALL, **bad)


def test_adaln_knows_whole_frames_only() -> None:
    adaln, cross = configured("adaln", "joint", "sincos"), configured("cross-attention", "joint", "sincos")
    mask = np.ones((1, 5, 4, 6))
    mask[:, :2] = 0
    for config in (adaln, cross, SMALL):
        check_mask(config, mask)
    mask[:, 0, :2] = 1
    check_mask(cross, mask)
    with pytest.raises(VDTError, match="part of a frame"):
        check_mask(adaln, mask)
    assert "spatial" not in adaln.possible_tasks and "spatial" in cross.possible_tasks
