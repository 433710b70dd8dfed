"""Samplers: the official runs step for step, diffusers' schedulers, closed forms on Gaussian data, given cells."""

from collections.abc import Callable
from dataclasses import fields

import mlx.core as mx
import numpy as np
import pytest

from vdt_mlx.config import DiffusionConfig
from vdt_mlx.diffusion.samplers import Step, sample, timesteps
from vdt_mlx.diffusion.sampling import SAMPLERS, Sampling, fitting
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.errors import VDTError

SCHEDULES = {
    name: Schedule(DiffusionConfig(prediction=name, schedule="flow" if name in ("flow", "sample") else "linear"))
    for name in ("epsilon", "velocity", "flow", "sample")
}
FITTING = [
    (sampler, prediction)
    for prediction, schedule in SCHEDULES.items()
    for sampler in SAMPLERS
    if sampler in fitting(schedule.config.schedule)
]
HOW = [field.name for field in fields(Sampling)]


Answer = Callable[[mx.array, mx.array], mx.array]


def run(
    network: Answer,
    prediction: str,
    noise: mx.array,
    clean=None,
    mask=None,
    **options,
) -> list[Step]:
    clean = mx.zeros(noise.shape) if clean is None else clean
    mask = mx.ones(noise.shape[:-1]) if mask is None else mask
    sampling = Sampling(**{"eta": 0.0, **{name: options.pop(name) for name in HOW if name in options}})
    options = {"seed_key": mx.random.key(1), **options}
    answer = lambda x, t, _given: network(x, t)  # noqa: E731
    return list(sample(answer, SCHEDULES[prediction], noise, clean, mask, sampling, **options))


def normal(*shape: int, seed: int = 0) -> mx.array:
    return mx.random.normal(shape, key=mx.random.key(seed))


# Recorded runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["predict", "spatial"])
@pytest.mark.parametrize("name", ["vdt_tiny", "vdt_head72"])
def test_ddpm_reproduces_the_official_runs(golden_vdt, name, task) -> None:
    model, recorded = golden_vdt(name)
    init, raw, mask = (mx.array(recorded[f"{task}_{part}"]) for part in ("init", "raw", "mask"))
    recorded_noise = [mx.array(noise) for noise in recorded[f"{task}_noise"]]
    steps = int(recorded[f"{task}_steps"])
    *_, last = run(model, "epsilon", init, raw, mask, sampler="ddpm", steps=steps, step_noise=recorded_noise)
    official = recorded[f"{task}_sample"]
    # The random network blows the latents up to about 900, so the tolerance is relative to that.
    assert np.abs(np.array(last.latents) - official).max() <= 3e-6 * np.abs(official).max()
    composited = np.where(np.array(mask)[..., None] > 0.5, official, np.array(raw))
    assert np.abs(np.array(last.x0) - composited).max() <= 3e-6 * np.abs(official).max()
    assert last.index == last.total == last.calls == steps


def recorded_network(x: mx.array, t: mx.array) -> mx.array:
    """What the schedulers of diffusers were given as a network's answer when the runs were recorded."""
    return mx.tanh(0.7 * x + 0.3) * 0.8 + 0.2 * float(np.sin(float(t[0]) / 150)) * x


RECORDED = [
    f"{sampler} {prediction} {spacing} {steps}"
    for sampler, spacing in (("ddim", "trailing"), ("ddim", "leading"), ("dpm++", "trailing"), ("unipc", "trailing"))
    for prediction in ("epsilon", "velocity")
    for steps in (8, 20)
]


