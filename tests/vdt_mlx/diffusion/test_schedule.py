"""Schedules, respacing and losses against the official release, and identities that must hold."""

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.config import DiffusionConfig
from vdt_mlx.diffusion.schedule import Ancestral, Schedule, space_timesteps, split_output, training_losses
from vdt_mlx.errors import VDTError

LINEAR = Schedule(DiffusionConfig())
VELOCITY = Schedule(DiffusionConfig(prediction="velocity"))
FLOW = Schedule(DiffusionConfig(prediction="flow", schedule="flow"))
SAMPLE = Schedule(DiffusionConfig(prediction="sample", schedule="flow"))


def test_schedule_is_the_official_one(golden) -> None:
    process = Ancestral.build(LINEAR)
    pairs = {
        "betas": process.betas,
        "alphas_cumprod": process.alphas_cumprod,
        "posterior_variance": process.posterior_variance,
        "posterior_log_variance_clipped": process.posterior_log_variance,
        "posterior_mean_coef1": process.mean_coef_x0,
        "posterior_mean_coef2": process.mean_coef_xt,
    }
    with np.load(golden / "diffusion_schedule.npz") as recorded:
        for name, ours in pairs.items():
            assert np.allclose(ours, recorded[name], rtol=1e-9, atol=1e-12), name


@pytest.mark.parametrize("spec", ["16", "100", "250", "500", "ddim50", "10,20,30"])
def test_respacing_reads_as_the_original(golden, spec) -> None:
    with np.load(golden / "diffusion_schedule.npz") as recorded:
        assert space_timesteps(spec) == list(recorded["timesteps_" + spec.replace(",", "_")])


@pytest.mark.parametrize("spec", ["0", "1001", "ddim999", "x", "", "10,-3", "400,400,400"])
def test_impossible_respacings(spec) -> None:
    with pytest.raises(VDTError):
        space_timesteps(spec)


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


@pytest.mark.parametrize("schedule", [LINEAR, VELOCITY, FLOW, SAMPLE], ids=["epsilon", "velocity", "flow", "sample"])
@pytest.mark.parametrize("t", [3.0, 250.0, 731.0, 990.0])
def test_the_right_answer_gives_back_clip_and_noise(schedule, t) -> None:
    x0, noise = mx.random.normal((2, 3, 4, 4, 2)), mx.random.normal((2, 3, 4, 4, 2))
    times = np.full(2, t)
    x = schedule.add_noise(x0, noise, times)
    found_x0, found_noise = schedule.to_x0_eps(x, schedule.target(x0, noise, times), t)
    alpha, _ = schedule.alpha_sigma(t)
    assert np.allclose(found_x0, x0, atol=2e-5 / alpha)
    assert np.allclose(found_noise, noise, atol=2e-4)


def test_alpha_and_sigma_at_the_ends() -> None:
    for schedule in (LINEAR, FLOW):
        assert [float(value) for value in schedule.alpha_sigma(schedule.clean)] == [1, 0]
        alpha, sigma = schedule.alpha_sigma(schedule.max_timestep)
        assert alpha < 0.01
        assert sigma > 0.99
    cumulative = LINEAR.alphas_cumprod
    assert np.allclose(LINEAR.alpha_sigma(np.arange(1000))[0] ** 2, cumulative)


@pytest.mark.parametrize("schedule", [LINEAR, FLOW], ids=["epsilon", "flow"])
def test_masked_loss_does_not_depend_on_how_much_is_masked(schedule) -> None:
    """A network that is wrong by 1 everywhere has a loss of 1, whatever the mask; the official one shrinks with it."""
    x0, noise = mx.random.normal((1, 4, 4, 4, 2)), mx.random.normal((1, 4, 4, 4, 2))
    t = np.array([400])
    answer = schedule.target(x0, noise, t) + 1
    for share in (1, 2, 3):
        mask = mx.zeros((1, 4, 4, 4))
        mask[:, share:] = 1
        ours = training_losses(schedule, lambda x, _: answer, x0, mask, t, noise)
        official = training_losses(schedule, lambda x, _: answer, x0, mask, t, noise, normalise="all")
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

    def network(x, t):
        seen.append(x)
        return noise * mask[..., None] + 100 * (1 - mask[..., None])

    loss = training_losses(LINEAR, network, x0, mask, np.array([500]), noise)
    assert mx.array_equal(seen[0][:, :2], x0[:, :2])
    assert not mx.allclose(seen[0][:, 2:], x0[:, 2:])
    assert float(loss.total[0]) == pytest.approx(0, abs=1e-9)


def test_an_empty_mask_costs_nothing_and_is_finite() -> None:
    x0 = mx.random.normal((1, 2, 2, 2, 1))
    loss = training_losses(FLOW, lambda x, _: x, x0, mx.zeros((1, 2, 2, 2)), np.array([500]), x0)
    assert float(loss.total[0]) == 0


def test_variance_bound_is_zero_for_the_true_posterior() -> None:
    """With the right epsilon and the posterior's own variance, the bound vanishes except at t = 0."""
    x0, noise = mx.random.normal((1, 2, 2, 2, 2)) * 0.1, mx.random.normal((1, 2, 2, 2, 2))

    def network(x, t):
        return mx.concatenate([noise, mx.full(noise.shape, -1.0)], axis=-1)

    loss = training_losses(LINEAR, network, x0, mx.ones((1, 2, 2, 2)), np.array([500]), noise)
    assert loss.vb is not None
    assert float(loss.vb[0]) == pytest.approx(0, abs=1e-5)


def test_split_output() -> None:
    x = mx.random.normal((1, 2, 2, 2, 8))
    prediction, values = split_output(x, 4)
    assert values is not None
    assert prediction.shape == values.shape == (1, 2, 2, 2, 4)
    assert split_output(x, 8)[1] is None


def test_configuration_refuses_what_does_not_go_together() -> None:
    strangers = ({"prediction": "x0"}, {"schedule": "cosine"})
    for bad in ({"prediction": "flow"}, {"prediction": "sample"}, {"schedule": "flow"}, *strangers):
        with pytest.raises(VDTError):
            DiffusionConfig(**bad)
