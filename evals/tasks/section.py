"""The seven tasks as a part of the examination, with spread against error, context frames and roll-outs."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.predictors.checkpoint import Checkpoint, clip_seed
from evals.predictors.frames import Bad
from evals.report.table import Grid
from evals.scoring import metrics
from evals.scoring.cases import Case, Group, as_prediction, make_case
from evals.scoring.score import score
from evals.section import Context, Section, Tell
from evals.tasks import generated, labelled, paths, told
from evals.tasks.extent import (
    CONDITIONAL,
    CONTEXT_FRAMES,
    FEW,
    FULL_SAMPLES,
    LONG,
    LONG_CLIPS,
    LONG_FRAME,
    MANY,
    QUICK_SAMPLES,
    SPREAD_GIVEN,
    SPREAD_SAMPLES,
)
from vdt_mlx.pair_score import decibels

BATCH = 8
FULL = 32
"""Clips a scenario from which on the fuller forms are run."""

Rows = dict[str, list[float | None]]


class Tasks(Section):
    """What every checkpoint does with each task; predictors of frames that are no checkpoints have one task only."""

    name = "tasks"
    title = "The seven tasks"
    order = 30

    def jobs(self, context: Context) -> Sequence[str]:
        return list(_JOBS) if context.checkpoints else []

    def examine(self, job: str, context: Context, tell: Tell) -> dict[str, Any]:
        found = {}
        for checkpoint in context.checkpoints:
            tell(f"{self.title}: {job}, {checkpoint.title}")
            found[checkpoint.name] = _JOBS[job](checkpoint, context)
        return found

    def gather(self, parts: dict[str, dict[str, Any]], context: Context) -> dict[str, Any]:
        """{version, samples, models: {name: {task: {measure: {mean, low, high, count} or number}}}}."""
        models: dict[str, Any] = {}
        for job, by_model in parts.items():
            for name, rows in by_model.items():
                models.setdefault(name, {})[job] = {key: _summary(value) for key, value in rows.items()}
        return {"version": 1, "samples": _sample_count(context), "models": models}

    def verdict(self, found: dict[str, Any], body: dict[str, Any]) -> list[dict[str, str]]:
        tasks = found["models"].get(body.get("model"))
        if not tasks:
            return []
        lines = [
            told.worst(tasks),
            told.from_nothing(tasks),
            told.by_label(tasks),
            told.spread(tasks),
            told.few_frames(tasks),
            told.long(tasks),
        ]
        return [line for line in lines if line]

    def grids(self, found: dict[str, Any], body: dict[str, Any]) -> list[Grid]:
        grids = []
        for name, tasks in found["models"].items():
            rows = []
            for task in CONDITIONAL:
                cells = tasks.get(task, {})
                values = [told.cell(cells, key) for key in ("ade", "ade_best", "energy_score", "copy")]
                rows.append([task, *values])
            columns = ["task", "ADE, px", f"best of {found['samples']}", "energy score", "nearest given frame"]
            grids.append(Grid(f"Tasks with whole given frames: {name}", columns, rows))
            grids.append(Grid(f"Other measures: {name}", ["measure", "value", "beside it"], told.other_rows(tasks)))
            if "context" in tasks:
                given = [[key.removeprefix("given_"), told.cell(tasks["context"], key)] for key in tasks["context"]]
                grids.append(Grid(f"Velocity error on the laws: {name}", ["context frames", "px/frame"], given))
        return grids


def _summary(value: Any) -> Any:
    """Per-clip values as {mean, low, high, count}; a number stays one."""
    if not isinstance(value, list):
        return value
    interval = metrics.bootstrap(np.array([[np.nan if one is None else one for one in value]], float))[0]
    kept = {key: round(float(getattr(interval, key)), 6) for key in ("mean", "low", "high")}
    return {key: value if np.isfinite(value) else None for key, value in kept.items()} | {"count": interval.count}


# ---- the jobs: {measure: values by clip, or one number}


def _conditional(task: str) -> Callable[[Checkpoint, Context], dict[str, Any]]:
    def job(checkpoint: Checkpoint, context: Context) -> dict[str, Any]:
        cases = _cases(context, max(2, context.clips // 4))
        masks = np.stack([_mask(checkpoint, case, task) for case in cases])
        samples = _samples(checkpoint, cases, masks, _sample_count(context), task)
        rows: Rows = {}
        for place, case in enumerate(cases):
            given = masks[place].max(axis=(1, 2)) == 0
            found = paths.scores(case, [paths.track(case, made[place], given) for made in samples], given)
            found["copy"] = _nearest_given(case, given)
            for key, value in found.items():
                rows.setdefault(key, []).append(_plain(value))
        return dict(rows)

    return job


def _spatial(checkpoint: Checkpoint, context: Context) -> dict[str, Any]:
    """PSNR over the generated pixels alone, and how far objects are that the hole covers."""
    cases = _cases(context, max(2, context.clips // 4))
    masks = np.stack([_mask(checkpoint, case, "spatial") for case in cases])
    made = _samples(checkpoint, cases, masks, 1, "spatial")[0]
    factor = checkpoint.pipeline.autoencoder.config.downsample
    rows: Rows = {"psnr": [], "object_error": []}
    for case, mask, frames in zip(cases, masks, made, strict=True):
        hole = mask.repeat(factor, axis=1).repeat(factor, axis=2) > 0
        error = (frames.astype(float) - case.frames.astype(float)) ** 2
        rows["psnr"].append(decibels(float(error[hole].mean())))
        given = mask.max(axis=(1, 2)) == 0
        if not given.any():
            rows["object_error"].append(None)
            continue
        truth = case.truth
        position = paths.track(case, frames, given)
        x, y = (np.clip(np.nan_to_num(truth.position[..., axis]), 0, hole.shape[1] - 1).astype(int) for axis in (0, 1))
        covered = hole[np.arange(len(hole))[:, None], y, x] & truth.visible
        cutoff = metrics.CUTOFF * case.frames.shape[1] / 64
        rows["object_error"].append(
            _plain(metrics.ade(metrics.displacement(truth.position, position, covered, cutoff)))
        )
    return dict(rows)


def _unconditional(checkpoint: Checkpoint, context: Context) -> dict[str, Any]:
    """Clips from nothing beside two halves of the truth, all scenarios and laws in turn."""
    count = -(-context.clips // BATCH) * BATCH
    truth = np.stack([case.frames for case in _cases(context, 4 * count)])
    pipeline = checkpoint.pipeline
    cells = _cells(checkpoint)
    blank, mask = np.zeros((BATCH, *truth.shape[1:]), np.uint8), np.ones((BATCH, *cells), np.float32)
    sampling = _sampling(checkpoint, "unconditional", True)
    made = []
    for start in range(0, count, BATCH):
        seeds = [clip_seed(context.seed, f"free-{start + i}", 0) for i in range(BATCH)]
        made.append(pipeline.fill(blank, mask, sampling, seeds=seeds))
    halves = generated.look(truth[::2]), generated.look(truth[1::2])
    found = generated.compare(generated.look(np.concatenate(made)), *halves)
    return {key: _plain(value) for key, value in found.items()} | {"clips": count}


def _labelled(checkpoint: Checkpoint, context: Context) -> dict[str, Any]:
    """Clips by label from nothing: is the scenario the one that was asked for? Nothing for other labels, or none."""
    pipeline = checkpoint.pipeline
    groups = [group for group in _inside(context) if group.scenario in pipeline.config.vdt.labels]
    if len(groups) < 2:
        return {}
    count = max(4, context.clips // 2)
    true = {group.scenario: _cases(context, 2 * count, groups=[group]) for group in groups}
    known = {name: np.stack([case.frames for case in cases]) for name, cases in true.items()}
    reader = labelled.Reader({name: clips[::2] for name, clips in known.items()})
    sampling = _sampling(checkpoint, "unconditional", True)
    blank = np.zeros((count, *next(iter(known.values())).shape[1:]), np.uint8)
    mask = np.ones((count, *_cells(checkpoint)), np.float32)
    made, truth = [], []
    for name, clips in known.items():
        seeds = [clip_seed(context.seed, f"{name}-{i}", 0) for i in range(count)]
        found = pipeline.fill(blank, mask, replace(sampling, label=name), seeds=seeds)
        made.append(reader.share_right(found, [name] * count))
        truth.append(reader.share_right(clips[1::2], [name] * count))
    return {"as_asked": float(np.mean(made)), "as_asked_truth": float(np.mean(truth)), "chance": 1 / len(groups)}


def _spread_job(checkpoint: Checkpoint, context: Context) -> dict[str, Any]:
    """Several futures from few frames: their spread beside the error of their mean."""
    cases = _cases(context, max(2, context.clips // 4), given=SPREAD_GIVEN)
    masks = np.ones((len(cases), *_cells(checkpoint)), np.float32)
    masks[:, :SPREAD_GIVEN] = 0
    samples = _samples(checkpoint, cases, masks, SPREAD_SAMPLES, "predict")
    given = np.arange(masks.shape[1]) < SPREAD_GIVEN
    rows: Rows = {}
    for place, case in enumerate(cases):
        found = paths.scores(case, [paths.track(case, made[place], given) for made in samples], given)
        for key in ("spread", "skill", "energy_score", "ade_mean"):
            rows.setdefault(key, []).append(_plain(found[key]))
    return dict(rows)


def _context(checkpoint: Checkpoint, context: Context) -> dict[str, Any]:
    """Velocity error on the laws in distribution by the number of context frames."""
    rows: Rows = {}
    laws = [group for group in _inside(context) if group.law]
    for given in CONTEXT_FRAMES if context.clips >= FULL else (FEW, MANY):
        cases = _cases(context, max(2, context.clips // 2), given, laws) if laws else []
        values = []
        for start in range(0, len(cases), BATCH):
            batch = cases[start : start + BATCH]
            for case, frames in zip(batch, checkpoint.complete(batch)[0], strict=True):
                assert not isinstance(frames, Bad)  # a checkpoint's clips have the right shape
                values.append(_plain(score(case.truth, as_prediction(case, frames))[0]["velocity"]))
        if values:
            rows[f"given_{given}"] = values
    return dict(rows)


def _rollout(checkpoint: Checkpoint, context: Context) -> dict[str, Any]:
    """Roll-outs of scenarios, whose objects stay in the picture: error in one late frame, and presence throughout."""
    from vdt_mlx.rollout import roll_out

    groups = [group for group in _inside(context) if not group.law][: LONG_CLIPS if context.clips >= FULL else 1]
    rows: Rows = {"error": [], "presence": []}
    for group in groups:
        cases = [
            make_case(group, index, context.given, context.suite_seed, context.size, context.world, LONG)
            for index in range(max(1, context.clips // 8))
        ]
        frames = np.stack([case.given_frames for case in cases])
        seeds = [clip_seed(context.seed, case.id, 0) for case in cases]
        for case, made in zip(cases, roll_out(checkpoint.pipeline, frames, LONG, seeds=seeds), strict=True):
            position = case.tracker.track(made).position
            truth = case.truth
            error = metrics.displacement(
                truth.position, position, truth.visible, metrics.CUTOFF * case.frames.shape[1] / 64
            )
            rows["error"].append(_plain(metrics.mean(error[LONG_FRAME - 1])))
            rows["presence"].append(_plain(metrics.presence(position[context.given :], truth.visible[context.given :])))
    return dict(rows)


_JOBS: dict[str, Callable[[Checkpoint, Context], dict[str, Any]]] = {
    **{task: _conditional(task) for task in CONDITIONAL},
    "spatial": _spatial,
    "unconditional": _unconditional,
    "labelled": _labelled,
    "spread": _spread_job,
    "context": _context,
    "rollout": _rollout,
}


# ---- what they share


def _inside(context: Context) -> list[Any]:
    return [group for group in context.groups if group.in_distribution]


def _sample_count(context: Context) -> int:
    return FULL_SAMPLES if context.clips >= FULL else QUICK_SAMPLES


def _cases(context: Context, count: int, given: int | None = None, groups: Sequence[Group] | None = None) -> list[Case]:
    """The first `count` clips of scenarios and laws in distribution (or of these groups), taken in turn."""
    given = context.given if given is None else given
    groups = _inside(context) if groups is None else groups
    turns = [group for pair in zip(groups, reversed(groups), strict=True) for group in pair][
        : len(groups)
    ]  # laws are last
    return [
        make_case(group, place // len(turns), given, context.suite_seed, context.size, context.world, context.frames)
        for place, group in enumerate(islice(cycle(turns), count))
    ]


def _cells(checkpoint: Checkpoint) -> tuple[int, int, int]:
    pipeline = checkpoint.pipeline
    factor = pipeline.autoencoder.config.downsample
    return pipeline.frames, pipeline.size[0] // factor, pipeline.size[1] // factor


def _mask(checkpoint: Checkpoint, case: Case, task: str) -> NDArray[np.float32]:
    """The task's mask of a clip (T, h, w): drawn, but always the same one for the same clip."""
    from vdt_mlx.diffusion.masks import sample_mask

    rng = np.random.default_rng([29, zlib.crc32(f"{task}/{case.id}".encode())])
    mask = sample_mask(task, *_cells(checkpoint), checkpoint.pipeline.config.vdt.patch_size, rng)
    if task == "arbitrary" and mask.max(axis=(1, 2)).all():  # drawn without any given frame: that is another task
        mask[rng.integers(len(mask))] = 0
    return mask


