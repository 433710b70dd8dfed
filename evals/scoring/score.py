"""One clip, one prediction, all the numbers: what is asked of every predictor, and the names the results use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from evals.scoring import metrics
from evals.tracking.tracks import Tracks
from vdt_mlx.errors import VDTError
from vdt_mlx.pair_score import psnr

CONTACT_GAP = 1.2
"""Pixels of 64: agent and patient touch when the gap between their outlines falls to this.

Chosen on the validation split with the tracker on true frames, never on the test split:
`python -m evals.physics calibrate` derives it again.
"""
COLOUR_LIMIT = 50.0
"""An object whose typical colour is further than this (of 255 a channel, Euclidean) from its own has changed it."""


@dataclass(frozen=True)
class Truth:
    """What is known of a clip. T frames, N objects; pixels, frames and radians. Nothing here reaches a predictor."""

    frames: NDArray[np.uint8]
    position: NDArray[np.float64]
    """(T, N, 2): the visible centroid (the body's own where it is whole), NaN where it cannot be seen."""
    visible: NDArray[np.bool_]
    """(T, N): asked for: movable, seen in the given frames, and enough of it in sight now."""
    whole: NDArray[np.bool_]
    """(T, N): movable, and nothing of it hidden or outside."""
    tracked: Tracks
    """The tracker on the true frames (the parsed truth)."""
    names: list[str]
    inradius: NDArray[np.float64]
    mass: NDArray[np.float64]
    agent: int
    patient: int | None
    contact: bool | None
    """Whether agent and patient touch in the predicted frames; None where the question is not asked."""
    contact_time: float
    """Frames since the first frame; NaN without contact."""
    contact_times: NDArray[np.float64]
    """Of every contact in the clip, frames."""
    pixels_per_metre: float
    fps: float
    gravity: float
    """Pixels a frame^2."""
    conserves_momentum: bool
    conserves_energy: bool
    after_contact_only: bool
    """Velocities count after the collision only."""
    given: int


@dataclass(frozen=True)
class Prediction:
    """What a predictor says, for all T frames (the given ones as tracked)."""

    position: NDArray[np.float64]
    """(T, N, 2), NaN where absent."""
    frames: NDArray[np.uint8] | None = None
    tracks: Tracks | None = None
    """Of its frames, where it has any; a predictor of states has neither."""
    gap: NDArray[np.float64] | None = None
    """(T,) pixels between agent and patient."""
    answer: bool | None = None
    """Its own answer to the contact question; None to have it decided from `gap`."""
    touch: float = float("nan")
    """With an answer of its own: when they first touch, frames."""


@dataclass(frozen=True)
class Metric:
    """A column of the results: all there is to say about it, once."""

    name: str
    label: str
    unit: str
    better: str
    """"lower", "higher", or "" where neither is (plain columns)."""
    formula: str
    percent: bool = False
    """Printed in percent; it is a share between 0 and 1 everywhere else."""
    shown: bool = False
    """A column unless asked otherwise, wherever it applies."""
    digits: int | None = None
    """Decimals that are printed; by the size of the number where it says none."""

    def described(self) -> dict[str, str]:
        """Its entry in results.json."""
        return {key: getattr(self, key) for key in ("name", "label", "unit", "better", "formula")}


_LIST = [
    Metric(
        "ade",
        "ADE",
        "px",
        "lower",
        "mean over predicted frames and objects of min(|p^ - p|, 20); absent: 20",
        shown=True,
    ),
    Metric("fde", "FDE", "px", "lower", "the same in the last frame", shown=True),
    Metric("ade_before", "ADE before contact", "px", "lower", "ADE over frames before agent first touches patient"),
    Metric("ade_after", "ADE after contact", "px", "lower", "ADE over frames from then on"),
    Metric("fde_before", "FDE before contact", "px", "lower", "error in the last frame before first contact"),
    Metric("fde_after", "FDE after contact", "px", "lower", "FDE of the clips with contact"),
    Metric("ade_world", "ADE", "m", "lower", "ADE in world units"),
    Metric("fde_world", "FDE", "m", "lower", "FDE in world units"),
    Metric(
        "velocity",
        "velocity error",
        "px/frame",
        "lower",
        "mean |v^ - v|, wholly visible objects (not PhyWorld's number: --suite phyworld)",
        shown=True,
    ),
    Metric("velocity_before", "velocity error before contact", "px/frame", "lower", "the same before first contact"),
    Metric("velocity_after", "velocity error after contact", "px/frame", "lower", "the same after first contact"),
    Metric("velocity_world", "velocity error", "m/s", "lower", "velocity error in world units"),
    Metric(
        "presence",
        "presence",
        "",
        "higher",
        "share of visible (frame, object) at which the object is there",
        percent=True,
    ),
    Metric(
        "presence_both",
        "agent and patient present",
        "",
        "higher",
        "the same for agent and patient",
        percent=True,
        shown=True,
    ),
    Metric(
        "identity_kept",
        "identity kept",
        "",
        "higher",
        "1 if agent and patient keep colour and none swap, else 0",
        percent=True,
        shown=True,
    ),
    Metric("swaps", "identity swaps", "a clip", "lower", "onsets of two objects exchanging places"),
    Metric(
        "duplicates",
        "duplicates",
        "",
        "lower",
        "share of present (frame, object) seen twice or more",
        percent=True,
    ),
    Metric("size_drift", "size drift", "", "lower", "mean |A / A* - 1|, A* parsed from the true frame", percent=True),
    Metric("overlap", "overlap", "px", "lower", "mean depth by which inner discs of two objects overlap"),
    Metric(
        "contact",
        "contact question",
        "",
        "higher",
        "share of clips with the contact question answered rightly",
        percent=True,
        shown=True,
    ),
    Metric(
        "contact_time",
        "contact time error",
        "frames",
        "lower",
        "|t^ - t| where both truth and prediction touch",
    ),
    Metric("momentum", "momentum residual", "", "lower", "mean |P^ - P| / mean sum m|v|, where conserved"),
    Metric("energy", "energy residual", "", "lower", "mean |E^ - E| / mean kinetic energy, where conserved"),
    Metric(
        "ade_best", "best ADE of K", "px", "lower", "the lowest ADE of the K samples (not a proper score)", shown=True
    ),
    Metric(
        "energy_score", "energy score", "px", "lower", "mean d(X, y) - mean d(X, X') / 2 over the K samples", shown=True
    ),
    Metric("psnr", "PSNR", "dB", "", "plain picture quality; says nothing about physics"),
    Metric("ssim", "SSIM", "", "", "plain picture quality; says nothing about physics"),
    Metric("lpips", "LPIPS", "", "", "plain picture quality (AlexNet), where the package lpips is installed"),
]
METRICS: dict[str, Metric] = {metric.name: metric for metric in _LIST}


def default_columns() -> tuple[str, ...]:
    """The metrics that are columns unless asked otherwise."""
    return tuple(metric.name for metric in METRICS.values() if metric.shown)


def known_metrics(names: Iterable[str], known: Mapping[str, Metric] = METRICS) -> tuple[str, ...]:
    """The names as given; raises VDTError for one that is no metric."""
    names = tuple(names)
    for name in names:
        if name not in known:
            close = get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}."
            raise VDTError(f"Unknown metric {name!r}; {hint}")
    return names


