"""Where the agent and the patient are, by their colours: the quick score that sampling and training print.

Its numbers are called pair errors. The average displacement error (ADE) is the examiner's, `evals`, which tracks every
object and with more care; this only needs the two colours that every simulated clip has.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

Colour = tuple[int, int, int]

AGENT: Colour = (220, 50, 47)
PATIENT: Colour = (250, 200, 40)
TOLERANCE = 90.0
"""Distance in RGB (0-255) at which a pixel no longer counts as an object's colour."""
MIN_AREA = 4.0
"""Pixels (by soft count) below which an object counts as absent."""
VANISHED = 20.0
"""Pixels charged for an object that is absent in a predicted frame, at 64 pixels a side."""


@dataclass(frozen=True)
class Marked:
    """Objects that are known by their colours."""

    names: tuple[str, ...]
    colours: tuple[Colour, ...]
    tolerance: float = TOLERANCE


STANDARD = Marked(("agent", "patient"), (AGENT, PATIENT))
"""What every simulated clip has."""


@dataclass(frozen=True)
class Score:
    """Means over objects and generated frames, in pixels; `presence` is the share of objects that were found."""

    pair_error: float
    """Mean distance of agent and patient from where they truly are."""
    pair_error_final: float
    """The same in the last frame that shows one of them."""
    presence: float


def centroids(
    frames: np.ndarray, colours: tuple[Colour, ...] = (AGENT, PATIENT), tolerance: float = TOLERANCE
) -> np.ndarray:
    """Colour centroids (..., T, objects, 2), x right and y down in pixels; NaN where an object is absent.

    Args:
        frames: (..., T, H, W, 3) uint8; see `weights`.
    """
    height, width = frames.shape[-3:-1]
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    found = []
    for colour in colours:
        weight = weights(frames, colour, tolerance)
        total = weight.sum(axis=(-2, -1))
        with np.errstate(invalid="ignore", divide="ignore"):
            centre = np.stack([(weight.sum(axis=-2) @ x) / total, (weight.sum(axis=-1) @ y) / total], axis=-1)
        centre[total < MIN_AREA * height * width / 64**2] = np.nan
        found.append(centre)
    return np.stack(found, axis=-2)


def weights(frames: np.ndarray, colour: Colour, tolerance: float = TOLERANCE) -> np.ndarray:
    """(..., H, W) how much each pixel of frames (..., H, W, 3) has a colour: 1 - distance / tolerance, at least 0."""
    distance = np.linalg.norm(frames.astype(np.float32) - np.array(colour, np.float32), axis=-1)
    return np.clip(1 - distance / tolerance, 0, None)


def score(truth: np.ndarray, prediction: np.ndarray, generated: np.ndarray, objects: Marked = STANDARD) -> Score | None:
    """The pair errors of a clip over its generated frames, both (T, H, W, 3) uint8.

    Args:
        generated: (T,) bool. Objects that the truth does not show in a frame are left out of it; one that only the
            prediction lacks is charged VANISHED (scaled to the frame). None if nothing can be compared.
    """
    frames = np.flatnonzero(generated)
    if not len(frames):
        return None
    true, ours = (centroids(clip[frames], objects.colours, objects.tolerance) for clip in (truth, prediction))
    distance = np.linalg.norm(true - ours, axis=-1)
    visible = ~np.isnan(true).any(axis=-1)
    if not visible.any():
        return None
    missing = np.isnan(ours).any(axis=-1)
    distance = np.where(missing, VANISHED * truth.shape[-2] / 64, distance)
    last = visible.any(axis=1).nonzero()[0][-1]
    return Score(
        pair_error=float(distance[visible].mean()),
        pair_error_final=float(distance[last][visible[last]].mean()),
        presence=float(1 - missing[visible].mean()),
    )


def copy_last(clips: np.ndarray, given: int | None = None) -> np.ndarray:
    """Clips (N, T, H, W, 3) that repeat their last given frame (half are given by default): the baseline."""
    given = given or clips.shape[1] // 2
    copied = clips.copy()
    copied[:, given:] = clips[:, given - 1 : given]
    return copied


