"""What one training step is asked: which cells to generate, at what noise (`diffusion.loss` has the loss).

Everything that is random comes from numpy and depends only on the run's seed and the number of the step, so a run that
is resumed at a step draws what it would have drawn, and ranks of a parallel run share out one batch.
"""

from dataclasses import dataclass

import numpy as np

from vdt_mlx.config import VDTConfig
from vdt_mlx.diffusion.masks import GIVEN_TASKS, passes, sample_mask
from vdt_mlx.diffusion.samplers import timesteps
from vdt_mlx.diffusion.sampling import SAMPLERS
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.training.config import ObjectiveConfig


def step_rng(seed: int, step: int, stream: int = 0) -> np.random.Generator:
    """The generator of one step's draws; `stream` keeps different uses apart."""
    return np.random.Generator(
        np.random.Philox(key=np.random.SeedSequence([seed, stream, step]).generate_state(2, np.uint64))
    )


@dataclass(frozen=True)
class Draw:
    """What is drawn for one batch, as numpy arrays."""

    mask: np.ndarray
    """(B, T, H, W), 1 = generate."""
    t: np.ndarray
    """(B,) timesteps in [0, num_train_steps], the last one drawn only as a sampler's first."""
    noise: np.ndarray
    """(B, T, H, W, C), standard normal."""


def draw(
    config: ObjectiveConfig,
    network: VDTConfig,
    schedule: Schedule,
    batch: int,
    rng: np.random.Generator,
) -> Draw:
    """Draws masks, timesteps and noise for a batch of latents of the network's own size."""
    frames, (height, width) = network.num_frames, network.latent_size
    tasks = [task for task, weight in config.tasks.items() if weight > 0]
    weights = np.array([config.tasks[task] for task in tasks], np.float64)
    as_sampled = rng.random(batch) < config.as_sampled if config.as_sampled else np.zeros(batch, bool)
    fewest, most = config.given or (1, frames - 1)
    masks = []
    for index, sampled in zip(rng.choice(len(tasks), size=batch, p=weights / weights.sum()), as_sampled, strict=True):
        task, given = tasks[index], None
        if not sampled and task in GIVEN_TASKS and rng.random() < config.vary_given:
            given = int(rng.integers(fewest, most + 1))
        mask = sample_mask(task, frames, height, width, network.patch_size, rng, given)
        if sampled:
            choices = passes(mask[None], schedule.config.chunk)
            mask = choices[rng.integers(len(choices))][0]
        masks.append(mask)
    t = draw_timesteps(config, schedule, batch, rng)
    if config.as_sampled:
        visited = timesteps(schedule, schedule.config.steps, SAMPLERS[schedule.config.sampler].spacing)[:-1]
        t = np.where(as_sampled, rng.choice(visited, batch), t).astype(t.dtype)
    noise = rng.standard_normal((batch, frames, height, width, network.in_channels), dtype=np.float32)
    return Draw(mask=np.stack(masks), t=t, noise=noise)


def draw_timesteps(config: ObjectiveConfig, schedule: Schedule, batch: int, rng: np.random.Generator) -> np.ndarray:
    """(B,) timesteps; whole numbers for the linear schedule, reals for flow.

    `logit-normal` (arXiv 2403.03206, section 3.1) draws the share of noise, sigma / (alpha + sigma), which is the flow
    time; for the linear schedule it is carried over to the timestep of the same share.
    """
    steps = schedule.config.num_train_steps
    if config.timesteps == "uniform":
        time = rng.random(batch)
        return (time * steps).astype(np.float32) if schedule.is_flow else np.floor(time * steps).astype(np.int32)
    share = 1 / (1 + np.exp(-rng.normal(config.timestep_mean, config.timestep_std, batch)))
    if schedule.is_flow:
        return (share * steps).astype(np.float32)
    alpha, sigma = schedule.alpha_sigma(np.arange(steps))
    return np.clip(np.searchsorted(sigma / (alpha + sigma), share), 0, steps - 1).astype(np.int32)
