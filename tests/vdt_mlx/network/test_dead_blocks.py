"""Blocks of an autoencoder that only add a constant: found, folded without a changed pixel, left out when loaded."""

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, save_checkpoint
from vdt_mlx.config import AutoencoderConfig, CheckpointConfig, VDTConfig
from vdt_mlx.network.autoencoder import AutoencoderTiny, build_autoencoder
from vdt_mlx.network.dead_blocks import fold_dead_blocks, skip_constant_blocks

CONFIG = AutoencoderConfig(
    kind="tiny", block_out_channels=(4, 8, 8), num_encoder_blocks=(0, 1, 1), num_decoder_blocks=(1, 1, 0)
)
FRAMES = np.random.default_rng(0).integers(0, 256, (6, 16, 24, 3), dtype=np.uint8)
DEAD = ["encoder.layers.4", "decoder.layers.2"]


def autoencoder(dead: bool = True) -> AutoencoderTiny:
    """With one block in each half whose last hidden units are never active, and biases that show at every pixel."""
    mx.random.seed(0)
    model = build_autoencoder(CONFIG)
    assert isinstance(model, AutoencoderTiny)
    for block in (model.encoder.layers[4], model.decoder.layers[2]):
        block.conv[2].bias = mx.full((8,), -1e4 if dead else 1.0)
        block.conv[4].bias = mx.random.normal((8,))
    model.eval()
    return model


def pictures(model: AutoencoderTiny) -> list[np.ndarray]:
    latents = model.encode_clip(FRAMES[None])
    return [np.array(latents), np.array(model.decode_clip(latents))]


def test_a_dead_block_is_folded_and_no_pixel_changes(tmp_path, monkeypatch) -> None:
    model = autoencoder()
    before = pictures(model)
    assert fold_dead_blocks(model, FRAMES) == DEAD
    assert fold_dead_blocks(model, FRAMES) == []
    config = CheckpointConfig(vdt=VDTConfig(), autoencoder=CONFIG)
    save_checkpoint(tmp_path / "folded", config, autoencoder=flat_parameters(model))
    loaded = load_autoencoder(tmp_path / "folded")
    convolutions: list[mx.array] = []
    monkeypatch.setattr(mx, "conv2d", lambda *a, f=mx.conv2d, **o: convolutions.append(a[0]) or f(*a, **o))
    for folded in (model, loaded):
        convolutions.clear()
        assert all(map(np.array_equal, pictures(folded), before))
        assert len(convolutions) == 8 + 2 * 3  # convolutions between the blocks, and the two blocks that are left
    loaded.train()
    convolutions.clear()
    assert all(map(np.array_equal, pictures(loaded), before))
    assert len(convolutions) == 8 + 4 * 3  # all of them are there to be trained


def test_live_blocks_stay_as_they_are() -> None:
    model = autoencoder(dead=False)
    before = flat_parameters(model)
    assert fold_dead_blocks(model, FRAMES) == []
    assert all(mx.array_equal(value, before[name]) for name, value in flat_parameters(model).items())


@pytest.mark.parametrize("where", ["first layer", "one place"])
def test_what_is_nearly_dead_is_not_folded(where) -> None:
    """A first layer that is dead still leaves a constant that differs at the border; one active unit is enough."""
    model = autoencoder(dead=where == "one place")
    if where == "first layer":
        model.encoder.layers[4].conv[0].bias = mx.full((8,), -1e4)
    else:
        for block in (model.encoder.layers[4], model.decoder.layers[2]):
            block.conv[2].bias = mx.array([-1e4] * 7 + [1e-3])
            block.conv[2].weight = mx.zeros_like(block.conv[2].weight)
    assert fold_dead_blocks(model, FRAMES) == []


def test_only_what_adds_a_constant_is_left_out() -> None:
    model = autoencoder()
    skip_constant_blocks(model)
    assert not any(getattr(layer, "constant", False) for layer in model.encoder.layers + model.decoder.layers)
    kl = AutoencoderConfig(kind="kl", block_out_channels=(8, 8), layers_per_block=(1, 1), norm_num_groups=4)
    assert fold_dead_blocks(build_autoencoder(kl), FRAMES) == []
