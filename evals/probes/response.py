"""From paths to a response: predicted effect against true effect, its slope, intercept and interval.

A family is a set of clips in which one cause takes several values and everything else stays the same, for each of
several seeds. The effect of the cause in a clip is read off the displacement of the objects since the last given frame:

    D_v    mean over the predicted frames (those in which an object is in sight whatever the value) of p_t - p_given
    u      the first principal direction, over values, of the true D_v: where the cause moves things
    e_v    (D_v - mean over values of the true D) . u, in pixels, of the truth and of the prediction

The slope of predicted on true effect, pooled over seeds that each have an intercept of their own, is 1 for a predictor
that reads the cause from the given frames, and 0 for one that does not look (copying the last frame, or remembering one
typical clip). The intercept is what it adds whatever the cause. Intervals: bootstrap over seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Response:
    """A predictor's response to one cause. NaN where nothing could be measured."""

    slope: float
    low: float
    high: float
    intercept: float
    """Pixels."""
    count: int
    """Clips."""
    missing: int
    """Clips in which the prediction lacks the objects."""


@dataclass(frozen=True)
class Effects:
    """Effects of one seed's clips, (V,) pixels each; predicted ones are NaN where objects are missing."""

    true: Floats
    predicted: Floats


def effects(true: Floats, predicted: Floats, visible: NDArray[np.bool_], given: int) -> Effects:
    """Effects of the clips of one seed.

    Args:
        true, predicted: (V, T, N, 2) positions in pixels, one row a value of the cause; NaN where absent.
        visible: (V, T, N) where the truth is in sight.
        given: context frames; frame `given` - 1 is where displacements count from.
    """
    shared = visible.all(axis=0)
    objects = shared[given - 1] & shared[given:].any(axis=0)
    if not objects.any():
        nothing = np.full(len(true), np.nan)
        return Effects(nothing, nothing)
    frames = shared[given:, objects]
    truth = _displacement(true[:, :, objects], frames, given)
    guess = _displacement(np.where(np.isfinite(predicted), predicted, np.nan)[:, :, objects], frames, given)
    centre = truth.mean(axis=0)
    direction = np.linalg.svd(truth - centre, full_matrices=False)[2][0]
    if (along := (truth - centre) @ direction)[np.abs(along).argmax()] < 0:
        direction = -direction
    return Effects((truth - centre) @ direction, (guess - centre) @ direction)


def _displacement(position: Floats, frames: NDArray[np.bool_], given: int) -> Floats:
    """(V, 2 N) mean displacement since the last given frame over the `frames` (F, N)."""
    moved = position[:, given:] - position[:, given - 1 : given]
    moved = np.where(frames[None, :, :, None], moved, np.nan)
    present = np.isfinite(moved).all(axis=-1).sum(axis=1)
    with np.errstate(invalid="ignore"):
        mean = np.where(np.isfinite(moved), moved, 0.0).sum(axis=1) / present[..., None]
    mean[present < 0.5 * frames.sum(axis=0)] = np.nan  # an object that is hardly there shows no effect to trust
    return mean.reshape(len(position), -1)


def response(found: Sequence[Effects], resamples: int = 2000) -> Response:
    """The response over the effects of several seeds."""
    parts = [_moments(one) for one in found]
    count = sum(int(np.isfinite(one.true).sum()) for one in found)
    missing = sum(int((np.isfinite(one.true) & ~np.isfinite(one.predicted)).sum()) for one in found)
    table = np.array([part for part in parts if part is not None])
    if not len(table) or not table[:, 0].sum() > 0:
        nan = float("nan")
        return Response(nan, nan, nan, nan, count, missing)
    weights = np.random.default_rng(0).multinomial(len(table), np.full(len(table), 1 / len(table)), resamples)
    sums = weights @ table
    slopes = sums[:, 1][sums[:, 0] > 0] / sums[:, 0][sums[:, 0] > 0]
    low, high = np.quantile(slopes, (0.025, 0.975))
    slope = table[:, 1].sum() / table[:, 0].sum()
    intercept = table[:, 2].sum() / table[:, 3].sum()
    return Response(float(slope), float(low), float(high), float(intercept), count, missing)


def _moments(one: Effects) -> tuple[float, float, float, float] | None:
    """Of one seed: sum of squares of the true effect, of products, of what is added, and the number of clips."""
    both = np.isfinite(one.true) & np.isfinite(one.predicted)
    if both.sum() < 2:
        return None
    true, predicted = one.true[both], one.predicted[both]
    centred = true - true.mean()
    return float((centred**2).sum()), float(centred @ predicted), float((predicted - true).sum()), float(both.sum())


def imagined_collisions(
    true: Floats, predicted: Floats, visible: NDArray[np.bool_], given: int, limit: float
) -> NDArray[np.float64]:
    """(V,) 1 where a prediction bends the agent's path although the truth does not, 0 where not, NaN if it is absent.

    For clips (V, T, N, 2) without any contact in the predicted frames: the agent is object 0, and moves uniformly. Its
    path is bent if it ends more than `limit` pixels from the truth's, mean over the last three frames in sight.
    """
    result = np.full(len(true), np.nan)
    for row, (path, guess, seen) in enumerate(zip(true, predicted, visible, strict=True)):
        frames = np.flatnonzero(seen[:, 0] & (np.arange(len(path)) >= given))[-3:]
        error = np.linalg.norm(guess[frames, 0] - path[frames, 0], axis=-1)
        if len(frames) and np.isfinite(error).any():
            result[row] = float(np.nanmean(error) > limit)
    return result
