"""`report.html`: one file with everything in it (styles, script, pictures), for a browser, a phone or paper."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.physics.verdict import Table, number, span
from evals.report.figures import curves_figure, given_figure, legend, scenario_bars
from evals.report.gallery import Picture, esc, gallery

COLUMNS = (
    "ade",
    "fde",
    "velocity",
    "presence_both",
    "identity_kept",
    "contact",
    "contact_time",
    "duplicates",
    "overlap",
    "psnr",
    "ssim",
)
KINDS = {"model": "models", "rival": "rivals", "floor": "floors", "answer": "answers without looking"}
SYMBOLS = {"good": "✓", "bad": "✗", "plain": "·"}


def render(body: dict[str, Any], pictures: dict[str, list[Picture]], command: Sequence[str]) -> str:
    """The page. `pictures`: group -> best, median and worst clip of the model; `command`: what made this."""
    here = Path(__file__).parent
    style = (here / "report.css").read_text(encoding="utf-8")
    script = (here / "report.js").read_text(encoding="utf-8")
    predictors = body["predictors"]
    titles = {p["name"]: p["title"] for p in predictors}
    model = body.get("model")
    name = titles.get(model, "rivals and floors")
    total = sum(len(clips) for clips in body["suite"]["clips"].values())
    given = body["settings"]["given"]
    sections = [
        _verdict(body),
        _tiles(body),
        _tables(body),
        _scenarios(body),
        _curves(body),
        gallery(body, pictures),
        _facts(body, command),
    ]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>Physics of {esc(name)}</title>",
            f"<style>\n{style}</style>",
            "</head>",
            "<body>",
            "<main>",
            f'<p class="kicker">{total} test clips, {_list(given)} frames given</p>',
            f"<h1>Did {esc(name)} learn the physics?</h1>",
            *sections,
            "</main>",
            f"<script>\n{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _verdict(body: dict[str, Any]) -> str:
    items = [
        f'<li class="{line["state"]}"><i>{SYMBOLS[line["state"]]}</i><span>{esc(line["text"])}</span></li>'
        for line in body["verdict"]
    ]
    return '<ul class="verdict">' + "".join(items) + "</ul>"


def _main_union(body: dict[str, Any]) -> tuple[str, str]:
    for name, entry in body["unions"].items():
        return name, entry["title"]
    group = body["suite"]["groups"][0]
    return group["name"], group["title"]


def _tiles(body: dict[str, Any]) -> str:
    model = body.get("model")
    if model is None:
        return ""
    table, (scenario, title) = Table(body), _main_union(body)
    labels = {m["name"]: m for m in body["metrics"]}
    tiles = []
    for metric, rival in (
        ("ade", "constant_velocity"),
        ("velocity", "autoencoder"),
        ("presence_both", None),
        ("contact", "majority"),
    ):
        row = table.row(model, scenario, metric)
        if row is None:
            continue
        other = table.mean(rival, scenario, metric) if rival else None
        titles = {p["name"]: p["title"] for p in body["predictors"]}
        beside = f"{titles[rival]}: {number(other, metric)}" if rival and other is not None else ""
        value = number(row["mean"], metric)
        unit = labels[metric]["unit"]
        tiles.append(
            f'<div class="tile"><span class="name">{esc(labels[metric]["label"])}</span>'
            f"<b>{value}{f' <small>{esc(unit)}</small>' if unit else ''}</b>"
            f"<span>{span(row, metric)}</span><span>{esc(beside)}</span></div>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div><p class="soft">Over {esc(title)}; 95 % intervals.</p>'


# ---- tables


def best_in_column(body: dict[str, Any], table: Table, scenario: str, metric: str) -> set[str]:
    """The predictors with the best mean, floors and answers aside; ties (as printed) are all best."""
    better = next(m["better"] for m in body["metrics"] if m["name"] == metric)
    if not better:
        return set()
    found = {}
    for predictor in body["predictors"]:
        if predictor["kind"] in ("model", "rival"):
            value = table.mean(predictor["name"], scenario, metric)
            if value is not None:
                found[predictor["name"]] = value
    if len(found) < 2:
        return set()
    best = (min if better == "lower" else max)(found.values())
    return {name for name, value in found.items() if number(value, metric) == number(best, metric)}


def _tables(body: dict[str, Any]) -> str:
    spans = [(name, entry["title"]) for name, entry in body["unions"].items()]
    spans += [(group["name"], group["title"]) for group in body["suite"]["groups"]]
    parts = ["<h2>The table</h2>"]
    parts.append(
        '<p class="soft">Means over clips with 95 % bootstrap intervals. Marked: the best model or rival in a column. '
        "Floors show what cannot be beaten: the tracker's own error, and that of the model's autoencoder. "
        "PSNR and SSIM say nothing about physics. PhyWorld's own floors for velocity (m/s, under more metrics) are "
        ".0099 for uniform motion, .0117 for collisions and .0210 for parabolas.</p>"
    )
    for given in body["settings"]["given"]:
        if len(body["settings"]["given"]) > 1:
            parts.append(f"<h3>{given} frames given</h3>")
        table = Table(body, given)
        shown = [(name, title) for name, title in spans if any(key[1] == name for key in table.rows)]
        buttons = "".join(
            f'<button type="button" role="tab" aria-selected="{"true" if i == 0 else "false"}" '
            f'aria-controls="t{given}-{i}">{esc(title)}</button>'
            for i, (_, title) in enumerate(shown)
        )
        parts.append(f'<div class="tabs" role="tablist" hidden>{buttons}</div>')
        for i, (name, title) in enumerate(shown):
            parts.append(
                f'<section class="panel" id="t{given}-{i}" role="tabpanel" aria-label="{esc(title)}">'
                f"{_panel(body, table, name, title)}</section>"
            )
    return "\n".join(parts)


def _panel(body: dict[str, Any], table: Table, scenario: str, title: str) -> str:
    """The main columns, and every other metric that applies folded below."""
    there = [m["name"] for m in body["metrics"] if any(key[1:] == (scenario, m["name"]) for key in table.rows)]
    columns = [name for name in COLUMNS if name in there]
    rest = [name for name in there if name not in columns]
    parts = [_table(body, table, scenario, title, columns)]
    if rest:
        more = _table(body, table, scenario, title, rest)
        parts.append(f"<details><summary>More metrics: {esc(title)}</summary>{more}</details>")
    return "".join(parts)


def _table(body: dict[str, Any], table: Table, scenario: str, title: str, columns: list[str]) -> str:
    metrics = {m["name"]: m for m in body["metrics"]}
    best = {metric: best_in_column(body, table, scenario, metric) for metric in columns}
    arrows = {"lower": "↓", "higher": "↑", "": ""}
    head = "".join(
        f'<th title="{esc(metrics[m]["formula"])}">{esc(metrics[m]["label"])} {arrows[metrics[m]["better"]]}'
        f"<small>{esc(metrics[m]['unit'])}</small></th>"
        for m in columns
    )
    rows = []
    for kind, label in KINDS.items():
        members = [
            p
            for p in body["predictors"]
            if p["kind"] == kind and any(table.row(p["name"], scenario, m) for m in columns)
        ]
        if members:
            rows.append(f'<tr class="kind"><th colspan="{len(columns) + 1}">{label}</th></tr>')
        for predictor in members:
            cells = [_cell(table.row(predictor["name"], scenario, m), m, predictor["name"] in best[m]) for m in columns]
            rows.append(
                f'<tr class="{kind}"><th scope="row">{esc(predictor["title"])}'
                f"<small>{esc(predictor['about'])}</small></th>{''.join(cells)}</tr>"
            )
    return (
        f'<div class="scroll"><table><thead><tr><th>{esc(title)}</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(row: dict[str, Any] | None, metric: str, best: bool) -> str:
    if row is None:
        return '<td class="none">–</td>'
    missing = f", {row['missing']} without" if row["missing"] else ""
    return (
        f'<td{" class=best" if best else ""} title="{row["count"]} clips{missing}"><b>{number(row["mean"], metric)}</b>'
        f"<small>{span(row, metric)}</small></td>"
    )


def _scenarios(body: dict[str, Any]) -> str:
    groups = body["suite"]["groups"]
    if len(groups) < 2:
        return ""
    parts = ["<h2>Scenario by scenario</h2>", '<div class="plots">']
    parts.append(scenario_bars(body, "ade", "Distance from the truth", "px, lower is better"))
    if any(row["metric"] == "contact" for row in body["rows"]):
        parts.append(scenario_bars(body, "contact", "The contact question", "% right, higher is better"))
    parts.append("</div>")
    return "".join(parts)


def _curves(body: dict[str, Any]) -> str:
    spans = [(name, entry["title"]) for name, entry in body["unions"].items()]
    spans += [(group["name"], group["title"]) for group in body["suite"]["groups"]]
    parts = [
        "<h2>How the error grows</h2>",
        '<p class="soft">Mean distance from the truth by predicted frame, pixels.</p>',
    ]
    parts.append(legend(body))
    if len(body["settings"]["given"]) > 1 and body.get("model"):
        parts.append('<div class="plots">' + given_figure(body, _main_union(body)) + "</div>")
    parts.append('<div class="plots">')
    given = body["settings"]["given"][0]
    parts += [curves_figure(body, name, title, given) for name, title in spans]
    parts.append("</div>")
    return "".join(parts)


# ---- facts


def _facts(body: dict[str, Any], command: Sequence[str]) -> str:
    settings = {key: value for key, value in body["settings"].items() if value not in (None, [], ())}
    entries = [
        ("Fingerprint of the clips", body["suite"]["fingerprint"]),
        ("Clips", ", ".join(f"{name} {len(clips)}" for name, clips in body["suite"]["clips"].items())),
        ("Settings", ", ".join(f"{key} {_list(value)}" for key, value in settings.items())),
        ("Versions", ", ".join(f"{key} {value}" for key, value in body["versions"].items())),
        ("Machine", f"{body['machine']}; {body['seconds']} s"),
    ]
    for predictor in body["predictors"]:
        details = {k: v for k, v in predictor["details"].items() if v is not None}
        if details:
            entries.append((predictor["title"], ", ".join(f"{k} {_list(v)}" for k, v in details.items())))
    facts = "".join(f"<dt>{esc(key)}</dt><dd>{esc(value)}</dd>" for key, value in entries)
    formulas = "".join(
        f"<dt>{esc(m['label'])}{' (' + esc(m['unit']) + ')' if m['unit'] else ''}</dt><dd>{esc(m['formula'])}</dd>"
        for m in body["metrics"]
    )
    bad = ""
    if body["bad"]:
        names = "".join(
            f"<li><code>{esc(b['clip'])}</code> of {esc(b['predictor'])} {esc(b['reason'])}</li>" for b in body["bad"]
        )
        summary = f"{len(body['bad'])} clips that could not be scored"
        bad = f"<details open><summary>{summary}</summary><ul>{names}</ul></details>"
    return (
        f"<h2>How this was made</h2>{bad}<p>The same numbers come from</p><pre>{esc(shlex.join(command))}</pre>"
        f'<dl class="facts">{facts}</dl>'
        f'<details><summary>What each column means</summary><dl class="facts">{formulas}</dl></details>'
    )


def _list(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return json.dumps(value) if isinstance(value, dict) else str(value)
