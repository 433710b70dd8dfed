"""What a model finds likelier: its denoising loss of a clip, the controls that need no model, and accuracies.

After LikePhys (arXiv 2510.11512): the clip with the lower denoising loss is the one that the model prefers. Both clips
of a pair get the same noise at the same timesteps, and the same given frames (which they share) as context, so that
the difference is that of the frames that differ.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.uint8]
SHARES = (0.3, 0.5, 0.7, 0.9)
"""Timesteps, as shares of the noisiest: little noise shows looks, much noise shows motion."""
QUICK_SHARES = (0.5, 0.9)
TIE = 0.5
"""What a pair counts whose two clips are equally likely."""


def denoising_losses(
    pipeline: Any,
    clips: Sequence[Frames],
    given: int,
    seed: int,
    noises: int = 2,
    shares: Sequence[float] = SHARES,
) -> Any:
    """(B,) the mean denoising loss of clips (T, H, W, 3), over timesteps and `noises` opposite pairs of noise.

    All clips get the same noise. `pipeline` is a `vdt_mlx.pipeline.Pipeline`. The loss is that of the training, over
    the frames after the `given` ones.
    """
    import mlx.core as mx

    from vdt_mlx.device.cpu_streams import lanes
    from vdt_mlx.diffusion.loss import training_losses

    latents = pipeline.encode(np.stack(clips)).astype(mx.float32)
    mask = np.ones(latents.shape[:-1], np.float32)
    mask[:, :given] = 0
    twice, masks = mx.concatenate([latents, latents]), np.concatenate([mask, mask])
    rng = np.random.default_rng([11, seed])
    total = np.zeros(len(clips))
    for _ in range(noises):
        drawn = rng.standard_normal(latents.shape[1:]).astype(np.float32)
        for share in shares:
            t = np.full(2 * len(clips), share * pipeline.schedule.max_timestep)
            t = t if pipeline.schedule.is_flow else np.round(t)
            noise = mx.array(np.repeat(np.stack([drawn, -drawn]), len(clips), axis=0))
            with lanes():
                losses = training_losses(pipeline.schedule, pipeline.network, twice, mx.array(masks), t, noise).mse
                total += np.array(losses).reshape(2, -1).sum(axis=0)
    return total / (2 * noises * len(shares))


def frame_difference(frames: Frames, given: int) -> float:
    """Control: how much the picture changes from frame to frame after the given ones, grey levels."""
    recent = frames[given - 1 :].astype(float)
    return float(np.abs(np.diff(recent, axis=0)).mean())


def autoencoder_error(pipeline: Any, clips: Sequence[Frames], given: int) -> NDArray[np.float64]:
    """Control: (B,) mean squared error of the frames after the given ones through the model's autoencoder."""
    frames = np.stack(clips)[:, given:]
    made = pipeline.decode(pipeline.encode(frames))
    return ((made.astype(float) - frames.astype(float)) ** 2).mean(axis=(1, 2, 3, 4))


def nearest_distance(frames: Frames, library: NDArray[np.float32], given: int) -> float:
    """Control: distance to the nearest of the training clips (L, T, h, w, 3), after the given frames, at their size."""
    size = library.shape[2]
    factor = frames.shape[1] // size
    small = frames.reshape(len(frames), size, factor, size, factor, 3).mean(axis=(2, 4))
    apart = ((library[:, given:] - small[None, given:]) ** 2).mean(axis=(1, 2, 3, 4))
    return float(np.sqrt(apart.min()))


def prefers_possible(possible: float, impossible: float) -> float:
    """1 if the lower score is the possible clip's, 0 if the impossible one's, TIE if they are equal."""
    return TIE if possible == impossible else float(possible < impossible)
