"""The report's figures, drawn as SVG by hand: curves by frame, marks by scenario, error against context frames.

Every predictor has one colour, one dash and one mark in all figures, so that they can be told apart without colours.
"""

import html
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from evals.predictors.registry import ROWS
from evals.report.table import Table, number
from evals.scoring.score import METRICS

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 30, 8, 8, 34
COLOURS = 10
"""Colours in report.css: --c0 is the model's."""
LANE = 6
"""Pixels between the marks of two predictors in one row."""


class Series(NamedTuple):
    """A predictor as figures show it; `style` counts from 0, the model that the report is about."""

    name: str
    title: str
    style: int

    @property
    def colour(self) -> int:
        return self.style % COLOURS

    def mark(self, x: float, y: float, size: float, tip: str) -> str:
        """A small shape around a point: disc, square, diamond or triangle."""
        shape = 0 if self.style == 0 else self.style % 4
        head = f'<g class="f{self.colour}">' + (f"<title>{html.escape(tip)}</title>" if tip else "")
        if shape == 0:
            return f'{head}<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}"/></g>'
        corners = {
            1: ((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
            2: ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)),
            3: ((0, -1.2), (1.2, 0.9), (-1.2, 0.9)),
        }[shape]
        points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
        return f'{head}<polygon points="{points}"/></g>'

    @property
    def dash(self) -> str:
        """Of its line."""
        return ("", "5 2.5", "1.5 2.5", "7 2 1.5 2")[0 if self.style == 0 else self.style % 4]


def drawn(body: dict[str, Any]) -> list[Series]:
    """The predictors that figures show: models first, then all that stands beside them."""
    titles = {p["name"]: p["title"] for p in body["predictors"]}
    fixed = [row.name for row in ROWS.values() if row.figures]
    style = {name: 1 + i for i, name in enumerate(fixed)}
    models = [p["name"] for p in body["predictors"] if p["kind"] == "model"]
    models.sort(key=lambda name: name != body.get("model"))
    others = {name: 0 if i == 0 else len(fixed) + i for i, name in enumerate(models)}
    return [Series(n, titles[n], others.get(n, style.get(n, 1))) for n in [*models, *fixed] if n in titles]


def legend(body: dict[str, Any]) -> Markup:
    return legend_of(drawn(body))


def legend_of(shown: Sequence[Series]) -> Markup:
    items = "".join(
        f'<li><svg viewBox="0 0 26 12" width="26" height="12" aria-hidden="true">'
        f'<line class="curve k{s.colour}" x1="1" x2="25" y1="6" y2="6" stroke-dasharray="{s.dash}"/>'
        f"{s.mark(13, 6, 3.4, '')}</svg>{html.escape(s.title)}</li>"
        for s in shown
    )
    return Markup(f'<ul class="legend">{items}</ul>')


def ticks(top: float, count: int = 4) -> list[float]:
    """Round values from 0 to at least `top`."""
    if not top > 0:
        return [0.0, 1.0]
    raw = top / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]


class Frame:
    """Axes of a small figure: data to SVG coordinates."""

    def __init__(self, low: float, high: float, top: float, width: int = WIDTH, height: int = HEIGHT) -> None:
        self.low, self.high, self.marks = low, max(high, low + 1e-9), ticks(top)
        self.top, self.width, self.height = self.marks[-1], width, height

    def x(self, value: float) -> float:
        return LEFT + (value - self.low) / (self.high - self.low) * (self.width - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.height - BOTTOM - min(value, self.top) / self.top * (self.height - TOP - BOTTOM)

    def points(self, xs: Sequence[float], ys: Sequence[float | None]) -> str:
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in zip(xs, ys, strict=True) if y is not None)

    def axes(self, xs: Sequence[float], label: str) -> str:
        lines = "".join(
            f'<line class="grid" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{self.y(v):.1f}" y2="{self.y(v):.1f}"/>'
            f'<text x="{LEFT - 5}" y="{self.y(v) + 3.5:.1f}" text-anchor="end">{v:g}</text>'
            for v in self.marks
        )
        marks = "".join(
            f'<text x="{self.x(v):.1f}" y="{self.height - BOTTOM + 15}" text-anchor="middle">{v:g}</text>' for v in xs
        )
        middle = (LEFT + self.width - RIGHT) / 2
        return (
            f'{lines}{marks}<text x="{middle}" y="{self.height - 3}" text-anchor="middle">{html.escape(label)}</text>'
        )

    def line(self, series: Series, xs: Sequence[float], ys: Sequence[float | None], tip: str) -> str:
        return (
            f'<polyline class="curve k{series.colour}" stroke-dasharray="{series.dash}" points="{self.points(xs, ys)}">'
            f"<title>{html.escape(tip)}</title></polyline>"
        )


def curves_figure(body: dict[str, Any], scenario: str, title: str, given: int) -> Markup:
    """Displacement by predicted frame of every predictor on one scenario."""
    found = {c["predictor"]: c for c in body["curves"] if c["scenario"] == scenario and c["given"] == given}
    shown = [series for series in drawn(body) if series.name in found]
    if not shown:
        return Markup("")
    tallest = max((v for s in shown for v in found[s.name]["mean"] if v is not None), default=1.0)
    frames = found[shown[0].name]["frames"]
    frame = Frame(frames[0], frames[-1], tallest)
    parts = [frame.axes([f for f in frames if len(frames) <= 8 or f % 2 == 0], "frame")]
    for series in reversed(shown):
        curve = found[series.name]
        if series.style == 0:
            rows = [
                (f, lo, hi) for f, lo, hi in zip(frames, curve["low"], curve["high"], strict=True) if lo is not None
            ]
            band = [f"{frame.x(f):.1f},{frame.y(hi):.1f}" for f, _, hi in rows]
            band += [f"{frame.x(f):.1f},{frame.y(lo):.1f}" for f, lo, _ in reversed(rows)]
            parts.append(f'<polygon class="band f0" points="{" ".join(band)}"/>')
        last = next((v for v in reversed(curve["mean"]) if v is not None), None)
        parts.append(frame.line(series, frames, curve["mean"], f"{series.title}: {number(last)} px in the last frame"))
    return _figure(title, "", "".join(parts), frame.width, frame.height)


