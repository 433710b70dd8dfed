"""The rows of a card: what was asked for before anything was trained, and what the examination found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from evals.report.table import Table, number, span
from evals.tasks.extent import FEW, LONG, LONG_FRAME, MANY, SPREAD_GIVEN, SPREAD_SAMPLES
from evals.tasks.told import mean_of

CAUSES = ("gravity", "horizontal-speed", "vertical-speed", "meeting", "mass-ratio")
"""Probes whose response is asked for; those of other causes are on the picture."""
NEAR = 0.15
"""Pixels by which a model may be behind where constant velocity is exact."""


@dataclass(frozen=True)
class Measure:
    """One row of the card."""

    what: str
    found: str
    goal: str
    met: bool

    def cells(self) -> list[str]:
        return [self.what, self.found, self.goal, "yes" if self.met else "no"]


def measures(body: dict[str, Any]) -> list[Measure]:
    """Every row that a results file has the numbers for."""
    table, model = Table(body), body["model"]
    return [row for make in _ROWS for row in make(body, table, model)]


Make = Callable[[dict[str, Any], Table, str], Iterator[Measure]]


def _against_copying(body: dict[str, Any], table: Table, model: str) -> Iterator[Measure]:
    own, copied = table.row(model, "in_distribution", "ade"), table.mean("copy_last", "in_distribution", "ade")
    if own and copied:
        share = own["mean"] / copied
        found = f"{share:.2f} ({number(own['mean'])} px, {span(own)})"
        yield Measure("ADE in distribution, of that of copying the last frame", found, "0.20", share <= 0.2)


def _against_straight_on(body: dict[str, Any], table: Table, model: str) -> Iterator[Measure]:
    groups = [group for group in body["suite"]["groups"] if group["in_distribution"]]
    difference = {group["name"]: table.differences.get(("constant_velocity", group["name"], "ade")) for group in groups}
    known = {name: row for name, row in difference.items() if row is not None and row["high"] is not None}
    scenarios = [group["name"] for group in groups if not group["law"] and group["name"] in known]
    if scenarios:
        ahead = [name for name in scenarios if known[name]["high"] < 0]
        behind = [name for name in scenarios if known[name]["low"] > 0]
        found = f"ahead in {len(ahead)} of {len(scenarios)}, behind in {len(behind)}"
        goal = f"ahead in {max(1, len(scenarios) - 1)}, behind in none"
        met = len(ahead) >= len(scenarios) - 1 and not behind
        yield Measure("scenarios significantly ahead of constant velocity", found, goal, met)
    for name in (name for name in ("parabola", "collision", "uniform") if name in known):
        row = known[name]
        goal, met = ("below 0", row["high"] < 0) if name != "uniform" else (f"{NEAR}", row["mean"] <= NEAR)
        found = f"{row['mean']:+.2f} px ({row['low']:+.2f} to {row['high']:+.2f})"
        yield Measure(f"{name}: ADE less that of constant velocity", found, goal, met)


def _velocity(body: dict[str, Any], table: Table, model: str) -> Iterator[Measure]:
    own, bound = table.row(model, "laws", "velocity"), table.mean("autoencoder", "laws", "velocity")
    if own and bound:
        found = f"{own['mean'] / bound:.1f} times ({number(own['mean'])} of {number(bound)} px a frame)"
        yield Measure(
            "velocity error on the laws, of that after the autoencoder", found, "3 times", own["mean"] <= 3 * bound
        )
    out = table.row(model, "laws_out", "velocity")
    if own and out and own["mean"]:
        ratio = out["mean"] / own["mean"]
        yield Measure("the same out of distribution, of that in distribution", f"{ratio:.1f} times", "5", ratio <= 5)


def _share(what: str, scenario: str, metric: str) -> Make:
    """A share of clips or frames, of which 95 % are asked for."""

    def make(body: dict[str, Any], table: Table, model: str) -> Iterator[Measure]:
        row = table.row(model, scenario, metric)
        if row:
            found = f"{number(row['mean'], metric)} ({span(row, metric)})"
            yield Measure(what, found, "95 %", row["mean"] >= 0.95)

    return make


def _probes(body: dict[str, Any], table: Table, model: str) -> Iterator[Measure]:
    families = body.get("probes", {}).get("families", {})
    for name in CAUSES:
        entry = families.get(name, {}).get("responses", {}).get(model)
        if entry is not None and entry["slope"] is not None:
            found = f"{entry['slope']:.2f} ({entry['low']:.2f} to {entry['high']:.2f})"
            yield Measure(f"response to {families[name]['title']} (1 reads it)", found, "0.8", entry["slope"] >= 0.8)
    imagined = families.get("meeting", {}).get("imagined", {}).get(model)
    if imagined is not None and imagined["share"] is not None:
        found = f"{100 * imagined['share']:.0f} % of {imagined['count']} clips"
        yield Measure("collisions where none is due", found, "5 %", imagined["share"] <= 0.05)


def _surprise(body: dict[str, Any], table: Table, model: str) -> Iterator[Measure]:
    entry = body.get("surprise", {}).get("mean", {}).get("models", {}).get(model)
    if entry:
        found = f"{100 * entry['mean']:.0f} % ({100 * entry['low']:.0f} to {100 * entry['high']:.0f})"
        yield Measure("possible clips likelier than impossible twins", found, "80 %", entry["mean"] >= 0.8)


def _tasks(body: dict[str, Any], table: Table, model: str) -> Iterator[Measure]:
    tasks = body.get("tasks", {}).get("models", {}).get(model, {})
    few, many = (mean_of(tasks, "context", f"given_{given}") for given in (FEW, MANY))
    if few is not None and many:
        what = f"velocity error on the laws given {FEW} frames, of that given {MANY}"
        yield Measure(what, f"{few / many:.1f} times", "2 times", few <= 2 * many)
    free = tasks.get("unconditional")
    if free:
        for role in ("agent", "patient"):
            share, truth = free[f"{role}_there"], free[f"{role}_there_truth"]
            found = f"{100 * share:.0f} % (simulator: {100 * truth:.0f} %)"
            yield Measure(f"from nothing: {role} there", found, "95 % of the simulator's", share >= 0.95 * truth)
    spread, skill = mean_of(tasks, "spread", "spread"), mean_of(tasks, "spread", "skill")
    energy, mean = mean_of(tasks, "spread", "energy_score"), mean_of(tasks, "spread", "ade_mean")
    if spread is not None and skill and energy is not None and mean is not None:
        what = f"spread of {SPREAD_SAMPLES} futures from {SPREAD_GIVEN} frames, of the error of their mean"
        found = f"{spread / skill:.2f}; energy score {number(energy)} px, their mean {number(mean)} px"
        good = 0.5 <= spread / skill <= 1.5 and energy < mean
        yield Measure(what, found, "0.5 to 1.5, the score below", good)
    error, presence = mean_of(tasks, "rollout", "error"), mean_of(tasks, "rollout", "presence")
    if error is not None and presence is not None:
        what = f"rolled out to {LONG} frames: error in frame {LONG_FRAME}, objects there"
        yield Measure(what, f"{error:.1f} px, {100 * presence:.0f} %", "5 px, 95 %", error <= 5 and presence >= 0.95)


_ROWS: tuple[Make, ...] = (
    _against_copying,
    _against_straight_on,
    _share("contact question", "scenarios", "contact"),
    _velocity,
    _share("objects there out of distribution", "laws_out", "presence"),
    _probes,
    _surprise,
    _tasks,
)
