"""From rows to sentences: what a person may conclude, with the bars that were set before anything was trained."""

from collections.abc import Iterable
from typing import Any

from evals.predictors.registry import ROWS
from evals.report.table import Table, main_union, number, span, unscored

COPY_SHARE = 0.5
"""ADE in distribution, against copying the last frame."""
CONTACT = 0.75
"""Contact accuracy over the scenarios; the best vision model of Physion's paper has .605, people .747."""
PRESENCE = 0.97
IDENTITY = 0.95
VELOCITY_BOUNDS = 4.0
"""Velocity error on the laws, in multiples of the tracker after the autoencoder."""


def verdict(body: dict[str, Any]) -> list[dict[str, str]]:
    """[{text, state}], the headline first; state is good, bad or plain."""
    table, model = Table(body), body.get("model")
    titles = {p["name"]: p["title"] for p in body["predictors"]}
    if model is None:
        return [
            {"text": "No model was examined: these are the baselines and the upper bounds alone.", "state": "plain"}
        ]
    groups = body["suite"]["groups"]
    lines = list(_bars(body, table, model, groups))
    headline = _headline(table, model, titles, body)
    out = _out_of_distribution(table, model)
    return [headline, *lines, *unscored(body), *out, *_unsaid(body, model)]


def _headline(table: Table, model: str, titles: dict[str, str], body: dict[str, Any]) -> dict[str, str]:
    scenario, _ = main_union(body)
    own = table.row(model, scenario, "ade")
    if own is None:
        return {"text": f"{titles[model]} has no trajectory to score here.", "state": "plain"}
    found = [(table.mean(row.name, scenario, "ade"), row.name) for row in ROWS.values() if row.simple]
    baselines = [(value, name) for value, name in found if value is not None]
    said = f"{number(own['mean'])} px from the truth on average ({span(own)})"
    if len(body["settings"]["given"]) > 1:
        said += f" with {table.given} context frames"
    if not baselines:
        return {"text": f"{titles[model]} puts objects {said}.", "state": "plain"}
    best, name = min(baselines)
    difference = table.differences.get((name, scenario, "ade"))
    ahead = difference is not None and difference["high"] is not None and difference["high"] < 0
    behind = difference is not None and difference["low"] is not None and difference["low"] > 0
    baseline = f"{titles[name]}, the best simple baseline ({number(best)} px)"
    if ahead:
        return {"text": f"{titles[model]} puts objects {said}, significantly closer than {baseline}.", "state": "good"}
    if behind:
        return {
            "text": f"{titles[model]} puts objects {said}, significantly further off than {baseline}.",
            "state": "bad",
        }
    text = f"{titles[model]} puts objects {said}; the difference from {baseline} is not significant."
    return {"text": text, "state": "plain"}


def _bars(body: dict[str, Any], table: Table, model: str, groups: list[dict[str, Any]]) -> Iterable[dict[str, str]]:
    everything, _ = main_union(body)
    where = {"in_distribution": "In distribution its", "suite": "Its"}.get(everything, f"On {everything} its")
    own, copied = table.mean(model, everything, "ade"), table.mean("copy_last", everything, "ade")
    if own is not None and copied:
        share = own / copied
        yield _line(
            share <= COPY_SHARE,
            f"{where} error is {share:.2f} times that of copying the last frame (the bar: {COPY_SHARE}).",
        )
    scenarios = [g["name"] for g in groups if g["in_distribution"] and not g["law"]]
    if "scenarios" in body["unions"]:
        own, straight = table.mean(model, "scenarios", "ade"), table.mean("constant_velocity", "scenarios", "ade")
        wins = [name for name in scenarios if _less(table, model, "constant_velocity", name)]
        if own is not None and straight is not None:
            need = max(1, round(0.75 * len(scenarios)))
            yield _line(
                own < straight and len(wins) >= need,
                f"Over the scenarios it is {number(own)} px off and constant velocity {number(straight)} px; "
                f"it is ahead in {len(wins)} of {len(scenarios)} (the bar: {need}).",
            )
    asked = table.row(model, "scenarios", "contact") or table.row(model, "suite", "contact")
    if asked is not None:
        yield _line(
            asked["mean"] >= CONTACT,
            f"It answers the contact question in {number(asked['mean'], 'contact')} of clips "
            f"({span(asked, 'contact')}; the bar: {100 * CONTACT:.0f} %, chance 50 %, people on Physion 74.7 %).",
        )
    there, kept = table.mean(model, everything, "presence_both"), table.mean(model, everything, "identity_kept")
    if there is not None and kept is not None:
        yield _line(
            there >= PRESENCE and kept >= IDENTITY,
            f"Agent and patient are there in {number(there, 'presence')} of predicted frames (the bar: "
            f"{100 * PRESENCE:.0f} %) and keep their identity in {number(kept, 'identity_kept')} of clips "
            f"(the bar: {100 * IDENTITY:.0f} %).",
        )
    if "laws" in body["unions"]:
        speed, bound = table.mean(model, "laws", "velocity"), table.mean("autoencoder", "laws", "velocity")
        if speed is not None and bound:
            yield _line(
                speed <= VELOCITY_BOUNDS * bound,
                f"On the laws its velocities are off by {number(speed)} px a frame, {speed / bound:.1f} times "
                f"the upper bound set by its autoencoder (the bar: {VELOCITY_BOUNDS:.0f}).",
            )


def _out_of_distribution(table: Table, model: str) -> list[dict[str, str]]:
    inside, outside = table.mean(model, "laws", "velocity"), table.mean(model, "laws_out", "velocity")
    if not inside or outside is None:
        return []
    text = (
        f"Out of distribution (sizes, speeds or gravity beyond training) the laws' velocity error is "
        f"{outside / inside:.1f} times that in distribution ({number(outside)} against {number(inside)} px a frame)."
    )
    return [{"text": text, "state": "plain"}]


def _unsaid(body: dict[str, Any], model: str) -> list[dict[str, str]]:
    """A checkpoint that does not say what it was trained on."""
    details = next(p["details"] for p in body["predictors"] if p["name"] == model)
    if "training" not in details or (details["training"] or {}).get("splits"):
        return []
    text = "Its checkpoint does not say what it was trained on; whether it has seen these clips cannot be told."
    return [{"text": text, "state": "plain"}]


def _less(table: Table, first: str, second: str, scenario: str) -> bool:
    a, b = table.mean(first, scenario, "ade"), table.mean(second, scenario, "ade")
    return a is not None and b is not None and a < b


def _line(good: bool, text: str) -> dict[str, str]:
    return {"text": text, "state": "good" if good else "bad"}
