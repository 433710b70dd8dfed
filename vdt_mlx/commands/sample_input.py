"""What `vdt-mlx sample` samples from: a clip of one's own or a simulated one, and the mask."""

import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import click
import numpy as np

from vdt_mlx import marked
from vdt_mlx.commands.sample_settings import SampleSettings
from vdt_mlx.errors import VDTError
from vdt_mlx.media import video
from vdt_mlx.media.mask_file import read_mask
from vdt_mlx.pair_score import Colour, Marked, psnr
from vdt_mlx.pipeline import Pipeline

FAR_WORSE = 8.0
"""Decibels by which the autoencoder may show a clip worse than those it was trained on, before that is said."""


def find_clip(settings: SampleSettings, pipeline: Pipeline, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The clip (T, H, W, 3) that the settings name, fitted to the model, and which of its frames are known (T,).

    Only the frames that `mask` (T, h, w), of the model's window, gives have to be in a file; the others are black.
    """
    height, width = pipeline.size
    count = settings.frames or pipeline.frames
    if settings.input is not None:
        if in_phyworld(settings.input):
            whole = _phyworld_clip(settings, pipeline)
            frames, known = pipeline.read(whole, mask, frames=settings.frames, fit=settings.fit)
        else:
            options: dict[str, Any] = {"start": settings.start, "stride": settings.stride, "fit": settings.fit}
            frames, known = pipeline.read(settings.input, mask, frames=settings.frames, **options)
        _say_if_unlike(pipeline, frames[known], settings.input)
        return frames, known
    if height != width:
        raise VDTError(f"The simulator draws square clips and this model takes {width} x {height}; use --input.")
    if settings.scene is not None:
        from vdt_mlx.play.scene import drawn_clip, open_scene

        return drawn_clip(open_scene(Path(settings.scene)), count, height).frames, np.ones(count, bool)
    import physics_sim

    clip = physics_sim.make_clip(settings.scenario, "val", settings.scene_seed, size=height)
    if settings.frames is not None:  # the same scene, for longer
        clip = _longer(clip, count)
    if len(clip.frames) < count:
        raise VDTError(f"Simulated clips have {len(clip.frames)} frames and this model takes {count}; use --input.")
    return clip.frames[:count], np.ones(count, bool)


def find_objects(settings: SampleSettings, clip: np.ndarray, known: np.ndarray) -> Marked | None:
    """What can be followed by its colour in a clip (T, H, W, 3) of one's own; None where nothing can.

    Raises VDTError where colours or a map were given and do not show what to follow.
    """
    if settings.input is None:
        return None
    asked = settings.colours is not None or settings.map is not None
    if not known.all():
        if asked:
            flag = "--colours" if settings.map is None else "--map"
            click.echo(f"Note: {settings.input} ends too early to measure distances: {flag} does nothing.", err=True)
        return None
    if not asked:
        return _balls(clip) if in_phyworld(settings.input) else marked.seen(clip)
    if settings.map is not None:
        return marked.named(clip, marked.colours_of_map(Path(settings.map), _first_frame(settings.input)))
    return marked.named(clip, marked.parse_colours(settings.colours or ""))


def _first_frame(address: str) -> np.ndarray:
    """(H, W, 3) the first frame of a clip of one's own, at the clip's own size."""
    if in_phyworld(address):
        from physics_sim import phyworld

        return phyworld.read_clip(address).frames[0]
    with closing(video.iterate_frames(address)) as frames:
        return next(frames)


def in_phyworld(address: str) -> bool:
    """Whether it is a clip in a file of PhyWorld: `FILE.hdf5#00000/17`."""
    return any(f"{suffix}#" in address.lower() for suffix in (".hdf5", ".h5"))


def _phyworld_clip(settings: SampleSettings, pipeline: Pipeline) -> np.ndarray:
    """(T, H, W, 3) the frames of a clip in a file of PhyWorld, at the model's size."""
    from physics_sim import phyworld

    assert settings.input is not None
    clip = phyworld.read_clip(settings.input)
    height, width = pipeline.size
    frames = clip.frames_at(height) if height == width else clip.frames
    return frames[settings.start :: settings.stride]


def _balls(clip: np.ndarray) -> Marked | None:
    """The balls of a clip of PhyWorld's, whose colours are known."""
    from physics_sim import phyworld

    shown: dict[str, Colour] = {}
    for name, colour in phyworld.COLOURS.items():
        with suppress(VDTError):
            marked.named(clip, {name: colour})
            shown[name] = colour
    return marked.named(clip, shown) if shown else None


def find_mask(settings: SampleSettings, pipeline: Pipeline) -> np.ndarray:
    """(T, h, w) on latent cells."""
    if settings.mask is None:
        return pipeline.task_mask(settings.task, settings.given, settings.seed)
    return read_mask(Path(settings.mask), pipeline.cells, pipeline.size)


def _longer(clip: Any, frames: int) -> Any:
    """A simulated clip that goes on for `frames` frames."""
    from physics_sim.clip import Clip as SimulatedClip
    from physics_sim.world import simulate

    trajectory = simulate(clip.scene, frames=frames)
    return SimulatedClip(clip.scene, trajectory, clip.scenario, clip.split, clip.index, clip.seed, clip.size)


def _say_if_unlike(pipeline: Pipeline, frames: np.ndarray, source: str) -> None:
    """Warns of frames (T, H, W, 3) that the autoencoder shows far worse than a clip like those it was trained on.

    Known of checkpoints that say how well it shows their training clips, and of those that were trained on simulated
    ones: one of those is asked for.
    """
    usual = _usual_reconstruction(pipeline)
    if usual is None or not len(frames):
        return
    found = _reconstruction(pipeline, frames[:4])
    if found < usual - FAR_WORSE:
        click.echo(
            f"Warning: {source} is unlike what this model was trained on: its autoencoder shows it with {found:.1f} dB "
            f"(PSNR), and clips like those with {usual:.1f} dB. Expect little of the generated frames.",
            err=True,
        )
        sys.stderr.flush()


def _usual_reconstruction(pipeline: Pipeline) -> float | None:
    """PSNR in dB of clips like the training's that went through the autoencoder; None if it is not known."""
    training = pipeline.config.training or {}
    said = training.get("reconstruction_psnr")
    if isinstance(said, int | float) and not isinstance(said, bool) and 0 < said < 200:
        return float(said)
    data = (training.get("config") or {}).get("data") if isinstance(training.get("config"), dict) else None
    if not isinstance(data, dict) or data.get("source") != "simulate":
        return None
    import physics_sim

    trained = physics_sim.make_clip("collide", "train", 0, size=pipeline.size[0]).frames
    return _reconstruction(pipeline, trained[:4])


def _reconstruction(pipeline: Pipeline, frames: np.ndarray) -> float:
    """PSNR in dB of frames (T, H, W, 3) that went through the autoencoder."""
    return psnr(pipeline.decode(pipeline.encode(frames[None]))[0], frames)
