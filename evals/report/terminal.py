"""What is printed: the verdict, a table a union, a line a scenario, and what sections add.

Every table fits the terminal it is printed on: columns that do not fit follow in a table below, and no digit is cut.
Text that comes from elsewhere (names of files and folders, messages) is never markup, and its control characters do
not reach the terminal.
"""

import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from evals.predictors.registry import ROWS
from evals.report.table import SYMBOLS, Grid, Part, Table, number, span
from evals.scoring.score import METRICS
from vdt_mlx.progress import printable

STYLES = {"good": "green", "bad": "red", "plain": ""}
PIPED = 180
"""Columns where the output is no terminal."""
GAP = 3
"""Columns between two columns of a table."""

Cell = str | tuple[str, str]
"""A text, or a text and its style."""


def console_for_results() -> Any:
    """Where results are printed: as wide as the terminal, or 180 columns where there is none."""
    from rich.console import Console

    wide = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if wide else PIPED, highlight=False, markup=False, emoji=False)


def say(console: Any, text: str, style: str = "") -> None:
    """A paragraph, wrapped at words; nothing in it is markup."""
    from rich.text import Text

    console.print(Text(printable(text), style=style))


def say_path(console: Any, what: str, path: str) -> None:
    """A line that is never wrapped, so that a path can be copied."""
    from rich.text import Text

    console.print(Text(printable(f"{what}: {path}")), soft_wrap=True)


# ---- tables


