"""A short score for people who train: trajectories beside the simplest baselines, from a few clips.

python -m evals.score FOLDER --clips 16        prints one JSON object
"""

from collections.abc import Callable, Sequence
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from evals.predictors import baselines
from evals.predictors.frames import Bad, whole_clip
from evals.scoring.cases import Case, as_prediction
from evals.scoring.metrics import mean
from evals.scoring.score import score
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
    for name, baseline in (("copy_last", baselines.copy_last), ("constant_velocity", baselines.constant_velocity)):
        found[f"ade_{name}"] = mean([score(case.truth, baseline(case))[0]["ade"] for case in cases])
    return found


_NAMES = {
    "ade": "ade",
    "fde": "fde",
    "presence": "presence_both",
    "identity_kept": "identity_kept",
    "contact": "contact",
}


@click.command()
@click.argument("model")
@click.option(
    "--clips", type=int, default=16, show_default=True, help="Clips in all, from every scenario and law in turn."
)
@click.option("--split", default="val", show_default=True, help="Which split; the test split is for the benchmark.")
@click.option("--start", type=int, default=0, show_default=True, help="The first clip of each scenario.")
@click.option("--given", type=int, default=8, show_default=True, help="Frames given.")
@click.option("--steps", type=int, help="Sampling steps; the checkpoint's own by default.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the samples' noise.")
def command(model: str, clips: int, split: str, start: int, given: int, steps: int | None, seed: int) -> None:
    """Score a checkpoint on a few held-out clips and print JSON."""
    import json

    import physics_sim
    from evals.predictors.checkpoint import Checkpoint

    if clips < 1 or start < 0:
        raise VDTError(f"--clips {clips} --start {start} does not fit: at least one clip, from 0 on.")
    checkpoint = Checkpoint(model, steps=steps, seed=seed)
    names = (*physics_sim.SCENARIOS, *physics_sim.LAWS)
    chosen = [
        physics_sim.make_clip(names[i % len(names)], split, start + i // len(names), size=checkpoint.size)
        for i in range(clips)
    ]
    if not 1 <= given < len(chosen[0].frames):
        raise VDTError(f"--given {given} does not fit clips of {len(chosen[0].frames)} frames.")

    def predict(frames: NDArray[np.uint8], given: int) -> NDArray[np.uint8]:
        cases = [Case(f"{i}", "quick", clip, given) for i, clip in enumerate(chosen)]
        made: list[Any] = []
        for first in range(0, len(cases), 8):
            made += checkpoint.complete(cases[first : first + 8])[0]
        return np.stack(made)

    found = quick_score(predict, chosen, given)
    click.echo(json.dumps({name: round(value, 4) if np.isfinite(value) else None for name, value in found.items()}))
