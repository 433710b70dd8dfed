"""Clips that were generated from nothing: are agent and patient there, and do they move as the simulator's do?

There is no truth to compare with, so distributions are compared: Wasserstein distances of sizes and speeds, beside the
same distances of two halves of the truth, which is what a perfect generator would get from as many clips.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vdt_mlx.pair_score import AGENT, PATIENT, TOLERANCE, centroids

THERE = 0.9
"""Share of the frames in which an object must be found to be there."""


@dataclass(frozen=True)
class Seen:
    """What is seen of the agent and the patient in some clips; one row a clip, NaN where absent."""

    there: NDArray[np.bool_]
    """(B, 2): found in THERE of the frames."""
    size: NDArray[np.float64]
    """(B, 2): median area, pixels of 64 x 64."""
    speed: NDArray[np.float64]
    """(B, 2): mean speed, pixels a frame."""
    jerk: NDArray[np.float64]
    """(B, 2): median over time of |a_t - median a|, a the second differences: 0 where one law holds throughout."""


def look(clips: NDArray[np.uint8]) -> Seen:
    """Reads clips (B, T, H, W, 3) by the two colours that every simulated clip may have."""
    scale = clips.shape[2] / 64
    position = centroids(clips) / scale
    found = np.isfinite(position).all(-1)
    area = np.stack([_areas(clips, colour) for colour in (AGENT, PATIENT)], axis=-1) / scale**2
    velocity = np.diff(position, axis=1)
    acceleration = np.diff(velocity, axis=1)
    size, speed, jerk = (np.full((len(clips), 2), np.nan) for _ in range(3))
    for clip in range(len(clips)):
        for role in range(2):
            if not found[clip, :, role].mean() >= THERE:
                continue
            size[clip, role] = np.median(area[clip, found[clip, :, role], role])
            moved = velocity[clip, :, role]
            speed[clip, role] = np.nanmean(np.linalg.norm(moved, axis=-1))
            turn = acceleration[clip, :, role]
            turn = turn[np.isfinite(turn).all(-1)]
            jerk[clip, role] = np.median(np.linalg.norm(turn - np.median(turn, axis=0), axis=-1)) if len(turn) else 0.0
    return Seen(found.mean(axis=1) >= THERE, size, speed, jerk)


def _areas(clips: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.float64]:
    """(B, T) pixels of a colour, by soft count."""
    distance = np.linalg.norm(clips.astype(np.float32) - np.array(colour, np.float32), axis=-1)
    return np.clip(1 - distance / TOLERANCE, 0, None).sum(axis=(-2, -1)).astype(np.float64)


def compare(ours: Seen, first: Seen, second: Seen) -> dict[str, float]:
    """Shares and distances of generated clips from two halves of the truth, with the halves' own beside them."""
    result: dict[str, float] = {}
    for role, name in enumerate(("agent", "patient")):
        result[f"{name}_there"] = float(ours.there[:, role].mean())
        result[f"{name}_there_truth"] = float(np.concatenate([first.there, second.there])[:, role].mean())
        for quantity in ("size", "speed"):
            a, b, c = (getattr(seen, quantity)[:, role] for seen in (ours, first, second))
            result[f"{name}_{quantity}_distance"] = (distance(a, b) + distance(a, c)) / 2
            result[f"{name}_{quantity}_distance_truth"] = distance(b, c)
    jerks = [seen.jerk[np.isfinite(seen.jerk)] for seen in (ours, first, second)]
    result["residual_acceleration"] = float(np.mean(jerks[0])) if len(jerks[0]) else float("nan")
    result["residual_acceleration_truth"] = float(np.mean(np.concatenate(jerks[1:])))
    return result


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Wasserstein distance of two samples, NaN left out; NaN if one is empty."""
    from scipy.stats import wasserstein_distance

    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    return float(wasserstein_distance(a, b)) if len(a) and len(b) else float("nan")
