"""The picture of an examination by PhyWorld's rules: error against speed, with the range of training shaded."""

import html
from typing import Any

from markupsafe import Markup

from evals.report.figures import BOTTOM, LEFT, RIGHT, TOP, drawn, legend_of, ticks
from evals.report.table import headline, number
from physics_sim.phyworld import SPEEDS

WIDTH, HEIGHT = 640, 260
SHOWN = 6
"""Predictors at most: more marks hide each other."""


def error_by_speed(body: dict[str, Any], metric: str, what: str) -> Markup:
    """A mark a clip and predictor; of two balls the faster one's speed. Empty where nothing was scored."""
    given, inits = str(headline(body["settings"]["given"])), body["phyworld"]["init"]
    marks: dict[str, list[tuple[float, float, str]]] = {}
    for series in drawn(body):
        by_group = body["values"].get(series.name, {}).get(given, {})
        for group, clips in body["suite"]["clips"].items():
            for clip, value in zip(clips, by_group.get(group, {}).get(metric, []), strict=False):
                if value is not None and clip in inits:
                    marks.setdefault(series.name, []).append((_speed(inits[clip]), value, clip))
    shown = [series for series in drawn(body) if series.name in marks][:SHOWN]
    if not shown:
        return Markup("")
    points = [point for series in shown for point in marks[series.name]]
    # One that is far off would press all others to the ground.
    top = sorted(y for _, y, _ in points)[max(0, int(0.97 * len(points)) - 1)]
    across, up = ticks(max(x for x, _, _ in points)), ticks(max(top, 1e-3))

    def x(value: float) -> float:
        return LEFT + 12 + value / across[-1] * (WIDTH - LEFT - RIGHT - 24)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - min(value, up[-1]) / up[-1] * (HEIGHT - TOP - BOTTOM)

    low, high = x(SPEEDS[0]), max(x(SPEEDS[0]), x(min(SPEEDS[1], across[-1])))
    tall = HEIGHT - TOP - BOTTOM
    inside = [f'<rect class="shade" x="{low:.1f}" y="{TOP}" width="{high - low:.1f}" height="{tall}"/>']
    inside += [
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{LEFT - 5}" y="{y(v) + 3.5:.1f}" text-anchor="end">{v:g}</text>'
        for v in up
    ]
    inside += [f'<text x="{x(v):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{v:g}</text>' for v in across]
    middle, label = (LEFT + WIDTH - RIGHT) / 2, "speed, m/s (shaded: the range of training)"
    inside.append(f'<text x="{middle}" y="{HEIGHT - 3}" text-anchor="middle">{label}</text>')
    for series in reversed(shown):
        for at, value, clip in marks[series.name]:
            tip = f"{series.title}, {clip}: {number(value, metric)}"
            inside.append(series.mark(x(at), y(value), 3.2 if series.style == 0 else 2.4, tip))
    title = f"{what[0].upper()}{what[1:]} of every clip, by PhyWorld's script"
    return Markup(
        f"<figure class=wide><figcaption>{html.escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + 4}" role="img" aria-label="{html.escape(title)}">{"".join(inside)}</svg>'
        f"{legend_of(shown)}</figure>"
    )


def _speed(init: list[float]) -> float:
    return max(init[2:4]) if len(init) == 4 else init[1]
