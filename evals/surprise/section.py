"""Surprise as a part of the examination: possible and impossible clips, and which of the two the model prefers."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from evals.report.table import Grid
from evals.scoring import metrics
from evals.section import Context, Section, Tell
from evals.surprise.preference import (
    QUICK_SHARES,
    SHARES,
    autoencoder_error,
    denoising_losses,
    frame_difference,
    nearest_distance,
    prefers_possible,
)
from physics_sim.twins import KINDS, UNBALANCED, make_twins

LIBRARY, LIBRARY_SIZE = 64, 16
"""Training clips that the control of the nearest one looks at, and the side that they are brought to."""
CONTROLS = {
    "frame_difference": "how much moves",
    "autoencoder": "autoencoder error",
    "nearest": "nearest training clip",
}
"""Cheap cues that need no understanding: where one of them scores high, so may a model that understands nothing."""
BAR = 0.8
FULL = 32
"""Clips a scenario from which on more noises and timesteps are drawn."""


class Surprise(Section):
    """One job a kind of impossibility; for checkpoints only, since it needs the denoising loss."""

    name = "surprise"
    title = "Surprise: possible clips and impossible twins"
    order = 20

    def jobs(self, context: Context) -> Sequence[str]:
        fits = context.checkpoints and context.frames == 16 and 1 <= context.given <= 12
        return list(KINDS) if fits else []

    def examine(self, job: str, context: Context, tell: Tell) -> dict[str, Any]:
        """{"balanced": [...], "models": {name: [1, 0 or 0.5 a pair]}, "controls": {name: the same}}."""
        pairs = []
        for index in range(_pairs(context)):
            pairs.append(make_twins(job, index, seed=context.suite_seed, size=context.size, given=context.given))
        found: dict[str, Any] = {"balanced": [pair.balanced for pair in pairs], "models": {}, "controls": {}}
        first = context.checkpoints[0].pipeline
        library = _library(context.size)
        controls = found["controls"]
        for pair in pairs:
            both = pair.possible, pair.impossible
            rows = {
                "frame_difference": [frame_difference(frames, context.given) for frames in both],
                "autoencoder": list(autoencoder_error(first, both, context.given)),
                "nearest": [nearest_distance(frames, library, context.given) for frames in both],
            }
            for name, scores in rows.items():
                controls.setdefault(name, []).append(prefers_possible(*scores))
        for checkpoint in context.checkpoints:
            tell(f"{self.title}: {job}, {checkpoint.title}")
            answers = found["models"].setdefault(checkpoint.name, [])
            for number, pair in enumerate(pairs):
                seed = context.seed * 100_003 + number
                extent = (2, SHARES) if context.clips >= FULL else (1, QUICK_SHARES)
                clips = pair.possible, pair.impossible
                both = denoising_losses(checkpoint.pipeline, clips, context.given, seed, *extent)
                answers.append(prefers_possible(float(both[0]), float(both[1])))
        return found

    def gather(self, parts: dict[str, dict[str, Any]], context: Context) -> dict[str, Any]:
        """{version, kinds: {kind: {models, controls: {name: accuracy}}}, mean: {models, controls}}."""
        kinds = {
            kind: {
                "balanced": float(np.mean(part["balanced"])),
                **{
                    group: {name: _accuracy(row) for name, row in part[group].items()}
                    for group in ("models", "controls")
                },
            }
            for kind, part in parts.items()
        }
        joined: dict[str, dict[str, Any]] = {"models": {}, "controls": {}}
        for group, table in joined.items():
            for name in next(iter(parts.values()))[group]:
                # A mean over kinds, each of as many pairs, so pairs can be pooled.
                table[name] = _accuracy([value for part in parts.values() for value in part[group][name]])
        return {"version": 1, "kinds": kinds, "mean": joined}

    def verdict(self, found: dict[str, Any], body: dict[str, Any]) -> list[dict[str, str]]:
        entry = found["mean"]["models"].get(body.get("model"))
        if entry is None:
            return []
        cue, best = max(found["mean"]["controls"].items(), key=lambda item: item[1]["mean"])
        text = f"It finds the possible clip likelier than its impossible twin in {100 * entry['mean']:.0f} % of "
        text += f"{entry['count']} pairs ({100 * entry['low']:.0f} to {100 * entry['high']:.0f}; chance 50 %; the best "
        text += f"cheap cue, {CONTROLS[cue]}, {100 * best['mean']:.0f} %)."
        return [{"text": text, "state": "good" if entry["mean"] >= BAR else "bad"}]

    def grids(self, found: dict[str, Any], body: dict[str, Any]) -> list[Grid]:
        titles = {p["name"]: p["title"] for p in body["predictors"]}
        models, controls = found["mean"]["models"], found["mean"]["controls"]
        columns = ["", *(titles.get(name, name) for name in models), *(CONTROLS[name] for name in controls)]
        rows = [
            [kind, *(_cell(entry["models"][n]) for n in models), *(_cell(entry["controls"][n]) for n in controls)]
            for kind, entry in found["kinds"].items()
        ]
        rows.append(["mean", *(_cell(models[n]) for n in models), *(_cell(controls[n]) for n in controls)])
        note = "Share of pairs whose possible clip has the lower loss, %. "
        note += f"The impossible twin always moves more in {', '.join(UNBALANCED)}, so how much moves is a cue there."
        return [Grid("Possible or not?", columns, rows, note)]


def _pairs(context: Context) -> int:
    return max(2, min(100, context.clips))


@cache
def _library(side: int) -> np.ndarray:
    """(L, T, h, w, 3) the first training clips of the kinds that twins are made from, small."""
    import physics_sim
    from physics_sim.twins import SOURCES

    clips = []
    for index in range(LIBRARY):
        frames = physics_sim.make_clip(SOURCES[index % len(SOURCES)], "train", index, size=side).frames
        factor = side // LIBRARY_SIZE
        shape = (len(frames), LIBRARY_SIZE, factor, LIBRARY_SIZE, factor, 3)
        clips.append(frames.reshape(shape).mean(axis=(2, 4)).astype(np.float32))
    return np.stack(clips)


def _accuracy(values: list[float]) -> dict[str, Any]:
    interval = metrics.bootstrap(np.array([values], float))[0]
    return {"mean": interval.mean, "low": interval.low, "high": interval.high, "count": interval.count}


def _cell(entry: dict[str, Any]) -> str:
    return f"{100 * entry['mean']:.0f} ({100 * entry['low']:.0f} to {100 * entry['high']:.0f})"


SECTION = Surprise()
