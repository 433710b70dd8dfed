"""Two results side by side: what differs, clip by clip, with paired intervals."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from evals.physics import results
from evals.physics.results import rounded
from evals.report.table import KNOWN, number
from evals.report.terminal import Cell, console_for_results, say, show_table
from evals.scoring.metrics import bootstrap
from evals.scoring.score import known_metrics
from vdt_mlx.errors import VDTError

Body = dict[str, Any]
SAME = {"world": 1, "suite_seed": 0, "size": 64, "frames": None, "suite": None}
"""Settings in which two results must agree for clips of one name to be the same clips, and what older files mean."""


def show(
    first: Path,
    second: Path,
    wanted: Sequence[str],
    scenarios: Sequence[str] | None,
    as_json: bool,
    names: tuple[str | None, str | None] = (None, None),
) -> None:
    """Reads two results files and prints what differs, or one JSON object with everything.

    `names`: a predictor of each, to be compared with each other whatever they are called.
    """
    wanted = known_metrics(wanted, KNOWN)
    one, two = results.read(first), results.read(second)
    try:
        refuse_other_clips(one, two)
        pairs = paired_predictors(one, two, names)
        found = differences(one, two, pairs)
        there = list(dict.fromkeys(entry["scenario"] for entry in found))
        for name in scenarios or ():
            if name not in there:
                raise VDTError(f"Unknown scenario {name!r}: both results have {', '.join(there)}.")
        if as_json:
            body = {"first": str(first), "second": str(second), "settings": _settings(one, two), "differences": found}
            click.echo(json.dumps(body))
            return
        chosen = [name for name in there if name in (scenarios or one["unions"])] or there
        _print(one, two, [e for e in found if e["scenario"] in chosen and e["metric"] in wanted])
    except VDTError:
        raise
    except Exception as error:  # a file that says it is ours and is not
        raise VDTError(f"{first} or {second} is damaged ({type(error).__name__}: {error}).") from None


def _print(one: Body, two: Body, found: Sequence[dict[str, Any]]) -> None:
    console = console_for_results()
    if one["suite"]["fingerprint"] != two["suite"]["fingerprint"]:
        say(console, "The two were made on different sets of clips; only clips with the same names are compared.")
    for key, (a, b) in _settings(one, two).items():
        say(console, f"{key.replace('_', ' ')}: {_listed(a)} -> {_listed(b)}")
    changed = [e for e in found if e["difference"] is not None and (e["difference"], e["low"], e["high"]) != (0, 0, 0)]
    several = len({entry["given"] for entry in found}) > 1
    heads = ["scenario, metric", "first", "second", "difference", "95 % interval", "clips"]
    for predictor, given in dict.fromkeys((e["predictor"], e["given"]) for e in changed):
        rows = [_row(e) for e in changed if (e["predictor"], e["given"]) == (predictor, given)]
        show_table(console, f"{predictor}, {given} context frames" if several else predictor, heads, rows)
    console.print()
    if changed:
        say(console, "Second minus first, on the same clips. Coloured where significant: the interval leaves out zero")
        say(console, "(green: the second is better).")
    else:
        say(console, "Nothing differs on the clips that both have.")
    if "->" not in "".join(e["predictor"] for e in found):
        models = [[p["title"] for p in body["predictors"] if p["kind"] == "model"] for body in (one, two)]
        if models[0] and models[1] and not set(models[0]) & set(models[1]):
            said = " and ".join(", ".join(part) for part in models)
            say(console, f"The models have different names ({said}): --first A --second B compares two of them.")


def _row(entry: dict[str, Any]) -> list[Cell]:
    metric = KNOWN[entry["metric"]]
    better = (entry["difference"] < 0) == (metric.better == "lower")
    style = ("green" if better else "red") if entry["significant"] and metric.better else ""
    return [
        f"{entry['scenario']}, {metric.label}",
        number(entry["first"], metric.name),
        number(entry["second"], metric.name),
        (_signed(entry["difference"], metric.name), style),
        f"{_signed(entry['low'], metric.name)} to {_signed(entry['high'], metric.name)}",
        str(entry["count"]),
    ]


def _signed(value: float, metric: str) -> str:
    return ("+" if value > 0 else "-" if value < 0 else "") + number(abs(value), metric)


def _settings(one: Body, two: Body) -> dict[str, list[Any]]:
    """Settings that differ: [the first's, the second's]."""
    keys = sorted({*one["settings"], *two["settings"]})
    both = {key: [body["settings"].get(key, SAME.get(key)) for body in (one, two)] for key in keys}
    return {key: values for key, values in both.items() if values[0] != values[1]}


def _listed(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return "the default" if value is None else str(value)


# ---- what is compared


def refuse_other_clips(first: Body, second: Body) -> None:
    """Raises VDTError where clips of one name are not the same clips."""
    for key, older in SAME.items():
        a, b = (body["settings"].get(key, older) for body in (first, second))
        if key == "suite":
            a, b = bool(a), bool(b)  # the folder may be in another place
        if a != b:
            raise VDTError(
                f"The two results are of different clips ({key.replace('_', ' ')} {a} and {b}), "
                "so there is nothing to compare."
            )
    files = [body.get("phyworld", {}).get("sha256") for body in (first, second)]
    if files[0] != files[1]:
        raise VDTError("The two results are of clips of different files, so there is nothing to compare.")


def paired_predictors(first: Body, second: Body, names: tuple[str | None, str | None]) -> list[tuple[str, str]]:
    """Which predictors are compared: those named; else those of one name, and, where each has one model, the two."""
    there = [[p["name"] for p in body["predictors"]] for body in (first, second)]
    a, b = names
    if a is not None or b is not None:
        a, b = a if a is not None else b, b if b is not None else a
        for name, known, which in ((a, there[0], "first"), (b, there[1], "second")):
            if name not in known:
                raise VDTError(f"The {which} results have no predictor {name!r}: there are {', '.join(known)}.")
        return [(str(a), str(b))]
    models = [[p["name"] for p in body["predictors"] if p["kind"] == "model"] for body in (first, second)]
    pairs = [(name, name) for name in there[0] if name in there[1]]
    if len(models[0]) == len(models[1]) == 1 and models[0] != models[1]:
        pairs.insert(0, (models[0][0], models[1][0]))
    return pairs


def differences(first: Body, second: Body, pairs: Sequence[tuple[str, str]] | None = None) -> list[dict[str, Any]]:
    """Paired differences, second minus first, of predictors (`paired_predictors`) on the clips that both have.

    Raises VDTError if the two have nothing in common, and says what they lack.
    """
    pairs = paired_predictors(first, second, (None, None)) if pairs is None else pairs
    spans = {group: [group] for group in first["suite"]["clips"]} | {
        name: entry["groups"] for name, entry in first["unions"].items()
    }
    found = []
    for before, after in pairs:
        for given in first["values"][before]:
            if given not in second["values"].get(after, {}):
                continue
            for scenario, members in spans.items():
                for metric in KNOWN:
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
        raise VDTError(f"The two results have nothing in common to compare: {_why(first, second, pairs)}.")
    return found


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


def _why(first: Body, second: Body, pairs: Sequence[tuple[str, str]]) -> str:
    if not pairs:
        names = [", ".join(p["name"] for p in body["predictors"]) for body in (first, second)]
        return f"no predictor of one name ({names[0]} | {names[1]}); --first A --second B compares two of them"
    clips = [{name for group in body["suite"]["clips"].values() for name in group} for body in (first, second)]
    if not clips[0] & clips[1]:
        return "no clip is in both"
    given = [
        {given for a, b in pairs for given in body["values"].get((a, b)[k], {})}
        for k, body in enumerate((first, second))
    ]
    if not given[0] & given[1]:
        counts = [", ".join(sorted(part, key=int)) for part in given]
        return f"the context frames differ ({counts[0]} | {counts[1]})"
    return "no metric has a value in both on a clip that both have"
