"""A network begins on other latents as it was on its own."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from training_runs import SMALL

from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import AutoencoderConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder, build_autoencoder
from vdt_mlx.network.vdt import VDT
from vdt_mlx.training.warm_start.other_latents import same_latents, translate, translated_config

CODER = AutoencoderConfig(
    kind="tiny", latent_channels=3, block_out_channels=(4, 6), num_encoder_blocks=(0, 1), num_decoder_blocks=(1, 0)
)


def coder(channels: int = 3) -> Autoencoder:
    mx.random.seed(3)
    return build_autoencoder(replace(CODER, latent_channels=channels, scaling_factor=1.0))


def mixed(one: Autoencoder, matrix: np.ndarray) -> Autoencoder:
    """The same encoder with its latents mixed by an invertible matrix: what a linear map undoes exactly."""
    other = build_autoencoder(replace(one.config, latent_channels=len(matrix)))
    last = len(one.encoder.layers) - 1
    weights = {name: value for name, value in flat_parameters(one).items() if name.startswith("encoder.")}
    kernel, bias = (f"encoder.layers.{last}.{part}" for part in ("weight", "bias"))
    weights[kernel] = mx.einsum("ij,jhwc->ihwc", mx.array(matrix), weights[kernel])
    weights[bias] = mx.array(matrix) @ weights[bias]
    other.load_weights(list(weights.items()), strict=False)
    return other


@pytest.fixture
def clips() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 4, 8, 8, 3)).astype(np.uint8)


def test_on_mixed_latents_it_computes_what_it_did(small_network, clips):
    matrix = np.array([[1.0, 0.5, 0.0], [0.0, 1.0, -0.5], [0.3, 0.0, 1.0]], np.float32)
    old = coder()
    new = mixed(old, matrix)
    translated = VDT(translated_config(SMALL, new))
    translated.load_weights(list(translate(small_network, old, new, clips).items()))
    t = mx.array([300.0, 700.0])
    ours, theirs = (coder.encode_clip(clips[:2]) for coder in (old, new))
    assert mx.allclose(theirs, ours @ mx.array(matrix).T, atol=1e-4)
    expected = np.array(small_network(ours, t) @ mx.array(matrix).T)
    found = np.array(translated(theirs, t))
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()  # a little ridge


def test_more_channels_keep_what_there_was(small_network, clips):
    old, new = coder(), mixed(coder(), np.concatenate([np.eye(3), np.ones((2, 3))]).astype(np.float32))
    weights = translate(small_network, old, new, clips)
    config = translated_config(SMALL, new)
    assert config.in_channels == 5
    wide = VDT(config)
    wide.load_weights(list(weights.items()))
    t = mx.array([500.0, 500.0])
    ours = np.array(small_network(old.encode_clip(clips[:2]), t))
    found = np.array(wide(new.encode_clip(clips[:2]), t))[..., :3]
    assert np.abs(found - ours).max() < 0.02 * np.abs(ours).max()
    untouched = [name for name in weights if name.startswith("blocks.")]
    assert untouched
    before = flat_parameters(small_network)
    assert all(mx.array_equal(weights[name], before[name]) for name in untouched)


def test_the_same_latents_are_told_from_others():
    one = coder()
    assert same_latents(one, coder())
    assert not same_latents(one, mixed(one, 2 * np.eye(3, dtype=np.float32)))
    assert not same_latents(one, coder(4))
    decoder = coder()
    decoder.decoder.layers[0].weight = decoder.decoder.layers[0].weight + 1
    assert same_latents(one, decoder)


def test_what_cannot_be_translated(small_network, clips):
    learned = VDT(replace(SMALL, learn_sigma=True))
    with pytest.raises(VDTError, match="learned variance"):
        translate(learned, coder(), coder(4), clips)
    finer = build_autoencoder(
        replace(CODER, block_out_channels=(4, 6, 8), num_encoder_blocks=None, num_decoder_blocks=None)
    )
    with pytest.raises(VDTError, match="2 and 4 pixels"):
        translate(small_network, coder(), finer, clips)
