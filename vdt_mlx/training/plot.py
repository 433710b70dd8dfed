"""The curves of a run's log: loss (thin: each step, thick: smoothed), gradient norm, held-out scores."""

import math
from pathlib import Path
from typing import Any

from vdt_mlx.errors import VDTError
from vdt_mlx.media.figures import save_figure
from vdt_mlx.training.state import read_log, read_run

POINTS = 1500
"""Most points drawn of a curve; beyond, equal numbers of steps are averaged."""

UNITS = {f"{whose}pair_error{when}": "px" for whose in ("", "copy_last_") for when in ("", "_final")}
UNITS |= {"presence": "share of objects"}
UNITS |= {"held_out_psnr": "dB", "psnr": "dB", "copy_last_psnr": "dB"}
COLOUR = "#2a6fb0"

Curve = list[tuple[float, float]]


def plot_run(out: Path, target: Path | None = None) -> list[Path]:
    """Draws `log.jsonl` of a run into `curves.svg` and `curves.png` in its folder, or into `target`; returns where.

    Raises VDTError if the folder is not a run's or its log holds no step yet.
    """
    from matplotlib.figure import Figure

    out = Path(out)
    kind = read_run(out).get("kind", "run")
    panels = _panels(read_log(out), kind)
    if not panels:
        raise VDTError(f"The log of {out} holds no step yet.")
    figure = Figure(figsize=(7.6, 2.6 * len(panels)), dpi=144, layout="constrained")
    for axes, (title, unit, curve, logarithmic) in zip(
        figure.subplots(len(panels), squeeze=False), panels, strict=True
    ):
        _draw(axes[0], title, unit, curve, logarithmic)
    targets = [target] if target else [out / "curves.svg", out / "curves.png"]
    save_figure(figure, targets)
    return targets


def _panels(log: list[dict[str, Any]], kind: str) -> list[tuple[str, str, Curve, bool]]:
    """(title, unit, curve, whether of every step) of what the log holds; none without a step."""
    loss = _curve(log, "loss")
    if not loss:
        return []
    panels = [(f"{kind}: training loss", "loss", loss, True)]
    norms = _curve(log, "grad_norm")
    if norms:
        panels.append(("gradient norm before clipping", "norm", norms, True))
    previews = [{"step": e.get("step"), **e["preview"]} for e in log if isinstance(e.get("preview"), dict)]
    for name in sorted({key for entry in previews for key in entry if key not in ("clips", "step")}):
        curve = _curve(previews, name)
        if curve:
            panels.append((f"held-out clips: {name.replace('_', ' ')}", UNITS.get(name, name), curve, False))
    return panels


def _curve(entries: list[dict[str, Any]], name: str) -> Curve:
    """(step, value) wherever both are finite numbers."""
    pairs = ((_number(entry.get("step")), _number(entry.get(name))) for entry in entries)
    return [(step, value) for step, value in pairs if step is not None and value is not None]


def _draw(axes: Any, title: str, unit: str, curve: Curve, every_step: bool) -> None:
    if every_step:
        axes.plot(*zip(*thin(curve), strict=True), color=COLOUR, linewidth=0.8, alpha=0.4, label="each step")
        axes.plot(*zip(*smooth(curve), strict=True), color=COLOUR, linewidth=1.8, label="smoothed")
        axes.legend(frameon=False, fontsize=8)
        if min(value for _, value in curve) > 0:
            axes.set_yscale("log")
    else:
        axes.plot(*zip(*curve, strict=True), color=COLOUR, marker="o", markersize=4, linewidth=1.2)
        if min(value for _, value in curve) >= 0 and unit != "dB":
            axes.set_ylim(bottom=0)
    axes.set(title=f"{title} (last {curve[-1][1]:.4g})", xlabel="step", ylabel=unit)
    axes.grid(True, which="both", color="0.9", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)


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
