"""The report's figures, drawn as SVG by hand: curves by frame, bars by scenario, error against given frames."""

import html
import math
from collections.abc import Sequence
from typing import Any

from evals.physics.verdict import Table, number

WIDTH, HEIGHT = 320, 190
LEFT, RIGHT, TOP, BOTTOM = 30, 8, 8, 24
RIVALS = ("copy_last", "constant_velocity", "constant_acceleration", "nearest", "simulator", "autoencoder")


def drawn(body: dict[str, Any]) -> list[tuple[str, str, int]]:
    """(name, title, colour) of the predictors that figures show: models first, then rivals."""
    models = [p["name"] for p in body["predictors"] if p["kind"] == "model"]
    titles = {p["name"]: p["title"] for p in body["predictors"]}
    names = [*models, *(name for name in RIVALS if name in titles)]
    colour = {name: 1 + i for i, name in enumerate(RIVALS)}
    free = iter([7, 6, 5, 4, 3])
    return [(n, titles[n], 0 if n == body.get("model") else colour.get(n) or next(free, 1)) for n in names]


def legend(body: dict[str, Any]) -> str:
    items = "".join(f'<li><i class="k{colour}"></i>{html.escape(title)}</li>' for _, title, colour in drawn(body))
    return f'<ul class="legend">{items}</ul>'


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
            f'<text x="{self.x(v):.1f}" y="{self.height - 9}" text-anchor="middle">{v:g}</text>' for v in xs
        )
        end = f'<text x="{self.width - RIGHT}" y="{self.height + 2}" text-anchor="end">{html.escape(label)}</text>'
        return lines + marks + end


def curves_figure(body: dict[str, Any], scenario: str, title: str, given: int) -> str:
    """Displacement by predicted frame of every predictor on one scenario."""
    found = {c["predictor"]: c for c in body["curves"] if c["scenario"] == scenario and c["given"] == given}
    shown = [(name, text, colour) for name, text, colour in drawn(body) if name in found]
    if not shown:
        return ""
    tallest = max((v for name, _, _ in shown for v in found[name]["mean"] if v is not None), default=1.0)
    frames = found[shown[0][0]]["frames"]
    frame = Frame(frames[0], frames[-1], tallest)
    parts = [frame.axes([f for f in frames if len(frames) <= 8 or f % 2 == 0], "frame")]
    for name, text, colour in reversed(shown):
        curve = found[name]
        if colour == 0:
            rows = [
                (f, lo, hi) for f, lo, hi in zip(frames, curve["low"], curve["high"], strict=True) if lo is not None
            ]
            band = [f"{frame.x(f):.1f},{frame.y(hi):.1f}" for f, _, hi in rows]
            band += [f"{frame.x(f):.1f},{frame.y(lo):.1f}" for f, lo, _ in reversed(rows)]
            parts.append(f'<polygon class="band k0" points="{" ".join(band)}"/>')
        last = next((v for v in reversed(curve["mean"]) if v is not None), None)
        parts.append(
            f'<polyline class="curve k{colour}" points="{frame.points(frames, curve["mean"])}">'
            f"<title>{html.escape(text)}: {number(last)} px in the last frame</title></polyline>"
        )
    return _figure(title, "", "".join(parts), frame.width, frame.height)


def scenario_bars(body: dict[str, Any], metric: str, title: str, note: str) -> str:
    """One line a scenario: where each predictor stands, the model with its interval."""
    table, percent = Table(body), metric == "contact"
    shown = [entry for entry in drawn(body) if entry[0] != "autoencoder"]
    if percent:
        shown = [entry for entry in shown if entry[0] != "copy_last"]
    groups = [g for g in body["suite"]["groups"] if any(table.row(n, g["name"], metric) for n, _, _ in shown)]
    values = [table.mean(n, g["name"], metric) for g in groups for n, _, _ in shown]
    top = 1.0 if percent else max((v for v in values if v is not None), default=1.0)
    marks = ticks(100.0 if percent else top)
    row_height, left, width = 24, 172, 900
    height = TOP + row_height * len(groups) + 24

    def x(value: float) -> float:
        return left + value * (100 if percent else 1) / marks[-1] * (width - left - 20)

    parts = [
        f'<line class="grid" x1="{x(v / (100 if percent else 1)):.1f}" x2="{x(v / (100 if percent else 1)):.1f}" '
        f'y1="{TOP}" y2="{height - 22}"/><text x="{x(v / (100 if percent else 1)):.1f}" y="{height - 8}" '
        f'text-anchor="middle">{v:g}</text>'
        for v in marks
    ]
    for i, group in enumerate(groups):
        y = TOP + row_height * (i + 0.5)
        label = group["title"].replace(", out of distribution", ", out")
        parts.append(f'<text x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{html.escape(label)}</text>')
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}"/>')
        for name, text, colour in reversed(shown):
            row = table.row(name, group["name"], metric)
            if row is None:
                continue
            tip = f"<title>{html.escape(text)}: {number(row['mean'], metric)}</title>"
            fill = f'style="fill:var(--c{colour})"'
            if colour == 0:
                parts.append(
                    f'<line class="k0" stroke-width="7" stroke-opacity=".25" stroke-linecap="round" '
                    f'x1="{x(row["low"]):.1f}" x2="{x(row["high"]):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
                )
            parts.append(
                f'<circle cx="{x(row["mean"]):.1f}" cy="{y:.1f}" r="{6 if colour == 0 else 4}" {fill}>{tip}</circle>'
            )
    return _figure(title, note, "".join(parts), width, height, wide=True) + (
        f'<div style="grid-column:1/-1;margin-top:-8px">{legend_of(shown)}</div>'
    )


def legend_of(shown: Sequence[tuple[str, str, int]]) -> str:
    items = "".join(f'<li><i class="k{colour}"></i>{html.escape(title)}</li>' for _, title, colour in shown)
    return f'<ul class="legend" style="margin-top:0">{items}</ul>'


def given_figure(body: dict[str, Any], union: tuple[str, str]) -> str:
    """ADE against the number of given frames."""
    scenario, title = union
    counts = sorted(body["settings"]["given"])
    tables = {given: Table(body, given) for given in counts}
    lines = []
    for name, text, colour in drawn(body):
        means = [tables[given].mean(name, scenario, "ade") for given in counts]
        if any(value is not None for value in means):
            lines.append((text, colour, means))
    top = max((v for _, _, means in lines for v in means if v is not None), default=1.0)
    frame = Frame(counts[0], counts[-1], top)
    parts = [frame.axes(counts, "frames given")]
    for text, colour, means in reversed(lines):
        parts.append(
            f'<polyline class="curve k{colour}" points="{frame.points(counts, means)}">'
            f"<title>{html.escape(text)}</title></polyline>"
        )
    return _figure("ADE against frames given", title, "".join(parts), frame.width, frame.height)


def _figure(title: str, note: str, inside: str, width: int, height: int, wide: bool = False) -> str:
    small = f" <small>{html.escape(note)}</small>" if note else ""
    return (
        f"<figure{' class=wide' if wide else ''}><figcaption>{html.escape(title)}{small}</figcaption>"
        f'<svg viewBox="0 0 {width} {height + 4}" role="img" aria-label="{html.escape(title)}">{inside}</svg></figure>'
    )
