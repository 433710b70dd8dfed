"""The curves of a run's log, as one SVG: loss (thin: each step, thick: smoothed), gradient norm, held-out scores."""

import html
import math
from pathlib import Path

from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.training.state import read_log, read_run

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 230, 70, 20, 34, 40
POINTS = 1500
"""Most points drawn of a curve; beyond, equal numbers of steps are averaged."""

Curve = list[tuple[float, float]]


def plot_run(out: Path, target: Path | None = None) -> Path:
    """Draws `log.jsonl` of a run into `curves.svg` in its folder (or into `target`), and returns where.

    Raises VDTError if the folder is not a run's or its log holds no step yet.
    """
    out = Path(out)
    kind = read_run(out).get("kind", "run")
    log = read_log(out)
    steps = [entry for entry in log if _number(entry.get("loss")) is not None]
    if not steps:
        raise VDTError(f"The log of {out} holds no step yet.")
    loss = [(float(entry["step"]), float(entry["loss"])) for entry in steps]
    panels = [_panel(f"{kind}: loss", thin(loss), smooth(loss), logarithmic=True)]
    norms = [(float(e["step"]), float(e["grad_norm"])) for e in steps if _number(e.get("grad_norm")) is not None]
    if norms:
        panels.append(_panel("gradient norm before clipping", thin(norms), smooth(norms), logarithmic=True))
    previews = [entry for entry in log if isinstance(entry.get("preview"), dict)]
    for name in sorted({key for entry in previews for key in entry["preview"] if key != "clips"}):
        curve = [
            (float(e["step"]), float(e["preview"][name]))
            for e in previews
            if _number(e["preview"].get(name)) is not None
        ]
        if curve:
            panels.append(
                _panel(f"held-out clips: {name.replace('_', ' ')}", curve, None, logarithmic=False, dots=True)
            )
    target = target or out / "curves.svg"
    height = HEIGHT * len(panels)
    body = "\n".join(f'<g transform="translate(0 {HEIGHT * i})">{panel}</g>' for i, panel in enumerate(panels))
    with atomic_path(target) as partial:
        partial.write_text(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n',
            encoding="utf-8",
        )
    return target


def smooth(curve: Curve, share: float = 0.02) -> Curve:
    """An exponential average over about `share` of the curve's points, thinned."""
    window = max(1.0, share * len(curve))
    result, value = [], curve[0][1]
    for index, (x, y) in enumerate(curve):
        value += (y - value) / min(index + 1, window)
        result.append((x, value))
    return thin(result)


def thin(curve: Curve, most: int = POINTS) -> Curve:
    """At most about `most` points, each the mean of as many neighbours as needed."""
    group = math.ceil(len(curve) / most)
    parts = [curve[i : i + group] for i in range(0, len(curve), group)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _panel(title: str, curve: Curve, average: Curve | None, logarithmic: bool, dots: bool = False) -> str:
    values = [y for _, y in curve]
    logarithmic = logarithmic and min(values) > 0
    low, high = min(values), max(values)
    if not logarithmic:
        low = min(low, 0.0)
    if high <= low:
        high = low * 1.1 + 1e-9 if low > 0 else low + 1
    last = max(x for x, _ in curve)
    first = min(0.0, min(x for x, _ in curve))

    def place(point: tuple[float, float]) -> str:
        x, y = point
        if logarithmic:
            share = math.log(y / low) / math.log(high / low)
        else:
            share = (y - low) / (high - low)
        across = (x - first) / max(last - first, 1e-9)
        return f"{LEFT + across * (WIDTH - LEFT - RIGHT):.1f},{HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = [
        f'<text x="{LEFT}" y="20" font-weight="bold">{html.escape(title)} (last {(average or curve)[-1][1]:.4g})</text>'
    ]
    for i in range(5):
        level = low * (high / low) ** (i / 4) if logarithmic else low + (high - low) * i / 4
        y = place((first, level)).split(",")[1]
        parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{level:.3g}</text>')
        x = LEFT + (WIDTH - LEFT - RIGHT) * i / 4
        step = first + (last - first) * i / 4
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{step:.0f}</text>')
    points = " ".join(map(place, curve))
    faint = ' stroke-opacity="0.35"' if average else ""
    parts.append(f'<polyline points="{points}" fill="none" stroke="#2a6fb0" stroke-width="1"{faint}/>')
    if average:
        line = " ".join(map(place, average))
        parts.append(f'<polyline points="{line}" fill="none" stroke="#2a6fb0" stroke-width="2"/>')
    if dots:
        for point in curve:
            x_text, y_text = place(point).split(",")
            parts.append(f'<circle cx="{x_text}" cy="{y_text}" r="3" fill="#2a6fb0"/>')
    return "".join(parts)
