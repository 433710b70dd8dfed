"""The autoencoders against what diffusers 0.42.1 computes, and their clip-level helpers."""

import json
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from vdt_mlx.config import AutoencoderConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import build_autoencoder

GOLDEN = Path(__file__).parents[2] / "golden"


def load_diffusers(kind: str):
    """The golden autoencoder: its configuration, its weights with kernels turned from OIHW to OHWI."""
    folder = GOLDEN / f"autoencoder_{kind}"
    body = json.loads((folder / "config.json").read_text())
    config = AutoencoderConfig(
        kind=kind,
        block_out_channels=body["block_out_channels"],
        norm_num_groups=body.get("norm_num_groups", 32),
        scaling_factor=body["scaling_factor"],
    )
    model = build_autoencoder(config)
    weights = mx.load(str(folder / "diffusion_pytorch_model.safetensors"))
    model.load_weights(
        [(name, w.transpose(0, 2, 3, 1) if w.ndim == 4 else w) for name, w in weights.items()], strict=True
    )
    arrays = {name: mx.array(a.transpose(0, 2, 3, 1)) for name, a in np.load(f"{folder}.npz").items()}
    return model, arrays


def difference(a: mx.array, b: mx.array) -> float:
    return mx.abs(a - b).max().item()


def test_kl_matches_diffusers():
    model, golden = load_diffusers("kl")
    mean, logvar = model.moments(golden["image"])
    assert difference(mean, golden["latent_mean"]) <= 1e-4
    assert difference(logvar, golden["latent_logvar"]) <= 1e-4
    assert difference(model.encode(golden["image"]), golden["latent_mean"]) <= 1e-4
    assert difference(model.decode(golden["z"]), golden["decoded"]) <= 1e-4


def test_tiny_matches_diffusers():
    model, golden = load_diffusers("tiny")
    assert difference(model.encode(golden["image"]), golden["latents"]) <= 1e-4
    assert difference(model.decode(golden["z"]), golden["decoded"]) <= 1e-4


def small(**changes) -> AutoencoderConfig:
    values = {
        "kind": "tiny",
        "block_out_channels": (4, 8, 8),
        "num_encoder_blocks": (0, 1, 1),
        "num_decoder_blocks": (1, 1, 0),
        **changes,
    }
    return AutoencoderConfig(**values)


def test_tiny_with_other_channels_at_each_level():
    model = build_autoencoder(small())
    z = model.encode(mx.zeros((3, 16, 24, 3)))
    assert z.shape == (3, 4, 6, 4)
    assert model.decode(z).shape == (3, 16, 24, 3)
    shapes = {name: w.shape for name, w in tree_flatten(model.parameters())}
    assert shapes["encoder.layers.1.weight"] == (8, 3, 3, 4)


def test_a_tiny_decoder_may_be_wider_than_its_encoder():
    narrow, wide = build_autoencoder(small()), build_autoencoder(small(decoder_block_out_channels=(6, 10, 12)))
    shapes = {name: w.shape for name, w in tree_flatten(wide.parameters())}
    assert shapes["encoder.layers.1.weight"] == (8, 3, 3, 4)
    assert shapes["decoder.layers.0.weight"] == (12, 3, 3, 4) and shapes["decoder.layers.8.weight"] == (3, 3, 3, 6)
    assert wide.decode(mx.zeros((1, 4, 6, 4))).shape == (1, 16, 24, 3)
    assert wide.config.frame_activations > narrow.config.frame_activations
    with pytest.raises(VDTError, match="kind tiny"):
        AutoencoderConfig(decoder_block_out_channels=(1, 2, 3, 4))
    with pytest.raises(VDTError, match="levels"):
        small(decoder_block_out_channels=(1, 2))


