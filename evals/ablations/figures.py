"""The charts of `python -m evals.ablations`, with matplotlib: PNG and SVG, readable in print and on a phone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evals.ablations.analysis import Arm, Resamples, extrapolation, laws, rank_correlation
from evals.ablations.plan import Comparison, Plan
from vdt_mlx.media.figures import save_figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000")
"""Okabe and Ito's, which the colour-blind tell apart."""
MARKS = "osD^vP*X"


def draw_all(plan: Plan, arms: dict[str, Arm], reference: Arm, folder: Path) -> list[Path]:
    """Writes every chart that these arms allow; returns the PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = [_save(folder / "error-gflops", lambda axes: _cost(axes, plan, arms, reference))]
    if plan.world.outside and laws(plan.world.outside):
        drawn.append(_save(folder / "extrapolation", lambda axes: _extrapolation(axes, plan, arms)))
    if plan.world.sweep:
        drawn.append(_save(folder / "context-frames", lambda axes: _sweep(axes, plan, arms)))
    for comparison in plan.comparisons:
        there = {name: arms[name] for name in comparison.arms if name in arms}
        if len(there) > 1:
            drawn.append(_save(folder / f"convergence-{comparison.name}", _convergence(comparison, there, plan), 2))
    return drawn


def _save(path: Path, draw: Callable[[Any], None], columns: int = 1) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.2), dpi=130, layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)
    draw(axes[0] if columns > 1 else axes[0][0])
    for one in axes[0]:
        one.spines[["top", "right"]].set_visible(False)
        one.grid(alpha=0.25, linewidth=0.6)
    save_figure(figure, [path.with_suffix(".png"), path.with_suffix(".svg")])
    return path.with_suffix(".png")


def _cost(axes: Any, plan: Plan, arms: dict[str, Arm], reference: Arm) -> None:
    draws = Resamples()
    still = draws.estimate(reference.column(plan.world.given, "ade", plan.world.inside)).mean
    axes.axhline(still, color="0.4", linestyle="--", linewidth=1)
    axes.annotate(
        reference.name, (0.99, still), xycoords=("axes fraction", "data"), va="bottom", ha="right", fontsize=7
    )
    beside: dict[float, int] = {}  # arms of the same cost, so that each is seen
    for place, (name, arm) in enumerate(arms.items()):
        found = draws.estimate(arm.column(plan.world.given, "ade", plan.world.inside))
        turn, colour = divmod(place, len(COLOURS))
        spread = [[found.mean - found.low], [found.high - found.mean]]
        shift = beside[arm.gflops] = beside.get(arm.gflops, -1) + 1
        mark = MARKS[turn % len(MARKS)]
        style: dict[str, Any] = {"fmt": mark, "color": COLOURS[colour], "capsize": 2, "markersize": 5, "linewidth": 1}
        axes.errorbar(arm.gflops * 1.02**shift, found.mean, yerr=spread, label=name, **style)
    axes.figure.legend(loc="outside right upper", frameon=False, fontsize=7)
    _plain_log(axes, "x")
    axes.set(xlabel="GFLOPs of a network call", ylabel="ADE in distribution, px")
    correlation = rank_correlation(plan, arms)
    if correlation is not None:
        span = f"{correlation.low:.2f} to {correlation.high:.2f}"
        axes.set_title(f"Spearman's rank correlation {correlation.mean:.2f} (95 %: {span})", fontsize=9)


def _plain_log(axes: Any, which: str) -> None:
    """A logarithmic axis, x or y, whose numbers are written out."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set(**{f"{which}scale": "log"})
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 4, 6, 8)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def _extrapolation(axes: Any, plan: Plan, arms: dict[str, Arm]) -> None:
    draws = Resamples()
    found = {name: extrapolation(plan, arm, draws) for name, arm in arms.items()}
    ordered = sorted(found, key=lambda name: found[name].mean, reverse=True)
    for row, name in enumerate(ordered):
        value = found[name]
        colour = COLOURS[1] if name == "centre" else COLOURS[0]
        axes.plot([value.low, value.high], [row, row], color=colour, linewidth=2)
        axes.plot(value.mean, row, "o", color=colour, markersize=5)
    axes.set_yticks(range(len(ordered)), ordered, fontsize=8)
    axes.set(xlabel="velocity error on the laws, out of distribution over in distribution")


def _sweep(axes: Any, plan: Plan, arms: dict[str, Arm]) -> None:
    draws = Resamples()
    chosen = [name for comparison in plan.comparisons[:1] for name in comparison.arms if name in arms]
    for place, name in enumerate(chosen):
        given = sorted(plan.world.sweep)
        found = [draws.estimate(arms[name].column(n, "ade", plan.world.inside)) for n in given]
        colour = COLOURS[place % len(COLOURS)]
        axes.plot(given, [f.mean for f in found], "o-", color=colour, label=name, markersize=4)
        axes.fill_between(given, [f.low for f in found], [f.high for f in found], color=colour, alpha=0.15)
    axes.set(xlabel="context frames", ylabel="ADE in distribution, px")
    axes.legend(frameon=False, fontsize=8)


def _convergence(comparison: Comparison, arms: dict[str, Arm], plan: Plan) -> Callable[[Any], None]:
    batch = plan.train.config.get("loop", {}).get("batch", 16)

    def draw(both: Any) -> None:
        for place, (name, arm) in enumerate(arms.items()):
            points = [point for point in arm.curves[0] if "loss" in point]
            loss = [point["loss"] for point in points]
            colour = COLOURS[place % len(COLOURS)]
            both[0].plot([point["step"] * batch for point in points], loss, color=colour, label=name, linewidth=1.3)
            both[1].plot([point["seconds"] / 60 for point in points], loss, color=colour, linewidth=1.3)
        values = [point["loss"] for arm in arms.values() for point in arm.curves[0] if "loss" in point]
        for axes, label in zip(both, ("clips seen", "minutes of training"), strict=True):
            axes.set(xlabel=label, ylabel="training loss")
            _plain_log(axes, "y")
            if values:
                axes.set_ylim(0.9 * min(values), float(np.quantile(values, 0.95)))
        both[0].legend(frameon=False, fontsize=8)

    return draw
