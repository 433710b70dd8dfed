"""Everything that runs on a GPU is something that Metal has: its operations, dtypes and shapes, in the forms for a GPU.

No GPU is needed, and nothing is computed. The table comes from `make_table.py`.
"""

import math
from dataclasses import replace
from pathlib import Path

import metal_graphs as metal
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from training_runs import CONFIG

from vdt_mlx.checkpoint import DTYPES, quantize
from vdt_mlx.config import (
    ATTENTIONS,
    CONDITIONINGS,
    POSITIONS,
    PRESETS,
    AutoencoderConfig,
    CheckpointConfig,
    DiffusionConfig,
    VDTConfig,
)
from vdt_mlx.device import chunks
from vdt_mlx.device.kernels import FEW_QUERIES, FUSED_HEADS, forms, fused_head
from vdt_mlx.device.kernels import attention as attend
from vdt_mlx.diffusion import samplers, sampling
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.engine import Engine, flipped
from vdt_mlx.network.autoencoder import build_autoencoder
from vdt_mlx.network.vdt import VDT
from vdt_mlx.training.config import load_config
from vdt_mlx.training.recipe import RECIPES

SIZES = {name: replace(config, depth=1) for name, config in PRESETS.items()}
"""A block is like the next."""


WIDE_HEADS = "no fused attention for heads of 512"
"""The one attention of Stable Diffusion's autoencoder has a single head over all its channels: slower, and right."""


def held(nodes: list[metal.Node], training: bool = False, known: str = "none") -> list[metal.Node]:
    assert [fault for fault in metal.faults(nodes, training=training) if not fault.startswith(known)] == []
    assert not training or metal.unordered(nodes) == []
    return nodes


def network(config: VDTConfig, dtype: str = "fp32", bits: int | None = None, group: int = 64) -> mx.array:
    model = sampled(config)
    model.set_dtype(DTYPES[dtype])
    if bits is not None:
        quantize(model, bits, group)
    return called(model)


def sampled(config: VDTConfig) -> VDT:
    """A network as it is loaded, with attention for sampling."""
    model = VDT(config)
    model.eval()
    return model


def called(model: VDT, batch: int = 1) -> mx.array:
    """A call with everything that the network may be told."""
    config = model.config
    x = mx.zeros((batch, config.num_frames, *config.latent_size, config.in_channels))
    mask = mx.array(np.repeat([0.0, 1.0], [1, config.num_frames - 1]).astype(np.float32)).reshape(1, -1, 1, 1)
    y = mx.zeros((batch,), mx.int32) if config.labels else None
    return model(x, mx.zeros((batch,)), (x, mx.broadcast_to(mask, x.shape[:-1])), y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SIZES)
