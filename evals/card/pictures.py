"""The pictures of a card: clips from best to worst, the responses to the probes, several futures of one clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals.physics.highlights import ranked
from evals.physics.units import Job
from evals.predictors.checkpoint import Checkpoint
from evals.scoring.cases import choose_groups, make_case
from evals.suites.suite import Suite
from vdt_mlx.media.figures import save_figure
from vdt_mlx.media.pictures import save_sheet

FUTURES, CONTEXT = 8, 4
"""Samples of one clip, and the frames that they begin with."""
ACCENT, QUIET = "#0072b2", "#7f7f7f"


def clips(suite: Suite, jobs: Sequence[Job], body: dict[str, Any], work: Path, path: Path) -> list[str]:
    """Writes the two best, two median and two worst clips in distribution by ADE, truth above prediction.

    Returns a line for each. Raises VDTError where the examination's own files are gone.
    """
    shown = ranked(suite, jobs, body, work, 2)
    save_sheet(path, [(picture.frames, picture.predicted) for picture in shown])
    return [f"{picture.rank}: {picture.clip}, {picture.ade:.2f} px" for picture in shown]


def probes(body: dict[str, Any], path: Path) -> bool:
    """Writes predicted against true effect of every probe; False where there are none of this model."""
    families = [
        family for family in body.get("probes", {}).get("families", {}).values() if body["model"] in family["effects"]
    ]
    if not families:
        return False
    from matplotlib.figure import Figure

    rows = -(-len(families) // 4)
    figure = Figure(figsize=(10, 2.7 * rows), dpi=110, layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False)
    for place, family in zip(axes.flat, families, strict=False):
        true, found = (np.array(values, float).ravel() for values in (family["true"], family["effects"][body["model"]]))
        low, high = np.nanmin([true, found]), np.nanmax([true, found])
        place.plot([low, high], [low, high], color=QUIET, linewidth=1, linestyle="--")
        place.scatter(true, found, s=16, color=ACCENT)
        slope = family["responses"][body["model"]]["slope"]
        place.set_title(family["title"] + ("" if slope is None else f": slope {slope:.2f}"), fontsize=9)
        place.tick_params(labelsize=8)
        place.spines[["top", "right"]].set_visible(False)
    for place in axes.flat[len(families) :]:
        place.axis("off")
    figure.supxlabel("true effect, m (dashed: what reading the cause from the given frames would be)", fontsize=9)
    figure.supylabel("predicted effect, m", fontsize=9)
    save_figure(figure, [path])
    return True


def futures(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the agent's path in several futures of one clip from few frames, over its last frame."""
    from matplotlib.figure import Figure

    from evals.tasks import paths
    from vdt_mlx.diffusion.sampling import Sampling

    case = make_case(choose_groups(("collide:val",))[0], 0, CONTEXT, 0)
    pipeline = checkpoint.pipeline
    mask = np.ones(pipeline.cells, np.float32)
    mask[:CONTEXT] = 0
    sampling = pipeline.resolve(Sampling(), "predict", True)
    frames = np.repeat(case.frames[None], FUTURES, 0)
    made = pipeline.fill(frames, mask, sampling, seeds=0)
    given = np.arange(len(case.frames)) < CONTEXT
    agent = case.roles["agent"]
    figure = Figure(figsize=(4.2, 4.2), dpi=110, layout="constrained")
    place = figure.subplots()
    place.imshow(case.frames[CONTEXT - 1], extent=(0, 64, 64, 0), alpha=0.6)
    for clip in made:
        place.plot(*paths.track(case, clip, given)[CONTEXT - 1 :, agent].T, color=ACCENT, linewidth=1.2, alpha=0.8)
    place.plot(*case.truth.position[CONTEXT - 1 :, agent].T, color="black", linewidth=1.6, linestyle=":")
    place.set(xticks=[], yticks=[], xlim=(0, 64), ylim=(64, 0))
    place.set_title(f"{FUTURES} futures of the agent from {CONTEXT} frames; dotted: the truth", fontsize=9)
    save_figure(figure, [path])
