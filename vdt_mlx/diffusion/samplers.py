"""Samplers: from noise to a clip in a number of steps, given a network.

Every sampler is a branch of one generator, `sample`, that yields a `Step` after each step with the predicted clean clip
as a free preview. All of them integrate in fp32 whatever the network computes in, and all of them re-impose the given
cells (mask 0) at every network call, as mask modelling asks for.

    ddpm    ancestral sampling (arXiv 2006.11239), as the official release does it; linear schedule
    ddim    arXiv 2010.02502, with eta, antithetic pairs and a mirror; linear schedule
    dpm++   DPM-Solver++(2M), midpoint, data prediction (arXiv 2211.01095); any schedule
    unipc   UniPC of order 2, B(h) = e^h - 1, data prediction (arXiv 2302.04867); any schedule
    euler   first-order steps along the flow's velocity, with the same three; flow schedule
    heun    second-order: every step but the last calls the network twice; flow schedule
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from vdt_mlx.diffusion.schedule import Ancestral, Network, Schedule, space_timesteps, split_output
from vdt_mlx.errors import VDTError

SAMPLERS = ("ddpm", "ddim", "dpm++", "unipc", "euler", "heun")
WITH_ETA = ("ddim", "euler")
"""The samplers that have an eta, antithetic pairs and a mirror."""
SPACINGS = ("trailing", "leading", "uniform")


@dataclass(frozen=True)
class Choice:
    """A sampler and its options, as `sample` takes them."""

    sampler: str
    steps: int
    eta: float = 0.0
    antithetic: bool = False
    mirror: bool = False

    @property
    def calls(self) -> int:
        """How many times the network is called."""
        if self.sampler == "heun":
            return 2 * self.steps - 1
        return self.steps * (2 if self.antithetic else 1) * (2 if self.mirror else 1)


@dataclass(frozen=True)
class Step:
    """What is known after a step."""

    index: int
    """1 for the first step."""
    total: int
    timestep: float
    """What the network was told at the start of the step."""
    latents: mx.array
    """The state after the step, (B, T, H, W, C), fp32. The given cells of `ddpm` hold what the network made of them."""
    x0: mx.array
    """The predicted clean clip with its given cells in place: a preview, and after the last step the result."""
    calls: int
    """Network calls so far."""


def sample(
    network: Network,
    schedule: Schedule,
    noise: mx.array,
    clean: mx.array,
    mask: mx.array,
    *,
    sampler: str,
    steps: int,
    eta: float = 0.0,
    antithetic: bool = False,
    mirror: bool = False,
    spacing: str | None = None,
    seed_key: mx.array | None = None,
    step_noise: Sequence[mx.array] | None = None,
    reflect: Callable[[mx.array], mx.array] | None = None,
    mirrored: mx.array | None = None,
) -> Iterator[Step]:
    """Samples clips; the last step's `x0` is the result.

    Args:
        network: `network(x, t, given)`, see `schedule.Network`; t (B,) is the timestep of the schedule.
        noise: where to start, (B, T, H, W, C), standard normal.
        clean: the clip that holds the given cells, same shape; what it has in other cells is not looked at.
        mask: (B, T, H, W), 1 = generate, 0 = given.
        eta: how much of the noise `ddim` and `euler` draw anew at every step, 0 (none) to 1 (as much as ancestral
            sampling; from pure noise, all of it).
        antithetic: `ddim` and `euler` keep a second state with the opposite noise and go on from the mean of what the
            network predicts at both (antithetic variates). What a network's prediction owes to the noise cancels to
            first order, and with it much of what makes samples differ: a result is more accurate and less varied.
        mirror: `ddim` and `euler` also ask about the clip as a mirror shows it, and go on from the mean of the two
            answers, where left and right are alike to what is modelled (as they are to the laws of motion).
        spacing: which timesteps are visited, see `timesteps`; by default `uniform` for `ddpm` (as the official release)
            and `trailing` for the others.
        seed_key: for the samplers that draw noise (`ddpm`, and `ddim` and `euler` with eta).
        step_noise: noise to use instead, one array a step.
        reflect: for `mirror`, latents (B, t, H, W, C) of some frames -> latents of the frames with left and right
            exchanged.
        mirrored: `clean` as a mirror shows it, where that is better known than by reflecting latents: around a given
            cell of a frame that is hidden in part, `reflect` has nothing to go by.

    Raises:
        VDTError: see `check`.
    """
    check(sampler, steps, schedule, eta=eta, antithetic=antithetic, mirror=mirror, spacing=spacing)
    if mirror and reflect is None:
        raise ValueError("A mirror needs to know how to reflect.")
    stochastic = sampler == "ddpm" or eta > 0
    if stochastic and seed_key is None and step_noise is None:
        raise ValueError(f"{sampler} draws noise at every step and needs a seed_key.")

    def fresh_noise(index: int) -> mx.array:
        if step_noise is not None:
            return step_noise[index].astype(mx.float32)
        assert seed_key is not None
        return mx.random.normal(noise.shape, key=mx.random.split(seed_key, steps)[index])

    run = _Run(network, schedule, noise.astype(mx.float32), clean.astype(mx.float32), mask, steps, fresh_noise)
    times = timesteps(schedule, steps, spacing or default_spacing(sampler))
    if sampler == "ddpm":
        return _ddpm(run, times)
    if sampler == "ddim" or (sampler == "euler" and (eta > 0 or antithetic or mirror)):
        return _ddim(run, times, eta, antithetic, reflect if mirror else None, mirrored)
    if sampler in ("dpm++", "unipc"):
        return _multistep(run, times, correct=sampler == "unipc")
    return _flow(run, times, second_order=sampler == "heun")


def check(
    sampler: str,
    steps: int,
    schedule: Schedule,
    *,
    eta: float = 0.0,
    antithetic: bool = False,
    mirror: bool = False,
    spacing: str | None = None,
) -> None:
    """Raises VDTError unless this sampler can take this many steps on this schedule with these options."""
    if sampler not in SAMPLERS:
        raise VDTError(f"Unknown sampler {sampler!r}: use one of {', '.join(SAMPLERS)}.")
    if spacing is not None and spacing not in SPACINGS:
        raise VDTError(f"Unknown spacing {spacing!r}: use one of {', '.join(SPACINGS)}.")
    if steps < 1:
        raise VDTError(f"Sampling takes at least 1 step, not {steps}.")
    if sampler in ("ddpm", "ddim") and schedule.is_flow:
        raise VDTError(f"The sampler {sampler} does not fit a flow network: use euler, heun, dpm++ or unipc.")
    if sampler in ("euler", "heun") and not schedule.is_flow:
        raise VDTError(
            f"The sampler {sampler} is for flow networks and this one predicts {schedule.prediction}: "
            "use dpm++, unipc, ddim or ddpm."
        )
    if not schedule.is_flow and steps > schedule.config.num_train_steps:
        raise VDTError(f"{steps} steps are more than the {schedule.config.num_train_steps} of the schedule.")
    if eta and sampler not in WITH_ETA:
        raise VDTError(f"eta is an option of {' and '.join(WITH_ETA)}; the sampler {sampler} has none.")
    if antithetic and sampler not in WITH_ETA:
        raise VDTError(f"Antithetic pairs are an option of {' and '.join(WITH_ETA)}; the sampler {sampler} has none.")
    if mirror and sampler not in WITH_ETA:
        raise VDTError(f"A mirror is an option of {' and '.join(WITH_ETA)}; the sampler {sampler} has none.")
    if not 0 <= eta <= 1:
        raise VDTError(f"eta is between 0 and 1, not {eta:g}.")


def default_spacing(sampler: str) -> str:
    return "uniform" if sampler == "ddpm" else "trailing"


def timesteps(schedule: Schedule, steps: int, spacing: str) -> np.ndarray:
    """The (steps + 1,) timesteps of a run, decreasing; the last is the clean end, where the network is not called.

    `trailing` counts equal strides down from the noisiest timestep, `leading` up from the cleanest (and so starts below
    the noisiest), `uniform` includes both (arXiv 2305.08891, table 2). Those of the linear schedule are whole numbers.
    """
    noisiest, cleanest = schedule.max_timestep, schedule.clean + 1
    stride = (noisiest - schedule.clean) / steps
    if spacing == "trailing":
        times = noisiest - stride * np.arange(steps)
        times = times if schedule.is_flow else np.round(times)
    elif spacing == "leading":
        times = cleanest + stride * np.arange(steps)[::-1]
        times = times if schedule.is_flow else np.floor(times)
    elif steps == 1:
        times = np.array([noisiest])
    elif schedule.is_flow:
        times = np.linspace(noisiest, cleanest, steps)
    else:
        times = np.array(space_timesteps(steps, schedule.config.num_train_steps), np.float64)[::-1]
    return np.append(times, schedule.clean)


class _Run:
    """What the samplers share: the network with its given cells re-imposed, and the step counter."""

    def __init__(
        self,
        network: Network,
        schedule: Schedule,
        noise: mx.array,
        clean: mx.array,
        mask: mx.array,
        steps: int,
        fresh_noise: Callable[[int], mx.array],
    ):
        self.network = network
        self.schedule = schedule
        self.noise = noise
        self.clean = clean
        self.generate = (mask > 0.5)[..., None]
        self.given = mx.where(self.generate, 0.0, clean), mask
        self.steps = steps
        self.fresh_noise = fresh_noise
        self.calls = 0

    def reflected(self, reflect: Callable[[mx.array], mx.array], clean: mx.array | None) -> "_Run":
        """The same task as a mirror shows it, with the same noise, reflected too."""

        def flip(x: mx.array) -> mx.array:
            return x[:, :, :, ::-1]

        if clean is None:
            given = ~self.generate
            known = mx.where(given, self.clean, 0.0)  # nothing of a cell that is to be generated may reach the others
            clean = _reflected_in(_holding(given), reflect, known)
        mask = flip(self.generate[..., 0])
        noise = flip(self.noise)
        clean = clean.astype(mx.float32)
        return _Run(self.network, self.schedule, noise, clean, mask, self.steps, lambda i: flip(self.fresh_noise(i)))

    def impose(self, x: mx.array) -> mx.array:
        """x with the given cells in place."""
        return mx.where(self.generate, x, self.clean)

    def call(self, x: mx.array, t: float) -> tuple[mx.array, mx.array | None]:
        """Prediction and variance values (None where they are not learned) at state x, in fp32."""
        self.calls += 1
        times = mx.full((x.shape[0],), t, dtype=mx.float32)
        output = self.network(self.impose(x), times, self.given).astype(mx.float32)
        return split_output(output, x.shape[-1])

    def x0_eps(self, x: mx.array, t: float) -> tuple[mx.array, mx.array]:
        """Calls the network: the clean clip, given cells in place, and the noise that it sees in x."""
        x0, eps = self.schedule.to_x0_eps(x, self.call(x, t)[0], t)
        return self.impose(x0), eps

    def velocity(self, x: mx.array, t: float) -> mx.array:
        """Calls the network: eps - x0, the velocity of a flow."""
        output, _ = self.call(x, t)
        if self.schedule.prediction == "flow":
            return output
        x0, eps = self.schedule.to_x0_eps(x, output, t)
        return eps - x0

    def step(self, index: int, t: float, x: mx.array, x0: mx.array) -> Step:
        mx.eval(x, x0)
        return Step(index + 1, self.steps, float(t), x, x0, self.calls)


def _ddpm(run: _Run, times: np.ndarray) -> Iterator[Step]:
    process = Ancestral.over(run.schedule, times[-2::-1].astype(np.int64))
    x = run.noise
    for index, t in enumerate(times[:-1]):
        place = run.steps - 1 - index
        prediction, values = run.call(x, t)
        # The official loop never composites its state: what it predicts from, in given cells, is x as it drifted.
        x0, _ = run.schedule.to_x0_eps(x, prediction, t)
        mean = process.posterior_mean(x0, x, place)
        if place > 0:
            deviation = mx.exp(0.5 * process.model_log_variance(values, place, x.ndim))
            x = mean + deviation * run.fresh_noise(index)
        else:
            x = mean
        yield run.step(index, t, x, run.impose(x0))


def _ddim(
    run: _Run,
    times: np.ndarray,
    eta: float,
    antithetic: bool,
    reflect: Callable[[mx.array], mx.array] | None,
    mirrored: mx.array | None,
) -> Iterator[Step]:
    """DDIM on any path; on a flow's, and without eta, its steps are Euler's.

    With a reflection there are two views of the clip, each with a state of its own, and in antithetic pairs two.
    """
    alphas, sigmas = run.schedule.alpha_sigma(times)
    views = [run] if reflect is None else [run, run.reflected(reflect, mirrored)]
    signs = (1, -1) if antithetic else (1,)
    states = [[view.impose(sign * view.noise) for sign in signs] for view in views]
    frames = _holding(run.generate)
    for index, t in enumerate(times[:-1]):
        alpha, sigma, next_alpha, next_sigma = (float(v[i]) for i in (index, index + 1) for v in (alphas, sigmas))
        answers = [[view.x0_eps(x, t) for x in own] for view, own in zip(views, states, strict=True)]
        clips = [mx.stack([x0 for x0, _ in own]).mean(axis=0) for own in answers]
        if reflect is not None:
            straight, turned = clips
            clips[0] = run.impose(0.5 * (straight + _reflected_in(frames, reflect, turned)))
            if index + 1 < run.steps:
                clips[1] = views[1].impose(0.5 * (turned + _reflected_in(frames, reflect, straight)))
        # Of the next state's noise, what its past does not decide; DDIM's eq. 16 where alpha^2 + sigma^2 = 1.
        fresh = eta * next_sigma * np.sqrt(1 - (alpha * next_sigma / (next_alpha * sigma)) ** 2)
        kept = float(np.sqrt(max(next_sigma**2 - fresh**2, 0.0)))
        for view, own, x0, answer in zip(views, states, clips, answers, strict=True):
            drawn = float(fresh) * view.fresh_noise(index) if fresh > 0 else 0.0
            for place, (sign, x, (_, eps)) in enumerate(zip(signs, own, answer, strict=True)):
                seen = eps if len(views) == len(signs) == 1 else (x - alpha * x0) / sigma
                own[place] = view.impose(next_alpha * x0 + kept * seen + sign * drawn)
        yield replace(run.step(index, t, states[0][0], clips[0]), calls=sum(view.calls for view in views))


def _reflected_in(frames: mx.array, reflect: Callable[[mx.array], mx.array], latents: mx.array) -> mx.array:
    """Latents (B, T, H, W, C) with these of the frames reflected, and zeros for the others."""
    result = mx.zeros(latents.shape)
    if len(frames):
        result[:, frames] = reflect(latents[:, frames]).astype(mx.float32)
    return result


def _holding(cells: mx.array) -> mx.array:
    """The numbers of the frames in which any of these cells (B, T, H, W, 1) is set, in any clip."""
    return mx.array(np.flatnonzero(np.array(cells.max(axis=(0, 2, 3, 4)))))


def _multistep(run: _Run, times: np.ndarray, correct: bool) -> Iterator[Step]:
    """DPM-Solver++(2M); with `correct`, UniPC-2, whose predictor is the same formula.

    In lambda = log(alpha / sigma) the clean clip m is extrapolated from its last two values. The first step has one
    value only; the last one, to sigma = 0 (an infinite step in lambda), is of first order and lands on m. UniPC's
    corrector re-does the previous step with the value of m found at its end, which costs no network call.
    """
    alphas, sigmas = run.schedule.alpha_sigma(times)
    with np.errstate(divide="ignore"):
        lambdas = np.log(alphas) - np.log(sigmas)
    x = run.impose(run.noise)
    before: mx.array | None = None  # the state at the start of the previous step, corrected
    history: list[mx.array] = []  # m at the two previous timesteps, oldest first
    for index, t in enumerate(times[:-1]):
        m, _ = run.x0_eps(x, t)
        if correct and before is not None and np.isfinite(lambdas[index - 1]):
            x = run.impose(_corrected(before, [*history, m], alphas, sigmas, lambdas, index))
        before = x
        slope = None  # of m over the coming step, by its history
        if history and index + 1 < run.steps:
            ratio = (lambdas[index + 1] - lambdas[index]) / (lambdas[index] - lambdas[index - 1])
            slope = float(ratio) * (m - history[-1])
        guess = m if slope is None else m + 0.5 * slope
        shrink = float(sigmas[index + 1] / sigmas[index])
        gain = float(-alphas[index + 1] * np.expm1(lambdas[index] - lambdas[index + 1]))
        x = run.impose(shrink * x + gain * guess)
        history = [*history[-1:], m]
        yield run.step(index, t, x, m)


def _corrected(
    before: mx.array,
    values: list[mx.array],
    alphas: np.ndarray,
    sigmas: np.ndarray,
    lambdas: np.ndarray,
    index: int,
) -> mx.array:
    """UniC (arXiv 2302.04867, algorithm 1): the state at `index` from the one before and m at up to 3 timesteps."""
    h = lambdas[index] - lambdas[index - 1]
    shift = np.expm1(-h)  # B(h) of the "bh2" variant, and phi_1 up to a sign
    start, end = values[-2], values[-1]
    if len(values) == 2 or not np.isfinite(lambdas[index - 2]):
        change = 0.5 * (end - start)
    else:
        r = (lambdas[index - 2] - lambdas[index - 1]) / h
        first = (-shift / h - 1) / shift
        second = 2 * ((-shift / h - 1) / -h - 0.5) / shift
        older, newer = np.linalg.solve(np.array([[1, 1], [r, 1]]), np.array([first, second]))
        change = float(older / r) * (values[-3] - start) + float(newer) * (end - start)
    shrink, gain = float(sigmas[index] / sigmas[index - 1]), float(-alphas[index] * shift)
    return shrink * before + gain * (start + change)


def _flow(run: _Run, times: np.ndarray, second_order: bool) -> Iterator[Step]:
    """Integrates dx/dt = v, which the network answers or implies (arXiv 2206.00364, algorithm 1, on a flow)."""
    x = run.impose(run.noise)
    for index, t in enumerate(times[:-1]):
        following = times[index + 1]
        dt = float(following - t) / run.schedule.config.num_train_steps
        velocity = run.velocity(x, t)
        x0 = x - float(t) / run.schedule.config.num_train_steps * velocity
        ahead = run.impose(x + dt * velocity)
        if second_order and index + 1 < run.steps:
            velocity_ahead = run.velocity(ahead, following)
            ahead = run.impose(x + 0.5 * dt * (velocity + velocity_ahead))
        x = ahead
        yield run.step(index, t, x, run.impose(x0))
