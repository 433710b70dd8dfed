"""Schedules, respacing and losses against the official release, and identities that must hold."""

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.config import DiffusionConfig
from vdt_mlx.diffusion.schedule import Ancestral, Schedule, space_timesteps, split_output
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
