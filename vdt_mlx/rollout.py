"""Clips longer than the network was trained for, by sliding its window.

The first window is asked for what follows the given frames; every next one is conditioned on the end of the last, in
latents, so nothing is decoded and encoded on the way (paper, section 3.4: any frames can be the given ones).
"""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.engine import Engine, OnStep, flipped, mixed_seed, of_all
from vdt_mlx.errors import VDTError


def windows(total: int, given: int, window: int, overlap: int) -> list[tuple[int, int, int]]:
    """(start, first new frame, end) of each window; the last one slides back so as to end with the clip."""
    spans = [(0, given, min(window, total))]
    while spans[-1][2] < total:
        done = spans[-1][2]
        end = min(done + window - overlap, total)
        spans.append((end - window, done, end))
    return spans


def roll_out(
    engine: Engine,
    frames: np.ndarray,
    total: int,
    sampling: Sampling | None = None,
    *,
    overlap: int | None = None,
    seeds: Sequence[int] | int = 0,
    on_step: OnStep | None = None,
) -> np.ndarray:
    """Predicts on from given frames, for as long as asked.

    Args:
        frames: (B, G, H, W, 3) uint8, 1 <= G < the network's frames: the beginning.
        total: frames of the result, at least as many as the network has.
        sampling: as in `Engine.fill`, for each window.
        overlap: frames of each window that are the end of the last one; by default G.
        seeds: one a clip, or a first one that counts upwards. The first window is what `fill` makes of them.

    Returns:
        (B, total, H, W, 3) uint8, beginning with `frames`.

    Raises:
        VDTError: counts that do not fit, or as `Engine.fill`.
    """
    batch, given = frames.shape[:2]
    window, chosen = engine.frames, engine.resolve(sampling)
    overlap = given if overlap is None else overlap
    _check(given, overlap, window, total)
    firsts = list(range(seeds, seeds + batch) if isinstance(seeds, int) else seeds)
    spans = windows(total, given, window, overlap)

    def numbered(index: int) -> OnStep | None:
        return None if on_step is None else lambda step: on_step(of_all(step, index, len(spans)))

    def padded(known: mx.array) -> mx.array:
        return mx.concatenate([known, mx.zeros((batch, window - known.shape[1], *known.shape[2:]))], axis=1)

    latents = engine.encode(frames).astype(mx.float32)
    mirrored = padded(engine.encode(flipped(frames)).astype(mx.float32)) if chosen.mirror else None
    for index, (start, new, _) in enumerate(spans):
        clean = padded(latents[:, start:new])
        mask = np.ones(clean.shape[:-1], np.float32)
        mask[:, : new - start] = 0
        made = engine.fill_latents(
            clean,
            mask,
            chosen,
            mirrored=mirrored if index == 0 else None,
            seeds=firsts if index == 0 else [mixed_seed(seed, index) for seed in firsts],
            on_step=numbered(index),
        )
        latents = mx.concatenate([latents[:, :new], made[:, new - start :]], axis=1)
        mx.eval(latents)
    return np.concatenate([frames, engine.decode(latents[:, given:])], axis=1)


def _check(given: int, overlap: int, window: int, total: int) -> None:
    """Raises VDTError for counts of frames that do not fit."""
    if not 1 <= given < window:
        raise VDTError(f"{given} given frames do not fit a window of {window}: give 1 to {window - 1}.")
    if not 1 <= overlap < window:
        raise VDTError(f"An overlap of {overlap} frames does not fit a window of {window}: 1 to {window - 1}.")
    if total < window:
        raise VDTError(f"A roll-out has at least the {window} frames that the network makes at once, not {total}.")
