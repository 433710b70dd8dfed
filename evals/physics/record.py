"""One unit: every predictor on its clips, tracked and scored."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from evals.physics.units import Job, Unit
from evals.predictors.frames import Bad, FrameSource
from evals.predictors.registry import ROWS, Remembered, Row
from evals.scoring.cases import Case, as_prediction, fingerprint
from evals.scoring.metrics import mean
from evals.scoring.score import METRICS, Prediction, score_samples

Tell = Callable[[str], None]


def examine(
    job: Job, batch: list[Case], sources: Sequence[FrameSource], remembered: Remembered, lpips: bool, tell: Tell
) -> Unit:
    """What the clips `batch` of a job give: values and curves of every predictor, and pictures of the models."""
    tell(f"{job.group.title}: clips")
    unit = Unit([case.id for case in batch], fingerprint(batch))
    for case in batch:
        _ = case.truth
    for source in sources:
        tell(f"{job.group.title}: {source.title}")
        _from_frames(source, batch, job, unit, lpips)
    rows = [row for row in ROWS.values() if row.knows(batch[0])]
    for row in rows:
        if row.states is not None:
            tell(f"{job.group.title}: {row.title}")
            _record(row.name, batch, [[row.states(case, remembered)] for case in batch], unit)
    for row in rows:
        if row.answers is not None:
            unit.values[row.name] = {"contact": [_answer(row, case, remembered) for case in batch]}
    return unit


def _from_frames(source: FrameSource, batch: list[Case], job: Job, unit: Unit, lpips: bool) -> None:
    drawn = source.complete(batch)
    found: list[list[Prediction]] = []
    for i, case in enumerate(batch):
        clips = [sample[i] for sample in drawn]
        fault = next((clip for clip in clips if isinstance(clip, Bad)), None)
        if fault is not None:
            unit.bad.append({"clip": case.id, "predictor": source.name, "given": job.given, "reason": fault.reason})
            found.append([])
            continue
        made = [as_prediction(case, clip) for clip in clips if not isinstance(clip, Bad)]
        found.append(made)
        if source.kind == "model":
            assert made[0].frames is not None
            unit.pictures[f"{source.name}/{i}/frames"] = made[0].frames[job.given :]
            unit.pictures[f"{source.name}/{i}/path"] = made[0].position.astype(np.float32)
    _record(source.name, batch, found, unit)
    if lpips:
        unit.values[source.name]["lpips"] = [_lpips(case, made) for case, made in zip(batch, found, strict=True)]


def _record(name: str, batch: list[Case], found: list[list[Prediction]], unit: Unit) -> None:
    scored: list[tuple[dict[str, float], NDArray[np.float64]]] = []
    for case, predictions in zip(batch, found, strict=True):
        if predictions:
            values, curve = score_samples(case.truth, predictions)
            own = [case.own_scores(prediction) for prediction in predictions]
            scored.append((values | {name: mean([one[name] for one in own]) for name in case.own_metrics}, curve))
        else:
            missing = {metric: float("nan") for metric in (*METRICS, *case.own_metrics)}
            scored.append((missing, np.full(len(case.frames) - case.given, np.nan)))
    names = (*METRICS, *batch[0].own_metrics)
    unit.values[name] = {metric: [values[metric] for values, _ in scored] for metric in names}
    unit.curves[name] = [curve.tolist() for _, curve in scored]


def _answer(row: Row, case: Case, remembered: Remembered) -> float:
    """How much of the contact question a mere answer gets right; NaN where it is not asked."""
    truth = case.truth.contact
    if truth is None:
        return float("nan")
    assert row.answers is not None
    likely = row.answers(case, remembered)
    return likely if truth else 1 - likely


def _lpips(case: Case, predictions: list[Prediction]) -> float:
    from evals.scoring.lpips import distance

    start = case.given
    values = [distance(p.frames[start:], case.frames[start:]) for p in predictions if p.frames is not None]
    return float(np.mean(values)) if values else float("nan")
