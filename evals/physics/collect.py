"""results.json's object from the unit files of a run."""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.physics import results
from evals.physics.settings import Settings
from evals.physics.units import Job, load_unit
from evals.predictors.frames import FrameSource
from evals.predictors.registry import ROWS
from evals.scoring.cases import joined_fingerprint
from evals.scoring.score import METRICS
from evals.suites.suite import Suite
from vdt_mlx.device.about import describe, machine_line


def gather(
    settings: Settings,
    suite: Suite,
    jobs: Sequence[Job],
    sources: Sequence[FrameSource],
    work: Path,
    seconds: float,
) -> dict[str, Any]:
    """results.json's object from all unit files of a run in the folder `work`."""
    values: results.Values = {}
    curves: dict[tuple[str, str, str], list[NDArray]] = {}
    clips: dict[str, list[str]] = {}
    prints: list[str] = []
    groups = suite.groups
    bad: list[dict[str, Any]] = [
        {"clip": name, "predictor": "suite", "given": settings.headline, "reason": reason} for name, reason in suite.bad
    ]
    for job in jobs:
        unit = load_unit(work / f"{job.name}.npz")
        bad += unit.bad
        if job.given == settings.given[0]:
            prints.append(unit.fingerprint)
            clips.setdefault(job.group.name, []).extend(unit.clips)
        for name, table in unit.values.items():
            column = values.setdefault(name, {}).setdefault(str(job.given), {}).setdefault(job.group.name, {})
            for metric, row in table.items():
                column.setdefault(metric, []).extend(row)
        for name, rows in unit.curves.items():
            curves.setdefault((name, str(job.given), job.group.name), []).append(np.asarray(rows, float))
    metrics = METRICS | suite.metrics
    _fill(values, metrics)
    joined = results.unions(groups)
    model = main_model(sources)
    body: dict[str, Any] = {
        "schema": results.SCHEMA,
        "version": results.VERSION,
        "settings": asdict(settings),
        "model": model,
        "versions": _versions(),
        "machine": f"{machine_line()}, Python {platform.python_version()}",
        "device": describe(),
        "seconds": round(seconds, 1),
        "suite": {
            "fingerprint": joined_fingerprint(prints),
            "groups": [{**asdict(group), "in_distribution": group.in_distribution} for group in groups],
            "clips": clips,
        },
        "unions": joined,
        "predictors": _described(sources, set(values)),
        "metrics": [metric.described() for metric in metrics.values()],
    }
    body |= results.build_rows(values, joined, [group.name for group in groups], model, list(suite.metrics))
    body["curves"] = results.build_curves({key: np.concatenate(rows) for key, rows in curves.items()}, joined)
    body["values"] = results.plain(values)
    body["bad"] = bad
    return body | suite.told()


def main_model(sources: Sequence[FrameSource]) -> str | None:
    """The predictor that the report is about: the first model."""
    return next((source.name for source in sources if source.kind == "model"), None)


def _fill(values: results.Values, metrics: Iterable[str]) -> None:
    """Metrics that a predictor has no value of are NaN for all of its clips."""
    for by_given in values.values():
        for by_group in by_given.values():
            for table in by_group.values():
                length = max(len(row) for row in table.values())
                for metric in metrics:
                    table.setdefault(metric, [float("nan")] * length)


def _described(sources: Sequence[FrameSource], there: set[str]) -> list[dict[str, Any]]:
    keys = ("name", "title", "kind", "about", "frames", "details")
    told = [(s.name, s.title, s.kind, s.about, True, s.details) for s in sources]
    rows = [row for row in ROWS.values() if row.name in there and row.frames is None]
    told += [(r.name, r.title, r.kind, r.told, r.pictures, {}) for r in rows]
    return [dict(zip(keys, entry, strict=True)) for entry in told]


def _versions() -> dict[str, str]:
    found = {}
    for name in ("vdt-mlx", "mlx", "numpy", "scipy", "pymunk"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
