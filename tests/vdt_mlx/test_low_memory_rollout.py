"""Packed weights, low memory, and clips longer than the window."""

import json

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from click.testing import CliRunner
from mlx.utils import tree_map

from vdt_mlx import low_memory as memory
from vdt_mlx.checkpoint import load_autoencoder, pack
from vdt_mlx.commands.sample import sample
from vdt_mlx.config import VDTConfig
from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.engine import flipped, later_seeds
from vdt_mlx.errors import VDTError
from vdt_mlx.network.vdt import VDT
from vdt_mlx.pipeline import Pipeline
from vdt_mlx.rollout import roll_out, windows

CLIP = np.random.default_rng(0).integers(0, 256, (2, 16, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def pipeline(tiny_checkpoint) -> Pipeline:
    return Pipeline.load(tiny_checkpoint)


def predict_mask(given: int) -> np.ndarray:
    return np.broadcast_to(np.arange(16)[:, None, None] >= given, (16, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(
    ("total", "given", "overlap", "spans"),
    [
        (16, 8, 8, [(0, 8, 16)]),
        (64, 8, 8, [(8 * i, 8 * i + 8, 8 * i + 16) for i in range(7)]),
        (21, 4, 4, [(0, 4, 16), (5, 16, 21)]),
        (40, 8, 2, [(0, 8, 16), (14, 16, 30), (24, 30, 40)]),
    ],
)
def test_windows_cover_every_frame_once(total, given, overlap, spans) -> None:
    assert windows(total, given, 16, overlap) == spans
    made = [frame for _, new, end in spans for frame in range(new, end)]
    assert made == list(range(given, total))


@pytest.mark.parametrize("options", [{}, {"sampler": "euler", "steps": 2, "mirror": True}])
def test_the_first_window_is_an_ordinary_prediction(pipeline, options) -> None:
    sampling = Sampling(**options)
    ordinary = pipeline.fill(CLIP, predict_mask(8), sampling, seeds=3)
    rolled = roll_out(pipeline, CLIP[:, :8], 21, sampling, seeds=3)
    assert rolled.shape == (2, 21, 64, 64, 3)
    # The given frames are encoded in batches of other sizes, whose last bits differ with the BLAS kernel.
    off = np.abs(rolled[:, :16].astype(int) - ordinary)
    assert off.max() <= 1 and off.mean() < 1e-4
    assert not np.array_equal(rolled[:, 16:21], rolled[:, 11:16])


def test_a_prediction_in_chunks_is_a_chain_of_predictions(pipeline) -> None:
    """Settled frames are given to the next pass; only the noise of later passes is another."""
    mask = np.stack([predict_mask(8)] * 2)
    clean = pipeline.encode_given(CLIP, mask)
    steps = []
    made = pipeline.fill_latents(clean, mask, Sampling(chunk=3, steps=2), seeds=4, on_step=steps.append)
    first = pipeline.fill_latents(clean, mask, Sampling(steps=2), seeds=4)
    assert mx.array_equal(made[:, :11], first[:, :11])
    later = np.stack([predict_mask(11)] * 2)
    second = pipeline.fill_latents(first, later, Sampling(steps=2), seeds=later_seeds(4, 2, 1))
    assert mx.array_equal(made[:, 11:14], second[:, 11:14])
    assert not mx.array_equal(made[:, 14:], second[:, 14:])
    assert [step.index for step in steps] == list(range(1, 7)) and {step.total for step in steps} == {6}
    assert pipeline.network_calls(mask, Sampling(steps=2)) == pipeline.resolve(Sampling(steps=2)).calls
    assert pipeline.network_calls(mask, Sampling(steps=2, chunk=3)) == 3 * pipeline.resolve(Sampling(steps=2)).calls


def test_a_mirror_shows_the_frames_themselves(pipeline) -> None:
    """Also around the given cells of a frame that is hidden in part: not what the decoder makes of its hole."""
    cells = np.random.default_rng(1).random((16, 4, 4)) < 0.5
    mask, clip = np.kron(cells, np.ones((1, 2, 2))).astype(np.float32)[None], CLIP[:1]
    sampling = Sampling(sampler="euler", steps=2, mirror=True)
    shown = pipeline.encode_given(flipped(clip), mask[..., ::-1])
    ours = pipeline.fill(clip, mask, sampling, seeds=5)
    latents = pipeline.fill_latents(pipeline.encode_given(clip, mask), mask, sampling, mirrored=shown, seeds=5)
    assert np.array_equal(ours, pipeline.decode(latents))
    reflected = pipeline.fill_latents(pipeline.encode_given(clip, mask), mask, sampling, seeds=5)
    assert mx.abs(reflected - latents).max() > 1e-3


def test_the_future_hangs_on_the_end_of_the_last_window(pipeline) -> None:
    """Windows are chained: another beginning changes the last frames too."""
    other = CLIP[:, :8].copy()
    other[:, -1] = 255 - other[:, -1]
    first, second = (roll_out(pipeline, frames, 24)[:, 16:] for frames in (CLIP[:, :8], other))
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(("given", "total", "overlap"), [(0, 32, None), (16, 32, None), (8, 12, None), (8, 32, 16)])
def test_counts_that_do_not_fit(pipeline, given, total, overlap) -> None:
    with pytest.raises(VDTError):
        roll_out(pipeline, CLIP[:, :given], total, overlap=overlap)


@pytest.fixture
def limits():
    """What MLX was told about memory is undone afterwards."""
    cache, memory_limit = mx.set_cache_limit(memory.CACHE_LIMIT), mx.set_memory_limit(1 << 30)
    mx.set_memory_limit(memory_limit)
    yield
    mx.set_cache_limit(cache)
    mx.set_memory_limit(memory_limit)


def test_low_memory_makes_the_same_frames(pipeline, tiny_checkpoint, limits) -> None:
    low = memory.LowMemoryPipeline(pipeline.config, pipeline.vdt, load_autoencoder(tiny_checkpoint), tiny_checkpoint)
    for mirror in (False, True):
        ours, theirs = (p.fill(CLIP[:1], predict_mask(8), Sampling(mirror=mirror)) for p in (low, pipeline))
        assert np.abs(ours.astype(int) - theirs).max() <= (2 if mirror else 1)


def test_a_compiled_network_makes_the_same_frames(tiny_checkpoint, pipeline) -> None:
    compiled = Pipeline.load(tiny_checkpoint)
    compiled.compile()
    ours, theirs = (p.fill(CLIP, predict_mask(8)) for p in (compiled, pipeline))
    assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_low_memory_lets_the_autoencoder_go(pipeline, tiny_checkpoint, limits) -> None:
    held = load_autoencoder(tiny_checkpoint)
    low = memory.LowMemoryPipeline(pipeline.config, pipeline.vdt, held, tiny_checkpoint)
    low.encode(CLIP[:1, :1])
    assert low.autoencoder is not held
    weights = sum(path.stat().st_size for path in tiny_checkpoint.glob("*.safetensors"))
    assert weights / 2 < mx.set_memory_limit(1 << 30) - memory.SLACK < 2 * weights


@pytest.mark.parametrize("bits", [8, 4])
def test_packed_weights_are_smaller_and_close(bits) -> None:
    mx.random.seed(0)
    model = VDT(VDTConfig(hidden_size=128, depth=2, num_heads=2, latent_size=(4, 4), num_frames=4))
    model.update(tree_map(lambda value: value + 0.05 * mx.random.normal(value.shape), model.trainable_parameters()))
    x, t = mx.random.normal((1, 4, 4, 4, 4)), mx.array([500.0])
    before, wide = memory.needed_bytes(model, 1, 4, (4, 4)), model(x, t)
    pack(model, bits)
    assert memory.needed_bytes(model, 1, 4, (4, 4)) < before * (0.45 if bits == 8 else 0.35)
    assert not isinstance(model.final_layer.linear, nn.QuantizedLinear)  # its errors are the prediction's own
    error = float(mx.abs(model(x, t) - wide).max() / mx.abs(wide).max())
    assert 0 < error < (0.05 if bits == 8 else 0.5)
    with pytest.raises(VDTError, match="already"):
        pack(model, bits)


def test_sizes_that_cannot_be_packed() -> None:
    model = VDT(VDTConfig(hidden_size=36, depth=1, num_heads=2, latent_size=(4, 4), num_frames=4, mlp_ratio=1))
    model.t_embedder.mlp = model.t_embedder.mlp[1:2]  # its 256 frequencies always fit
    with pytest.raises(VDTError, match="No layer"):
        pack(model, 4)
    with pytest.raises(VDTError, match="8 or 4"):
        pack(model, 3)


def test_more_memory_than_there_is() -> None:
    with pytest.raises(VDTError, match="GiB and this machine has"):
        memory.check_fits(1 << 60, "That")
    memory.check_fits(1 << 20, "This")


def run(tiny_checkpoint, tmp_path, *flags: str):
    command = ["--model", str(tiny_checkpoint), "--out", str(tmp_path / "out"), "--json", *flags]
    return CliRunner().invoke(sample, command)


def test_the_flags_of_the_command(tiny_checkpoint, tmp_path) -> None:
    result = run(
        tiny_checkpoint, tmp_path, "--frames", "24", "--quantize", "8", "--low-memory", "--compile", "--format", "npz"
    )
    assert result.exit_code == 0, result.exception
    body = json.loads(result.stdout)
    assert len(body["metrics"]["pair_error_by_frame"]) == 16
    saved = json.loads((tmp_path / "out" / "sample.json").read_text())
    assert saved["made_with"]["peak_memory_mib"] > 0
    with np.load(body["outputs"]["npz"]) as arrays:
        assert arrays["samples"].shape == (1, 24, 64, 64, 3)
        assert arrays["truth"].shape == (24, 64, 64, 3)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--frames", "12"], "at once"),
        (["--compile", "--frames", "12"], "at once"),
        (["--frames", "4000"], "at most"),
        (["--chunk", "0"], "at least 1"),
        (["--chunk", "4", "--task", "interpolate"], "do nothing"),
        (["--frames", "32", "--task", "backward"], "do nothing"),
    ],
)
def test_flags_that_do_not_fit(tiny_checkpoint, tmp_path, flags, words) -> None:
    result = run(tiny_checkpoint, tmp_path, *flags)
    assert isinstance(result.exception, VDTError)
    assert words in str(result.exception)
