"""The results file of `python -m evals.physion`, schema "vdt-mlx-physion", version 1.

schema, version, command, seconds
settings      all that decides the numbers (`evals.physion.settings.Settings`)
made_with     device, versions, checkpoint digest
features      {part, block, timestep}: whose features were read
clips         {scenario: how many were scored}
rows          one for each scenario and protocol, and for "all":
              scenario, protocol ("given", "generated", "observed"), accuracy, low, high (95 % bootstrap over clips of
              the mean over seeds), by_seed (accuracy of each of settings.seeds), clips
differences   the same for pairs of protocols: scenario, protocol, reference, difference, low, high (paired)
scenarios     [{scenario, clips, contact (share with contact), majority (accuracy of the commoner answer),
              people: {accuracy, low, high, source} or null, fitted_on (clips of the readout; null: folds)}], "all" last
gap           {touching: share of clips whose agent and patient are within half a pixel of each other in the first
              frame, at the model's size, accuracy: of answering "contact" for just those}; not the contact question
answers       {scenario: {clip: {contact, given: [probability for each seed], generated: ..., observed: ...}}}
held          how many clips end early, their last frame repeated
bad           [{clip, reason}]: what could not be scored
skipped       [{scenario, reason}]: scenarios without enough clips of both kinds
verdict       {state ("good", "bad", "plain"), text}
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.physion.extract import PROTOCOLS
from evals.physion.human import people
from evals.physion.labels import Label
from evals.physion.readout import THRESHOLD
from evals.scoring.metrics import Interval, bootstrap
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.reading import read_json

SCHEMA, VERSION = "vdt-mlx-physion", 1
ALL = "all"
PAIRS = (("generated", "given"), ("observed", "given"), ("observed", "generated"))
"""Protocols that are compared."""

Probabilities = Mapping[str, Mapping[str, NDArray[np.float64]]]
"""{scenario: {protocol: (seeds, clips)}}, of contact."""


def build(probabilities: Probabilities, labels: Mapping[str, Mapping[str, Label]]) -> dict[str, Any]:
    """`rows`, `differences`, `scenarios`, `answers` and `clips`; `labels` by scenario and clip, in the same order."""
    right = {
        scenario: {name: _right(values, labels[scenario]) for name, values in by_protocol.items()}
        for scenario, by_protocol in probabilities.items()
    }
    names = list(probabilities)
    together = {name: np.concatenate([right[one][name] for one in names], axis=1) for name in PROTOCOLS}
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for scenario, columns in [*right.items(), (ALL, together)]:
        means = np.stack([columns[name].mean(axis=0) for name in PROTOCOLS])
        for name, interval in zip(PROTOCOLS, bootstrap(means), strict=True):
            seeds = [rounded(value) for value in columns[name].mean(axis=1)]
            row = {"scenario": scenario, "protocol": name, **_told(interval, "accuracy"), "by_seed": seeds}
            rows.append({**row, "clips": interval.count})
        place = list(PROTOCOLS).index
        pairs = np.stack([means[place(one)] - means[place(other)] for one, other in PAIRS])
        for (one, other), interval in zip(PAIRS, bootstrap(pairs), strict=True):
            key = {"scenario": scenario, "protocol": one, "reference": other}
            differences.append({**key, **_told(interval, "difference")})
    return {
        "clips": {name: len(labels[name]) for name in names},
        "rows": rows,
        "differences": differences,
        "scenarios": _scenarios({name: list(labels[name].values()) for name in names}),
        "answers": {name: _answers(probabilities[name], labels[name]) for name in names},
    }


def _right(values: NDArray[np.float64], labels: Mapping[str, Label]) -> NDArray[np.float64]:
    """(seeds, clips) 1 where the answer at the fixed threshold is the true one."""
    contact = np.array([label.contact for label in labels.values()])
    return ((values > THRESHOLD) == contact).astype(float)


def _scenarios(labels: Mapping[str, list[Label]]) -> list[dict[str, Any]]:
    found = []
    everything = [label for group in labels.values() for label in group]
    for name, own in [*labels.items(), (ALL, everything)]:
        share = sum(label.contact for label in own) / len(own)
        human = people(name, own) if name != ALL else _people_of_all(labels)
        told = {
            "scenario": name,
            "clips": len(own),
            "contact": rounded(share),
            "majority": rounded(max(share, 1 - share)),
        }
        found.append({**told, "people": human and {key: _plain(value) for key, value in human.items()}})
    return found


def _people_of_all(labels: Mapping[str, list[Label]]) -> dict[str, Any] | None:
    """The mean over scenarios, weighed by their clips; None if one of them is unknown."""
    known = [(people(name, own), len(own)) for name, own in labels.items()]
    if any(human is None for human, _ in known):
        return None
    total = sum(count for _, count in known)
    mean = sum(human["accuracy"] * count for human, count in known if human) / total
    sources = list(dict.fromkeys(human["source"] for human, _ in known if human))
    return {"accuracy": mean, "low": None, "high": None, "source": "; ".join(sources)}


def _answers(values: Mapping[str, NDArray[np.float64]], labels: Mapping[str, Label]) -> dict[str, Any]:
    return {
        clip: {"contact": label.contact}
        | {name: [rounded(one) for one in values[name][:, place]] for name in PROTOCOLS}
        for place, (clip, label) in enumerate(labels.items())
    }


def _told(interval: Interval, what: str) -> dict[str, Any]:
    return {what: rounded(interval.mean), "low": rounded(interval.low), "high": rounded(interval.high)}


def _plain(value: Any) -> Any:
    return rounded(value) if isinstance(value, float) else value


def rounded(value: float) -> float:
    return round(float(value), 6)


def row(body: Mapping[str, Any], scenario: str, protocol: str) -> dict[str, Any]:
    """The row of a scenario and protocol."""
    return next(r for r in body["rows"] if (r["scenario"], r["protocol"]) == (scenario, protocol))


def difference(body: Mapping[str, Any], scenario: str, protocol: str, reference: str) -> dict[str, Any]:
    key = (scenario, protocol, reference)
    return next(d for d in body["differences"] if (d["scenario"], d["protocol"], d["reference"]) == key)


def scenario_of_row(body: Mapping[str, Any], scenario: str) -> dict[str, Any]:
    return next(s for s in body["scenarios"] if s["scenario"] == scenario)


def verdict(body: Mapping[str, Any]) -> dict[str, str]:
    """One sentence on what the model knows of contact, and whether what it generates adds to it."""
    every, made = scenario_of_row(body, ALL), row(body, ALL, "generated")
    added = difference(body, ALL, "generated", "given")
    count = len(body["scenarios"]) - 1
    where = f"{count} scenarios" if count > 1 else next(iter(body["clips"]))
    human = f"people are in {percent(every['people']['accuracy'])}, " if every["people"] else ""
    change = f"{100 * added['difference']:+.1f} points ({100 * added['low']:+.1f} to {100 * added['high']:+.1f})"
    if added["low"] > 0:
        state, meaning = "good", "so the future that it makes helps"
    elif added["high"] < 0:
        state, meaning = "bad", "so the future that it makes misleads"
    else:
        state, meaning = "plain", "which is not significant"
    text = (
        f"Will the agent touch the patient? From what {body['settings']['model']} makes of given and generated frames, "
        f"a linear readout is right in {percent(made['accuracy'])} of {every['clips']} clips of {where} "
        f"(95 %: {span(made)}); {human}the commoner answer in {percent(every['majority'])}; the generated frames "
        f"change what the given ones tell by {change}, {meaning}."
    )
    return {"state": state, "text": text}


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def span(interval: Mapping[str, Any]) -> str:
    return f"{100 * interval['low']:.1f} to {100 * interval['high']:.1f}"


def write(body: Mapping[str, Any], path: Path) -> None:
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(body, allow_nan=False, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """Reads a results file, or the folder that holds `results.json`; raises VDTError if it is none of ours."""
    path = path / "results.json" if path.is_dir() else path
    body = read_json(path, "results file")
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        raise VDTError(f"{path} is not a results file of `python -m evals.physion` (its schema is not {SCHEMA!r}).")
    if body.get("version") != VERSION:
        raise VDTError(f"{path} has results version {body.get('version')!r}; this release reads version {VERSION}.")
    missing = [key for key in ("rows", "differences", "scenarios", "settings") if not body.get(key)]
    if missing:
        raise VDTError(f"{path} lacks {', '.join(missing)}: it is damaged or cut short.")
    return body


def seeds_of(body: Mapping[str, Any]) -> Sequence[int]:
    return body["settings"]["seeds"]
