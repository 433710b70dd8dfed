"""Rows of a results file as people read them: looked up, rounded, and marked where they are the best."""

import math
import sys
from typing import Any

from evals.scoring.score import METRICS

Row = dict[str, Any]
SYMBOLS = {"good": "✓", "bad": "✗", "plain": "·"}


class Table:
    """Rows by (predictor, scenario, metric) for one number of given frames."""

    def __init__(self, body: dict[str, Any], given: int | None = None) -> None:
        self.body = body
        self.given = int(given if given is not None else body["settings"]["given"][0])
        self.rows = {(r["predictor"], r["scenario"], r["metric"]): r for r in body["rows"] if r["given"] == self.given}
        self.differences = {
            (d["reference"], d["scenario"], d["metric"]): d for d in body["differences"] if d["given"] == self.given
        }

    def row(self, predictor: str | None, scenario: str, metric: str) -> Row | None:
        return self.rows.get((predictor or "", scenario, metric))

    def mean(self, predictor: str | None, scenario: str, metric: str) -> float | None:
        row = self.row(predictor, scenario, metric)
        return None if row is None else row["mean"]

    def best(self, scenario: str, metric: str) -> set[str]:
        """The predictors with the best mean, bounds and answers aside; ties (as printed) are all best."""
        better = next(m["better"] for m in self.body["metrics"] if m["name"] == metric)
        found = {}
        for predictor in self.body["predictors"]:
            value = self.mean(predictor["name"], scenario, metric)
            if value is not None and predictor["kind"] in ("model", "baseline"):
                found[predictor["name"]] = value
        if len(found) < 2 or not better:
            return set()
        best = (min if better == "lower" else max)(found.values())
        return {name for name, value in found.items() if number(value, metric) == number(best, metric)}


def number(value: float | None, metric: str = "") -> str:
    """A value as the tables print it."""
    if value is None or not math.isfinite(value):
        return "–"
    if metric in METRICS and METRICS[metric].percent:
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if abs(value) >= 9.95 else f"{value:.2f}" if abs(value) >= 0.0995 else f"{value:.3f}"


def span(row: Row, metric: str = "") -> str:
    """A row's interval as the tables print it; nothing where there is none."""
    if row["low"] is None:
        return ""
    percent = number(row["mean"], metric).endswith("%")
    low, high = (number(row[key], metric).removesuffix(" %") for key in ("low", "high"))
    return f"{low} to {high}" + (" %" if percent else "")


def main_union(body: dict[str, Any]) -> tuple[str, str]:
    """(name, title) of what headlines are about: the first union, or the only group."""
    for name, entry in body["unions"].items():
        return name, entry["title"]
    group = body["suite"]["groups"][0]
    return group["name"], group["title"]


def console_for_results() -> Any:
    """Where tables are printed: as wide as the terminal, or 180 columns where there is none."""
    from rich.console import Console

    wide = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if wide else 180, highlight=False)
