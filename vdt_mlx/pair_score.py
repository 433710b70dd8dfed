"""Where the agent and the patient are, by their colours: the quick score that sampling and training print.

`evals` tracks every object with more care; this only needs the two colours that every simulated clip has.
"""

from dataclasses import dataclass

import numpy as np

AGENT, PATIENT = (220, 50, 47), (250, 200, 40)
TOLERANCE = 90.0
"""Distance in RGB (0-255) at which a pixel no longer counts as an object's colour."""
MIN_AREA = 4.0
"""Pixels (by soft count) below which an object counts as absent."""
VANISHED = 20.0
"""Pixels charged for an object that is absent in a predicted frame, at 64 pixels a side."""


@dataclass(frozen=True)
class Score:
    """Means over objects and generated frames, in pixels; `presence` is the share of objects that were found."""

    ade: float
    fde: float
    presence: float


def centroids(frames: np.ndarray, colours: tuple[tuple[int, int, int], ...] = (AGENT, PATIENT)) -> np.ndarray:
    """Colour centroids (..., T, objects, 2), x right and y down in pixels; NaN where an object is absent.

    Args:
        frames: (..., T, H, W, 3) uint8. Each pixel weighs 1 - distance / TOLERANCE, at least 0, for each colour.
    """
    height, width = frames.shape[-3:-1]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    found = []
    for colour in colours:
        distance = np.linalg.norm(frames.astype(np.float32) - np.array(colour, np.float32), axis=-1)
        weight = np.clip(1 - distance / TOLERANCE, 0, None)
        total = weight.sum(axis=(-2, -1))
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = np.stack([(weight.sum(axis=-2) @ x) / total, (weight.sum(axis=-1) @ y) / total], axis=-1)
        centre[total < MIN_AREA * height * width / 64**2] = np.nan
        found.append(centre)
    return np.stack(found, axis=-2)


def score(truth: np.ndarray, prediction: np.ndarray, generated: np.ndarray) -> Score | None:
    """Average and final centroid distance of a clip over its generated frames, both (T, H, W, 3) uint8.

    Args:
        generated: (T,) bool. Objects that the truth does not show in a frame are left out of it; one that only the
            prediction lacks is charged VANISHED (scaled to the frame). None if nothing can be compared.
    """
    frames = np.flatnonzero(generated)
    if not len(frames):
        return None
    true, ours = centroids(truth[frames]), centroids(prediction[frames])
    distance = np.linalg.norm(true - ours, axis=-1)
    visible = ~np.isnan(true).any(axis=-1)
    if not visible.any():
        return None
    missing = np.isnan(ours).any(axis=-1)
    distance = np.where(missing, VANISHED * truth.shape[-2] / 64, distance)
    last = visible.any(axis=1).nonzero()[0][-1]
    return Score(
        ade=float(distance[visible].mean()),
        fde=float(distance[last][visible[last]].mean()),
        presence=float(1 - missing[visible].mean()),
    )


def copy_last(clips: np.ndarray, given: int | None = None) -> np.ndarray:
    """Clips (N, T, H, W, 3) that repeat their last given frame (half are given by default): the baseline."""
    given = given or clips.shape[1] // 2
    copied = clips.copy()
    copied[:, given:] = clips[:, given - 1 : given]
    return copied


def score_clips(truth: np.ndarray, predicted: np.ndarray, given: int | None = None) -> dict[str, float]:
    """Means over clips (N, T, H, W, 3) uint8: ADE, FDE in pixels, presence, and those of repeating the last frame.

    Half of the frames are given by default. Clips that show neither object are left out; `clips` counts the others.
    """
    given = given or truth.shape[1] // 2
    generated = np.arange(truth.shape[1]) >= given
    rows = []
    for clip, ours, copied in zip(truth, predicted, copy_last(truth, given), strict=True):
        mine, other = score(clip, ours, generated), score(clip, copied, generated)
        if mine is not None and other is not None:
            rows.append((mine.ade, mine.fde, mine.presence, other.ade, other.fde))
    if not rows:
        return {"clips": 0}
    ade, fde, presence, copy_ade, copy_fde = np.mean(rows, axis=0)
    return {
        "clips": len(rows),
        "ade": round(float(ade), 3),
        "fde": round(float(fde), 3),
        "presence": round(float(presence), 4),
        "copy_last_ade": round(float(copy_ade), 3),
        "copy_last_fde": round(float(copy_fde), 3),
    }
