"""A short score for people who train: trajectories beside the simplest rivals, from a few clips in memory."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals import baselines
from evals.cases import Case
from evals.metrics import mean
from evals.predictors import Bad, whole_clip
from evals.runner import as_prediction
from evals.scoring import score
from vdt_mlx.errors import VDTError

Predict = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]


def quick_score(predict: Predict, clips: Sequence[Any], given: int = 8) -> dict[str, float]:
    """Scores `predict(frames, given)` on simulated clips.

    `predict` takes true clips (B, T, H, W, 3) uint8, of which it may use the first `given` frames, and returns clips
    of that shape. `clips` are `physics_sim` clips. Returns means over clips: `ade`, `fde` (pixels; an absent object
    costs 20), `presence` of agent and patient, `identity_kept`, `contact`, and the ADE of `ade_copy_last` and
    `ade_constant_velocity` on the same clips. Raises VDTError for output of another shape or dtype.
    """
    if not clips:
        raise VDTError("There are no clips to score.")
    cases = [Case(f"{i}", "quick", clip, given) for i, clip in enumerate(clips)]
    made = predict(np.stack([case.frames for case in cases]), given)
    if len(made) != len(cases):
        raise VDTError(f"The predictor returned {len(made)} clips for {len(cases)}.")
    rows: dict[str, list[float]] = {name: [] for name in _NAMES}
    for case, frames in zip(cases, made, strict=True):
        clip = whole_clip(case, frames)
        if isinstance(clip, Bad):
            raise VDTError(f"The predictor's output {clip.reason}.")
        values, _ = score(case.truth, as_prediction(case, clip))
        for name, metric in _NAMES.items():
            rows[name].append(values[metric])
    found = {name: mean(column) for name, column in rows.items()}
    for name, rival in (("copy_last", baselines.copy_last), ("constant_velocity", baselines.constant_velocity)):
        found[f"ade_{name}"] = mean([score(case.truth, rival(case))[0]["ade"] for case in cases])
    return found


_NAMES = {
    "ade": "ade",
    "fde": "fde",
    "presence": "presence_both",
    "identity_kept": "identity_kept",
    "contact": "contact",
}