@pytest.mark.parametrize("name", [*RECORDED, "ddim epsilon trailing 10 eta", "euler flow uniform 9"])
def test_agrees_with_diffusers(golden, name) -> None:
    """DDIMScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler, FlowMatchEulerDiscreteScheduler 0.42.1."""
    sampler, prediction, spacing, count, *eta = name.split()
    with np.load(golden / "samplers.npz") as arrays:
        noise, trail, times = mx.array(arrays["noise"]), arrays[name], arrays[f"{name}.timesteps"]
        options = {"eta": 0.6, "step_noise": [mx.array(n) for n in arrays["step_noise"]]} if eta else {}
    steps = run(recorded_network, prediction, noise, sampler=sampler, steps=int(count), spacing=spacing, **options)
    assert np.allclose([step.timestep for step in steps], times, atol=1e-3)
    latents = np.stack([np.array(step.latents) for step in steps])
    if sampler == "unipc":  # ours keeps the state before correction, which the next step's correction replaces
        latents, trail = latents[-1:], trail[-1:]
    assert np.abs(latents - trail).max() <= 1e-4 * max(1, np.abs(trail).max())


# Gaussian data, where the best network is known --------------------------------------------------------------------

MEAN, DEVIATION = 0.7, 0.3


def gaussian_network(prediction: str) -> Answer:
    """The exact answer when every cell of a clean clip is drawn from N(MEAN, DEVIATION^2)."""
    schedule = SCHEDULES[prediction]

    def network(x: mx.array, t: mx.array) -> mx.array:
        alpha, sigma = (float(v) for v in schedule.alpha_sigma(float(t[0])))
        gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
        x0 = MEAN + gain * (x - alpha * MEAN)
        eps = (x - alpha * x0) / sigma
        velocity = alpha * eps - sigma * x0
        return {"epsilon": eps, "velocity": velocity, "flow": eps - x0, "sample": x0}[prediction]

    return network


def gaussian_error(sampler: str, prediction: str, steps: int) -> float:
    """Of a deterministic sampler, against the exact solution of the probability-flow equation."""
    noise = normal(1, 2, 8, 8, 4)
    schedule = SCHEDULES[prediction]
    alpha, sigma = (float(v) for v in schedule.alpha_sigma(schedule.max_timestep))
    exact = MEAN + DEVIATION * (noise - alpha * MEAN) / np.sqrt(alpha**2 * DEVIATION**2 + sigma**2)
    *_, last = run(gaussian_network(prediction), prediction, noise, sampler=sampler, steps=steps)
    return float(mx.abs(last.x0 - exact).max())


@pytest.mark.parametrize(("sampler", "prediction"), [pair for pair in FITTING if pair[0] != "ddpm"])
def test_order_of_convergence(sampler, prediction) -> None:
    order = np.log2(gaussian_error(sampler, prediction, 50) / gaussian_error(sampler, prediction, 200)) / 2
    if sampler in ("ddim", "euler"):
        assert 0.85 < order < 1.15
    else:
        assert order > (1.4 if sampler == "dpm++" and SCHEDULES[prediction].is_flow else 1.6)


@pytest.mark.parametrize(("sampler", "prediction"), [p for p in FITTING if p[0] in ("dpm++", "unipc", "heun")])
def test_second_order_pays_at_twenty_steps(sampler, prediction) -> None:
    first_order = "euler" if SCHEDULES[prediction].is_flow else "ddim"
    assert gaussian_error(sampler, prediction, 20) < 0.7 * gaussian_error(first_order, prediction, 20)


STOCHASTIC = [
    (sampler, eta, prediction)
    for sampler, eta in (("ddpm", 0.0), ("ddim", 1.0), ("ddim", 0.5))
    for prediction in ("epsilon", "velocity")
] + [("euler", eta, prediction) for eta in (1.0, 0.5) for prediction in ("flow", "sample")]


@pytest.mark.parametrize(("sampler", "eta", "prediction"), STOCHASTIC)
def test_stochastic_samplers_draw_from_the_data(sampler, eta, prediction) -> None:
    noise = normal(4, 4, 16, 16, 4)
    bias = {}
    for steps in (75, 300):
        *_, last = run(gaussian_network(prediction), prediction, noise, sampler=sampler, steps=steps, eta=eta)
        values = np.array(last.x0)
        assert abs(values.mean() - MEAN) < 0.01
        bias[steps] = abs(values.std() / DEVIATION - 1)
    assert bias[300] < 0.04  # of first order in the number of steps; the draw itself gives 0.006
    assert bias[300] < 0.45 * bias[75]


