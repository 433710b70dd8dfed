"""The dreamer: one model, loaded once, that goes on from given frames and tells of every step."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from physics_sim.clip import Clip
from physics_sim.scene import Scene
from vdt_mlx.errors import VDTError
from vdt_mlx.play import pictures
from vdt_mlx.play.scene import drawn_clip

MAX_FUTURES = 8
MAX_STEPS = 50
STRANGE = 3.0
"""A clip whose reconstruction is so many times worse than a simulated one's is unlike what the model has seen."""


class Cancelled(Exception):
    """The page has moved on."""


@dataclass(frozen=True)
class Wish:
    """What is dreamt of. `mask` (T, h, w) on latent cells, 1 = generate."""

    mask: np.ndarray
    scene: Scene | None = None
    video: str | None = None
    """Key of a clip that the page has sent."""
    seeds: tuple[int, ...] = (0,)
    sampler: str | None = None
    steps: int | None = None


@dataclass
class Result:
    """The last dream of a page, for its downloads."""

    truth: np.ndarray
    made: np.ndarray
    mask: np.ndarray


class Dreamer:
    """Everything that touches MLX; used from one thread."""

    def __init__(self, model: str, load: Callable[[str], Any]) -> None:
        self.model = model
        self.pipeline = load(model)
        height, width = self.pipeline.size
        if height != width:
            raise VDTError(f"The playground draws square clips and {model} takes {width} x {height} pixels.")
        self.size, self.frames = height, self.pipeline.frames
        factor = self.pipeline.autoencoder.config.downsample
        self.cells = (self.frames, height // factor, width // factor)
        self.videos: dict[str, np.ndarray] = {}
        self.usual: float | None = None

    def about(self) -> dict[str, Any]:
        """What the page must know of the model."""
        from vdt_mlx.diffusion.sampling import fitting

        config = self.pipeline.config
        return {
            "model": Path(self.model).name,
            "frames": self.frames,
            "size": self.size,
            "cells": list(self.cells[1:]),
            "patch": config.vdt.patch_size,
            "given": max(1, self.frames // 2),
            "sampler": config.diffusion.sampler,
            "steps": config.diffusion.steps,
            "samplers": fitting(config.diffusion.schedule),
        }

    def clip(self, scene: Scene) -> Clip:
        """The simulator's truth of a scene."""
        return drawn_clip(scene, self.frames, self.size)

    def first_dream(self, scene: Scene) -> tuple[dict[str, Any], Result]:
        """The dream of a scene after half of its frames, as it is told when done, and its result."""
        mask = np.ones(self.cells, np.float32)
        mask[: self.frames // 2] = 0
        told: list[dict[str, Any]] = []
        result = self.dream(Wish(mask, scene), told.append, lambda: False)
        return told[-1], result

    def dream(self, wish: Wish, tell: Callable[[dict[str, Any]], None], cancelled: Callable[[], bool]) -> Result:
        """Dreams, tells `tell` of every step, and returns the result.

        Raises Cancelled as soon as `cancelled()` says so, between two network calls; VDTError for what does not fit.
        """
        began = time.perf_counter()
        truth, contact = self._truth(wish)
        given = wish.mask.reshape(len(wish.mask), -1).max(axis=1) == 0
        calls = 0

        def on_step(step: Any) -> None:
            nonlocal calls
            if cancelled():
                raise Cancelled
            calls = step.calls
            if step.index < step.total:  # the last one is about to be told as the result
                shown = truth.copy()
                shown[~given] = self.pipeline.decode(step.x0[:1][:, mx.array(np.flatnonzero(~given))])[0]
                milliseconds = round(1000 * (time.perf_counter() - began))
                told = {"type": "step", "index": step.index, "total": step.total, "calls": calls, "ms": milliseconds}
                tell({**told, "preview": pictures.strip(shown), "errors": pictures.errors(truth, shown)})

        if cancelled():
            raise Cancelled
        made = self._generate(truth, wish, on_step)
        tell(
            {
                "type": "done",
                "ms": round(1000 * (time.perf_counter() - began)),
                "calls": calls,
                "dreams": [
                    {
                        "frames": pictures.strip(frames),
                        "paths": pictures.paths(frames),
                        "errors": pictures.errors(truth, frames),
                        "touch": pictures.touches(frames[~given]),
                    }
                    for frames in made
                ],
                "touch": contact,
                "seeds": list(wish.seeds),
            }
        )
        return Result(truth, made, wish.mask)

    def _truth(self, wish: Wish) -> tuple[np.ndarray, bool | None]:
        if wish.scene is None:
            if wish.video not in self.videos:
                raise VDTError("That video is not here any more: drop it on the page again.")
            return self.videos[wish.video], None
        clip = self.clip(wish.scene)
        asked = wish.scene.index("patient") is not None
        return clip.frames, bool(clip.contact) if asked else None

    def _generate(self, truth: np.ndarray, wish: Wish, on_step: Callable[[Any], None]) -> np.ndarray:
        from vdt_mlx.device.cpu_streams import lanes
        from vdt_mlx.diffusion.sampling import Sampling

        factor = self.size // self.cells[1]
        hidden = wish.mask.repeat(factor, axis=1).repeat(factor, axis=2)[..., None] > 0
        known = np.where(hidden, np.uint8(0), truth)  # nothing of the answer is in what the network gets
        count = len(wish.seeds)
        with lanes():
            return self.pipeline.fill(
                np.repeat(known[None], count, axis=0),
                np.repeat(wish.mask[None], count, axis=0),
                Sampling(**_options(wish)),
                seeds=list(wish.seeds),
                on_step=on_step,
            )

    # ---- a video of one's own

    def keep_video(self, path: Path, key: str) -> dict[str, Any]:
        """Reads a clip for later wishes; says how it looks, and if it is unlike what the model has seen."""
        from vdt_mlx.media import video

        frames = video.read_clip(path, self.frames, (self.size, self.size))
        while len(self.videos) >= 4:
            self.videos.pop(next(iter(self.videos)))
        self.videos[key] = frames
        error = self._reconstruction_error(frames)
        if self.usual is None:
            import physics_sim

            self.usual = self._reconstruction_error(physics_sim.make_clip("collide", "val", 0, size=self.size).frames)
        times = error / max(self.usual, 1e-6)
        warning = ""
        if times > STRANGE:
            warning = f"This looks unlike what the model was trained on: it redraws it {times:.0f} times worse."
        return {"video": key, "frames": pictures.strip(frames), "paths": pictures.paths(frames), "warning": warning}

    def _reconstruction_error(self, frames: np.ndarray) -> float:
        made = self.pipeline.decode(self.pipeline.encode(frames[None]))[0]
        return float(((made.astype(float) - frames.astype(float)) ** 2).mean())


def _options(wish: Wish) -> dict[str, Any]:
    chosen = {"sampler": wish.sampler, "steps": wish.steps}
    return {name: value for name, value in chosen.items() if value is not None}


def read_wish(value: dict[str, Any], cells: Sequence[int], scene: Scene | None) -> Wish:
    """A wish from the page's JSON. Raises VDTError with one sentence for anything that does not fit."""
    frames, height, width = cells
    rows = value.get("mask")
    if not isinstance(rows, list) or len(rows) != frames:
        raise VDTError(f"The mask is a list of {frames} texts, one a frame.")
    for row in rows:
        if not isinstance(row, str) or len(row) != height * width or set(row) - {"0", "1"}:
            raise VDTError(f"A frame of the mask is a text of {height * width} letters 0 and 1.")
    mask = np.array([[int(letter) for letter in row] for row in rows], np.float32).reshape(frames, height, width)
    if not mask.any():
        raise VDTError("There is nothing to dream: every frame is given.")
    seeds = value.get("seeds", [0])
    if not isinstance(seeds, list) or not 1 <= len(seeds) <= MAX_FUTURES:
        raise VDTError(f"Ask for 1 to {MAX_FUTURES} futures.")
    if any(isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63 for seed in seeds):
        raise VDTError("A seed is a whole number from 0 to 2^63 - 1.")
    steps, sampler = value.get("steps"), value.get("sampler")
    if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS):
        raise VDTError(f"Steps are a whole number from 1 to {MAX_STEPS}.")
    if sampler is not None and not isinstance(sampler, str):
        raise VDTError("The sampler is a name.")
    video = value.get("video")
    if scene is None and not isinstance(video, str):
        raise VDTError("There is neither a scene nor a video to dream of.")
    return Wish(mask, scene, video if scene is None else None, tuple(seeds), sampler, steps)