Scores = dict[str, float]


def score(truth: Truth, prediction: Prediction) -> tuple[Scores, NDArray[np.float64]]:
    """All metrics of one prediction (NaN where one does not apply), and the mean error by predicted frame (F,)."""
    start = truth.given
    scale = truth.frames.shape[2] / 64
    cutoff, speed_cutoff = metrics.CUTOFF * scale, metrics.SPEED_CUTOFF * scale
    position, visible = prediction.position, truth.visible
    error = metrics.displacement(truth.position, position, visible, cutoff)
    future, whole = error[start:], truth.whole
    frame = np.arange(len(position))
    touched = np.isfinite(truth.contact_time)
    before, after = (frame >= start) & (frame < truth.contact_time), (frame >= start) & (frame >= truth.contact_time)
    recent = slice(start - 1, None)

    def velocity(keep: slice | NDArray[np.bool_], since: float = -np.inf) -> float:
        return metrics.velocity_error(truth.position[keep], position[keep], whole[keep], speed_cutoff, since)

    nan = float("nan")
    since = truth.contact_time - (start - 1) if truth.after_contact_only and touched else -np.inf
    seconds_metres = truth.fps / truth.pixels_per_metre
    values: Scores = {
        "ade": metrics.ade(future),
        "fde": metrics.fde(future),
        "ade_before": metrics.ade(error, before) if touched and before.any() else nan,
        "ade_after": metrics.ade(error, after) if touched and after.any() else nan,
        "fde_before": metrics.mean(error[np.nonzero(before)[0][-1]]) if touched and before.any() else nan,
        "fde_after": metrics.fde(future) if touched else nan,
        "velocity": velocity(recent, since),
        "velocity_before": velocity(slice(start - 1, int(np.floor(truth.contact_time)) + 1)) if touched else nan,
        "velocity_after": velocity(slice(int(np.ceil(truth.contact_time)), None)) if touched else nan,
    }
    values["ade_world"] = values["ade"] / truth.pixels_per_metre
    values["fde_world"] = values["fde"] / truth.pixels_per_metre
    values["velocity_world"] = values["velocity"] * seconds_metres
    values |= _objects(truth, prediction)
    values |= _contact(truth, prediction)
    values |= _conservation(truth, position)
    if prediction.frames is not None:
        values["psnr"] = psnr(prediction.frames[start:], truth.frames[start:])
        values["ssim"] = metrics.ssim(prediction.frames[start:], truth.frames[start:])
    by_frame = np.array([metrics.mean(row) for row in future])
    return {name: values.get(name, nan) for name in METRICS}, by_frame


