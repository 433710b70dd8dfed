"""results.json's object from the unit files of a run."""

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evals.physics import results
from evals.physics.units import load_unit
from evals.scoring import cases
from evals.scoring.score import METRICS
from vdt_mlx.device.about import describe

if TYPE_CHECKING:
    from evals.physics.examiner import Examiner

RIVALS = {
    "copy_last": ("copy the last frame", "nothing moves"),
    "constant_velocity": ("constant velocity", "tracked states, straight on"),
    "constant_acceleration": ("constant acceleration", "tracked states, the parabola through the last three"),
    "nearest": ("nearest training clip", "moves as the most similar of the first training clips did"),
}
KNOWING = {
    "simulator": ("simulator from tracked states", "knows masses and materials; only its start is tracked"),
}
ANSWERS = {
    "chance": ("chance", "a coin"),
    "majority": ("majority answer", "the commoner answer of the training clips"),
}


def gather(examiner: "Examiner", work: Path, seconds: float) -> dict[str, Any]:
    """results.json's object from all unit files of a run in the folder `work`."""
    values: results.Values = {}
    curves: dict[tuple[str, str, str], list[NDArray]] = {}
    clips: dict[str, list[str]] = {}
    prints: list[str] = []
    bad: list[dict[str, Any]] = []
    for job in examiner.jobs:
        unit = load_unit(work / f"{job.name}.npz")
        bad += unit.bad
        if job.given == examiner.settings.given[0]:
            prints.append(unit.fingerprint)
            clips.setdefault(job.group.name, []).extend(unit.clips)
        for name, table in unit.values.items():
            column = values.setdefault(name, {}).setdefault(str(job.given), {}).setdefault(job.group.name, {})
            for metric, row in table.items():
                column.setdefault(metric, []).extend(row)
        for name, rows in unit.curves.items():
            curves.setdefault((name, str(job.given), job.group.name), []).append(np.asarray(rows, float))
    for by_given in values.values():
        for by_group in by_given.values():
            for table in by_group.values():
                length = max(len(row) for row in table.values())
                for metric in METRICS:
                    table.setdefault(metric, [float("nan")] * length)
    joined = results.unions(examiner.groups)
    titles = {source.name: source for source in examiner.sources}
    described = [
        {"name": s.name, "title": s.title, "kind": s.kind, "about": s.about, "frames": True, "details": s.details}
        for s in titles.values()
    ]
    for kind, entries in (("rival", RIVALS), ("floor", KNOWING), ("answer", ANSWERS)):
        described += [
            {
                "name": name,
                "title": title,
                "kind": kind,
                "about": about,
                "frames": name == "copy_last",
                "details": {},
            }
            for name, (title, about) in entries.items()
        ]
    body: dict[str, Any] = {
        "schema": results.SCHEMA,
        "version": results.VERSION,
        "settings": asdict(examiner.settings),
        "model": examiner.model,
        "versions": _versions(),
        "machine": f"{platform.platform()}, {platform.machine()}, Python {platform.python_version()}",
        "device": describe(),
        "seconds": round(seconds, 1),
        "suite": {
            "fingerprint": cases.fingerprint(prints),
            "groups": [{**asdict(group), "in_distribution": group.in_distribution} for group in examiner.groups],
            "clips": clips,
        },
        "unions": joined,
        "predictors": described,
        "metrics": [asdict(metric) for metric in METRICS.values()],
    }
    body |= results.build_rows(values, joined, [group.name for group in examiner.groups], examiner.model)
    body["curves"] = results.build_curves({key: np.concatenate(rows) for key, rows in curves.items()}, joined)
    body["values"] = results.plain(values)
    body["bad"] = bad
    return body


def _versions() -> dict[str, str]:
    found = {}
    for name in ("vdt-mlx", "mlx", "numpy", "scipy", "pymunk"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
