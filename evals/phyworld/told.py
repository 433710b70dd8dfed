"""What is said of an examination by PhyWorld's rules: sentences for the verdict, a table, and a picture."""

from typing import Any

from evals.phyworld.picture import error_by_speed
from evals.report.table import KNOWN, Grid, Part, Table, headline, number, span, unscored
from evals.scoring.phyworld import FIRST, UNBIASED

HEADLINE = {
    "uniform": "phyworld_vel_error",
    "parabola": "phyworld_abs_y_err_avg",
    "collision": "phyworld_post_vel_error",
}
"""Of each law the number that sentences and the picture are about."""
WHAT = {
    "uniform": "velocity error",
    "parabola": "error of the height",
    "collision": "velocity error after the collision",
}
FRAMES = 32
"""Of its clips."""
INSIDE, OUTSIDE = "in_distribution", "out_of_distribution"
BASELINE = "constant_velocity"


def verdict(body: dict[str, Any]) -> list[dict[str, str]]:
    """[{text, state}], the headline first; nothing where it is another suite's results."""
    if "phyworld" not in body:
        return []
    facts, table = body["phyworld"], Table(body)
    lines = _of_model(body, facts, table)
    lines += [{"text": text, "state": "plain"} for text in (_ruler(facts), *_rules(body, facts), *_rolled(body))]
    return [*lines, *unscored(body)]


def _of_model(body: dict[str, Any], facts: dict[str, Any], table: Table) -> list[dict[str, str]]:
    model, law, metric = body.get("model"), facts["law"], HEADLINE[facts["law"]]
    if model is None:
        return [{"text": "No model was examined: these are the baselines and upper bounds alone.", "state": "plain"}]
    title = next(p["title"] for p in body["predictors"] if p["name"] == model)
    unit, lines = KNOWN[metric].unit, []
    where = INSIDE if table.row(model, INSIDE, metric) else OUTSIDE
    own = table.row(model, where, metric)
    if own is None:
        return [{"text": f"{title} has nothing that PhyWorld's metric could score here.", "state": "plain"}]
    unbiased, other = table.mean(model, where, metric + UNBIASED), table.mean(BASELINE, where, metric + UNBIASED)
    within = f" ({span(own, metric)})" if span(own, metric) else ""
    text = f"By PhyWorld's script the {WHAT[law]} of {title} is {number(own['mean'], metric)} {unit}{within} "
    text += f"{body['unions'][where]['title']}, by an unbiased ruler {number(unbiased, metric)}"
    if other is not None:
        text += f"; of constant velocity from the tracked context frames {number(other, metric)}"
    difference = table.differences.get((BASELINE, where, metric + UNBIASED), {})
    low, high = difference.get("low"), difference.get("high")
    known = low is not None and high is not None
    state = "good" if known and high < 0 else "bad" if known and low > 0 else "plain"
    lines.append({"text": text + ".", "state": state})
    inside, outside = table.mean(model, INSIDE, metric), table.mean(model, OUTSIDE, metric)
    if inside and outside is not None:
        text = f"Out of distribution it is {number(outside, metric)} {unit}, {outside / inside:.1f} times as much"
        ranges = [row["outside"] for row in facts["published"] if row["outside"] and row["metric"] == metric]
        if ranges:
            text += f" (its paper's models: {ranges[0][0]:g} to {ranges[0][1]:g})"
        lines.append({"text": text + ".", "state": "plain"})
    return lines


def _ruler(facts: dict[str, Any]) -> str:
    steps = facts["ruler"]["steps"]
    if steps is None:
        return (
            "The file was written by physics_sim, whose pictures go from edge to edge, so PhyWorld's ruler has the "
            "speeds right here; it puts everything half a pixel too far to the left and too low."
        )
    speeds = [sum(init[2:4]) / 2 if len(init) == 4 else init[1] for init in facts["init"].values()]
    mean = sum(speeds) / max(len(speeds), 1)
    return (
        f"PhyWorld's ruler is short: its pictures are drawn on {steps} steps and read as index / {steps + 1}. At the "
        f"mean speed of these clips ({mean:.1f} m/s) that alone is an error of {mean / (steps + 1):.4f} m/s; the "
        "columns called unbiased are free of it."
    )


def _rules(body: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """What in this run is not as PhyWorld has it, and what it leaves out."""
    said, given = [], body["settings"]["given"]
    others = [count for count in given if count != FIRST]
    if others:
        counts = ", ".join(map(str, others))
        said.append(f"With {counts} context frames these are not PhyWorld's numbers: it gives {FIRST}.")
    if facts["frames"] != FRAMES:
        said.append(
            f"The clips have {facts['frames']} frames and PhyWorld's {FRAMES}: its numbers are of other lengths."
        )
    dropped = facts["splits"].get("dropped", 0)
    if dropped:
        said.append(
            f"As its script does, {dropped} of {facts['clips']} clips are left out, because their balls are small."
        )
    return said


def _rolled(body: dict[str, Any]) -> list[str]:
    return [
        f"{p['title']} makes {p['details']['roll_out']}."
        for p in body["predictors"]
        if isinstance(p["details"], dict) and p["details"].get("roll_out")
    ]


# ---- tables and a picture


def parts(body: dict[str, Any]) -> list[Part]:
    """Its table for terminal and page, and its picture; nothing where it is another suite's results."""
    if "phyworld" not in body:
        return []
    metric = HEADLINE[body["phyworld"]["law"]]
    figure = error_by_speed(body, metric, WHAT[body["phyworld"]["law"]])
    return [Part("By PhyWorld's rules", [_beside_the_paper(body, metric)], [figure] if figure else [])]


def _beside_the_paper(body: dict[str, Any], metric: str) -> Grid:
    """Predictors of this run above the paper's, in and out of distribution."""
    facts, table = body["phyworld"], Table(body, headline(body["settings"]["given"]))
    rows = []
    for predictor in body["predictors"]:
        cells = [
            number(table.mean(predictor["name"], where, metric + tail), metric)
            for where in (INSIDE, OUTSIDE)
            for tail in ("", UNBIASED)
        ]
        if any(cell != number(None) for cell in cells):
            rows.append([predictor["title"], *cells])
    for row in facts["published"]:
        if row["metric"] != metric:
            continue
        inside = number(None) if row["inside"] is None else f"{row['inside']:g}"
        outside = number(None) if row["outside"] is None else "{:g} to {:g}".format(*row["outside"])
        rows.append([f"{row['model']} (published)", inside, number(None), outside, number(None)])
    sources = list(dict.fromkeys(row["source"] for row in facts["published"]))
    note = f"Published: {'; '.join(sources)}, by its script, on its own clips and pictures of 128 and 256 pixels."
    if not sources:
        note = "Of this law its paper gives curves, and no numbers that could stand here."
    what = f"{WHAT[facts['law']][0].upper()}{WHAT[facts['law']][1:]} ({KNOWN[metric].unit})"
    columns = [
        "",
        *(f"{where} distribution, {ruler}" for where in ("in", "out of") for ruler in ("its ruler", "unbiased")),
    ]
    return Grid(f"{what}, PhyWorld's `{metric.removeprefix('phyworld_')}`", columns, rows, note)