def show_table(console: Any, title: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """A table; the first column names the rows, and is repeated where the columns have to be in several tables."""
    texts = [[_text(cell) for cell in row] for row in rows]
    heads = [printable(column).strip() for column in columns]
    first = _width([heads[0], *(row[0].plain for row in texts)])
    first = min(first, max(14, console.width // 2 - 4))
    widths = [_width([*_lines(head), *(row[i].plain for row in texts)]) for i, head in enumerate(heads)]
    for k, part in enumerate(_fitting(widths, first, console.width)):
        console.print()
        say(console, title if k == 0 else f"{title} (more columns)", "italic")
        console.print(_rich_table(heads, texts, part, first))


def fits(console: Any, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> bool:
    """Whether a table's columns stand side by side."""
    texts = [[_text(cell).plain for cell in row] for row in rows]
    widths = [_width([*_lines(head), *(row[i] for row in texts)]) for i, head in enumerate(columns)]
    return sum(widths) + GAP * (len(widths) - 1) <= console.width


def _fitting(widths: Sequence[int], first: int, width: int) -> list[list[int]]:
    """Columns 1, 2, ... in groups that fit beside the first."""
    groups: list[list[int]] = [[]]
    used = first
    for i in range(1, len(widths)):
        if groups[-1] and used + GAP + widths[i] > width:
            groups.append([])
            used = first
        groups[-1].append(i)
        used += GAP + widths[i]
    return groups


def _rich_table(heads: Sequence[str], texts: Sequence[Sequence[Any]], part: Sequence[int], first: int) -> Any:
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(show_edge=False, pad_edge=False)
    grid.add_column(Text(heads[0]), width=first, overflow="fold")
    for i in part:
        grid.add_column(Text("\n".join(_lines(heads[i]))), justify="right", no_wrap=True)
    for row in texts:
        if any(row[i].plain not in ("", "–") for i in part):  # what has nothing to say here is left out
            grid.add_row(row[0], *(row[i] for i in part))
    return grid


def _text(cell: Cell) -> Any:
    from rich.text import Text

    text, style = cell if isinstance(cell, tuple) else (cell, "")
    return Text(printable(text), style=style)


def _lines(head: str) -> list[str]:
    return textwrap.wrap(head, 11, break_long_words=False) or [""]


def _width(texts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max((cell_len(text) for text in texts), default=1)


def show_grid(console: Any, grid: Grid) -> None:
    """A section's table."""
    show_table(console, grid.title, grid.columns, grid.rows)
    if grid.note:
        say(console, grid.note)


# ---- an examination


def show(body: dict[str, Any], columns: Sequence[str], parts: Sequence[Part] = ()) -> None:
    """The verdict, a table a union and number of context frames, a line a scenario, and the sections' tables."""
    console = console_for_results()
    console.print()
    for line in body["verdict"]:
        _say_line(console, line)
    unions = {name: entry["title"] for name, entry in body["unions"].items()}
    unions = unions or {group["name"]: group["title"] for group in body["suite"]["groups"]}
    for given in body["settings"]["given"]:
        table = Table(body, given)
        for name, title in unions.items():
            _show_union(console, body, table, name, f"{title}, {given} context frames", columns)
    _by_scenario(console, body)
    for part in parts:
        for grid in part.grids:
            show_grid(console, grid)
    _say_bad(console, body["bad"])
    total = sum(len(clips) for clips in body["suite"]["clips"].values())
    console.print()
    say(console, f"{total} clips, fingerprint {body['suite']['fingerprint']}, {body['seconds']:.0f} s")


def _say_line(console: Any, line: dict[str, str]) -> None:
    from rich.text import Text

    state = line["state"]
    console.print(Text.assemble((SYMBOLS[state], STYLES[state]), " ", printable(line["text"])))


def _say_bad(console: Any, bad: Sequence[dict[str, Any]]) -> None:
    for entry in bad[:20]:
        say(console, f"could not be scored: {entry['clip']} of {entry['predictor']} {entry['reason']}")
    if len(bad) > 20:
        say(console, f"... and {len(bad) - 20} more, all in results.json")


def _show_union(
    console: Any, body: dict[str, Any], table: Table, name: str, title: str, columns: Sequence[str]
) -> None:
    labels = {m["name"]: m for m in body["metrics"]}
    shown = [c for c in columns if c in labels and any(key[1:] == (name, c) for key in table.rows)]
    if not shown:
        return
    arrows = {"lower": " ↓", "higher": " ↑", "": ""}
    heads = [""]
    for column in shown:
        unit = labels[column]["unit"]
        heads.append(f"{labels[column]['label']}{arrows[labels[column]['better']]}" + (f" {unit}" if unit else ""))
    best = {column: table.best(name, column) for column in shown}
    wide: list[list[Cell]] = []
    narrow: list[list[Cell]] = []
    for predictor in body["predictors"]:
        found = [table.row(predictor["name"], name, column) for column in shown]
        if any(found):
            label = (predictor["title"], "bold" if predictor["kind"] == "model" else "")
            marks = ["bold" if predictor["name"] in best[column] else "" for column in shown]
            for rows, intervals in ((wide, True), (narrow, False)):
                cells = [_value(row, c, intervals) for row, c in zip(found, shown, strict=True)]
                rows.append([label, *zip(cells, marks, strict=True)])
    show_table(console, title, heads, wide if fits(console, heads, wide) else narrow)


def _value(row: dict[str, Any] | None, metric: str, interval: bool) -> str:
    if row is None:
        return "–"
    mean = number(row["mean"], metric)
    within = span(row, metric).removesuffix(" %").replace(" to ", ", ")
    return f"{mean} [{within}]" if interval and within else mean


def _by_scenario(console: Any, body: dict[str, Any]) -> None:
    model, groups = body.get("model"), body["suite"]["groups"]
    if model is None or len(groups) < 2 or "phyworld" in body:
        return
    table = Table(body)
    titles = {p["name"]: p["title"] for p in body["predictors"]}
    names = [model, *(row.name for row in ROWS.values() if row.states is not None and row.name in titles)]
    rows = [
        [
            group["title"],
            *(number(table.mean(name, group["name"], "ade")) for name in names),
            number(table.mean(model, group["name"], "contact"), "contact"),
        ]
        for group in groups
    ]
    title = f"ADE (px) by scenario, and the model's contact accuracy, {table.given} context frames"
    heads = ["", *(titles[name] for name in names), METRICS["contact"].label]
    show_table(console, title, heads, rows)
