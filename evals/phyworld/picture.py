"""The picture of an examination by PhyWorld's rules: error against speed, with the range of training shaded."""

import html
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from evals.report.figures import BOTTOM, LEFT, RIGHT, TOP, Series, drawn, legend_of, ticks
from evals.report.table import headline, number
from physics_sim.phyworld import SPEEDS

WIDE, PHONE = (900, 260), (330, 240)
"""Width and height of the two drawings; report.css shows one of them."""
SHOWN = 6
"""Predictors at most: more marks hide each other."""
MARGIN = 12
FAR = 0.97
"""The share of the marks that the axis reaches: one that is far off would press all others to the ground."""

Points = dict[str, list[tuple[float, float, str]]]
"""predictor -> (speed, error, clip)."""


def error_by_speed(body: dict[str, Any], metric: str, what: str) -> Markup:
    """A mark a clip and predictor; of two balls the faster one's speed. Empty where nothing was scored."""
    points = _points(body, metric)
    shown = [series for series in drawn(body) if series.name in points][:SHOWN]
    if not shown:
        return Markup("")
    title = f"{what[0].upper()}{what[1:]} of every clip, by PhyWorld's script"
    wide, phone = (_svg(shown, points, metric, title, *size) for size in (WIDE, PHONE))
    return Markup(
        f"<figure class=wide><figcaption>{html.escape(title)}</figcaption>"
        f'<div class="on-wide">{wide}</div><div class="on-phone">{phone}</div>{legend_of(shown)}</figure>'
    )


def _points(body: dict[str, Any], metric: str) -> Points:
    given, inits = str(headline(body["settings"]["given"])), body["phyworld"]["init"]
    points: Points = {}
    for series in drawn(body):
        by_group = body["values"].get(series.name, {}).get(given, {})
        for group, clips in body["suite"]["clips"].items():
            for clip, value in zip(clips, by_group.get(group, {}).get(metric, []), strict=False):
                if value is not None and clip in inits:
                    points.setdefault(series.name, []).append((_speed(inits[clip]), value, clip))
    return points


def _speed(init: list[float]) -> float:
    return max(init[2:4]) if len(init) == 4 else init[1]


def _svg(shown: Sequence[Series], points: Points, metric: str, title: str, width: int, height: int) -> str:
    every = [point for series in shown for point in points[series.name]]
    errors = sorted(error for _, error, _ in every)
    across = ticks(max(speed for speed, _, _ in every))
    up = ticks(max(errors[max(0, int(FAR * len(errors)) - 1)], 1e-3))
    low, high, floor = LEFT + MARGIN, width - RIGHT - MARGIN, height - BOTTOM

    def x(value: float) -> float:
        return low + min(value / across[-1], 1) * (high - low)

    def y(value: float) -> float:
        return floor - min(value / up[-1], 1) * (floor - TOP)

    inside = [f'<rect class="shade" x="{x(SPEEDS[0]):.1f}" y="{TOP}" width="{x(SPEEDS[1]) - x(SPEEDS[0]):.1f}"']
    inside.append(f' height="{floor - TOP}"/>')
    inside += [
        f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{LEFT - 5}" y="{y(v) + 3.5:.1f}" text-anchor="end">{v:g}</text>'
        for v in up
    ]
    inside += [f'<text x="{x(v):.1f}" y="{floor + 15}" text-anchor="middle">{v:g}</text>' for v in across]
    label = "speed, m/s (shaded: the range of training)"
    inside.append(f'<text x="{(low + high) / 2:.0f}" y="{height - 3}" text-anchor="middle">{label}</text>')
    for series in reversed(shown):
        for speed, error, clip in points[series.name]:
            tip = f"{series.title}, {clip}: {number(error, metric)}"
            inside.append(series.mark(x(speed), y(error), 3.6 if series.style == 0 else 2.6, tip))
    label = f'role="img" aria-label="{html.escape(title)}"'
    return f'<svg viewBox="0 0 {width} {height + 4}" {label}>{"".join(inside)}</svg>'