def test_without_eta_euler_is_ddim_on_a_flow() -> None:
    """The two are written apart; an eta too small to draw anything takes the path of DDIM."""
    noise = normal(2, 4, 4, 4, 3)
    ends = [run(recorded_network, "flow", noise, sampler="euler", steps=5, eta=eta)[-1].x0 for eta in (0.0, 1e-7)]
    assert mx.allclose(*ends, atol=1e-5)


def test_with_eta_one_the_noise_after_pure_noise_is_all_new() -> None:
    """From t = 1, the next state is the predicted clip and noise that knows nothing of the first."""
    steps = [
        run(lambda x, t: x - 2.0, "flow", normal(1, 1, 4, 4, 3, seed=seed), sampler="euler", steps=2, eta=1.0)[0]
        for seed in (1, 2)
    ]  # this network sees a clip of twos in anything
    assert mx.allclose(steps[0].latents, steps[1].latents, atol=1e-5)


# Antithetic pairs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "prediction"), [("ddim", "epsilon"), ("euler", "flow"), ("euler", "sample")])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_pair_answers_alike_for_a_noise_and_its_opposite(sampler, prediction, eta) -> None:
    """And asks about both at every step."""
    noise, drawn = normal(1, 2, 4, 4, 2), [normal(1, 2, 4, 4, 2, seed=k) for k in range(3)]
    options = {"sampler": sampler, "steps": 3, "eta": eta, "antithetic": True}
    ends = [
        run(recorded_network, prediction, sign * noise, step_noise=[sign * n for n in drawn], **options)[-1]
        for sign in (1, -1)
    ]
    assert mx.allclose(ends[0].x0, ends[1].x0, atol=1e-5)
    assert ends[0].calls == Sampling(sampler, 3, eta, True).calls == 6


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_pair_cancels_what_the_prediction_owes_to_the_noise(eta) -> None:
    """A network that always adds a tenth of its input's noise to the clip of twos that it sees."""

    def network(x: mx.array, t: mx.array) -> mx.array:
        time = float(t[0]) / 1000
        return 2.0 + 0.1 * (x - (1 - time) * 2.0) / time

    options = {"sampler": "euler", "steps": 3, "eta": eta}
    alone, pair = (
        run(network, "sample", normal(1, 2, 4, 4, 2), antithetic=antithetic, **options)[-1].x0 - 2.0
        for antithetic in (False, True)
    )
    assert mx.abs(pair).max().item() < 1e-5
    assert mx.abs(alone).max().item() > 0.1


def test_a_pair_whose_network_sees_no_noise_is_one_run() -> None:
    noise = normal(1, 2, 4, 4, 2)
    ends = [
        run(lambda x, t: mx.ones(x.shape), "sample", noise, sampler="euler", steps=2, antithetic=antithetic)[-1]
        for antithetic in (False, True)
    ]
    assert mx.allclose(ends[0].latents, ends[1].latents, atol=1e-6)


# The mirror --------------------------------------------------------------------------------------------------------


def flip(x: mx.array) -> mx.array:
    return x[:, :, :, ::-1]


def lopsided_network(x: mx.array, t: mx.array) -> mx.array:
    """Says 0.3 x, and something that is different to the left and to the right."""
    return 0.3 * x + mx.sin(2 * x + mx.arange(x.shape[3]).reshape(1, 1, 1, -1, 1))