def _samples(
    checkpoint: Checkpoint, cases: Sequence[Case], masks: NDArray[np.float32], samples: int, task: str
) -> list[NDArray[np.uint8]]:
    """`samples` arrays (cases, T, H, W, 3); what is to be generated is not in what the pipeline gets."""
    from vdt_mlx.device.cpu_streams import lanes

    sampling = _sampling(checkpoint, task, samples > 1)
    truth = np.stack([case.frames for case in cases])
    factor = checkpoint.pipeline.autoencoder.config.downsample
    pixels = masks.repeat(factor, axis=2).repeat(factor, axis=3)[..., None] > 0
    hidden = np.where(pixels, np.uint8(0), truth)
    drawn = []
    for sample in range(samples):
        parts = []
        for start in range(0, len(cases), BATCH):
            here = slice(start, start + BATCH)
            seeds = [clip_seed(checkpoint.seed, case.id, sample) for case in cases[here]]
            with lanes():
                parts.append(checkpoint.pipeline.fill(hidden[here], masks[here], sampling, seeds=seeds))
        drawn.append(np.concatenate(parts))
    return drawn


def _sampling(checkpoint: Checkpoint, task: str, diverse: bool) -> Any:
    """The checkpoint's own sampler for a task: the best guess, or samples that differ as possible clips do."""
    from vdt_mlx.diffusion.sampling import Sampling

    return checkpoint.pipeline.resolve(Sampling(), task, diverse)


def _nearest_given(case: Case, given: NDArray[np.bool_]) -> float:
    """ADE of showing the nearest given frame: what doing nothing costs."""
    frames = np.flatnonzero(given)
    nearest = frames[np.abs(np.arange(len(given))[:, None] - frames[None]).argmin(axis=1)]
    truth = case.truth
    cutoff = metrics.CUTOFF * case.frames.shape[1] / 64
    held = truth.position[nearest]
    return metrics.ade(metrics.displacement(truth.position, held, truth.visible & ~given[:, None], cutoff))


def _plain(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


SECTION = Tasks()