def test_the_network(name: str, dtype: str) -> None:
    nodes = held(metal.traced(lambda: network(SIZES[name], dtype)))
    assert sum(node.name == "ScaledDotProductAttention" for node in nodes) == 2
    assert {node.inputs[0][1] for node in nodes if node.name == "ScaledDotProductAttention"} == {
        {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[dtype]
    }


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("group", [64, 32])
def test_packed_weights(bits: int, group: int, dtype: str) -> None:
    nodes = held(metal.traced(lambda: network(SIZES["VDT-S/2"], dtype, bits, group)))
    assert sum(node.name == "QuantizedMatmul" for node in nodes) > 5


SWITCHES = [
    {"conditioning": conditioning, "attention": attention, "position": position}
    for conditioning in CONDITIONINGS
    for attention in ATTENTIONS
    for position in POSITIONS
]
LABELS = {"labels": ("roll", "drop", "link"), "num_classes": 3}


@pytest.mark.parametrize("switches", [*SWITCHES, LABELS], ids=lambda switches: "-".join(map(str, switches.values())))
def test_ways_of_conditioning_attention_position_and_labels(switches: dict) -> None:
    """A call, and the gradients of one, which nothing adds up by atomics."""
    config = VDTConfig(hidden_size=96, depth=1, num_heads=2, latent_size=(4, 4), learn_sigma=False, **switches)
    nodes = held(metal.traced(lambda: called(sampled(config), batch=2)))
    attentions = (1 if config.attention == "joint" else 2) + (config.conditioning == "cross-attention")
    assert sum(node.name == "ScaledDotProductAttention" for node in nodes) == attentions

    def gradients() -> dict:
        model = VDT(config)
        return nn.value_and_grad(model, lambda model: called(model, batch=2).square().mean())(model)[1]

    held(metal.traced(gradients), training=True)


@pytest.mark.parametrize("frames", [8, 30])
def test_other_lengths_and_sizes_than_trained_on(frames: int) -> None:
    config = SIZES["VDT-S/2"]

    def longer() -> mx.array:
        return sampled(config)(mx.zeros((2, frames, 12, 20, config.in_channels)), mx.zeros((2,)))

    held(metal.traced(longer))


AUTOENCODERS = {
    "kl": (AutoencoderConfig(), 256),
    "tiny": (AutoencoderConfig(kind="tiny", block_out_channels=(64,) * 4), 256),
    "physics": (
        AutoencoderConfig(
            kind="tiny",
            block_out_channels=(16, 32, 64, 64),
            decoder_block_out_channels=(24, 48, 64, 64),
            latent_channels=12,
            latent_mean=(0.0,) * 12,
            latent_std=(1.0,) * 12,
        ),
        64,
    ),
}


def test_pieces_of_an_autoencoder_fit_a_gpu(monkeypatch) -> None:
    """What a piece's largest convolution holds, workspace included, is less than the GPU may use without paging."""
    config, side = AUTOENCODERS["kl"]
    for room in (6 << 30, 11 << 30, 48 << 30):
        monkeypatch.setattr(chunks, "gpu_bytes", lambda room=room: room)
        with forms("gpu"):
            frames = chunks.frames_at_once(config, side, side)
        build = lambda: build_autoencoder(config).decode(mx.zeros((frames, side // 8, side // 8, 4)))  # noqa: B023, E731
        largest = max(
            4 * (4.7 * math.prod(node.inputs[0][0]) + math.prod(node.outputs[0][0]))
            for node in metal.traced(build)
            if node.name == "Convolution"
        )
        assert largest < room
        assert 1 <= frames <= chunks.MOST


@pytest.mark.parametrize("name", AUTOENCODERS)
def test_autoencoders(name: str) -> None:
    config, side = AUTOENCODERS[name]

    def both() -> list[mx.array]:
        model = build_autoencoder(config)
        clip = np.zeros((1, 16, side, side, 3), np.uint8)
        latents = model.encode_clip(clip)
        return [latents, model.decode_clip(latents)]

    nodes = held(metal.traced(both), known=WIDE_HEADS)
    assert sum(node.name == "Convolution" for node in nodes) > 10


SAMPLERS = [(name, {}) for name in sampling.SAMPLERS] + [
    (name, {"eta": 0.5, "antithetic": antithetic, "mirror": mirror})
    for name in sampling.having("mirror")
    for antithetic, mirror in ((True, False), (True, True))
]


@pytest.mark.parametrize(("name", "options"), SAMPLERS, ids=lambda value: str(value))
def test_samplers(name: str, options: dict) -> None:
    flows = name in ("euler", "heun")
    schedule = Schedule(DiffusionConfig(prediction="flow", schedule="flow") if flows else DiffusionConfig())
    config = VDTConfig(hidden_size=128, depth=1, num_heads=2, latent_size=(4, 4), learn_sigma=name == "ddpm")

    def last_step() -> mx.array:
        model = sampled(config)
        shape = (1, config.num_frames, *config.latent_size, config.in_channels)
        noise = mx.zeros(shape)
        mask = mx.array(np.repeat([0.0, 1.0], 8).astype(np.float32)).reshape(1, 16, 1, 1) * mx.ones((1, 16, 4, 4))
        fresh = [mx.random.normal(shape, key=mx.random.key(step)) for step in range(3)]
        choice = sampling.Sampling(sampler=name, steps=3, **options)
        mirror = {"step_noise": fresh, "reflect": lambda x: x[..., ::-1, :]}
        run = samplers.sample(model, schedule, noise, noise, mask, choice, **mirror)
        *_, last = run
        return last.x0

    nodes = held(metal.traced(last_step))
    assert sum(node.name == "ScaledDotProductAttention" for node in nodes) >= 2 * 3


LAUNCHES = 1630
"""What a GPU is sent for a default sample, before MLX joins elementwise operations into one."""


def default_sample(whole: bool = False, changes: dict | None = None, **options) -> list[metal.Node]:
    """The operations behind a clip that the recipe `physics` has trained a network to generate, pixels to pixels."""
    recipe = load_config(str(RECIPES / "physics.toml"))
    config = CheckpointConfig(
        vdt=replace(recipe.vdt, **(changes or {})),
        diffusion=recipe.diffusion,
        autoencoder=replace(recipe.autoencoder, latent_mean=(0.0,) * 12, latent_std=(1.0,) * 12),
    )
    engine = Engine(config, sampled(config.vdt), build_autoencoder(config.autoencoder))
    mx.eval(engine.vdt.parameters(), engine.autoencoder.parameters())
    clip = np.zeros((1, engine.frames, *engine.size, 3), np.uint8)
    mask = np.repeat(np.array([0.0, 1.0], np.float32), engine.frames // 2)[None, :, None, None]
    mask = np.broadcast_to(mask, (1, *engine.cells))

    def pixels() -> mx.array:
        given, mirrored = (engine.encode_given(frames, mask) for frames in (clip, flipped(clip)))
        *_, last = engine.sample(given, mask, sampling.Sampling(**options), mirrored=mirrored)
        return engine.on_device(last.x0)

    return metal.traced(pixels, whole)


def test_a_default_sample_is_so_many_launches() -> None:
    nodes = held(default_sample(whole=True))
    calls = sum(node.name == "ScaledDotProductAttention" for node in nodes) / (2 * 8)
    assert calls == 2  # four questions each
    assert metal.dispatches(nodes) <= LAUNCHES


def test_guidance() -> None:
    held(default_sample(changes={"depth": 1, **LABELS}, label="drop", guidance=2.0))


# --- training --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("metal")
    (folder / "videos").mkdir()
    for number in range(4):
        np.savez(folder / "videos" / f"{number}.npz", frames=np.full((8, 8, 8, 3), 40 * number, np.uint8))
    (folder / "tiny.toml").write_text(CONFIG.replace("PATH", str(folder / "videos")))
    return folder


VDT_TASKS = {
    "muon": ("optimizer.name=muon",),
    "adamw": ("optimizer.name=adamw",),
    "muon, bf16": ("optimizer.name=muon", "loop.precision=bf16"),
    "checkpointing": ("loop.checkpointing=true",),
    "accumulated": ("loop.accumulate=2",),
    "learned variance": (
        "vdt.learn_sigma=true",
        *("diffusion.prediction=epsilon", "diffusion.schedule=linear", "diffusion.sampler=ddim"),
    ),
}


@pytest.mark.parametrize("changes", VDT_TASKS.values(), ids=VDT_TASKS)
def test_a_training_step(clips: Path, tmp_path: Path, monkeypatch, changes: tuple[str, ...]) -> None:
    from vdt_mlx.training import vdt as training

    config = load_config(str(clips / "tiny.toml"), changes)
    task = training.VDTTask(config, build_autoencoder(config.autoencoder), tmp_path)
    task.fill(0, lambda done: None)
    monkeypatch.setattr(training, "scalar", lambda value: 0.0)

    def step() -> list:
        task.train_step(0)
        return list(task.weights.arrays())

    try:
        nodes = held(metal.traced(step), training=True)
    finally:
        task.close()
    assert sum(node.name in ("Matmul", "AddMM") for node in nodes) > 30


PLAIN = """kind = "tiny"
block_out_channels = [4, 8, 8]
num_encoder_blocks = [0, 1, 1]
num_decoder_blocks = [1, 1, 0]"""
AUTOENCODER_TASKS = {
    "muon": (PLAIN, "muon"),
    "adamw": (PLAIN, "adamw"),
    "kl": ('kind = "kl"\nblock_out_channels = [8, 8, 8]\nnorm_num_groups = 4', "muon"),
}


@pytest.mark.parametrize(("kind", "name"), AUTOENCODER_TASKS.values(), ids=AUTOENCODER_TASKS)
def test_a_training_step_of_an_autoencoder(clips: Path, monkeypatch, kind: str, name: str) -> None:
    from vdt_mlx.training import autoencoder as training

    text = (clips / "tiny.toml").read_text()
    assert PLAIN in text
    path = clips / f"{name}.toml"
    path.write_text(text.replace(PLAIN, kind))
    task = training.AutoencoderTask(load_config(str(path), (f"autoencoder_optimizer.name={name}",)))
    task.fill(0, lambda done: None)
    monkeypatch.setattr(training, "scalar", lambda value: 0.0)

    def step() -> list:
        task.train_step(0)
        return [task.parameters, task.state, task.ema]

    try:
        nodes = held(metal.traced(step), training=True)
    finally:
        task.close()
    assert sum(node.name == "Convolution" for node in nodes) > 20


# --- heads that are filled up ----------------------------------------------------------------------------------


def test_heads_are_filled_up_to_a_size_that_has_a_kernel() -> None:
    known = metal.TABLE["attention"]
    assert metal.FEW_QUERIES == FEW_QUERIES
    assert set(FUSED_HEADS["many"]) <= set(known["full"]) and set(FUSED_HEADS["few"]) <= set(known["vector"])
    assert [fused_head(head, 16) for head in (16, 32, 48, 64, 68, 72, 100, 512)] == [16, 64, 64, 64, 72, 72, 128, 512]
    assert [fused_head(head, 8) for head in (48, 72, 80)] == [64, 96, 96]


@pytest.mark.parametrize(("head", "queries"), [(48, 16), (48, 4), (72, 4), (64, 16), (16, 16)])
def test_attention_of_filled_up_heads_is_the_same(head: int, queries: int) -> None:
    q, k, v = (mx.random.normal((2, 3, n, head), key=mx.random.key(n)) for n in (queries, 20, 21))
    v = v[:, :, :20]
    bias = mx.where(mx.arange(20) < 15, 0.0, -mx.inf).reshape(1, 1, 1, 20)
    with forms("gpu"):
        for hidden in (None, bias):
            plain = attend(q, k, v, 0.2, hidden, learning=True)
            assert attend(q, k, v, 0.2, hidden).shape == plain.shape == q.shape
            assert np.allclose(attend(q, k, v, 0.2, hidden), plain, atol=2e-6)


# --- the check itself ------------------------------------------------------------------------------------------


def attention(head: int, queries: int) -> mx.array:
    q = mx.zeros((1, 2, queries, head))
    return mx.fast.scaled_dot_product_attention(q, q, q, scale=1.0)


FAULTS = {
    "Metal has no float64": lambda: mx.zeros((3,), dtype=mx.float64) + 1,
    "arithmetic of 64-bit integers": lambda: mx.zeros((3,), dtype=mx.int64) * 2,
    "no fused attention for heads of 56 and 16 queries": lambda: attention(56, 16),
    "no fused attention for heads of 72 and 8 queries": lambda: attention(72, 8),
    "an array of 2^31": lambda: mx.broadcast_to(mx.zeros((1, 1 << 16)), (1 << 15, 1 << 16)) + 1,
    "SVD only throws on Metal": lambda: mx.linalg.svd(mx.zeros((2, 2)), stream=mx.cpu),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_found_and_named(fault: str) -> None:
    found = metal.faults(metal.traced(FAULTS[fault]))
    assert any(line.startswith(fault) for line in found), found


def test_faults_say_where() -> None:
    (found,) = metal.faults(metal.traced(FAULTS["no fused attention for heads of 56 and 16 queries"]))
    assert "ScaledDotProductAttention(float32[1, 2, 16, 56]" in found


def test_sums_in_no_fixed_order_are_found() -> None:
    rows, y = mx.zeros((3, 4)), mx.array([0, 0])
    (found,) = metal.unordered(metal.traced(lambda: mx.grad(lambda rows: rows[y].sum())(rows)))
    assert found.startswith("Scatter(")
    assert metal.unordered(metal.traced(lambda: rows.at[y].maximum(1.0))) == []


def test_what_a_table_lacks_is_a_fault() -> None:
    nodes = metal.traced(lambda: mx.tanh(mx.zeros((2,)).astype(mx.float16)))
    primitives = metal.TABLE["primitives"]
    poorer = {**metal.TABLE, "primitives": {name: v for name, v in primitives.items() if name != "Tanh"}}
    assert "Metal has no Tanh" in metal.faults(nodes, poorer)[0]
    narrower = {**metal.TABLE, "primitives": {**primitives, "Tanh": ["float32"]}}
    assert "Tanh has no kernel for float16" in metal.faults(nodes, narrower)[0]
    assert metal.faults(nodes) == []


def test_a_newer_mlx_asks_for_a_new_table() -> None:
    def numbers(version: str) -> list[int]:
        return [int(part) for part in version.split(".")[:3] if part.isdigit()]

    if numbers(mx.__version__) > numbers(metal.TABLE["mlx"]):
        pytest.xfail(
            f"MLX {mx.__version__} is newer than the table of what Metal has ({metal.TABLE['mlx']}): "
            "make a new one with tests/metal/make_table.py"
        )
