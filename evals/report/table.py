"""Rows of a results file as people read them: looked up, rounded, and marked where they are the best."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from evals.scoring import phyworld
from evals.scoring.score import METRICS, default_columns

Row = dict[str, Any]
KNOWN = METRICS | phyworld.METRICS
"""Every metric that a results file may have."""
SYMBOLS = {"good": "✓", "bad": "✗", "plain": "·"}


@dataclass(frozen=True)
class Grid:
    """A small table of texts, for the terminal and the page. The first column names the rows."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str = ""
    """A sentence below it."""


@dataclass(frozen=True)
class Part:
    """What a section shows: tables, and figures (markup) for the page."""

    title: str
    grids: list[Grid]
    figures: list[Any] = field(default_factory=list)


class Table:
    """Rows by (predictor, scenario, metric) for one number of given frames."""

    def __init__(self, body: dict[str, Any], given: int | None = None) -> None:
        self.body = body
        self.given = int(given if given is not None else headline(body["settings"]["given"]))
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


STANDARD = 8
"""Context frames of the headline, where they are among those asked for."""


def headline(given: Iterable[int]) -> int:
    """The number of context frames that headlines are about: 8, or the largest where 8 is not among them."""
    counts = [int(count) for count in given]
    return STANDARD if STANDARD in counts else max(counts)


def number(value: float | None, metric: str = "") -> str:
    """A value as the tables print it."""
    if value is None or not math.isfinite(value):
        return "–"
    if metric in KNOWN and KNOWN[metric].percent:
        return f"{100 * value:.1f} %"
    digits = KNOWN[metric].digits if metric in KNOWN else None
    if digits is not None:
        return f"{value:.{digits}f}"
    return f"{value:.1f}" if abs(value) >= 9.95 else f"{value:.2f}" if abs(value) >= 0.0995 else f"{value:.3f}"


def span(row: Row, metric: str = "") -> str:
    """A row's interval as the tables print it; nothing where there is none."""
    if row["low"] is None:
        return ""
    percent = number(row["mean"], metric).endswith("%")
    low, high = (number(row[key], metric).removesuffix(" %") for key in ("low", "high"))
    return f"{low} to {high}" + (" %" if percent else "")


def columns(body: dict[str, Any]) -> tuple[str, ...]:
    """The metrics that are columns unless asked otherwise: a suite's own ones first."""
    own = [m["name"] for m in body["metrics"] if m["name"] in phyworld.METRICS and KNOWN[m["name"]].shown]
    return (*own, "ade", "presence") if own else default_columns()


def unscored(body: dict[str, Any]) -> list[dict[str, str]]:
    """A verdict's line about clips of the model, or of the suite, that could not be scored; none where all were."""
    bad = [entry["clip"] for entry in body["bad"] if entry["predictor"] in (body.get("model"), "suite")]
    found = list(dict.fromkeys(bad))  # a clip is there once for each number of context frames
    if not found:
        return []
    named = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
    return [{"text": f"{len(found)} clips could not be scored ({named}).", "state": "bad"}]


def main_union(body: dict[str, Any]) -> tuple[str, str]:
    """(name, title) of what headlines are about: the first union, or the only group."""
    for name, entry in body["unions"].items():
        return name, entry["title"]
    group = body["suite"]["groups"][0]
    return group["name"], group["title"]