@pytest.mark.parametrize(("sampler", "prediction"), [("ddim", "epsilon"), ("euler", "flow"), ("euler", "sample")])
@pytest.mark.parametrize("antithetic", [False, True])
def test_what_a_mirror_shows_is_sampled_as_the_reflection_of_the_sample(sampler, prediction, antithetic) -> None:
    """Whatever the network does: cells, noise and all, and never a look at what is hidden."""
    noise, clean = normal(2, 4, 4, 4, 3), normal(2, 4, 4, 4, 3, seed=5)
    mask = mx.array(np.random.default_rng(0).random((2, 4, 4, 4)) < 0.6) * mx.array([0, 1, 1, 1]).reshape(1, 4, 1, 1)
    hidden = mx.where(mask[..., None] > 0, mx.array(np.nan), clean)
    drawn = [normal(2, 4, 4, 4, 3, seed=k) for k in range(7, 10)]
    options = {"sampler": sampler, "steps": 3, "eta": 1.0, "antithetic": antithetic, "mirror": True, "reflect": flip}
    straight = run(lopsided_network, prediction, noise, hidden, mask, step_noise=drawn, **options)
    turned = [flip(array) for array in (noise, hidden, mask[..., None])]
    turned = run(
        lopsided_network, prediction, *turned[:2], turned[2][..., 0], step_noise=[*map(flip, drawn)], **options
    )
    for one, other in zip(straight, turned, strict=True):
        assert mx.allclose(one.x0, flip(other.x0), atol=1e-5)
    assert mx.array_equal(mx.where(mask[..., None] > 0, 0, straight[-1].x0), mx.where(mask[..., None] > 0, 0, clean))
    assert straight[-1].calls == Sampling(sampler, 3, 1.0, antithetic, True).calls == (12 if antithetic else 6)


def test_a_mirror_cancels_what_is_wrong_to_the_left_and_to_the_right() -> None:
    slope = mx.array([-3.0, -1.0, 1.0, 3.0]).reshape(1, 1, 1, 4, 1)
    options = {"sampler": "euler", "steps": 2}
    alone, both = (
        run(lambda x, t: mx.ones(x.shape) + slope, "sample", normal(1, 2, 4, 4, 2), **options, **more)[-1].x0
        for more in ({}, {"mirror": True, "reflect": flip})
    )
    assert mx.allclose(alone, 1.0 + slope + mx.zeros(alone.shape), atol=1e-5)
    assert mx.allclose(both, mx.ones(both.shape), atol=1e-5)


def test_only_frames_that_are_to_be_generated_are_reflected_at_a_step() -> None:
    seen = []

    def reflect(latents: mx.array) -> mx.array:
        seen.append(latents.shape[1])
        return flip(latents)

    mask = mx.ones((1, 4, 4, 4)) * mx.array([0, 1, 1, 1]).reshape(1, 4, 1, 1)
    options = {"sampler": "euler", "steps": 2, "mirror": True, "reflect": reflect}
    noise, clean = normal(1, 4, 4, 4, 2), normal(1, 4, 4, 4, 2, seed=3)
    reflected = run(lopsided_network, "flow", noise, clean, mask, **options)
    assert seen == [1, 3, 3, 3]  # what is given, both views after the first step, the other one's after the last
    seen.clear()
    shown = run(lopsided_network, "flow", noise, clean, mask, mirrored=flip(clean), **options)
    assert seen == [3, 3, 3] and mx.array_equal(shown[-1].x0, reflected[-1].x0)
    with pytest.raises(ValueError, match="how to reflect"):
        run(lopsided_network, "flow", normal(1, 4, 4, 4, 2), sampler="euler", steps=2, mirror=True)


# Given cells -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "prediction"), FITTING)
def test_given_cells_are_imposed_and_never_leak(sampler, prediction) -> None:
    """The network always sees the given cells; whatever it answers there, even NaN, reaches nothing."""
    clean = normal(2, 4, 4, 4, 3, seed=5)
    mask = mx.array(np.random.default_rng(0).random((2, 4, 4, 4)) < 0.6)
    given = ~np.array(mask)
    seen = []

    def network(x: mx.array, t: mx.array) -> mx.array:
        seen.append(np.array(x)[given])
        return mx.where(mask[..., None], 0.1 * x, mx.array(np.nan))

    for step in run(network, prediction, normal(*clean.shape), clean, mask, sampler=sampler, steps=4):
        assert np.array_equal(np.array(step.x0)[given], np.array(clean)[given])
        assert np.isfinite(np.array(step.x0)).all()
    assert all(np.array_equal(cells, np.array(clean)[given]) for cells in seen)
    assert len(seen) == step.calls == Sampling(sampler, 4).calls


