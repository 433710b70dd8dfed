"""Samplers: from noise to a clip in a number of steps, given a network.

Every sampler is a generator that yields a `Step` after each step, with the predicted clean clip as a free preview. All
of them integrate in fp32 whatever the network computes in, and all of them re-impose the given cells (mask 0) at every
network call, as mask modelling asks for. `sampling.SAMPLERS` lists them and says what each one can do.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.diffusion.schedule import Ancestral, Network, Schedule, space_timesteps, split_output

Reflect = Callable[[mx.array], mx.array]
"""Latents (B, t, H, W, C) of some frames -> latents of the frames with left and right exchanged."""


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
    sampling: Sampling,
    *,
    seed_key: mx.array | None = None,
    step_noise: Sequence[mx.array] | None = None,
    reflect: Reflect | None = None,
    mirrored: mx.array | None = None,
    together: int = 1,
) -> Iterator[Step]:
    """Samples clips; the last step's `x0` is the result.

    Args:
        network: `network(x, t, given)`, see `schedule.Network`; t (B,) is the timestep of the schedule.
        noise: where to start, (B, T, H, W, C), standard normal.
        clean: the clip that holds the given cells, same shape; what it has in other cells is not looked at.
        mask: (B, T, H, W), 1 = generate, 0 = given.
        sampling: the sampler and its options; what it leaves open is the schedule's own (`Sampling.resolved`). Its
            `chunk` is for whoever calls this once a pass.
        seed_key: for samplers that draw noise.
        step_noise: noise to use instead, one array a step.
        reflect: for flip averaging.
        mirrored: `clean` with left and right exchanged, where that is better known than by reflecting latents: around a
            given cell of a frame that is hidden in part, `reflect` has nothing to go by.
        together: clips that the network may be asked about in one call: where pairs or flip averaging have several
            questions about a clip, they go together.

    Raises:
        VDTError: see `Sampling.check`.
        ValueError: noise or a reflection is needed and not given.
    """
    sampling = sampling.resolved(schedule.config)
    if sampling.mirror and reflect is None:
        raise ValueError("Flip averaging needs to know how to reflect.")
    if sampling.stochastic and seed_key is None and step_noise is None:
        raise ValueError(f"{sampling.sampler} draws noise at every step and needs a seed_key.")
    assert sampling.steps is not None and sampling.spacing is not None
    steps = sampling.steps

    def fresh_noise(index: int) -> mx.array:
        if step_noise is not None:
            return step_noise[index].astype(mx.float32)
        assert seed_key is not None
        return mx.random.normal(noise.shape, key=mx.random.split(seed_key, steps)[index])

    run = Run(network, schedule, noise.astype(mx.float32), clean.astype(mx.float32), mask, steps, fresh_noise)
    run.reflect, run.mirrored, run.together = reflect, mirrored, together
    steps_of: Iterator[Step] = sampling.row.load()(run, timesteps(schedule, steps, sampling.spacing), sampling)
    return steps_of


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


class Run:
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
        self.reflect: Reflect | None = None
        self.mirrored: mx.array | None = None
        self.together = 1
        self.calls = 0

    def reflected(self) -> "Run":
        """The same task with left and right exchanged, the noise too."""

        def flip(x: mx.array) -> mx.array:
            return x[:, :, :, ::-1]

        clean = self.mirrored
        if clean is None:
            given = ~self.generate
            known = mx.where(given, self.clean, 0.0)  # nothing of a cell that is to be generated may reach the others
            clean = self.reflection(known, _holding(given))
        mask = flip(self.generate[..., 0])
        noise = flip(self.noise)
        clean = clean.astype(mx.float32)
        return Run(self.network, self.schedule, noise, clean, mask, self.steps, lambda i: flip(self.fresh_noise(i)))

    def reflection(self, latents: mx.array, frames: mx.array) -> mx.array:
        """Latents (B, T, H, W, C) with these of the frames reflected, and zeros for the others."""
        result = mx.zeros(latents.shape)
        if len(frames):
            assert self.reflect is not None
            result[:, frames] = self.reflect(latents[:, frames]).astype(mx.float32)
        return result

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


def ddpm(run: Run, times: np.ndarray, _sampling: Sampling) -> Iterator[Step]:
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


def ddim(run: Run, times: np.ndarray, sampling: Sampling) -> Iterator[Step]:
    """DDIM on any path; on a flow's, and without eta, its steps are Euler's.

    With flip averaging there are two views of the clip, each with states of its own; antithetic pairs are two states.
    """
    alphas, sigmas = run.schedule.alpha_sigma(times)
    signs = (1, -1) if sampling.antithetic else (1,)
    views = [View(run, signs)] + ([View(run.reflected(), signs)] if sampling.mirror else [])
    frames = _holding(run.generate)
    for index, t in enumerate(times[:-1]):
        alpha, sigma, next_alpha, next_sigma = (float(v[i]) for i in (index, index + 1) for v in (alphas, sigmas))
        _ask(views, t)
        clips = _agreed(views, frames, last=index + 1 == run.steps)
        # Of the next state's noise, what its past does not decide; DDIM's eq. 16 where alpha^2 + sigma^2 = 1.
        fresh = (sampling.eta or 0.0) * next_sigma * np.sqrt(1 - (alpha * next_sigma / (next_alpha * sigma)) ** 2)
        kept = float(np.sqrt(max(next_sigma**2 - fresh**2, 0.0)))
        for view, x0 in zip(views, clips, strict=True):
            # A lone state's noise is what the network says; that of several, what their common clip leaves of each.
            noises = view.noises if len(views) * len(signs) == 1 else view.left_by(x0, alpha, sigma)
            drawn = float(fresh) * view.run.fresh_noise(index) if fresh > 0 else 0.0
            view.states = [
                view.run.impose(next_alpha * x0 + kept * seen + sign * drawn)
                for sign, seen in zip(signs, noises, strict=True)
            ]
        yield replace(run.step(index, t, views[0].states[0], clips[0]), calls=sum(view.run.calls for view in views))


class View:
    """A task and its states, one for each sign of the noise, with what the network last said of them."""

    def __init__(self, run: Run, signs: Sequence[int]):
        self.run = run
        self.states = [run.impose(sign * run.noise) for sign in signs]
        self.clips: list[mx.array] = []
        self.noises: list[mx.array] = []

    def left_by(self, x0: mx.array, alpha: float, sigma: float) -> list[mx.array]:
        """The noise in each state, if this is the clean clip."""
        return [(x - alpha * x0) / sigma for x in self.states]


def _ask(views: list[View], t: float) -> None:
    """Calls the network about every state of every view, as many in a call as go together."""
    questions = [(view.run, x) for view in views for x in view.states]
    size = max(1, views[0].run.together // views[0].run.noise.shape[0])
    answers = [
        each for start in range(0, len(questions), size) for each in _answers(questions[start : start + size], t)
    ]
    for index, view in enumerate(views):
        own = answers[index * len(view.states) : (index + 1) * len(view.states)]
        view.clips, view.noises = [x0 for x0, _ in own], [eps for _, eps in own]


def _answers(questions: list[tuple[Run, mx.array]], t: float) -> list[tuple[mx.array, mx.array]]:
    """Clean clip and noise, as `Run.x0_eps` has them, of several states in one call of the network."""
    if len(questions) == 1:
        run, x = questions[0]
        return [run.x0_eps(x, t)]
    first = questions[0][0]
    states = mx.concatenate([run.impose(x) for run, x in questions])
    clean, mask = (mx.concatenate([run.given[part] for run, _ in questions]) for part in (0, 1))
    times = mx.full((states.shape[0],), t, dtype=mx.float32)
    output = first.network(states, times, (clean, mask)).astype(mx.float32)
    found = []
    for (run, x), answer in zip(questions, mx.split(output, len(questions)), strict=True):
        run.calls += 1
        x0, eps = run.schedule.to_x0_eps(x, split_output(answer, x.shape[-1])[0], t)
        found.append((run.impose(x0), eps))
    return found


def _agreed(views: list[View], frames: mx.array, last: bool) -> list[mx.array]:
    """The clean clip of each view: the mean over its states and over what the other view says, reflected.

    After the last step only the first view's counts.
    """
    clips = [mx.stack(view.clips).mean(axis=0) for view in views]
    if len(views) == 1:
        return clips
    run = views[0].run
    straight, turned = clips
    agreed = [run.impose(0.5 * (straight + run.reflection(turned, frames))), turned]
    if not last:
        agreed[1] = views[1].run.impose(0.5 * (turned + run.reflection(straight, frames)))
    return agreed


def _holding(cells: mx.array) -> mx.array:
    """The numbers of the frames in which any of these cells (B, T, H, W, 1) is set, in any clip."""
    return mx.array(np.flatnonzero(np.array(cells.max(axis=(0, 2, 3, 4)))))


def dpm_solver(run: Run, times: np.ndarray, _sampling: Sampling) -> Iterator[Step]:
    """DPM-Solver++(2M)."""
    return _multistep(run, times, correct=False)


def unipc(run: Run, times: np.ndarray, _sampling: Sampling) -> Iterator[Step]:
    """UniPC-2."""
    return _multistep(run, times, correct=True)


def _multistep(run: Run, times: np.ndarray, correct: bool) -> Iterator[Step]:
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


def euler(run: Run, times: np.ndarray, sampling: Sampling) -> Iterator[Step]:
    """First-order steps along the velocity; with noise drawn anew, pairs or flip averaging, those of DDIM."""
    if sampling.eta or sampling.antithetic or sampling.mirror:
        return ddim(run, times, sampling)
    return _flow(run, times, second_order=False)


def heun(run: Run, times: np.ndarray, _sampling: Sampling) -> Iterator[Step]:
    """Second-order steps along the velocity."""
    return _flow(run, times, second_order=True)


def _flow(run: Run, times: np.ndarray, second_order: bool) -> Iterator[Step]:
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
