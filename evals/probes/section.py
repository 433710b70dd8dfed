"""The probes as a part of the examination: does a predictor read each cause, or does it remember typical clips?"""

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from evals.predictors.frames import Bad
from evals.predictors.registry import ROWS
from evals.probes.response import Effects, Response, along, imagined_collision, metres, response
from evals.report.figures import ticks
from evals.report.table import Grid
from evals.scoring.cases import Case, as_prediction
from evals.section import Context, Section, Tell
from physics_sim.families import FAMILIES, Family, Value, agent_of, make_probe, true_effect
from physics_sim.units import WORLD

STATES = ("copy_last", "constant_velocity", "constant_acceleration", "simulator")
"""Rows of the registry that run through the probes too; the others know no probe's training clips."""
READS, REMEMBERS = 0.8, 0.2
"""Slopes from which a cause is said to be read, and up to which the model is said to remember."""
FULL = 32
"""Clips a scenario from which on all values of a cause are tried, and upper bounds that draw frames too."""
ALONE = 12
"""Clips, at least, in which nothing collides."""
BENT = 0.5
"""Metres at the end of a clip beyond which a path is bent."""


class Probes(Section):
    """One job a family."""

    name = "probes"
    title = "Probes: one cause is turned, everything else stays"
    order = 10

    def jobs(self, context: Context) -> Sequence[str]:
        fits = context.world == 2 and context.frames == 16
        return [name for name, family in FAMILIES.items() if fits and family.needs <= context.given <= 12]

    def examine(self, job: str, context: Context, tell: Tell) -> dict[str, Any]:
        """{"values", "true": [[effect by value] by seed], "effects": {predictor: the same}, "imagined": {...}}."""
        family = FAMILIES[job]
        values = _values(family, context)
        found: dict[str, Any] = {"values": list(values), "true": [], "effects": {}, "imagined": {}}
        for seed in range(_seeds(context)):
            cases = [_case(family, value, seed + 1000 * context.suite_seed, context) for value in values]
            found["true"].append([true_effect(case.clip) for case in cases])
            for name, paths in _paths(cases, context, tell).items():
                effects = [along(path, family.axis, context.given) for path in paths]
                found["effects"].setdefault(name, []).append([_plain(value) for value in effects])
                if job == "meeting":
                    found["imagined"].setdefault(name, []).extend(_imagined(cases, paths, context))
        if job == "meeting":  # a share of few clips says little
            seeds = range(_seeds(context), ALONE)
            cases = [_case(family, None, seed + 1000 * context.suite_seed, context) for seed in seeds]
            for name, paths in _paths(cases, context, tell).items() if cases else ():
                found["imagined"][name].extend(_imagined(cases, paths, context))
        return found

    def gather(self, parts: dict[str, dict[str, Any]], context: Context) -> dict[str, Any]:
        families = {}
        for name, part in parts.items():
            true = np.array(part["true"], float)
            responses = {
                predictor: _described(
                    response([Effects(t, np.array(p, float)) for t, p in zip(true, rows, strict=True)])
                )
                for predictor, rows in part["effects"].items()
            }
            imagined = {key: _share(values) for key, values in part["imagined"].items()}
            family = FAMILIES[name]
            families[name] = {"title": family.title, "unit": family.unit, **part, "responses": responses}
            families[name]["imagined"] = imagined
        return {"version": 1, "families": families}

    def verdict(self, found: dict[str, Any], body: dict[str, Any]) -> list[dict[str, str]]:
        lines, model = [], body.get("model")
        for family in found["families"].values():
            entry = family["responses"].get(model)
            if entry is not None and entry["slope"] is not None:
                lines.append(_sentence(family["title"], entry))
        imagined = found["families"].get("meeting", {}).get("imagined", {}).get(model)
        if imagined is not None and imagined["share"] is not None:
            text = f"It imagines a collision where none is due in {100 * imagined['share']:.0f} % of "
            state = "good" if imagined["share"] <= 0.05 else "bad"
            lines.append({"text": text + f"{imagined['count']} clips.", "state": state})
        return lines

    def grids(self, found: dict[str, Any], body: dict[str, Any]) -> list[Grid]:
        titles = {p["name"]: p["title"] for p in body["predictors"]}
        families = found["families"].values()
        names = list(dict.fromkeys(name for family in families for name in family["responses"]))
        rows = [
            [titles.get(name, name), *(_cell(family["responses"].get(name)) for family in families)] for name in names
        ]
        note = "Slope of predicted on true effect: 1 reads the cause from the given frames, 0 does not look at it."
        return [Grid("Response to one cause", ["", *(family["title"] for family in families)], rows, note)]

    def figures(self, found: dict[str, Any], body: dict[str, Any]) -> list[Any]:
        model = body.get("model")
        return [
            _scatter(family, model) for family in found["families"].values() if model and model in family["effects"]
        ]