@pytest.mark.parametrize(("sampler", "prediction"), FITTING)
def test_what_clean_holds_in_generated_cells_is_not_looked_at(sampler, prediction) -> None:
    noise, clean = normal(1, 4, 4, 4, 3), normal(1, 4, 4, 4, 3, seed=2)
    mask = mx.array(np.arange(4)[None, :, None, None] >= 2) * mx.ones((1, 4, 4, 4))
    hidden = mx.where(mask[..., None] > 0.5, mx.array(np.nan), clean)
    options = {"sampler": sampler, "steps": 3}
    results = [
        run(lambda x, t: mx.tanh(x), prediction, noise, source, mask, **options)[-1].x0 for source in (clean, hidden)
    ]
    assert mx.array_equal(*results)


@pytest.mark.parametrize(("sampler", "prediction"), FITTING)
def test_half_precision_networks_are_integrated_in_fp32(sampler, prediction) -> None:
    noise = normal(1, 2, 4, 4, 2)
    steps = run(lambda x, t: (0.2 * x).astype(mx.float16), prediction, noise, sampler=sampler, steps=3)
    assert {step.latents.dtype for step in steps} == {mx.float32}


@pytest.mark.parametrize(("sampler", "prediction"), FITTING)
def test_one_step_and_learned_variance(sampler, prediction) -> None:
    noise = normal(1, 2, 4, 4, 2)
    for channels in (1, 2) if sampler == "ddpm" else (1,):
        (step,) = run(
            lambda x, t, n=channels: mx.concatenate([mx.zeros(x.shape)] * n, -1),
            prediction,
            noise,
            sampler=sampler,
            steps=1,
        )
        assert (step.index, step.calls) == (1, 1)
        assert step.timestep == SCHEDULES[prediction].max_timestep
        assert np.isfinite(np.array(step.x0)).all()


@pytest.mark.parametrize("spacing", ["trailing", "leading", "uniform"])
@pytest.mark.parametrize("prediction", ["epsilon", "flow"])
@pytest.mark.parametrize("steps", [1, 3, 20, 999, 1000])
def test_timesteps_fall_and_end_clean(prediction, spacing, steps) -> None:
    schedule = SCHEDULES[prediction]
    times = timesteps(schedule, steps, spacing)
    assert times.shape == (steps + 1,)
    assert (np.diff(times) < 0).all()
    assert times[0] <= schedule.max_timestep
    assert times[-1] == schedule.clean
    if spacing != "leading":
        assert times[0] == schedule.max_timestep


# Bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampler", "steps", "prediction", "options", "words"),
    [
        ("plms", 10, "epsilon", {}, "ddpm, ddim, dpm"),
        ("dpm++", 0, "epsilon", {}, "at least 1"),
        ("ddpm", 1001, "epsilon", {}, "1000"),
        ("dpm++", 1001, "velocity", {}, "1000"),
        ("ddpm", 10, "flow", {}, "euler"),
        ("ddim", 10, "flow", {}, "euler"),
        ("heun", 10, "epsilon", {}, "is for flow networks"),
        ("euler", 10, "velocity", {}, "velocity"),
        ("dpm++", 10, "epsilon", {"eta": 0.5}, "eta"),
        ("heun", 10, "flow", {"eta": 0.5}, "ddim and euler"),
        ("ddim", 10, "epsilon", {"eta": 1.5}, "between 0 and 1"),
        ("unipc", 10, "epsilon", {"antithetic": True}, "no antithetic pairs; ddim and euler have"),
        ("heun", 10, "flow", {"mirror": True}, "no flip averaging; ddim and euler have"),
        ("ddim", 10, "epsilon", {"spacing": "karras"}, "trailing"),
    ],
)
def test_bad_requests(sampler, steps, prediction, options, words) -> None:
    with pytest.raises(VDTError, match=words):
        Sampling(sampler, steps, **options).resolved(SCHEDULES[prediction].config)


def test_flow_takes_any_number_of_steps() -> None:
    assert Sampling("euler", 5000).resolved(SCHEDULES["flow"].config).calls == 5000
