"""The training loss against the official release, and identities that must hold."""

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.config import DiffusionConfig
from vdt_mlx.diffusion.loss import coefficients, masked_losses, training_losses
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.errors import VDTError

LINEAR = Schedule(DiffusionConfig())
VELOCITY = Schedule(DiffusionConfig(prediction="velocity"))
FLOW = Schedule(DiffusionConfig(prediction="flow", schedule="flow"))
SAMPLE = Schedule(DiffusionConfig(prediction="sample", schedule="flow"))


@pytest.mark.parametrize("name", ["vdt_tiny", "vdt_head72"])
def test_official_training_loss(golden_vdt, name) -> None:
    model, recorded = golden_vdt(name)
    losses = training_losses(
        LINEAR,
        model,
        mx.array(recorded["predict_raw"]),
        mx.array(recorded["predict_mask"]),
        recorded["loss_t"],
        mx.array(recorded["loss_noise"]),
        normalise="all",
    )
    assert losses.vb is not None
    assert np.allclose(losses.mse, recorded["loss_mse"], atol=1e-5)
    assert np.allclose(losses.vb, recorded["loss_vb"], atol=1e-5)
    assert np.allclose(losses.total, recorded["loss"], atol=1e-5)


@pytest.mark.parametrize("schedule", [LINEAR, FLOW], ids=["epsilon", "flow"])
def test_masked_loss_does_not_depend_on_how_much_is_masked(schedule) -> None:
    """A network that is wrong by 1 everywhere has a loss of 1, whatever the mask; the official one shrinks with it."""
    x0, noise = mx.random.normal((1, 4, 4, 4, 2)), mx.random.normal((1, 4, 4, 4, 2))
    t = np.array([400])
    answer = schedule.target(x0, noise, t) + 1
    for share in (1, 2, 3):
        mask = mx.zeros((1, 4, 4, 4))
        mask[:, share:] = 1
        ours = training_losses(schedule, lambda x, *_: answer, x0, mask, t, noise)
        official = training_losses(schedule, lambda x, *_: answer, x0, mask, t, noise, normalise="all")
        assert np.allclose(ours.total, 1, atol=1e-5)
        assert np.allclose(official.total, 1 - share / 4, atol=1e-5)


@pytest.mark.parametrize("t", [20, 50, 400, 1000])
def test_the_loss_of_a_predicted_sample_is_that_of_the_flow_it_implies(t) -> None:
    x0, noise, guess = (mx.random.normal((2, 4, 4, 4, 2), key=mx.random.key(k)) for k in range(3))
    times, mask = np.full(2, t), mx.ones((2, 4, 4, 4))
    x = SAMPLE.add_noise(x0, noise, times)
    sample = training_losses(SAMPLE, lambda *_: guess, x0, mask, times, noise).total
    flow = training_losses(FLOW, lambda *_: (x - guess) / (t / 1000), x0, mask, times, noise).total
    if t >= 50:
        assert np.allclose(sample, flow, rtol=1e-3)
    else:  # close to the clean end it is weighed up no further
        assert np.allclose(sample, flow * (t / 50) ** 2, rtol=1e-3)


def test_given_cells_reach_the_network_clean_and_do_not_count() -> None:
    x0, noise = mx.random.normal((1, 4, 2, 2, 1)), mx.random.normal((1, 4, 2, 2, 1))
    mask = mx.zeros((1, 4, 2, 2))
    mask[:, 2:] = 1
    seen = []

    def network(x, t, given):
        seen.append(x)
        return noise * mask[..., None] + 100 * (1 - mask[..., None])

    loss = training_losses(LINEAR, network, x0, mask, np.array([500]), noise)
    assert mx.array_equal(seen[0][:, :2], x0[:, :2])
    assert not mx.allclose(seen[0][:, 2:], x0[:, 2:])
    assert float(loss.total[0]) == pytest.approx(0, abs=1e-9)


def test_an_empty_mask_costs_nothing_and_is_finite() -> None:
    x0 = mx.random.normal((1, 2, 2, 2, 1))
    loss = training_losses(FLOW, lambda x, *_: x, x0, mx.zeros((1, 2, 2, 2)), np.array([500]), x0)
    assert float(loss.total[0]) == 0


def test_variance_bound_is_zero_for_the_true_posterior() -> None:
    """With the right epsilon and the posterior's own variance, the bound vanishes except at t = 0."""
    x0, noise = mx.random.normal((1, 2, 2, 2, 2)) * 0.1, mx.random.normal((1, 2, 2, 2, 2))

    def network(x, t, given):
        return mx.concatenate([noise, mx.full(noise.shape, -1.0)], axis=-1)

    loss = training_losses(LINEAR, network, x0, mx.ones((1, 2, 2, 2)), np.array([500]), noise)
    assert loss.vb is not None
    assert float(loss.vb[0]) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("schedule", [LINEAR, VELOCITY, FLOW, SAMPLE], ids=["epsilon", "velocity", "flow", "sample"])
@pytest.mark.parametrize("normalise", ["masked", "all"])
def test_the_loss_is_the_same_compiled_learned_variance_and_all(schedule, normalise) -> None:
    x0, noise = (mx.random.normal((3, 4, 4, 4, 2), key=mx.random.key(k)) for k in range(2))
    mask = (mx.random.uniform(shape=(3, 4, 4, 4), key=mx.random.key(2)) < 0.6).astype(mx.float32)
    t = np.array([0, 250, 999])
    outputs = 2 if schedule.is_flow else 4

    def network(x, t, given):
        return mx.tanh(mx.concatenate([x, x * 0.3], axis=-1)[..., :outputs]) + t.reshape(-1, 1, 1, 1, 1) / 1000

    def loss(x0, mask, t, noise, weights):
        return masked_losses(schedule, network, x0, mask, t, noise, weights, normalise=normalise).total

    plain = training_losses(schedule, network, x0, mask, t, noise, normalise=normalise)
    compiled = mx.compile(loss)(x0, mask, mx.array(t), noise, mx.array(coefficients(schedule, t)))
    assert mx.allclose(compiled, plain.total, rtol=1e-5)
    assert (plain.vb is None) == schedule.is_flow


def test_refusals() -> None:
    x0, mask = mx.zeros((1, 2, 2, 2, 1)), mx.ones((1, 2, 2, 2))
    with pytest.raises(VDTError, match="masked or all"):
        training_losses(FLOW, lambda x, *_: x, x0, mask, np.array([5]), x0, normalise="some")
    with pytest.raises(VDTError, match="linear schedule"):
        training_losses(FLOW, lambda x, *_: mx.concatenate([x, x], -1), x0, mask, np.array([5]), x0)
