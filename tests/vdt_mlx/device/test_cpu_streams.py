"""Lanes change how fast, not what, is computed."""

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from vdt_mlx.config import AutoencoderConfig, VDTConfig
from vdt_mlx.device import blas
from vdt_mlx.device import cpu_streams as lanes
from vdt_mlx.network.autoencoder import build_autoencoder
from vdt_mlx.network.vdt import VDT

pytestmark = pytest.mark.usefixtures("cpu")


@pytest.mark.parametrize(("batch", "count"), [(4, 2), (5, 3), (2, 8), (1, 2)])
def test_same_values_and_gradients(batch, count) -> None:
    model = VDT(VDTConfig(hidden_size=32, depth=1, num_heads=2, latent_size=(4, 4), num_frames=3))
    # A fresh network's gates are zero, and nothing would pass through its blocks.
    model.load_weights([(name, mx.random.normal(v.shape) * 0.1) for name, v in tree_flatten(model.parameters())])
    x = mx.random.normal((batch, 3, 4, 4, 4))
    t = mx.arange(batch) * 100

    def both():
        return nn.value_and_grad(model, lambda m: m(x, t).square().mean())(model)

    alone = tree_flatten(both())
    with lanes.lanes(count) as used:
        assert used == count
        together = tree_flatten(both())
        mx.eval(together)
    for (name, a), (_, b) in zip(alone, together, strict=True):
        assert np.abs(np.array(a - b)).max() <= 1e-5, name


@pytest.mark.parametrize("kind", ["kl", "tiny"])
def test_autoencoder(kind: str) -> None:
    model = build_autoencoder(AutoencoderConfig(kind=kind, block_out_channels=(8, 8), norm_num_groups=4))
    clip = np.random.default_rng(0).integers(0, 256, (1, 5, 16, 16, 3), dtype=np.uint8)
    alone = np.array(model.encode_clip(clip)), np.array(model.decode_clip(model.encode_clip(clip)))
    with lanes.lanes(2):
        latents = model.encode_clip(clip)
        together = np.array(latents), np.array(model.decode_clip(latents))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(b, a, atol=1e-5)


def test_blas_threads_are_restored() -> None:
    before = blas.set_threads(1)
    blas.set_threads(before)
    with lanes.lanes(2), lanes.lanes(2) as nested:
        assert nested == 2
    assert blas.set_threads(before) == before
