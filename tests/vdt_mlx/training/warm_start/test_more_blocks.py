"""A network with new blocks begins as the one that it was, and trains them."""

from dataclasses import replace

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import VDTConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network.vdt import VDT
from vdt_mlx.training.warm_start.more_blocks import deepen

SMALL = VDTConfig(
    hidden_size=32, depth=3, num_heads=2, in_channels=3, latent_size=(4, 4), num_frames=4, learn_sigma=False
)


@pytest.fixture
def network() -> VDT:
    """Nothing in it is zero, as after training."""
    mx.random.seed(5)
    model = VDT(SMALL)
    weights = flat_parameters(model)
    model.load_weights([(name, value + 0.05 * mx.random.normal(value.shape)) for name, value in weights.items()])
    return model


def deeper(network: VDT, depth: int) -> VDT:
    model = VDT(replace(SMALL, depth=depth))
    model.load_weights(list(deepen(flat_parameters(network), SMALL, replace(SMALL, depth=depth)).items()))
    return model


@pytest.mark.parametrize("depth", [3, 4, 6])
def test_it_computes_the_same(network, depth):
    x, t = mx.random.normal((2, 4, 4, 4, 3)), mx.array([100.0, 900.0])
    assert mx.allclose(deeper(network, depth)(x, t), network(x, t), atol=1e-5)


def test_new_blocks_are_copies_of_the_last_ones_and_are_trained(network):
    model = deeper(network, 5)
    before = flat_parameters(model)
    for new, old in ((3, 1), (4, 2)):
        name = "mlp.fc1.weight"
        assert mx.array_equal(before[f"blocks.{new}.{name}"], before[f"blocks.{old}.{name}"])
    x, t = mx.random.normal((2, 4, 4, 4, 3)), mx.array([100.0, 900.0])

    def loss(parameters):
        model.update(parameters)
        return model(x, t).square().mean()

    gradients = dict(tree_flatten(mx.grad(loss)(model.trainable_parameters())))
    for block in (3, 4):
        assert mx.abs(gradients[f"blocks.{block}.temporal_fc.weight"]).max().item() > 0
        assert mx.abs(gradients[f"blocks.{block}.adaLN_modulation.1.weight"]).max().item() > 0


@pytest.mark.parametrize("depth", [2, 7])
def test_blocks_are_not_lost_nor_made_of_nothing(network, depth):
    with pytest.raises(VDTError, match="3 to 6 blocks"):
        deepen(flat_parameters(network), SMALL, replace(SMALL, depth=depth))
