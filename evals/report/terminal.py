"""What `python -m evals.physics` prints: a bar while it works, then verdict and tables; and two runs compared."""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

import click

from evals.physics import results
from evals.physics.examiner import Progress
from evals.physics.verdict import Table, number, span
from evals.scoring.score import METRICS
from vdt_mlx.errors import VDTError

ROOMY = 150
"""Columns of a terminal from which on intervals are printed beside means."""


class Bar(Progress):
    """Clips done, on standard error, on a terminal only."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("clips"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("examining", total=total)

    def __enter__(self) -> "Bar":
        self.bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.bar.stop()

    def tell(self, step: str) -> None:
        self.bar.update(self.task, description=step)

    def advance(self, clips: int) -> None:
        self.bar.advance(self.task, clips)


def known_metrics(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in METRICS:
            from difflib import get_close_matches

            close = get_close_matches(name, METRICS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(METRICS)}."
            raise VDTError(f"Unknown metric {name!r}; {hint}")
    return tuple(names)


def console_for_results() -> Any:
    from rich.console import Console

    wide = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if wide else 180, highlight=False)


def show(body: dict[str, Any], columns: tuple[str, ...]) -> None:
    """The verdict, a table a union, and a line a scenario."""
    from rich.table import Table as RichTable

    from evals.report.page import SYMBOLS, best_in_column

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
            best = {column: best_in_column(body, table, name, column) for column in shown}
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
    others = ("copy_last", "constant_velocity", "constant_acceleration", "nearest", "simulator")
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


# ---- compare


def compare(
    first: Path, second: Path, wanted: tuple[str, ...], scenarios: tuple[str, ...] | None, as_json: bool
) -> None:
    from rich.table import Table as RichTable

    wanted = known_metrics(wanted)
    one, two = results.read(first), results.read(second)
    try:
        found = results.compare(one, two)
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
        style = ("green" if better else "red") if entry["settled"] and metric.better else "default"
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