@pytest.mark.parametrize(
    "normalisation",
    [{"scaling_factor": 0.5}, {"latent_mean": (0.1, 0.2, -0.3, 0.4), "latent_std": (1.0, 2.0, 0.5, 3.0)}],
)
def test_clips_go_through_normalised_latents(normalisation):
    mx.random.seed(0)
    model = build_autoencoder(small(**normalisation))
    clip = mx.random.uniform(-1, 1, (2, 5, 8, 8, 3))
    latents = model.encode_clip(clip, chunk=3)
    assert latents.shape == (2, 5, 2, 2, 4)
    raw = model.encode(clip[1])
    if "scaling_factor" in normalisation:
        wanted = raw * 0.5
    else:
        wanted = (raw - mx.array([0.1, 0.2, -0.3, 0.4])) / mx.array([1.0, 2.0, 0.5, 3.0])
    assert difference(latents[1], wanted) <= 1e-5
    decoded = model.decode_clip(latents, chunk=4)
    assert decoded.shape == clip.shape
    assert difference(decoded[1], mx.clip(model.decode(raw), -1, 1)) <= 1e-5


def test_uint8_clips_and_progress():
    model = build_autoencoder(small())
    pixels = np.random.default_rng(0).integers(0, 256, (1, 5, 8, 8, 3), np.uint8)
    floats = mx.array(pixels.astype(np.float32) / 127.5 - 1)
    done: list[int] = []
    latents = model.encode_clip(pixels, chunk=2, progress=done.append)
    assert difference(latents, model.encode_clip(floats)) <= 1e-5
    assert done == [2, 4, 5]


def test_sizes_that_do_not_fit_are_refused():
    model = build_autoencoder(small())
    with pytest.raises(VDTError, match="latent cells of 4 pixels"):
        model.encode_clip(mx.zeros((1, 2, 10, 8, 3)))
    with pytest.raises(VDTError, match="must be"):
        model.encode_clip(mx.zeros((2, 8, 8, 3)))
    with pytest.raises(VDTError, match="Latents"):
        model.decode_clip(mx.zeros((1, 2, 2, 2, 3)))
    with pytest.raises(VDTError, match="levels"):
        small(num_encoder_blocks=(1,))


def test_memory_is_flat_in_the_number_of_frames():
    model = build_autoencoder(small(block_out_channels=(16, 16, 16)))
    mx.eval(model.parameters())

    def peak(frames: int) -> int:
        latents = mx.zeros((1, frames, 8, 8, 4))
        mx.eval(latents)
        mx.clear_cache()
        mx.reset_peak_memory()
        mx.eval(model.decode_clip(latents, chunk=2))
        return mx.get_peak_memory()

    activations = peak(4)
    frame = 32 * 32 * 3 * 4
    assert peak(64) - activations <= 60 * frame * 3  # the result itself, and its concatenation


def test_gradients_reach_every_parameter():
    model = build_autoencoder(small(block_out_channels=(8, 8, 8)))
    images = mx.random.uniform(-1, 1, (2, 16, 16, 3))

    def loss(model):
        return mx.mean((model.decode(model.encode(images)) - images) ** 2)

    _, gradients = nn.value_and_grad(model, loss)(model)
    flat = tree_flatten(gradients)
    assert len(flat) == len(tree_flatten(model.parameters()))
    assert all(mx.abs(g).max().item() > 0 for _, g in flat)


@pytest.mark.parametrize("direction", ["down", "up"])
def test_rewritten_convolutions_are_the_direct_ones(direction):
    """On a CPU both are computed in another form; values and gradients must be those of the plain form."""
    from vdt_mlx.device.convolution import downsample_conv, relu, upsample_conv, upsample_nearest

    x = mx.random.normal((2, 6, 8, 3), key=mx.random.key(0))
    weight = mx.random.normal((5, 3, 3, 3), key=mx.random.key(1))
    if direction == "down":
        pairs = downsample_conv, lambda x, w: mx.conv2d(x, w, stride=2, padding=1)
    else:
        pairs = upsample_conv, lambda x, w: mx.conv2d(upsample_nearest(x), w, padding=1)
    results = []
    for function in pairs:
        gradients = mx.grad(lambda x, w, f=function: relu(f(x, w)).square().sum(), argnums=(0, 1))
        results.append([function(x, weight), *gradients(x, weight)])
    assert all(difference(ours, theirs) <= 1e-3 for ours, theirs in zip(*results, strict=True))
    assert mx.array_equal(relu(x), mx.maximum(x, 0))
