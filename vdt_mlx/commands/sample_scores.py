"""The numbers of `vdt-mlx sample`: how far what was imagined is from the truth."""

from typing import Any

import numpy as np

from vdt_mlx.pair_score import score


def metrics(
    truth: np.ndarray,
    frames: np.ndarray,
    mask: np.ndarray,
    *,
    simulated: bool,
    predicting: bool,
    by_frame: bool,
) -> dict[str, Any]:
    """Over generated frames: PSNR, and of the simulator's world the centroid errors.

    Args:
        truth: (T, H, W, 3) uint8.
        frames: (samples, T, H, W, 3) uint8.
        mask: (T, h, w), 1 = generated.
        simulated: whether the truth is of the simulator's world, whose objects can be found by their colours.
        predicting: whether the given frames come before all others, so that the last of them can be repeated.
        by_frame: whether to give the centroid error of each generated frame too.
    """
    generated = mask.reshape(len(mask), -1).max(axis=1) > 0
    error = (truth[generated].astype(np.float64) - frames[:, generated]) ** 2
    scores: dict[str, Any] = {"psnr": _rounded(10 * np.log10(255**2 / max(float(error.mean()), 1e-9)))}
    if not simulated:
        return scores
    found = [item for item in (score(truth, ours, generated) for ours in frames) if item is not None]
    if found:
        ades = [item.ade for item in found]
        scores |= {
            "ade": _rounded(np.mean(ades)),
            "fde": _rounded(np.mean([item.fde for item in found])),
            "presence": _rounded(np.mean([item.presence for item in found])),
        }
        if by_frame:
            scores["ade_by_frame"] = _by_frame(truth, frames, generated)
        if len(ades) > 1:
            scores["ade_best"] = _rounded(min(ades))
        if predicting:
            last = int(np.flatnonzero(~generated)[-1])
            copied = score(truth, np.broadcast_to(truth[last], truth.shape), generated)
            if copied is not None:
                scores["ade_copy_last"] = _rounded(copied.ade)
    return scores


def _by_frame(truth: np.ndarray, frames: np.ndarray, generated: np.ndarray) -> list[float | None]:
    """The drift of a roll-out: mean centroid error in each generated frame; None where no object can be seen."""
    drift: list[float | None] = []
    for frame in np.flatnonzero(generated):
        only = np.arange(len(truth)) == frame
        found = [item.ade for item in (score(truth, ours, only) for ours in frames) if item is not None]
        drift.append(_rounded(np.mean(found)) if found else None)
    return drift


def _rounded(value: Any) -> float:
    return round(float(value), 4)
