"""From effects to a response: the slope of predicted on true effect, its intercept and interval.

A family (`physics_sim.families`) is a set of clips in which one cause takes several values and everything else stays
the same, for each of several seeds; the effect is how far the agent gets along the axis in which the cause works, in
metres.
The slope of predicted on true effect, pooled over seeds that each have an intercept of their own, is 1 for a predictor
that reads the cause from the given frames, and 0 for one that does not look (copying the last frame, or going on as in
one typical clip). The intercept is what it adds whatever the cause. Intervals: bootstrap over seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effects:
    """Effects of the clips of one seed, (V,) metres each; predicted ones are NaN where the agent is missing."""

    true: Floats
    predicted: Floats


@dataclass(frozen=True)
class Response:
    """A predictor's response to one cause. NaN where nothing could be measured."""

    slope: float
    low: float
    high: float
    intercept: float
    """Metres."""
    count: int
    """Clips."""
    missing: int
    """Clips in which the prediction lacks the agent."""


def metres(position: Floats, size: int, world: float) -> Floats:
    """Tracked positions (..., 2) in pixels (x right, y down) as metres, y up."""
    scale = world / size
    return np.stack([position[..., 0] * scale, world - position[..., 1] * scale], axis=-1)


def along(path: Floats, axis: int, given: int) -> float:
    """The effect in a tracked path (T, 2) in metres, as `physics_sim.families.effect` has it, over the frames in which
    the agent is found; NaN if it is missing in most of the predicted ones, or in the last given one."""
    moved = path[given:, axis] - path[given - 1, axis]
    there = np.isfinite(moved)
    return float(moved[there].mean()) if 2 * there.sum() >= len(moved) else float("nan")


def response(found: Sequence[Effects], resamples: int = 2000) -> Response:
    """The response over the effects of several seeds."""
    count = sum(int(np.isfinite(one.true).sum()) for one in found)
    missing = sum(int((np.isfinite(one.true) & ~np.isfinite(one.predicted)).sum()) for one in found)
    table = np.array([moments for one in found if (moments := _moments(one)) is not None])
    if not len(table) or not table[:, 0].sum() > 0:
        nan = float("nan")
        return Response(nan, nan, nan, nan, count, missing)
    weights = np.random.default_rng(0).multinomial(len(table), np.full(len(table), 1 / len(table)), resamples)
    sums = weights @ table
    slopes = sums[:, 1][sums[:, 0] > 0] / sums[:, 0][sums[:, 0] > 0]
    low, high = np.quantile(slopes, (0.025, 0.975))
    slope, intercept = table[:, 1].sum() / table[:, 0].sum(), table[:, 2].sum() / table[:, 3].sum()
    return Response(float(slope), float(low), float(high), float(intercept), count, missing)


def _moments(one: Effects) -> tuple[float, float, float, float] | None:
    """Of one seed: sum of squares of the true effect, of products, of what is added, and the number of clips."""
    both = np.isfinite(one.true) & np.isfinite(one.predicted)
    if both.sum() < 2:
        return None
    true, predicted = one.true[both], one.predicted[both]
    centred = true - true.mean()
    return float((centred**2).sum()), float(centred @ predicted), float((predicted - true).sum()), float(both.sum())


def imagined_collision(path: Floats, guess: Floats, given: int, limit: float) -> float:
    """1 if a prediction bends the agent's path although the truth does not, 0 if not, NaN if the agent is missing.

    For a clip without contact in the predicted frames: paths (T, 2) in metres. The path is bent if it ends more than
    `limit` from the truth's, on the mean over the last three frames.
    """
    error = np.linalg.norm(guess[-3:] - path[-3:], axis=-1)
    return float(np.nanmean(error) > limit) if np.isfinite(error).any() and len(path) > given else float("nan")
