"""An autoencoder that grows begins as the one that it was."""

from dataclasses import replace

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten, tree_map

from vdt_mlx.config import AutoencoderConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import build_autoencoder
from vdt_mlx.training.warm_start.wider_autoencoder import widen

SMALL = AutoencoderConfig(
    kind="tiny",
    block_out_channels=(4, 6, 8),
    num_encoder_blocks=(0, 1, 1),
    num_decoder_blocks=(1, 1, 0),
    latent_mean=(0.1, 0.2, 0.3, 0.4),
    latent_std=(1.0, 2.0, 3.0, 4.0),
)


def wider(widths: tuple[int, ...] | None, blocks: tuple[int, ...]) -> AutoencoderConfig:
    return AutoencoderConfig(
        kind="tiny",
        block_out_channels=(4, 6, 8),
        decoder_block_out_channels=widths,
        num_encoder_blocks=(0, 1, 1),
        num_decoder_blocks=blocks,
    )


@pytest.mark.parametrize(
    ("widths", "blocks"),
    [((9, 10, 12), (1, 1, 0)), (None, (3, 2, 0)), ((9, 6, 8), (2, 1, 0)), ((4, 7, 8), (1, 2, 0))],
)
def test_a_widened_decoder_computes_the_same(widths, blocks):
    mx.random.seed(1)
    old = build_autoencoder(SMALL)
    new = widen(old, wider(widths, blocks), decoder_only=True)
    assert new is not old
    assert new.config.decoder_block_out_channels == widths and new.config.num_decoder_blocks == blocks
    assert new.config.latent_std == old.config.latent_std
    images = mx.random.uniform(-1, 1, (2, 8, 12, 3))
    latents = old.encode(images)
    assert mx.array_equal(new.encode(images), latents)
    assert mx.allclose(new.decode(latents), old.decode(latents), atol=1e-5)
    before, after = (sum(w.size for _, w in tree_flatten(model.parameters())) for model in (old, new))
    assert after > before


def test_new_channels_are_trained():
    """After two steps of gradient descent the gradient reaches every kernel, and what is new in the first."""
    mx.random.seed(2)
    new = widen(build_autoencoder(SMALL), wider((9, 10, 12), (2, 1, 0)), decoder_only=True)
    latents, images = mx.random.normal((4, 3, 3, 4)), mx.random.uniform(-1, 1, (4, 12, 12, 3))

    def loss(parameters):
        new.update(parameters)
        return ((new.decode(latents) - images) ** 2).mean()

    parameters = new.trainable_parameters()
    for _ in range(3):
        gradients = mx.grad(loss)(parameters)
        flat = dict(tree_flatten(gradients["decoder"]))
        decoder = tree_map(lambda p, g: p - 0.05 * g, parameters["decoder"], gradients["decoder"])
        parameters = {**parameters, "decoder": decoder}
    assert all(mx.abs(gradient).max().item() > 0 for gradient in flat.values())
    outputs = flat["layers.0.weight"]  # (12, 3, 3, 4): the last four rows are new
    assert (mx.abs(outputs[8:]).max(axis=(1, 2, 3)) > 0).any().item()


def test_what_fits_is_left_as_it_is():
    old = build_autoencoder(SMALL)
    assert widen(old, SMALL) is old
    assert widen(old, replace(SMALL, latent_mean=None, latent_std=None), decoder_only=True) is old


@pytest.mark.parametrize(
    ("widths", "blocks", "message"),
    [
        ((4, 6, 7), (1, 1, 0), "convolution of"),
        ((9, 10, 12), (0, 1, 0), "decoder .* level 0.* has 1 blocks and would have 0"),
        ((9, 10, 12), (1, 1, 1), "decoder .* level 2.* has 0 blocks and would have 1"),
    ],
)
def test_a_decoder_does_not_shrink(widths, blocks, message):
    with pytest.raises(VDTError, match=message):
        widen(build_autoencoder(SMALL), wider(widths, blocks), decoder_only=True)


GROWN = replace(
    SMALL,
    latent_channels=6,
    block_out_channels=(5, 8, 9),
    decoder_block_out_channels=(4, 7, 8),
    num_encoder_blocks=(0, 2, 1),
    latent_mean=None,
    latent_std=None,
)


def test_with_more_latent_channels_the_old_ones_stay():
    """And the new ones, which hold something, are not read yet."""
    mx.random.seed(1)
    old = build_autoencoder(SMALL)
    new = widen(old, GROWN)
    assert new.config == GROWN
    images = mx.random.uniform(-1, 1, (2, 8, 12, 3))
    latents, more = old.encode(images), new.encode(images)
    assert more.shape[-1] == 6
    assert mx.allclose(more[..., :4], latents, atol=1e-5)
    assert more[..., 4:].std().item() > 0
    assert mx.allclose(new.decode(more), old.decode(latents), atol=1e-5)


def test_with_decoder_only_the_encoder_stays_whatever_is_asked():
    old = build_autoencoder(SMALL)
    new = widen(old, replace(GROWN, num_decoder_blocks=(2, 1, 0)), decoder_only=True)
    assert new.encoder is old.encoder
    assert new.config.latent_channels == 4 and new.config.latent_std == SMALL.latent_std


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"latent_channels": 3}, "encoder cannot be widened: a convolution of"),
        ({"num_encoder_blocks": (1, 1, 1)}, "encoder .* level 0.* has 0 blocks and would have 1"),
    ],
)
def test_an_encoder_does_not_shrink(change, message):
    config = replace(SMALL, latent_mean=None, latent_std=None, **change)
    with pytest.raises(VDTError, match=message):
        widen(build_autoencoder(SMALL), config)
