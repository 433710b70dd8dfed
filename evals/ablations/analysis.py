"""From the scores of all runs to estimates with intervals: over clips and over seeds, paired between arms."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.ablations.plan import Comparison, Plan
from evals.ablations.run import SCORE, folder_of
from vdt_mlx.errors import VDTError
from vdt_mlx.reading import read_json

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def significant(self) -> bool:
        """Whether zero lies outside of the interval."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Arm:
    """An arm's runs. `values[given][metric]`: group -> (seeds, clips), NaN where a metric does not apply."""

    name: str
    seeds: int
    values: dict[int, dict[str, dict[str, NDArray[np.float64]]]]
    parameters: int
    gflops: float
    curves: list[list[dict[str, float]]]

    def column(self, given: int, metric: str, groups: tuple[str, ...]) -> NDArray[np.float64]:
        """(seeds, clips of all groups)."""
        table = self.values[given][metric]
        return np.concatenate([table[group] for group in groups], axis=1)


def load(plan: Plan, out: Path) -> dict[str, Arm]:
    """The arms of which at least one run is scored."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in plan.runs():
        path = folder_of(run, out) / SCORE
        if path.is_file():
            try:
                found.setdefault(run.arm, []).append(read_json(path, nan=True))
            except VDTError:
                raise VDTError(f"{path} is damaged: delete it, and the run is scored again.") from None
    try:
        return {name: as_arm(name, bodies) for name, bodies in found.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VDTError(f"A {SCORE} of {out} is not what it should be ({type(error).__name__}: {error}).") from None


def as_arm(name: str, bodies: list[dict[str, Any]]) -> Arm:
    """The runs of one arm, what each `score.json` holds, as one."""
    values: dict[int, dict[str, dict[str, NDArray[np.float64]]]] = {}
    for given, groups in bodies[0]["values"].items():
        for group, metrics in groups.items():
            for metric in metrics:
                rows = [body["values"][given][group][metric] for body in bodies]
                values.setdefault(int(given), {}).setdefault(metric, {})[group] = np.array(rows, float)
    return Arm(
        name, len(bodies), values, bodies[0]["parameters"], bodies[0]["gflops"], [body["curve"] for body in bodies]
    )


class Resamples:
    """Clips and seeds drawn again with replacement: the same clips for every arm, so that differences are paired."""

    def __init__(self, resamples: int = RESAMPLES, seed: int = 0) -> None:
        self.count, self.seed = resamples, seed

    def means(self, values: NDArray[np.float64], stream: int = 0) -> NDArray[np.float64]:
        """(resamples,) means of (seeds, clips). `stream` keeps the draws of clips from different groups apart."""
        seeds, clips = values.shape
        rng = np.random.default_rng([self.seed, stream, clips])
        weights = rng.multinomial(clips, np.full(clips, 1 / clips), self.count).astype(float)
        over_seeds = np.random.default_rng([self.seed, 7, seeds])
        chosen = over_seeds.multinomial(seeds, np.full(seeds, 1 / seeds), self.count).astype(float)
        finite = np.isfinite(values)
        total = np.einsum("rs,rc,sc->r", chosen, weights, np.where(finite, values, 0.0))
        number = np.einsum("rs,rc,sc->r", chosen, weights, finite.astype(float))
        with np.errstate(invalid="ignore", divide="ignore"):
            return total / number

    def estimate(self, values: NDArray[np.float64]) -> Estimate:
        return interval(float(np.nanmean(values)), self.means(values))

    def difference(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> Estimate:
        """Second minus first, on the same clips."""
        return interval(float(np.nanmean(second) - np.nanmean(first)), self.means(second) - self.means(first))

    def ratio(self, inside: NDArray[np.float64], outside: NDArray[np.float64]) -> Estimate:
        """Outside over inside, whose clips are drawn apart."""
        drawn = self.means(outside, stream=1) / self.means(inside)
        return interval(float(np.nanmean(outside) / np.nanmean(inside)), drawn)


def interval(mean: float, drawn: NDArray[np.float64]) -> Estimate:
    kept = drawn[np.isfinite(drawn)]
    low, high = np.quantile(kept, (0.025, 0.975)) if len(kept) else (np.nan, np.nan)
    return Estimate(mean, float(low), float(high))


def laws(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the groups that are laws of motion."""
    from evals.scoring.cases import choose_groups

    return tuple(group.name for group in choose_groups(groups) if group.law)


def extrapolation(plan: Plan, arm: Arm, draws: Resamples) -> Estimate:
    """Velocity error on the laws outside of the training distribution over that inside."""
    inside, outside = laws(plan.world.inside), laws(plan.world.outside)
    given = plan.world.given
    return draws.ratio(arm.column(given, "velocity", inside), arm.column(given, "velocity", outside))


def rank_correlation(plan: Plan, arms: dict[str, Arm], metric: str = "ade") -> Estimate | None:
    """Spearman's of GFLOPs and error over all arms; None with fewer than four arms."""
    from scipy.stats import spearmanr

    if len(arms) < 4:
        return None
    draws = Resamples()
    cost = np.array([arm.gflops for arm in arms.values()])
    columns = [arm.column(plan.world.given, metric, plan.world.inside) for arm in arms.values()]
    errors = np.stack([draws.means(column) for column in columns])
    rng = np.random.default_rng(1)
    drawn = np.empty(draws.count)
    for place in range(draws.count):  # arms are drawn again too: another table would have had others
        chosen = rng.integers(0, len(cost), len(cost))
        drawn[place] = (
            spearmanr(cost[chosen], errors[chosen, place]).statistic if len(set(cost[chosen])) > 1 else np.nan
        )
    means = np.array([np.nanmean(column) for column in columns])
    return interval(float(spearmanr(cost, means).statistic), drawn)


def agreement(plan: Plan, comparison: Comparison, arms: dict[str, Arm], metric: str = "ade") -> str:
    """Whether the paper's order is found here, in a sentence; empty where the paper has none."""
    order = [name for name in comparison.order if name in arms]
    if len(order) < 2:
        return ""
    draws, given, groups = Resamples(), plan.world.given, plan.world.inside
    found = []
    for better, worse in pairwise(order):
        gap = draws.difference(arms[better].column(given, metric, groups), arms[worse].column(given, metric, groups))
        verdict = "within noise" if not gap.significant else "as in the paper" if gap.mean > 0 else "against the paper"
        found.append(f"{better} before {worse}: {verdict} ({gap.mean:+.2f} px, {gap.low:+.2f} to {gap.high:+.2f})")
    return "; ".join(found) + "."
