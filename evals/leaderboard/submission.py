"""A submission, read and checked: every fault is a sentence of its own."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.leaderboard.rules import CARD, FIELDS, SEEDS, Rules
from evals.physics import results
from evals.predictors.checkpoint import overlap
from evals.report.table import Table
from vdt_mlx.errors import VDTError
from vdt_mlx.reading import read_json

ROUNDING = 2e-6
"""Rows and per-clip values are rounded to 1e-6 each."""
LONGEST = 2000
"""Letters of an entry of a card."""


@dataclass
class Submission:
    """A folder with a card and results files; `faults` is empty where it may be published."""

    folder: Path
    card: dict[str, Any] = field(default_factory=dict)
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Name of a results file, from the folder -> what it holds."""
    seeds: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return str(self.card.get("name") or self.folder.name)


def read(folder: Path, rules: Rules, fingerprint: str) -> Submission:
    """Reads and checks a submission. `fingerprint`: what `rules.fingerprint()` gives. Raises VDTError for no folder."""
    if not folder.is_dir():
        raise VDTError(f"There is no submission folder {folder}.")
    found = Submission(folder)
    found.card = _card(folder, found.faults)
    paths = sorted({*folder.glob("*results*.json"), *folder.glob("*/results.json")})
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            found.bodies[name] = results.read(path)
        except VDTError as error:
            found.faults.append(str(error))
    whole = True
    for name, body in found.bodies.items():
        try:
            found.faults += [f"{name}: {fault}" for fault in _faults(body, rules, fingerprint)]
        except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
            found.faults.append(f"{name} is damaged ({type(error).__name__}: {error}).")
            whole = False
    if whole:
        found.faults += _together(found, rules)
    return found


def _card(folder: Path, faults: list[str]) -> dict[str, Any]:
    path = folder / CARD
    try:
        card = read_json(path, "card")
    except VDTError as error:
        faults.append(f"{error} `python -m evals.leaderboard card {folder}` writes one to fill in.")
        return {}
    if not isinstance(card, dict):
        faults.append(f"{path} is no JSON object of entries.")
        return {}
    for key, what in FIELDS.items():
        value = card.get(key)
        if key == "parameters":
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                faults.append(f"The card lacks {key!r}: {what}.")
        elif not isinstance(value, str) or not value.strip() or value == what:
            faults.append(f"The card lacks {key!r}: {what}.")
        elif len(value) > LONGEST:
            faults.append(f"The card's {key!r} has {len(value)} letters; {LONGEST} are the most.")
    return card


def _faults(body: dict[str, Any], rules: Rules, fingerprint: str) -> list[str]:
    """What is wrong with one results file."""
    faults = []
    settings, clips = body["settings"], body["suite"]["clips"]
    older = {"world": 1}
    for key, value in rules.settings.items():
        own = settings.get(key, older.get(key))
        if own != value:
            faults.append(f"it was made with {key.replace('_', ' ')} {_said(own)}, and {_said(value)} is asked for.")
    if rules.given not in settings["given"]:
        faults.append(f"it has no {rules.given} context frames (--given).")
    missing = [group.name for group in rules.groups() if len(clips.get(group.name, ())) != rules.clips]
    if missing:
        more = ", ..." if len(missing) > 3 else ""
        faults.append(f"it has not {rules.clips} clips of {', '.join(missing[:3])}{more}.")
    if body["suite"]["fingerprint"] != fingerprint:
        own = body["suite"]["fingerprint"]
        faults.append(f"its clips are others: their fingerprint is {own}, that of the official ones {fingerprint}.")
    model = body.get("model")
    if model is None:
        return [*faults, "it has no model, baselines and upper bounds alone."]
    bad = [entry["clip"] for entry in body["bad"] if entry["predictor"] in (model, "suite")]
    if bad:
        faults.append(f"{len(bad)} clips of {model} could not be scored ({bad[0]}).")
    training = next(p["details"] for p in body["predictors"] if p["name"] == model).get("training")
    seen = overlap(training, rules.splits(), rules.suite_seed)
    if seen:
        faults.append(f"{model} {seen}.")
    if any(not isinstance(row["mean"], float | int) for row in body["rows"]):
        raise ValueError("a row whose mean is no number")
    Table(body, rules.given)
    return faults + _untrue_rows(body, model)


def _untrue_rows(body: dict[str, Any], model: str) -> list[str]:
    """Whether the rows of a model follow from its values clip by clip."""
    spans = {name: [name] for name in body["suite"]["clips"]}
    spans |= {name: entry["groups"] for name, entry in body["unions"].items()}
    for row in body["rows"]:
        if row["predictor"] != model:
            continue
        table = body["values"][model][str(row["given"])]
        columns = [table.get(group, {}).get(row["metric"], []) for group in spans[row["scenario"]]]
        values = [value for column in columns for value in column if value is not None]
        if not values or not math.isclose(sum(values) / len(values), row["mean"], rel_tol=1e-6, abs_tol=ROUNDING):
            return [f"its row of {row['metric']} on {row['scenario']} does not follow from its values clip by clip."]
    return []


def _together(found: Submission, rules: Rules) -> list[str]:
    """What is wrong with the results files beside each other: one model, four seeds, nothing else that differs."""
    faults: list[str] = []
    listed = found.card.get(SEEDS)
    listed = listed if isinstance(listed, dict) else {}
    for name, body in found.bodies.items():
        details = _details(body)
        seed = details.get("seed", listed.get(name))
        if isinstance(seed, int) and not isinstance(seed, bool):
            found.seeds[name] = seed
        else:
            faults.append(f"{name} does not say its seed, so the card must: {SEEDS!r}: {{{name!r}: 0, ...}}.")
    seeds = sorted(set(found.seeds.values()))
    if len(seeds) < rules.seeds:
        there = f" ({', '.join(map(str, seeds))})" if seeds else ""
        faults.append(f"Results of {rules.seeds} seeds are needed, one file each; there are {len(seeds)}{there}.")
    if len(seeds) < len(found.seeds):
        faults.append("Two results files have the same seed.")
    bodies = list(found.bodies.items())
    for place, (name, body) in enumerate(bodies):
        for before, other in bodies[:place]:
            if _values(body) == _values(other):
                faults.append(f"{name} and {before} have the same numbers in every clip: one run, twice.")
    for name, body in bodies[1:]:
        faults += [f"{name} and {bodies[0][0]} differ in {what}." for what in _differing(body, bodies[0][1])]
    return faults


def _values(body: dict[str, Any]) -> Any:
    return body["values"].get(body.get("model"))


def _differing(one: dict[str, Any], two: dict[str, Any]) -> list[str]:
    """What must be the same in the results of all seeds, and is not."""
    keys = ("samples", "sampler", "steps", "dtype", "autoencoder", "given")
    said = [f"their {key}" for key in keys if one["settings"].get(key) != two["settings"].get(key)]
    if _details(one).get("sha256") != _details(two).get("sha256"):
        said.append("their weights (sha256)")
    return said


def _details(body: dict[str, Any]) -> dict[str, Any]:
    """What a results file says of its model."""
    return next((p["details"] for p in body["predictors"] if p["name"] == body.get("model")), {})


def _said(value: Any) -> str:
    return "none" if value is None else str(value)