def given_figure(body: dict[str, Any], union: tuple[str, str]) -> Markup:
    """ADE against the number of context frames."""
    scenario, title = union
    counts = sorted(body["settings"]["given"])
    tables = {given: Table(body, given) for given in counts}
    lines = []
    for series in drawn(body):
        means = [tables[given].mean(series.name, scenario, "ade") for given in counts]
        if any(value is not None for value in means):
            lines.append((series, means))
    top = max((v for _, means in lines for v in means if v is not None), default=1.0)
    frame = Frame(counts[0], counts[-1], top)
    parts = [frame.axes(counts, "context frames")]
    parts += [frame.line(series, counts, means, series.title) for series, means in reversed(lines)]
    return _figure("ADE (px) against context frames", title, "".join(parts), frame.width, frame.height)


def scenario_bars(body: dict[str, Any], metric: str, title: str, note: str) -> Markup:
    """A row a scenario: where each predictor stands, each in a lane of its own, the model with its interval.

    Drawn twice, for a wide page and for a phone (labels above their rows); report.css shows one of the two.
    """
    table, percent = Table(body), METRICS[metric].percent
    groups = body["suite"]["groups"]
    shown = [
        s
        for s in drawn(body)
        if (not percent or s.name not in ("copy_last", "autoencoder"))
        and any(table.row(s.name, g["name"], metric) for g in groups)
    ]
    groups = [g for g in groups if any(table.row(s.name, g["name"], metric) for s in shown)]
    wide = _rows_figure(table, groups, shown, metric, width=900, left=190, above=0)
    phone = _rows_figure(table, groups, shown, metric, width=340, left=12, above=16)
    small = f" <small>{html.escape(note)}</small>"
    return Markup(
        f"<figure class=wide><figcaption>{html.escape(title)}{small}</figcaption>"
        f'<div class="on-wide">{_svg(title, *wide)}</div><div class="on-phone">{_svg(title, *phone)}</div>'
        f"{legend_of(shown)}</figure>"
    )


def _rows_figure(
    table: Table,
    groups: Sequence[dict[str, Any]],
    shown: Sequence[Series],
    metric: str,
    *,
    width: int,
    left: int,
    above: int,
) -> tuple[str, int, int]:
    """(inside, width, height) of the SVG; labels stand in the margin, or `above` pixels over their rows."""
    scale = 100.0 if METRICS[metric].percent else 1.0
    values = [table.mean(s.name, g["name"], metric) for g in groups for s in shown]
    marks = ticks(scale if scale > 1 else max((v for v in values if v is not None), default=1.0))
    lanes = LANE * len(shown)
    row_height = lanes + 8 + above
    height = TOP + row_height * len(groups) + 24
    right = 12 if above else 20

    def x(value: float) -> float:
        return left + value * scale / marks[-1] * (width - left - right)

    parts = [
        f'<line class="grid" x1="{x(v / scale):.1f}" x2="{x(v / scale):.1f}" y1="{TOP}" y2="{height - 22}"/>'
        f'<text x="{x(v / scale):.1f}" y="{height - 8}" text-anchor="middle">{v:g}</text>'
        for v in marks
    ]
    for i, group in enumerate(groups):
        top = TOP + row_height * i
        label = html.escape(group["title"].replace(", out of distribution", ", out"))
        if above:
            parts.append(f'<text x="{left}" y="{top + 12:.1f}">{label}</text>')
        else:
            parts.append(f'<text x="{left - 12}" y="{top + row_height / 2 + 4:.1f}" text-anchor="end">{label}</text>')
        parts.append(f'<line class="grid" x1="{12}" x2="{width - right}" y1="{top:.1f}" y2="{top:.1f}"/>')
        for lane, series in enumerate(shown):
            row = table.row(series.name, group["name"], metric)
            if row is None:
                continue
            y = top + above + 4 + LANE * (lane + 0.5)
            if series.style == 0 and row["low"] is not None:
                parts.append(
                    f'<line class="k0" stroke-width="5" stroke-opacity=".3" stroke-linecap="round" '
                    f'x1="{x(row["low"]):.1f}" x2="{x(row["high"]):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
                )
            tip = f"{series.title}: {number(row['mean'], metric)}"
            parts.append(series.mark(x(row["mean"]), y, 4 if series.style == 0 else 2.8, tip))
    return "".join(parts), width, height


def _figure(title: str, note: str, inside: str, width: int, height: int) -> Markup:
    small = f" <small>{html.escape(note)}</small>" if note else ""
    return Markup(
        f"<figure><figcaption>{html.escape(title)}{small}</figcaption>{_svg(title, inside, width, height)}</figure>"
    )


def _svg(title: str, inside: str, width: int, height: int) -> str:
    return f'<svg viewBox="0 0 {width} {height + 4}" role="img" aria-label="{html.escape(title)}">{inside}</svg>'
