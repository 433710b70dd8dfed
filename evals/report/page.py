"""`report.html`: one file with everything in it (styles, script, pictures), for a browser, a phone or paper.

The markup is the template `report.html.j2`; here is what goes into it. Every text is escaped by the template, as names
of files and predictors come from anywhere.
"""

import shlex
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from evals.predictors.registry import KINDS
from evals.report.figures import curves_figure, given_figure, legend, scenario_bars
from evals.report.gallery import Picture, gallery
from evals.report.table import KNOWN, SYMBOLS, Part, Table, columns, headline, main_union, number, span
from evals.scoring.phyworld import METRICS as PHYWORLD

HERE = Path(__file__).parent
WIDEST = 7
"""Columns of a table that fit a page without scrolling."""


@lru_cache(maxsize=1)
def _templates() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


def render(
    body: dict[str, Any], pictures: dict[str, list[Picture]], command: Sequence[str], parts: Sequence[Part] = ()
) -> str:
    """The page. `pictures`: group -> best, median and worst clip of the model; `command`: what made this; `parts`: of
    the sections beside the rows."""
    from markupsafe import Markup

    titles = {p["name"]: p["title"] for p in body["predictors"]}
    total = sum(len(clips) for clips in body["suite"]["clips"].values())
    given = body["settings"]["given"]
    model = body.get("model")
    return (
        _templates()
        .get_template("report.html.j2")
        .render(
            symbols=SYMBOLS,
            style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
            script=Markup((HERE / "report.js").read_text(encoding="utf-8")),
            heading=f"How well “{titles[model]}” predicts motion"
            if model
            else "How well simple baselines predict motion",
            kicker=f"{total} test clips, {_listed(given)} context frames",
            verdict_lines=body["verdict"],
            tiles_=_tiles(body),
            tables_=[_tables(body, count) for count in _in_order(given)],
            bars=_bars(body),
            legend=legend(body),
            by_given=given_figure(body, main_union(body)) if len(given) > 1 and model else "",
            curves=[curves_figure(body, name, title, headline(given)) for name, title in _spans(body)],
            parts=parts,
            gallery_=gallery(body, pictures),
            bad=body["bad"],
            command=shlex.join(command),
            entries=_facts(body),
            predictors=[(p["title"], list(_flat(p["details"]))) for p in body["predictors"] if p["details"]],
            formulas=[
                (f"{m['label']} ({m['unit']})" if m["unit"] else m["label"], m["formula"]) for m in body["metrics"]
            ],
        )
    )


def _in_order(given: Sequence[int]) -> list[int]:
    """The headline's number of context frames first."""
    return sorted(given, key=lambda count: (count != headline(given), count))


def _spans(body: dict[str, Any]) -> list[tuple[str, str]]:
    """(name, title) of every union and group."""
    found = [(name, entry["title"]) for name, entry in body["unions"].items()]
    named = {(entry["title"], *entry["groups"]) for entry in body["unions"].values()}
    groups = [(group["name"], group["title"]) for group in body["suite"]["groups"]]
    return found + [(name, title) for name, title in groups if (title, name) not in named]


def _tiles(body: dict[str, Any]) -> dict[str, Any] | None:
    """The four numbers at the top, each beside what it should be held against."""
    model = body.get("model")
    if model is None:
        return None
    table, (scenario, title) = Table(body), main_union(body)
    titles = {p["name"]: p["title"] for p in body["predictors"]}
    tiles = []
    for metric, other in _tile_metrics(body):
        row = table.row(model, scenario, metric)
        if row is None:
            continue
        value = table.mean(other, scenario, metric) if other else None
        tiles.append(
            {
                "label": KNOWN[metric].label,
                "unit": KNOWN[metric].unit,
                "value": number(row["mean"], metric),
                "span": span(row, metric),
                "beside": f"{titles[other]}: {number(value, metric)}" if other and value is not None else "",
            }
        )
    return {"tiles": tiles, "title": title, "given": table.given}