def score_clips(truth: np.ndarray, predicted: np.ndarray, given: int | None = None) -> dict[str, float]:
    """Means over clips (N, T, H, W, 3) uint8: pair errors in pixels, presence, and those of repeating the last frame.

    Half of the frames are given by default. Clips that show neither object are left out; `clips` counts the others.
    """
    given = given or truth.shape[1] // 2
    generated = np.arange(truth.shape[1]) >= given
    rows = []
    for clip, ours, copied in zip(truth, predicted, copy_last(truth, given), strict=True):
        mine, other = score(clip, ours, generated), score(clip, copied, generated)
        if mine is not None and other is not None:
            both = mine.pair_error, mine.pair_error_final, mine.presence, other.pair_error, other.pair_error_final
            rows.append(both)
    if not rows:
        return {"clips": 0}
    error, final, presence, copied, copied_final = np.mean(rows, axis=0)
    return {
        "clips": len(rows),
        "pair_error": round(float(error), 3),
        "pair_error_final": round(float(final), 3),
        "presence": round(float(presence), 4),
        "copy_last_pair_error": round(float(copied), 3),
        "copy_last_pair_error_final": round(float(copied_final), 3),
    }


PERFECT = 100.0
"""dB of frames without any error."""


def psnr(frames: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of a clip, uint8 of one shape, from the mean squared error of all its pixels."""
    error = np.subtract(frames, truth, dtype=np.float64)
    return decibels(float((error**2).mean()))


def decibels(mean_square: float, peak: float = 255.0) -> float:
    """10 log10(peak^2 / mean square error), at most PERFECT; NaN for an error that is no finite number."""
    if not np.isfinite(mean_square):
        return float("nan")
    return PERFECT if mean_square <= 0 else min(PERFECT, float(10 * np.log10(peak**2 / mean_square)))


def metrics(
    truth: np.ndarray,
    samples: np.ndarray,
    mask: np.ndarray,
    *,
    simulated: bool,
    predicting: bool,
    by_frame: bool,
    objects: Marked | None = None,
) -> dict[str, Any]:
    """Over generated frames, means over samples: PSNR, and the pair errors where objects are known by their colours.

    Args:
        truth: (T, H, W, 3) uint8.
        samples: (K, T, H, W, 3) uint8.
        mask: (T, h, w), 1 = generated.
        simulated: whether the truth is of the simulator's world, whose objects can be found by their colours.
        predicting: whether the given frames come before all others, so that the last of them can be repeated.
        by_frame: whether to give the pair error of each generated frame too.
        objects: of a truth of another world, those that can be found by their colours, where some can.
    """
    generated = mask.reshape(len(mask), -1).max(axis=1) > 0
    ratios = [psnr(ours[generated], truth[generated]) for ours in samples]
    scores: dict[str, Any] = {"psnr": _rounded(np.mean(ratios))}
    objects = objects or (STANDARD if simulated else None)
    if objects is None:
        return scores
    found = [item for item in (score(truth, ours, generated, objects) for ours in samples) if item is not None]
    if found:
        if objects is not STANDARD:
            scores["objects"] = list(objects.names)
        errors = [item.pair_error for item in found]
        scores |= {
            "pair_error": _rounded(np.mean(errors)),
            "pair_error_final": _rounded(np.mean([item.pair_error_final for item in found])),
            "presence": _rounded(np.mean([item.presence for item in found])),
        }
        if by_frame:
            scores["pair_error_by_frame"] = _by_frame(truth, samples, generated, objects)
        if len(errors) > 1:
            scores["pair_error_best"] = _rounded(min(errors))
        if predicting:
            last = int(np.flatnonzero(~generated)[-1])
            copied = score(truth, np.broadcast_to(truth[last], truth.shape), generated, objects)
            if copied is not None:
                scores["pair_error_copy_last"] = _rounded(copied.pair_error)
    return scores


def _by_frame(truth: np.ndarray, samples: np.ndarray, generated: np.ndarray, objects: Marked) -> list[float | None]:
    """The drift of a roll-out: mean pair error in each generated frame; None where no object can be seen."""
    drift: list[float | None] = []
    for frame in np.flatnonzero(generated):
        only = np.arange(len(truth)) == frame
        found = [
            item.pair_error for item in (score(truth, ours, only, objects) for ours in samples) if item is not None
        ]
        drift.append(_rounded(np.mean(found)) if found else None)
    return drift


def _rounded(value: Any) -> float:
    return round(float(value), 4)
