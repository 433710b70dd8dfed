"""From rows to sentences: what a person may conclude, with the bars that were set before anything was trained."""

from collections.abc import Iterable
from typing import Any

Row = dict[str, Any]
COPY_SHARE = 0.5
"""ADE in distribution, against copying the last frame."""
CONTACT = 0.75
"""Contact accuracy over the scenarios; the best vision model of Physion's paper has .605, people .747."""
PRESENCE = 0.97
IDENTITY = 0.95
VELOCITY_FLOORS = 4.0
"""Velocity error on the laws, in multiples of the tracker after the autoencoder."""


class Table:
    """Rows by (predictor, scenario, metric) for one number of given frames."""

    def __init__(self, body: dict[str, Any], given: int | None = None) -> None:
        self.body = body
        self.given = int(given if given is not None else body["settings"]["given"][0])
        self.rows = {(r["predictor"], r["scenario"], r["metric"]): r for r in body["rows"] if r["given"] == self.given}
        self.differences = {
            (d["reference"], d["scenario"], d["metric"]): d for d in body["differences"] if d["given"] == self.given
        }

    def row(self, predictor: str | None, scenario: str, metric: str) -> Row | None:
        return self.rows.get((predictor or "", scenario, metric))

    def mean(self, predictor: str | None, scenario: str, metric: str) -> float | None:
        row = self.row(predictor, scenario, metric)
        return None if row is None else row["mean"]


def number(value: float | None, metric: str = "") -> str:
    """A value as the tables print it."""
    if value is None:
        return "–"
    if metric in ("presence", "presence_both", "identity_kept", "contact", "duplicates", "size_drift"):
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if abs(value) >= 9.95 else f"{value:.2f}" if abs(value) >= 0.0995 else f"{value:.3f}"


def span(row: Row, metric: str = "") -> str:
    if row["low"] is None:
        return ""
    percent = number(row["mean"], metric).endswith("%")
    low, high = (number(row[key], metric).removesuffix(" %") for key in ("low", "high"))
    return f"{low} to {high}" + (" %" if percent else "")


def verdict(body: dict[str, Any]) -> list[dict[str, str]]:
    """[{text, state}], the headline first; state is good, bad or plain."""
    table, model = Table(body), body.get("model")
    titles = {p["name"]: p["title"] for p in body["predictors"]}
    if model is None:
        return [{"text": "No model was examined: these are the floors and the rivals alone.", "state": "plain"}]
    groups = body["suite"]["groups"]
    lines = list(_bars(body, table, model, groups))
    headline = _headline(table, model, titles, body)
    out = _out_of_distribution(table, model)
    bad = [entry for entry in body["bad"] if entry["predictor"] == model]
    if bad:
        named = ", ".join(entry["clip"] for entry in bad[:5]) + (", ..." if len(bad) > 5 else "")
        lines.append({"text": f"{len(bad)} clips could not be scored ({named}).", "state": "bad"})
    return [headline, *lines, *out, *_unsaid(body, model)]


def _headline(table: Table, model: str, titles: dict[str, str], body: dict[str, Any]) -> dict[str, str]:
    scenario = next((n for n in ("in_distribution", "scenarios", "laws") if n in body["unions"]), None)
    scenario = scenario or body["suite"]["groups"][0]["name"]
    own = table.row(model, scenario, "ade")
    if own is None:
        return {"text": f"{titles[model]} has no trajectory to score here.", "state": "plain"}
    simple = ("copy_last", "constant_velocity", "constant_acceleration", "nearest")
    found = [(table.mean(name, scenario, "ade"), name) for name in simple]
    rivals = [(value, name) for value, name in found if value is not None]
    said = f"{number(own['mean'])} px from the truth on average ({span(own)})"
    if not rivals:
        return {"text": f"{titles[model]} puts objects {said}.", "state": "plain"}
    best, name = min(rivals)
    difference = table.differences.get((name, scenario, "ade"))
    settled = difference is not None and difference["high"] is not None and difference["high"] < 0
    behind = difference is not None and difference["low"] is not None and difference["low"] > 0
    rival = f"{titles[name]}, the best simple rival ({number(best)} px)"
    if settled:
        return {"text": f"{titles[model]} puts objects {said}, closer than {rival}.", "state": "good"}
    if behind:
        return {"text": f"{titles[model]} puts objects {said}, further off than {rival}.", "state": "bad"}
    return {"text": f"{titles[model]} puts objects {said}, which cannot be told apart from {rival}.", "state": "plain"}


def _bars(body: dict[str, Any], table: Table, model: str, groups: list[dict[str, Any]]) -> Iterable[dict[str, str]]:
    everything = "in_distribution" if "in_distribution" in body["unions"] else groups[0]["name"]

    own, copied = table.mean(model, everything, "ade"), table.mean("copy_last", everything, "ade")
    if own is not None and copied:
        share = own / copied
        yield _line(
            share <= COPY_SHARE,
            f"In distribution its error is {share:.2f} times that of copying the last frame (the bar: {COPY_SHARE}).",
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
        asked = table.row(model, "scenarios", "contact")
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
        speed, floor = table.mean(model, "laws", "velocity"), table.mean("autoencoder", "laws", "velocity")
        if speed is not None and floor:
            yield _line(
                speed <= VELOCITY_FLOORS * floor,
                f"On the laws its velocities are off by {number(speed)} px a frame, {speed / floor:.1f} times "
                f"the floor after its autoencoder (the bar: {VELOCITY_FLOORS:.0f}).",
            )


def _out_of_distribution(table: Table, model: str) -> list[dict[str, str]]:
    inside, outside = table.mean(model, "laws", "velocity"), table.mean(model, "laws_out", "velocity")
    if not inside or outside is None:
        return []
    text = (
        f"Out of distribution (sizes and speeds beyond training) the laws' velocity error is {outside / inside:.1f} "
        f"times that in distribution ({number(outside)} against {number(inside)} px a frame)."
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