def _seeds(context: Context) -> int:
    """Enough for a picture in the quick form, and for narrow intervals in the full one."""
    return max(3, min(30, context.clips // 4))


def _values(family: Family, context: Context) -> list[Value]:
    """All values of the cause; in the quick form every other one, and that the event does not take place."""
    step = 1 if context.clips >= FULL else 2
    return [value for place, value in enumerate(family.values) if place % step == 0 or value is None]


def _case(family: Family, value: Value, seed: int, context: Context) -> Case:
    clip = make_probe(family.name, value, seed, size=context.size, given=context.given)
    return Case(f"probe-{family.name}-{value}-{seed:04d}", f"probe-{family.name}", clip, context.given)


def _paths(cases: list[Case], context: Context, tell: Tell) -> dict[str, list[np.ndarray]]:
    """The agent's path (T, 2) in metres in every clip, by predictor; NaN where it is not found."""
    found: dict[str, list[np.ndarray]] = {}
    for source in context.sources if context.clips >= FULL else context.models:
        tell(f"{cases[0].group}: {source.title}")
        clips = source.complete(cases)[0]
        missing = np.full((len(cases[0].frames), 2), np.nan)
        found[source.name] = [
            missing if isinstance(frames, Bad) else _agent(case, as_prediction(case, frames).position)
            for case, frames in zip(cases, clips, strict=True)
        ]
    for name in STATES:
        states = ROWS[name].states
        assert states is not None
        found[name] = [_agent(case, states(case, context.memories).position) for case in cases]
    return found


def _agent(case: Case, position: np.ndarray) -> np.ndarray:
    return metres(position[:, case.roles["agent"]], case.frames.shape[1], WORLD)


def _imagined(cases: list[Case], paths: list[np.ndarray], context: Context) -> list[float | None]:
    """Of the clips in which nothing is due to collide before they end."""
    found = []
    for case, path in zip(cases, paths, strict=True):
        if not case.clip.contact:
            truth = case.clip.position[:, agent_of(case.clip)]
            found.append(_plain(imagined_collision(truth, path, context.given, BENT)))
    return found


def _described(found: Response) -> dict[str, Any]:
    values = {key: _plain(getattr(found, key)) for key in ("slope", "low", "high", "intercept")}
    return {**values, "count": found.count, "missing": found.missing}


def _share(values: list[float | None]) -> dict[str, Any]:
    """Absent agents count as imagined collisions: the ball that should fly on is not there."""
    answers = [1.0 if value is None else value for value in values]
    return {"share": float(np.mean(answers)) if answers else None, "count": len(answers)}


def _plain(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _sentence(title: str, entry: dict[str, Any]) -> dict[str, str]:
    slope, span = entry["slope"], f"slope {entry['slope']:.2f}, {entry['low']:.2f} to {entry['high']:.2f}"
    if slope >= READS:
        return {"text": f"It reads {title} from the given frames ({span}).", "state": "good"}
    if slope <= REMEMBERS:
        return {"text": f"It does not read {title}: it remembers ({span}).", "state": "bad"}
    return {"text": f"It reads {title} in part ({span}).", "state": "bad"}


def _cell(entry: dict[str, Any] | None) -> str:
    if entry is None or entry["slope"] is None:
        return "–"
    slope, low, high = (f"{round(entry[key], 2) + 0.0:.2f}" for key in ("slope", "low", "high"))  # + 0.0: no "-0.00"
    return f"{slope} ({low} to {high})"


def _scatter(family: dict[str, Any], model: str) -> Markup:
    """Predicted against true effect of every clip; the line is what reading the cause would be."""
    true = np.array(family["true"], float).ravel()
    predicted = np.array(family["effects"][model], float).ravel()
    both = np.isfinite(predicted)
    ends = np.concatenate([true, predicted[both]])
    low, high = float(ends.min()) - 0.2, float(ends.max()) + 0.2
    size, left, bottom = 240, 38, 30

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (size - left - 8)

    def y(value: float) -> float:
        return size - bottom - (value - low) / (high - low) * (size - bottom - 8)

    step = ticks(high - low)[1]
    marks = [step * k for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]
    grid = "".join(
        f'<line class="grid" x1="{x(v):.1f}" x2="{x(v):.1f}" y1="8" y2="{size - bottom}"/>'
        f'<line class="grid" x1="{left}" x2="{size - 8}" y1="{y(v):.1f}" y2="{y(v):.1f}"/>'
        f'<text x="{x(v):.1f}" y="{size - bottom + 13}" text-anchor="middle">{v:g}</text>'
        f'<text x="{left - 4}" y="{y(v) + 3.5:.1f}" text-anchor="end">{v:g}</text>'
        for v in marks
    )
    ends_at = f'x1="{x(low):.1f}" y1="{y(low):.1f}" x2="{x(high):.1f}" y2="{y(high):.1f}"'
    identity = f'<line class="curve k1" stroke-dasharray="4 3" {ends_at}/>'
    dots = "".join(
        f'<g class="f0"><circle cx="{x(t):.1f}" cy="{y(p):.1f}" r="3"/></g>'
        for t, p in zip(true[both], predicted[both], strict=True)
    )
    label = f'<text x="{(left + size) / 2}" y="{size - 4}" text-anchor="middle">true effect, m</text>'
    entry = family["responses"][model]
    title = f"{family['title']}: slope {_cell(entry)}"
    return Markup(
        f"<figure><figcaption>{html.escape(title)} <small>predicted effect (m) against true</small></figcaption>"
        f'<svg viewBox="0 0 {size} {size}" role="img" aria-label="{html.escape(title)}">'
        f"{grid}{identity}{dots}{label}</svg></figure>"
    )


SECTION = Probes()
