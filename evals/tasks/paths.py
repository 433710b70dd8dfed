"""Where objects are in a clip that was generated around any given frames, not only after the first ones."""

import numpy as np
from numpy.typing import NDArray

from evals.scoring import metrics
from evals.scoring.cases import Case
from evals.tracking.tracker import Tracker

Floats = NDArray[np.float64]


def run_of(given: NDArray[np.bool_]) -> tuple[int, int]:
    """(first, end) of the longest run of given frames in `given` (T,), the earliest of equals."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], given, [False]]).astype(int)))
    starts, ends = edges[::2], edges[1::2]
    best = int((ends - starts).argmax())
    return int(starts[best]), int(ends[best])


def track(case: Case, frames: NDArray[np.uint8], given: NDArray[np.bool_]) -> Floats:
    """(T, N, 2) positions in `frames` (T, H, W, 3), NaN where absent.

    The tracker learns the objects from the longest run of given frames, and follows them from there to the end and,
    with time reversed, to the beginning.
    """
    first, end = run_of(given)
    labels = _labels(case)
    names = [case.clip.bodies[i].name for i in case.asked]
    position = np.full((len(frames), len(names), 2), np.nan)
    forward = Tracker(frames[first:end], labels[first:end], names)
    position[first:] = forward.track(frames[first:]).position
    if first:
        back = Tracker(frames[first:end][::-1], labels[first:end][::-1], names)
        position[:end] = back.track(frames[:end][::-1]).position[::-1]
    return position


def _labels(case: Case) -> NDArray[np.intp]:
    """(T, H, W): the annotation of true frames as the tracker takes it."""
    masks = case.clip.masks().astype(int) - 1
    place = np.full(len(case.clip.bodies) + 1, -2)
    place[-1] = -1
    place[case.asked] = np.arange(len(case.asked))
    return place[masks]


def scores(case: Case, samples: list[Floats], given: NDArray[np.bool_]) -> dict[str, float]:
    """`ade` (mean over the samples), `ade_best`, `ade_mean` (of the samples' mean path), `energy_score`, `spread`.

    Over the frames that were not given, of objects that are in sight there; pixels. `spread` is the root mean square
    distance of the samples from their mean, `skill` the root mean square error of that mean: for samples of the true
    distribution the two are alike.
    """
    truth, visible = case.truth.position, case.truth.visible & ~given[:, None]
    cutoff = metrics.CUTOFF * case.frames.shape[1] / 64
    each = [metrics.ade(metrics.displacement(truth, path, visible, cutoff)) for path in samples]
    found = {"ade": metrics.mean(each), "ade_best": min(each)}
    if len(samples) < 2:
        return found
    stack = np.stack(samples)
    there: NDArray[np.bool_] = np.asarray(np.isfinite(stack).all(axis=-1))
    with np.errstate(invalid="ignore"):
        middle = np.where(there[..., None], stack, 0.0).sum(0) / there.sum(0)[..., None]
    found["ade_mean"] = metrics.ade(metrics.displacement(truth, middle, visible, cutoff))
    found["energy_score"] = metrics.energy_score(truth, samples, visible, cutoff)
    apart = np.where(there, ((stack - middle) ** 2).sum(-1), np.nan)
    keep = visible & (there.sum(0) > 1)
    count = there.sum(0)
    with np.errstate(invalid="ignore"):
        variance = np.nansum(apart, axis=0) / np.maximum(count - 1, 1)
        wrong = ((middle - truth) ** 2).sum(-1)
    found["spread"] = float(np.sqrt(metrics.mean(variance, keep)))
    # The mean of K samples is itself off by spread / sqrt(K), which is taken out.
    found["skill"] = float(np.sqrt(max(metrics.mean(wrong - variance / np.maximum(count, 1), keep), 0.0)))
    return found
