"""`results.json`: its schema, how per-clip values become rows with intervals, reading it back.

Version 1, one JSON object:

- `schema` "vdt-mlx-physics", `version` 1.
- `settings`: what was asked, `world` (the version of the simulated world; files without it are of version 1) and
  `suite` (a folder of one's own clips, or null) among it; `versions`, `machine`, `device`, `seconds`: with what it was
  made (these four may differ between runs that give the same numbers).
- `suite`: `fingerprint` of the true states, `groups` (name, scenario, split, title, whether in distribution),
  `clips`: {group: [clip ids]}.
- `predictors`: [{name, title, kind (model, baseline, bound, answer), about, frames (whether it draws any), details}].
- `metrics`: [{name, label, unit, better, formula}].
- `rows`: [{predictor, given, scenario, metric, mean, low, high, count, missing}], one per predictor, number of given
  frames, scenario (a group or a union of groups) and metric; the 95 % interval is a paired bootstrap over clips.
- `differences`: [{predictor, reference, given, scenario, metric, mean, low, high, count}]: predictor minus
  reference on the clips that both have, paired.
- `curves`: [{predictor, given, scenario, frames, mean, low, high}]: displacement by predicted frame.
- `values`: {predictor: {given: {group: {metric: [one value a clip, null where it does not apply]}}}}.
- `bad`: [{clip, predictor, given, reason}]: clips that could not be scored, counted in `missing`; predictor "suite":
  clips of one's own that cannot be used at all, counted nowhere.
- `unions`: {name: {title, groups}}.
- one object a section (`evals.section`: probes, ...) under its name, with a `version` of its own; absent where the
  section did not run.
- `phyworld`: of `--suite phyworld` alone. `version` 1; `file`, its `sha256` and `law`; `clips` in it, and `splits`, how
  many PhyWorld's filters put where (`dropped`: left out, as its script does); `frames` of a clip and `scored`, the
  first and the last that counts (from 0); `pixels` of its pictures and `ruler` {pixels, steps}, how they were read;
  `init` {clip id: initial state}; `published`: [{model, law, metric, inside, outside, source}]. Its metrics,
  `phyworld_...` and each one's `..._unbiased` twin, stand in `metrics`, `rows`, `differences` and `values` beside all
  others; the groups are `in`, `out_radius`, `out_speed`, `out_both` and `still`. Where a model makes shorter clips than
  the file has, `roll_out` among its `details` says how it went on.
- `verdict`: [{text, state}], state one of good, bad, plain.
"""

import json
import math
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.scoring.cases import Group
from evals.scoring.metrics import Interval, bootstrap
from evals.scoring.score import METRICS
from evals.suites.folder import SUITE
from physics_sim.phyworld import SPLITS as PHYWORLD
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.reading import read_json

SCHEMA = "vdt-mlx-physics"
VERSION = 1
SHAPE = {"settings": dict, "suite": dict, "predictors": list, "rows": list, "values": dict, "unions": dict}
"""What every results file has."""
MAX_BYTES = 1 << 30
"""Of a results file: 100 clips a scenario with five numbers of context frames are 60 MB."""
OLD_KINDS = {"floor": "bound", "rival": "baseline"}
"""Kinds of predictors as earlier releases wrote them, and what they are called now."""
DIFFERENCES = ("ade", "fde", "velocity", "presence", "contact")
"""Metrics whose paired differences are part of the results."""

Values = dict[str, dict[str, dict[str, dict[str, list[float]]]]]
"""predictor -> given -> group -> metric -> one value a clip."""


def unions(groups: Iterable[Group]) -> dict[str, dict[str, Any]]:
    """Unions of groups that get rows of their own: {name: {title, groups}}."""
    groups = list(groups)
    if groups and all(group.split in PHYWORLD for group in groups):
        inside = [group.name for group in groups if group.split == "in"]
        outside = [group.name for group in groups if group.split != "in"]
        both = {"in_distribution": ("in distribution", inside), "out_of_distribution": ("out of distribution", outside)}
        return {name: {"title": title, "groups": members} for name, (title, members) in both.items() if members}
    own = [g for g in groups if g.split == SUITE]
    if own:
        return {"suite": {"title": "the whole suite", "groups": [group.name for group in own]}}
    table = {
        "in_distribution": ("everything in distribution", [g for g in groups if g.in_distribution]),
        "scenarios": ("the scenarios", [g for g in groups if g.in_distribution and not g.law]),
        "laws": ("the laws, in distribution", [g for g in groups if g.in_distribution and g.law]),
        "laws_out": ("the laws, out of distribution", [g for g in groups if not g.in_distribution and g.law]),
        "scenarios_out": (
            "the scenarios, out of distribution",
            [g for g in groups if not (g.in_distribution or g.law)],
        ),
    }
    return {
        name: {"title": title, "groups": [group.name for group in members]}
        for name, (title, members) in table.items()
        if members
    }