def _tile_metrics(body: dict[str, Any]) -> list[tuple[str, str | None]]:
    """Four metrics, each with a predictor whose value stands beside; a suite's own two come first."""
    own = [name for name in columns(body) if name in PHYWORLD][:2]
    if own:
        return [*((name, "constant_velocity") for name in own), ("ade", "constant_velocity"), ("presence", None)]
    return [
        ("ade", "constant_velocity"),
        ("velocity", "autoencoder"),
        ("presence_both", None),
        ("contact", "majority"),
    ]


# ---- tables


def _tables(body: dict[str, Any], given: int) -> dict[str, Any]:
    """A panel for every union and group with one number of context frames."""
    table = Table(body, given)
    panels = []
    for name, title in _spans(body):
        there = [m["name"] for m in body["metrics"] if any(key[1:] == (name, m["name"]) for key in table.rows)]
        if not there:
            continue
        main = [metric for metric in columns(body) if metric in there]
        rest = [metric for metric in there if metric not in main]
        parts = [rest[i : i + WIDEST] for i in range(0, len(rest), WIDEST)]
        panels.append(
            {
                "title": title,
                "main": _grid(body, table, name, title, main) if main else None,
                "more": [_grid(body, table, name, title, part) for part in parts],
            }
        )
    return {"given": given, "panels": panels}


def _grid(body: dict[str, Any], table: Table, scenario: str, title: str, columns: list[str]) -> dict[str, Any]:
    metrics = {m["name"]: m for m in body["metrics"]}
    best = {metric: table.best(scenario, metric) for metric in columns}
    arrows = {"lower": "↓", "higher": "↑", "": ""}
    groups = []
    for kind, label in KINDS.items():
        rows = []
        for predictor in body["predictors"]:
            found = [table.row(predictor["name"], scenario, metric) for metric in columns]
            if predictor["kind"] == kind and any(found):
                cells = [_cell(row, m, predictor["name"] in best[m]) for row, m in zip(found, columns, strict=True)]
                rows.append({"title": predictor["title"], "about": predictor["about"], "cells": cells})
        if rows:
            groups.append({"kind": kind, "label": label, "rows": rows})
    return {
        "title": title,
        "columns": [{**metrics[m], "arrow": arrows[metrics[m]["better"]]} for m in columns],
        "groups": groups,
    }


def _cell(row: dict[str, Any] | None, metric: str, best: bool) -> dict[str, Any] | None:
    if row is None:
        return None
    missing = f", {row['missing']} without" if row["missing"] else ""
    return {
        "best": best,
        "tip": f"{row['count']} clips{missing}",
        "mean": number(row["mean"], metric),
        "span": span(row, metric),
    }


def _bars(body: dict[str, Any]) -> list[Any]:
    if len(body["suite"]["groups"]) < 2:
        return []
    bars = [scenario_bars(body, "ade", "Distance from the truth", "px, lower is better")]
    if any(row["metric"] == "contact" for row in body["rows"]):
        bars.append(scenario_bars(body, "contact", "The contact question", "% right, higher is better"))
    return bars


# ---- facts


def _facts(body: dict[str, Any]) -> list[tuple[str, str]]:
    settings = {key: value for key, value in body["settings"].items() if value not in (None, [], (), False)}
    return [
        ("Fingerprint of the clips", body["suite"]["fingerprint"]),
        ("Clips", ", ".join(f"{name} {len(clips)}" for name, clips in body["suite"]["clips"].items())),
        *((f"Setting: {key.replace('_', ' ')}", _listed(value)) for key, value in settings.items()),
        ("Versions", ", ".join(f"{key} {value}" for key, value in body["versions"].items())),
        ("Machine", f"{body['machine']}; {body['seconds']} s"),
    ]


def _flat(details: dict[str, Any], above: str = "") -> list[tuple[str, str]]:
    """Nested facts as lines: `training, splits` and what it is."""
    lines = []
    for key, value in details.items():
        name = f"{above}, {key}" if above else str(key)
        name = name.replace("_", " ")
        if isinstance(value, dict):
            lines += _flat(value, name)
        elif value not in (None, [], ()):
            lines.append((name, _listed(value)))
    return lines


def _listed(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "; ".join(_plain(item) for item in value) if any(isinstance(v, dict) for v in value) else _plain(value)
    return str(value)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_plain(item)}" for key, item in value.items() if item is not None)
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
