"""What `vdt-mlx sample` samples from: a clip of one's own or a simulated one, and the mask."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from vdt_mlx.errors import VDTError
from vdt_mlx.media import video

MASK_SEED = 7919
"""Mixed with --seed for the masks that are drawn, so that they are not the noise's random numbers."""
FAR_WORSE = 8.0
"""Decibels by which the autoencoder may show a clip worse than those it was trained on, before that is said."""


@dataclass(frozen=True)
class Clip:
    """What is sampled from: frames (1, T, H, W, 3), whether they are of the simulator's world, and which are there."""

    frames: np.ndarray
    simulated: bool
    there: np.ndarray
    """(T,) bool; a file may hold no more than the frames that are given. The others are black."""

    @property
    def whole(self) -> bool:
        """Whether there is a truth to compare with."""
        return bool(self.there.all())


def find_clip(settings: Any, pipeline: Any, mask: np.ndarray) -> Clip:
    """The clip that the settings name, fitted to the model. Only its given frames have to be there.

    Args:
        settings: `sample_run.SampleSettings`.
        mask: (T, h, w) of the model's window, 1 = generated.
    """
    height, width = pipeline.size
    count = settings.frames or pipeline.frames
    if settings.input is not None:
        given = np.flatnonzero(mask.reshape(len(mask), -1).min(axis=1) == 0).tolist()
        options: dict[str, Any] = {"start": settings.start, "stride": settings.stride, "how": settings.fit}
        frames, there = video.read_needed(settings.input, count, (height, width), given, **options)
        _say_if_unlike(pipeline, frames[there], settings.input)
        return Clip(frames[None], False, there)
    if height != width:
        raise VDTError(f"The simulator draws square clips and this model takes {width} x {height}; use --input.")
    import physics_sim

    clip = physics_sim.make_clip(settings.scenario, "val", settings.scene_seed, size=height)
    if settings.frames is not None:  # the same scene, for longer
        clip = _longer(clip, count)
    if len(clip.frames) < count:
        raise VDTError(f"Simulated clips have {len(clip.frames)} frames and this model takes {count}; use --input.")
    return Clip(clip.frames[None, :count], True, np.ones(count, bool))


def draw_mask(settings: Any, pipeline: Any) -> np.ndarray:
    """(T, h, w) on latent cells."""
    from vdt_mlx.diffusion.masks import sample_mask
    from vdt_mlx.media.mask_file import read_mask

    factor, patch = pipeline.autoencoder.config.downsample, pipeline.config.vdt.patch_size
    cells = pipeline.frames, pipeline.size[0] // factor, pipeline.size[1] // factor
    if settings.mask is None:
        rng = np.random.default_rng([MASK_SEED, settings.seed])
        return sample_mask(settings.task, *cells, patch, rng, settings.given)
    return read_mask(Path(settings.mask), cells, pipeline.size)


def _longer(clip: Any, frames: int) -> Any:
    """A simulated clip that goes on for `frames` frames."""
    from physics_sim.clip import Clip as SimulatedClip
    from physics_sim.world import simulate

    trajectory = simulate(clip.scene, frames=frames)
    return SimulatedClip(clip.scene, trajectory, clip.scenario, clip.split, clip.index, clip.seed, clip.size)


def _say_if_unlike(pipeline: Any, frames: np.ndarray, source: str) -> None:
    """Warns of frames (T, H, W, 3) that the autoencoder shows far worse than a clip like those it was trained on.

    Known of models that were trained on simulated clips: one of those is asked for.
    """
    training = pipeline.config.training or {}
    data = (training.get("config") or {}).get("data") if isinstance(training.get("config"), dict) else None
    if not isinstance(data, dict) or data.get("source") != "simulate" or not len(frames):
        return
    import physics_sim

    trained = physics_sim.make_clip("collide", "train", 0, size=pipeline.size[0]).frames
    usual, found = (_reconstruction(pipeline, clip[:4]) for clip in (trained, frames))
    if found < usual - FAR_WORSE:
        click.echo(
            f"Warning: {source} is unlike what this model was trained on: its autoencoder shows it with {found:.1f} dB "
            f"(PSNR), and simulated clips with {usual:.1f} dB. Expect little of the generated frames.",
            err=True,
        )
        sys.stderr.flush()


def _reconstruction(pipeline: Any, frames: np.ndarray) -> float:
    """PSNR in dB of frames (T, H, W, 3) that went through the autoencoder."""
    shown = pipeline.decode(pipeline.encode(frames[None]))[0]
    error = float(np.mean((shown.astype(np.float64) - frames) ** 2)) / 255**2
    return float(-10 * np.log10(max(error, 1e-10)))