def build_rows(
    values: Values,
    joined: dict[str, dict[str, Any]],
    groups: list[str],
    model: str | None,
    own: Collection[str] = (),
) -> dict[str, Any]:
    """The sections `rows` and `differences` from per-clip values; `own`: metrics that only this suite has."""
    spans = {name: [name] for name in groups} | {name: entry["groups"] for name, entry in joined.items()}
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    givens = list(dict.fromkeys(given for by_given in values.values() for given in by_given))
    for given in givens:
        predictors = [name for name in values if given in values[name]]
        for scenario, members in spans.items():
            for metric in (*METRICS, *own):
                table = np.array([_column(values[name][given], members, metric) for name in predictors])
                if not table.size or not np.isfinite(table).any():
                    continue
                for name, row, interval in zip(predictors, table, bootstrap(table), strict=True):
                    if np.isfinite(row).any():
                        key = {"predictor": name, "given": int(given), "scenario": scenario, "metric": metric}
                        rows.append({**key, **_interval(interval)})
                if model in predictors and metric in (*DIFFERENCES, *own):
                    base = table[predictors.index(model)]
                    for name, interval in zip(predictors, bootstrap(base - table), strict=True):
                        if name != model and interval.count:
                            key = {"predictor": model, "reference": name, "given": int(given)}
                            key |= {"scenario": scenario, "metric": metric}
                            differences.append({**key, **_interval(interval)})
    return {"rows": rows, "differences": differences}


def build_curves(
    curves: dict[tuple[str, str, str], NDArray], joined: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    """`curves`: (predictor, given, group) -> (clips, F) displacements by frame; the section of the same name."""
    result = []
    keys = list(dict.fromkeys((predictor, given) for predictor, given, _ in curves))
    for predictor, given in keys:
        spans = {group: [group] for p, g, group in curves if (p, g) == (predictor, given)}
        spans |= {name: entry["groups"] for name, entry in joined.items()}
        for scenario, members in spans.items():
            parts = [curves[predictor, given, group] for group in members if (predictor, given, group) in curves]
            if not parts:
                continue
            intervals = bootstrap(np.concatenate(parts).T, resamples=500)
            result.append(
                {
                    "predictor": predictor,
                    "given": int(given),
                    "scenario": scenario,
                    "frames": [int(given) + i + 1 for i in range(len(intervals))],
                    "mean": [rounded(i.mean) for i in intervals],
                    "low": [rounded(i.low) for i in intervals],
                    "high": [rounded(i.high) for i in intervals],
                }
            )
    return result


def _column(by_group: dict[str, dict[str, list[float]]], members: list[str], metric: str) -> NDArray[np.float64]:
    parts = [by_group[group][metric] for group in members if group in by_group]
    return np.concatenate([np.asarray(part, float) for part in parts]) if parts else np.zeros(0)


def _interval(interval: Interval) -> dict[str, Any]:
    return {key: rounded(value) if isinstance(value, float) else value for key, value in asdict(interval).items()}


def rounded(value: float) -> float | None:
    return round(float(value), 6) if math.isfinite(value) else None


def plain(values: Values) -> dict[str, Any]:
    """Per-clip values for JSON: NaN becomes null."""
    return {
        predictor: {
            given: {
                group: {
                    metric: [rounded(value) for value in column]
                    for metric, column in by_metric.items()
                    if np.isfinite(np.asarray(column, float)).any()
                }
                for group, by_metric in by_group.items()
            }
            for given, by_group in by_given.items()
        }
        for predictor, by_given in values.items()
    }


def write(results: dict[str, Any], path: Path) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(results, allow_nan=False, separators=(",", ":")) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Reads a results file (or the folder that holds `results.json`); raises VDTError if it is none of ours."""
    path = path / "results.json" if path.is_dir() else path
    body = read_json(path, "results file", limit=MAX_BYTES)
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        raise VDTError(f"{path} is not a results file of `python -m evals.physics` (its schema is not {SCHEMA!r}).")
    if body.get("version") != VERSION:
        raise VDTError(f"{path} has results version {body.get('version')!r}; this release reads version {VERSION}.")
    missing = [key for key, kind in SHAPE.items() if not isinstance(body.get(key), kind)]
    if missing or not all(isinstance(entry, dict) for entry in [*body["predictors"], *body["rows"]]):
        raise VDTError(f"{path} lacks {', '.join(missing) or 'whole entries'}: it is damaged or cut short.")
    for predictor in body["predictors"]:
        kind = str(predictor.get("kind"))
        predictor["kind"] = OLD_KINDS.get(kind, kind)
    return body
