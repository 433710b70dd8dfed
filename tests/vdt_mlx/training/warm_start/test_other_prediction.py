"""A network goes over from one prediction to another by its last layer."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from training_runs import SMALL

from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import LAST, DiffusionConfig
from vdt_mlx.diffusion.loss import training_losses
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.errors import VDTError
from vdt_mlx.network.vdt import VDT
from vdt_mlx.training import draw as objective
from vdt_mlx.training.config import ObjectiveConfig
from vdt_mlx.training.warm_start.other_prediction import repredict

SAMPLE = Schedule(DiffusionConfig(prediction="sample", schedule="flow"))


@pytest.fixture
def latents() -> np.ndarray:
    """Clips with something to learn: every frame is the first one, and noise."""
    rng = np.random.default_rng(0)
    first = rng.standard_normal((32, 1, 4, 4, 3))
    return (first + 0.3 * rng.standard_normal((32, 4, 4, 4, 3))).astype(np.float16)


def draws(config: ObjectiveConfig):
    return lambda batch, number: objective.draw(config, SMALL, SAMPLE, batch, objective.step_rng(0, number))


def loss(weights: dict[str, mx.array], latents: np.ndarray, config: ObjectiveConfig) -> float:
    """On the draws of the fit, so that its optimum can be seen."""
    model = VDT(SMALL)
    model.load_weights(list(weights.items()))
    total = 0.0
    for start in (0, 16):
        x0 = mx.array(latents[start : start + 16]).astype(mx.float32)
        drawn = draws(config)(16, start)
        losses = training_losses(SAMPLE, model, x0, mx.array(drawn.mask), drawn.t, mx.array(drawn.noise))
        total += losses.total.mean().item()
    return total


def test_it_is_the_best_last_layer_for_the_loss(small_network, latents):
    # All masks of one size: the fit weighs cells, the loss clips.
    config = ObjectiveConfig(tasks={"predict": 1.0}, vary_given=0.0)
    weights = repredict(small_network, SAMPLE, latents, draws(config))
    fitted = loss(weights, latents, config)
    assert fitted < 0.8 * loss(flat_parameters(small_network), latents, config)
    for part, seed in ((f"{LAST}.weight", 1), (f"{LAST}.bias", 2)):
        push = 1e-2 * mx.random.normal(weights[part].shape, key=mx.random.key(seed))
        for sign in (1, -1):
            assert loss({**weights, part: weights[part] + sign * push}, latents, config) > fitted


def test_all_other_weights_are_kept(small_network, latents):
    before, after = flat_parameters(small_network), repredict(small_network, SAMPLE, latents, draws(ObjectiveConfig()))
    assert before.keys() == after.keys()
    assert {name for name in before if not mx.array_equal(before[name], after[name])} == {
        f"{LAST}.weight",
        f"{LAST}.bias",
    }


def test_a_learned_variance_is_refused(latents):
    with pytest.raises(VDTError, match="learned variance"):
        repredict(VDT(replace(SMALL, learn_sigma=True)), SAMPLE, latents, draws(ObjectiveConfig()))