def _objects(truth: Truth, prediction: Prediction) -> Scores:
    """Presence, identity, copies, size and overlap over the predicted frames."""
    start = truth.given
    position, visible = prediction.position[start:], truth.visible[start:]
    roles = [truth.agent] + ([truth.patient] if truth.patient is not None else [])
    swaps = metrics.identity_swaps(truth.position[start:], position, visible, metrics.SWAP_MARGIN * _scale(truth))
    values: Scores = {
        "presence": metrics.presence(position, visible),
        "presence_both": metrics.presence(position[:, roles], visible[:, roles]),
        "swaps": float(swaps),
        "overlap": metrics.overlap(position, truth.inradius),
    }
    tracks = prediction.tracks
    if tracks is None:
        return values
    area, size = tracks.area[start:], truth.tracked.area[start:]
    typical = np.nanmax(np.where(truth.tracked.area > 0, truth.tracked.area, np.nan), axis=0, initial=0)
    absent = visible & ~tracks.present[start:]
    repainted = absent & (tracks.strange[start:, None] >= typical / 2)
    changed = (np.nan_to_num(tracks.colour_shift[start:]) > COLOUR_LIMIT) | repainted
    values["duplicates"] = metrics.duplicates(np.where(visible, tracks.copies[start:], 0))
    values["size_drift"] = metrics.size_drift(area, size, truth.whole[start:] & visible)
    values["identity_kept"] = float(not changed[:, roles].any() and swaps == 0)
    return values


def _contact(truth: Truth, prediction: Prediction) -> Scores:
    if truth.contact is None:
        return {}
    answer, time = prediction.answer, prediction.touch
    if answer is None and prediction.gap is not None:
        # From the last given frame on: a contact may fall between it and the first predicted one.
        recent = prediction.gap[truth.given - 1 :]
        limit, lowest = CONTACT_GAP * _scale(truth), metrics.contact_score(recent)
        answer = bool(lowest <= limit)
        if answer:
            nearest = max(limit, float(np.nanmin(recent)))
            time = metrics.contact_time(recent, nearest, metrics.TOUCH * _scale(truth)) + truth.given - 1
    values: Scores = {}
    if answer is not None:
        values["contact"] = float(answer == truth.contact)
        if answer and truth.contact and np.isfinite(time):
            values["contact_time"] = abs(time - truth.contact_time)
    return values


def _conservation(truth: Truth, position: NDArray[np.float64]) -> Scores:
    recent = slice(truth.given - 1, None)
    parsed, predicted, whole = truth.tracked.position[recent], position[recent], truth.whole[recent]
    values: Scores = {}
    if truth.conserves_momentum:
        values["momentum"] = metrics.momentum_residual(parsed, predicted, truth.mass, whole)
    if truth.conserves_energy:
        times = truth.contact_times - (truth.given - 1)
        values["energy"] = metrics.energy_residual(parsed, predicted, truth.mass, whole, truth.gravity, times)
    return values


def _scale(truth: Truth) -> float:
    return truth.frames.shape[2] / 64


def score_samples(truth: Truth, predictions: list[Prediction]) -> tuple[Scores, NDArray[np.float64]]:
    """K samples of one clip: the mean of every metric, and with K > 1 also best-of-K ADE and the energy score."""
    each = [score(truth, prediction) for prediction in predictions]
    values = {name: metrics.mean([one[name] for one, _ in each]) for name in METRICS}
    if len(each) > 1:
        values["ade_best"] = min(one["ade"] for one, _ in each)
        positions = [prediction.position[truth.given :] for prediction in predictions]
        visible, cutoff = truth.visible[truth.given :], metrics.CUTOFF * _scale(truth)
        values["energy_score"] = metrics.energy_score(truth.position[truth.given :], positions, visible, cutoff)
    by_frame = np.stack([curve for _, curve in each])
    finite = np.isfinite(by_frame)
    with np.errstate(invalid="ignore"):
        curve = np.where(finite, by_frame, 0).sum(0) / finite.sum(0)
    return values, curve
