"""The metrics, each with its formula. Trajectories are in pixels; F predicted frames, N objects.

Shapes: positions (F, N, 2), NaN where absent; `visible` (F, N): enough of the object is in sight in the truth to ask
for it; `whole` (F, N): all of it is. A mean over nothing is NaN, and NaN is left out of means over clips (and counted).

**A vanished object costs `CUTOFF` pixels**, and no error costs more (the cut-off of OSPA, Schuhmacher et al. 2008), so
that vanishing never pays. In a clip of another size the cut-off scales with it: 20 of 64 pixels, 5/16 of the width.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CUTOFF = 20.0
"""Pixels of 64: what a vanished object costs, and the most that a displacement costs."""
SPEED_CUTOFF = 4.0
"""Pixels of 64 a frame: the same for velocities."""
TOUCH = 0.2
"""Pixels of 64: the gap that is seen between outlines that touch."""
SWAP_MARGIN = 3.0
"""Pixels of 64: two objects have swapped when the exchange fits better by this much for each."""


def mean(values: ArrayLike, where: ArrayLike | None = None) -> float:
    """The mean of the values that are finite (and where `where`); NaN if there are none."""
    values = np.asarray(values, float)
    keep = np.isfinite(values) if where is None else np.isfinite(values) & np.asarray(where)
    return float(values[keep].mean()) if keep.any() else float("nan")


# ---- positions and velocities


def displacement(truth: Floats, predicted: Floats, visible: Bools, cutoff: float = CUTOFF) -> Floats:
    """(F, N): min(|predicted - truth|, cutoff); cutoff where predicted is absent; NaN where truth is not visible."""
    error = np.sqrt(((predicted - truth) ** 2).sum(-1))
    error = np.minimum(np.where(np.isfinite(error), error, cutoff), cutoff)
    return np.where(visible & np.isfinite(truth).all(-1), error, np.nan)


def ade(error: Floats, frames: Bools | None = None) -> float:
    """Average displacement error: the mean of `displacement` over objects and frames (or the frames chosen, (F,))."""
    return mean(error if frames is None else error[frames])


def fde(error: Floats) -> float:
    """Final displacement error: the mean of `displacement` over objects in the last frame."""
    return mean(error[-1])


def velocity_error(
    truth: Floats, predicted: Floats, whole: Bools, cutoff: float = SPEED_CUTOFF, after: float = -np.inf
) -> float:
    """Mean over objects and frames of |v^ - v|, v_t = x_{t+1} - x_t.

    The idea is PhyWorld's (Kang et al. 2025, section 3); its number is another one, in `scoring.phyworld`.

    Pixels a frame, Euclidean. `truth` and `predicted` include the last given frame, so T runs over the predicted
    frames. Only pairs of frames in which the object is wholly visible in the truth, both after the time `after`
    (frames). Absent in the prediction: `cutoff`, also the largest.
    """
    true_velocity, velocity = np.diff(truth, axis=0), np.diff(predicted, axis=0)
    error = np.sqrt(((velocity - true_velocity) ** 2).sum(-1))
    error = np.minimum(np.where(np.isfinite(error), error, cutoff), cutoff)
    later = (np.arange(len(truth) - 1) >= after)[:, None]
    return mean(error, whole[1:] & whole[:-1] & later & np.isfinite(true_velocity).all(-1))


# ---- objects as objects


def presence(predicted: Floats, visible: Bools) -> float:
    """The share of (frame, object) visible in the truth at which the prediction has the object."""
    return mean(np.isfinite(predicted).all(-1), visible)


def duplicates(copies: NDArray[np.int64]) -> float:
    """The share of (frame, object) present in the prediction of which there are two or more."""
    return mean(copies >= 2, copies >= 1)


def size_drift(area: Floats, true_area: Floats, whole: Bools) -> float:
    """Mean |A / A* - 1| over (frame, object) present in both and wholly visible; A* as parsed from the true frame."""
    with np.errstate(divide="ignore", invalid="ignore"):
        drift = np.abs(area / true_area - 1)
    return mean(drift, whole & (area > 0) & (true_area > 0))


def identity_swaps(truth: Floats, predicted: Floats, visible: Bools, margin: float = SWAP_MARGIN) -> int:
    """How often two objects change places: the onsets, over frames and pairs (i, j), of

    |p_i - q_j| + margin < |p_i - q_i|  and  |p_j - q_i| + margin < |p_j - q_j|   (p predicted, q true),
    that is, both fit the other's place better than their own.
    """
    swaps = 0
    for i, j in combinations(range(truth.shape[1]), 2):
        distance = {(a, b): np.sqrt(((predicted[:, a] - truth[:, b]) ** 2).sum(-1)) for a in (i, j) for b in (i, j)}
        state = (distance[i, j] + margin < distance[i, i]) & (distance[j, i] + margin < distance[j, j])
        state &= visible[:, i] & visible[:, j]
        swaps += int(state[0]) + int((state[1:] & ~state[:-1]).sum())
    return swaps


def overlap(predicted: Floats, inradius: ArrayLike) -> float:
    """Pixels of certain interpenetration: mean over frames and pairs of max(0, r_i + r_j - |p_i - p_j|).

    r is the radius of the largest disc around an object's centroid that the object contains: such discs of two rigid
    bodies can never overlap, whatever their shapes, so the truth has zero.
    """
    radius = np.asarray(inradius, float)
    depths = [
        np.maximum(0, radius[i] + radius[j] - np.sqrt(((predicted[:, i] - predicted[:, j]) ** 2).sum(-1)))
        for i, j in combinations(range(predicted.shape[1]), 2)
    ]
    return mean(depths) if depths else float("nan")


# ---- conservation


def momentum_residual(truth: Floats, predicted: Floats, mass: ArrayLike, whole: Bools) -> float:
    """Mean over t of |sum_i m_i (v^_i - v_i)| / mean over t of sum_i m_i |v_i|, v finite differences.

    Both are tracked: `truth` in the *true frames* (the parsed truth), so the tracker's own error is in both. Only
    intervals in which every object is whole in the truth; an interval in which the prediction lacks one counts as 1.
    """
    m = np.asarray(mass, float)[:, None]
    true_velocity, velocity = np.diff(truth, axis=0), np.diff(predicted, axis=0)
    use = (whole[1:] & whole[:-1] & np.isfinite(true_velocity).all(-1)).all(1)
    scale = mean(np.sqrt(((m * true_velocity) ** 2).sum(-1)).sum(1), use)
    residual = np.sqrt(((m * (velocity - true_velocity)).sum(1) ** 2).sum(-1)) / scale
    return mean(np.where(np.isfinite(residual), residual, 1.0), use) if use.any() and scale > 0 else float("nan")


def energy_residual(
    truth: Floats,
    predicted: Floats,
    mass: ArrayLike,
    whole: Bools,
    gravity: float = 0.0,
    contacts: ArrayLike = (),
) -> float:
    """Mean over t of |E^ - E| / mean over t of the true kinetic energy, E = sum_i m_i (|v_i|^2 / 2 + g h_i).

    v is the finite difference over an interval and h (up) the mean height over it; gravity in pixels a frame^2. An
    interval that contains a contact (times in frames, of this array) is left out, as velocity has no one value there.
    """
    m = np.asarray(mass, float)

    def energy(position: Floats) -> tuple[Floats, Floats]:
        velocity = np.diff(position, axis=0)
        kinetic = (m * (velocity**2).sum(-1) / 2).sum(1)
        height = -(position[1:, :, 1] + position[:-1, :, 1]) / 2
        return kinetic, kinetic + gravity * (m * height).sum(1)

    kinetic, true_energy = energy(truth)
    use = (whole[1:] & whole[:-1]).all(1) & np.isfinite(true_energy)
    for time in np.atleast_1d(np.asarray(contacts, float)):
        starts = np.arange(len(use))
        use &= ~((starts <= time) & (time <= starts + 1))
    scale = mean(kinetic, use)
    if not use.any() or not scale > 0:
        return float("nan")
    residual = np.abs(energy(predicted)[1] - true_energy) / scale
    return mean(np.where(np.isfinite(residual), residual, 1.0), use)


# ---- the contact question


def contact_score(gap: ArrayLike) -> float:
    """The smallest gap (pixels) between agent and patient over the predicted frames, also between two frames:

    two straight lines, one through the last two gaps before an interval and one back from the two after it, may meet
    below both (a bounce between frames). NaN if no frame shows both.
    """
    gap = np.asarray(gap, float)
    if not np.isfinite(gap).any():
        return float("nan")
    lowest = float(np.nanmin(gap))
    for t in range(1, len(gap) - 2):
        before, after = gap[t] - gap[t - 1], gap[t + 1] - gap[t + 2]
        if before < 0 and after < 0 and np.isfinite(before + after):
            # gap[t] + before * s == gap[t + 1] + after * (1 - s), at the share s of the interval
            share = (gap[t + 1] + after - gap[t]) / (before + after)
            if 0 <= share <= 1:
                lowest = min(lowest, float(gap[t] + before * share))
    return lowest


def contact_time(gap: ArrayLike, threshold: float, zero: float = TOUCH) -> float:
    """When (frames, from the first of `gap`) two objects touch that come as close as `threshold`; NaN if they do not.

    With t the first frame at or below the threshold: where the line through the two gaps before t (if closing; else
    through those before and at t) reaches `zero`, at most a frame away from t.
    """
    gap = np.asarray(gap, float)
    for t in range(len(gap)):
        if gap[t] <= threshold:
            for earlier, later in ((t - 2, t - 1), (t - 1, t)):
                if earlier >= 0 and gap[later] < gap[earlier]:
                    speed = gap[earlier] - gap[later]
                    return float(np.clip(t - 1 + (gap[t - 1] - zero) / speed, t - 1, t + 1))
            return float(t)
    return float("nan")


# ---- several samples


def trajectory_distance(a: Floats, b: Floats, visible: Bools, cutoff: float = CUTOFF) -> float:
    """The distance that ADE uses, between two predictions: 0 where both lack an object, cutoff where one does."""
    error = np.sqrt(((a - b) ** 2).sum(-1))
    neither = np.isnan(a).any(-1) & np.isnan(b).any(-1)
    error = np.where(neither, 0.0, np.minimum(np.where(np.isfinite(error), error, cutoff), cutoff))
    return mean(error, visible)


def energy_score(truth: Floats, samples: list[Floats], visible: Bools, cutoff: float = CUTOFF) -> float:
    """mean_k d(X_k, y) - mean_{k != l} d(X_k, X_l) / 2 (Gneiting & Raftery 2007, eq. 22), d the distance of ADE.

    Proper, unlike best-of-K: it is least in expectation for the true distribution. NaN for a single sample.
    """
    if len(samples) < 2:
        return float("nan")
    to_truth = mean([ade(displacement(truth, sample, visible, cutoff)) for sample in samples])
    pairs = [trajectory_distance(a, b, visible, cutoff) for a, b in combinations(samples, 2)]
    return to_truth - mean(pairs) / 2


# ---- pictures


def ssim(frames: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    """Wang et al. 2004: 11 x 11 Gaussian window, sigma 1.5, K = (.01, .03), mean over channels, pixels and frames."""
    from scipy.ndimage import gaussian_filter

    def blur(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return gaussian_filter(x, (0, 1.5, 1.5, 0), radius=(0, 5, 5, 0))

    a, b = frames.astype(np.float32), truth.astype(np.float32)
    mu_a, mu_b = blur(a), blur(b)
    aa, bb, ab = blur(a * a) - mu_a**2, blur(b * b) - mu_b**2, blur(a * b) - mu_a * mu_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mu_a * mu_b + c1) * (2 * ab + c2) / ((mu_a**2 + mu_b**2 + c1) * (aa + bb + c2))
    return float(value.mean())


# ---- intervals


@dataclass(frozen=True)
class Interval:
    """A mean over clips with its 95 % bootstrap interval. `count` clips had a value, `missing` had none."""

    mean: float
    low: float
    high: float
    count: int
    missing: int


def bootstrap(values: Floats, resamples: int = 2000, seed: int = 0) -> list[Interval]:
    """Percentile intervals for the mean over clips of each row of `values` (rows, clips); NaN is left out.

    Paired: every row sees the same resamples of the clips, so the interval of a difference of two rows is that of
    their row of differences.
    """
    values = np.atleast_2d(np.asarray(values, float))
    clips = values.shape[1]
    finite = np.isfinite(values)
    filled = np.where(finite, values, 0.0)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(clips, np.full(clips, 1 / max(clips, 1)), resamples) if clips else None
    intervals = []
    for row, mask in zip(filled, finite, strict=True):
        count = int(mask.sum())
        if not count or weights is None:
            intervals.append(Interval(float("nan"), float("nan"), float("nan"), 0, clips))
            continue
        total = weights @ mask.astype(float)
        means = (weights @ row)[total > 0] / total[total > 0]
        low, high = np.quantile(means, (0.025, 0.975))
        intervals.append(Interval(float(row.sum() / count), float(low), float(high), count, clips - count))
    return intervals
