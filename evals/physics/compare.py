"""Two results side by side: what differs, clip by clip, with paired intervals."""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from evals.physics import results
from evals.physics.results import rounded
from evals.report.table import console_for_results, number
from evals.scoring.metrics import bootstrap
from evals.scoring.score import METRICS, known_metrics
from vdt_mlx.errors import VDTError


def show(first: Path, second: Path, wanted: tuple[str, ...], scenarios: tuple[str, ...] | None, as_json: bool) -> None:
    """Reads two results files and prints what differs, or one JSON object with everything."""
    from rich.table import Table as RichTable

    wanted = known_metrics(wanted)
    one, two = results.read(first), results.read(second)
    try:
        found = differences(one, two)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise VDTError(f"{first} or {second} is damaged ({type(error).__name__}: {error}).") from None
    names = list(dict.fromkeys(entry["scenario"] for entry in found))
    for name in scenarios or ():
        if name not in names:
            raise VDTError(f"Unknown scenario {name!r}: both results have {', '.join(names)}.")
    if as_json:
        settings = {
            key: [one["settings"].get(key), two["settings"].get(key)]
            for key in sorted({*one["settings"], *two["settings"]})
            if one["settings"].get(key) != two["settings"].get(key)
        }
        click.echo(json.dumps({"first": str(first), "second": str(second), "settings": settings, "differences": found}))
        return
    console = console_for_results()
    _say_differing(console, one, two)
    shown = [n for n in names if n in (scenarios or one["unions"])] or names
    grid = RichTable(
        title="second minus first, on the same clips", title_justify="left", show_edge=False, pad_edge=False
    )
    for column in ("predictor", "scenario", "metric"):
        grid.add_column(column)
    for column in ("first", "second", "difference", "95 % interval", "clips"):
        grid.add_column(column, justify="right")
    changed = 0
    for entry in found:
        if entry["scenario"] not in shown or entry["metric"] not in wanted or entry["difference"] is None:
            continue
        if entry["difference"] == 0 and entry["low"] == 0 and entry["high"] == 0:
            continue
        changed += 1
        metric = METRICS[entry["metric"]]
        better = (entry["difference"] < 0) == (metric.better == "lower")
        style = ("green" if better else "red") if entry["significant"] and metric.better else "default"
        name = (
            f"{entry['predictor']}, {entry['given']} given" if len(one["settings"]["given"]) > 1 else entry["predictor"]
        )
        grid.add_row(
            name,
            entry["scenario"],
            metric.label,
            number(entry["first"], metric.name),
            number(entry["second"], metric.name),
            f"[{style}]{_signed(entry['difference'], metric.name)}[/]",
            f"{_signed(entry['low'], metric.name)} to {_signed(entry['high'], metric.name)}",
            str(entry["count"]),
        )
    if changed:
        console.print(grid)
        console.print("Coloured: the interval leaves out zero (green: the second is better).")
    else:
        console.print("Nothing differs on the clips that both have.")


def _signed(value: float, metric: str) -> str:
    return ("+" if value > 0 else "-" if value < 0 else "") + number(abs(value), metric)


def _say_differing(console: Any, one: dict[str, Any], two: dict[str, Any]) -> None:
    if one["suite"]["fingerprint"] != two["suite"]["fingerprint"]:
        console.print("The two were made on different sets of clips; only clips with the same names are compared.")
    for key in sorted({*one["settings"], *two["settings"]}):
        a, b = one["settings"].get(key), two["settings"].get(key)
        if a != b:
            console.print(f"{key}: {a} -> {b}")


# ---- the numbers


def differences(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    """Paired differences, second minus first, of every predictor and metric on the clips that both have.

    Predictors are matched by name; where each file has one model, the two models are matched whatever their names.
    Raises VDTError if the two share no clip.
    """
    pairs = _matched(first, second)
    spans = {group: [group] for group in first["suite"]["clips"]} | {
        name: entry["groups"] for name, entry in first["unions"].items()
    }
    found = []
    for before, after in pairs:
        for given in first["values"][before]:
            if given not in second["values"].get(after, {}):
                continue
            for scenario, members in spans.items():
                for metric in METRICS:
                    a, b = _paired(first, second, before, after, given, members, metric)
                    if not len(a):
                        continue
                    one, two, change = bootstrap(np.stack([a, b, b - a]))
                    found.append(
                        {
                            "predictor": before if before == after else f"{before} -> {after}",
                            "given": int(given),
                            "scenario": scenario,
                            "metric": metric,
                            "first": rounded(one.mean),
                            "second": rounded(two.mean),
                            "difference": rounded(change.mean),
                            "low": rounded(change.low),
                            "high": rounded(change.high),
                            "count": change.count,
                            "significant": bool(change.low > 0 or change.high < 0),
                        }
                    )
    if not found:
        raise VDTError("The two results share no clip and predictor, so there is nothing to compare.")
    return found


def _matched(first: dict[str, Any], second: dict[str, Any]) -> list[tuple[str, str]]:
    names = [[p["name"] for p in body["predictors"]] for body in (first, second)]
    models = [[p["name"] for p in body["predictors"] if p["kind"] == "model"] for body in (first, second)]
    pairs = [(name, name) for name in names[0] if name in names[1]]
    if len(models[0]) == len(models[1]) == 1 and models[0] != models[1]:
        pairs.insert(0, (models[0][0], models[1][0]))
    return pairs


def _paired(
    first: dict[str, Any], second: dict[str, Any], before: str, after: str, given: str, members: list[str], metric: str
) -> tuple[NDArray, NDArray]:
    left, right = [], []
    for group in members:
        a = first["values"][before][given].get(group, {}).get(metric)
        b = second["values"][after][given].get(group, {}).get(metric)
        if a is None or b is None:
            continue
        lookup = dict(zip(second["suite"]["clips"].get(group, []), b, strict=False))
        for clip, value in zip(first["suite"]["clips"][group], a, strict=True):
            other = lookup.get(clip)
            if value is not None and other is not None:
                left.append(value)
                right.append(other)
    return np.array(left, float), np.array(right, float)
