"""What `python -m evals.physics` prints: the verdict, a table a union, a line a scenario."""

import textwrap
from collections.abc import Sequence
from typing import Any

from evals.predictors.registry import ROWS
from evals.report.table import SYMBOLS, Table, console_for_results, number, span

ROOMY = 150
"""Columns of a terminal from which on intervals are printed beside means."""


def show(body: dict[str, Any], columns: Sequence[str]) -> None:
    """The verdict, a table a union, and a line a scenario."""
    from rich.table import Table as RichTable

    console = console_for_results()
    labels = {m["name"]: m for m in body["metrics"]}
    unions = {name: entry["title"] for name, entry in body["unions"].items()}
    unions = unions or {group["name"]: group["title"] for group in body["suite"]["groups"]}
    console.print()
    for line in body["verdict"]:
        style = {"good": "green", "bad": "red", "plain": "default"}[line["state"]]
        console.print(f"[{style}]{SYMBOLS[line['state']]}[/] {line['text']}")
    for given in body["settings"]["given"]:
        table = Table(body, given)
        for name, title in unions.items():
            shown = [c for c in columns if any(key[1:] == (name, c) for key in table.rows)]
            if not shown:
                continue
            grid = RichTable(
                title=f"{title}, {given} frames given", title_justify="left", show_edge=False, pad_edge=False
            )
            grid.add_column("", no_wrap=True)
            for column in shown:
                arrow = {"lower": " ↓", "higher": " ↑", "": ""}[labels[column]["better"]]
                lines = textwrap.wrap(labels[column]["label"] + arrow, 10)
                if labels[column]["unit"]:
                    lines.append(labels[column]["unit"])
                grid.add_column("\n".join(lines), justify="right", no_wrap=True)
            best = {column: table.best(name, column) for column in shown}
            for predictor in body["predictors"]:
                rows = [table.row(predictor["name"], name, column) for column in shown]
                if any(rows):
                    cells = [
                        _text(row, column, predictor["name"] in best[column], console.width >= ROOMY)
                        for row, column in zip(rows, shown, strict=True)
                    ]
                    label = predictor["title"]
                    grid.add_row(f"[bold]{label}[/]" if predictor["kind"] == "model" else label, *cells)
            console.print()
            console.print(grid)
    _by_scenario(console, body)
    for entry in body["bad"][:20]:
        console.print(f"could not be scored: {entry['clip']} of {entry['predictor']} {entry['reason']}")
    if len(body["bad"]) > 20:
        console.print(f"... and {len(body['bad']) - 20} more, all in results.json")
    total = sum(len(clips) for clips in body["suite"]["clips"].values())
    console.print(f"\n{total} clips, fingerprint {body['suite']['fingerprint']}, {body['seconds']:.0f} s")


def _text(row: dict[str, Any] | None, metric: str, best: bool, roomy: bool) -> str:
    if row is None:
        return "–"
    mean = number(row["mean"], metric)
    if not roomy:
        return f"[bold]{mean}[/]" if best else mean
    within = span(row, metric).removesuffix(" %").replace(" to ", ", ")
    return f"{f'[bold]{mean}[/]' if best else mean} [dim]\\[{within}][/]"


def _by_scenario(console: Any, body: dict[str, Any]) -> None:
    from rich.table import Table as RichTable

    model = body.get("model")
    groups = body["suite"]["groups"]
    if model is None or len(groups) < 2:
        return
    table = Table(body)
    others = [row.name for row in ROWS.values() if row.states is not None]
    titles = {p["name"]: p["title"] for p in body["predictors"]}
    grid = RichTable(
        title="ADE (px) by scenario, and contact accuracy", title_justify="left", show_edge=False, pad_edge=False
    )
    grid.add_column("", no_wrap=True)
    for name in (model, *others):
        grid.add_column("\n".join(textwrap.wrap(titles[name], 12)), justify="right", no_wrap=True)
    grid.add_column("contact", justify="right", no_wrap=True)
    for group in groups:
        row = [number(table.mean(name, group["name"], "ade")) for name in (model, *others)]
        grid.add_row(group["title"], *row, number(table.mean(model, group["name"], "contact"), "contact"))
    console.print()
    console.print(grid)
