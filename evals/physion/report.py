"""What is printed of a Physion score, and its picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.physion import results
from evals.physion.extract import PROTOCOLS
from evals.report.table import SYMBOLS
from evals.report.terminal import STYLES, console_for_results, fits, say, say_path, show_table
from vdt_mlx.media.figures import save_figure

COLOURS = {"given": "#7f7f7f", "generated": "#0072b2", "observed": "#009e73"}
"""Okabe and Ito's, which the colour-blind tell apart; marks differ too."""
MARKS = {"given": "s", "generated": "o", "observed": "D"}
MOST_NAMED = 5


def show(body: Mapping[str, Any], paths: Mapping[str, str]) -> None:
    """The verdict, accuracies by scenario and by seed, what could not be scored, and what to do next."""
    console = console_for_results()
    console.print()
    verdict = body["verdict"]
    say(console, f"{SYMBOLS[verdict['state']]} {verdict['text']}", STYLES[verdict["state"]])
    _accuracies(console, body)
    _seeds(console, body)
    console.print()
    for sentence in notes(body):
        say(console, sentence)
    for entry in body["bad"][:MOST_NAMED]:
        say(console, f"left out: {entry['clip']} {entry['reason']}")
    if len(body["bad"]) > MOST_NAMED:
        say(console, f"left out: {len(body['bad']) - MOST_NAMED} more, all in results.json")
    for what, path in paths.items():
        say_path(console, what, path)
    fits_on = "" if body["settings"]["readout"] else "--readout FOLDER fits on Physion's readout set; "
    say(console, f"Next: {fits_on}--block and --timestep choose other features, --part autoencoder is a control.")


def _accuracies(console: Any, body: Mapping[str, Any]) -> None:
    heads = ["", "clips", *PROTOCOLS.values(), "people", "commoner answer"]
    wide, narrow = [], []
    for entry in body["scenarios"]:
        found = [results.row(body, entry["scenario"], name) for name in PROTOCOLS]
        human = results.percent(entry["people"]["accuracy"]) if entry["people"] else "–"
        rest = [human, results.percent(entry["majority"])]
        first = [_title(entry["scenario"]), str(entry["clips"])]
        means = [results.percent(row["accuracy"]) for row in found]
        spans = [f"{mean} [{results.span(row)}]" for mean, row in zip(means, found, strict=True)]
        wide.append([*first, *spans, *rest])
        narrow.append([*first, *means, *rest])
    title = "Accuracy of the contact question, mean over seeds, 95 % interval over clips"
    if fits(console, heads, wide):
        show_table(console, title, heads, wide)
    else:
        show_table(console, "Accuracy of the contact question, mean over seeds", heads, narrow)


def _seeds(console: Any, body: Mapping[str, Any]) -> None:
    heads = ["", *(f"seed {seed}" for seed in results.seeds_of(body))]
    rows = [
        [
            f"{_title(entry['scenario'])}, {title}",
            *map(results.percent, results.row(body, entry["scenario"], name)["by_seed"]),
        ]
        for entry in body["scenarios"]
        for name, title in PROTOCOLS.items()
        if entry["scenario"] == results.ALL or name == "generated"
    ]
    show_table(console, "Every seed", heads, rows)


def _title(scenario: str) -> str:
    return "all" if scenario == results.ALL else scenario


def notes(body: Mapping[str, Any]) -> list[str]:
    """What has to be known to read the numbers."""
    gap, settings = body["gap"], body["settings"]
    features = body["features"]
    at = "" if features["timestep"] is None else f" at timestep {features['timestep']:g}"
    fitted = "fitted on the folder of --readout"
    if settings["readout"] is None:
        fitted = "fitted on other clips of the scenario (five folds, no --readout): fewer than in the paper"
    told = [
        f"Features: {features['block']} of the {features['part']}{at}; {settings['given']} of {settings['frames']} "
        f"frames given, stride {settings['stride']}. Readout: logistic regression, {fitted}. Threshold 0.5, not tuned.",
        f"In {100 * gap['touching']:.0f} % of the clips agent and patient touch in the first frame's picture already "
        f"(a 2-D gap of at most {gap['pixels']:g} px at {gap['size']}), and answering so is right in "
        f"{results.percent(gap['accuracy'])}: in perspective a 2-D gap is not the contact question, so no tracker "
        "answers it here.",
    ]
    scored = [entry for entry in body["scenarios"] if entry["scenario"] != results.ALL]
    sources = dict.fromkeys(entry["people"]["source"] for entry in scored if entry["people"])
    told += [f"People: {source}." for source in sources]
    if body["held"]:
        told.append(f"{body['held']} clips end before frame {settings['frames']}: their last frame is repeated.")
    told += [f"Not scored: {entry['reason']}." for entry in body["skipped"]]
    return told


# The picture -------------------------------------------------------------------------------------------------------


def draw(body: Mapping[str, Any], path: Path) -> None:
    """Writes `path`.png and `path`.svg: accuracies by scenario with intervals, beside people and chance."""
    from matplotlib.figure import Figure

    entries = body["scenarios"] if len(body["scenarios"]) > 2 else body["scenarios"][:1]
    figure = Figure(figsize=(6.4, 1.6 + 0.62 * len(entries)), layout="constrained")
    axes = figure.subplots()
    _marks(axes, body, entries)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    figure.legend(loc="outside upper center", ncols=4, fontsize=8, frameon=False)
    save_figure(figure, (path.with_suffix(".png"), path.with_suffix(".svg")), dpi=130)


def _marks(axes: Any, body: Mapping[str, Any], entries: list[dict[str, Any]]) -> None:
    for place, (name, title) in enumerate(PROTOCOLS.items()):
        rows = [results.row(body, entry["scenario"], name) for entry in entries]
        means = [100 * row["accuracy"] for row in rows]
        below = [max(0.0, 100 * (row["accuracy"] - row["low"])) for row in rows]
        above = [max(0.0, 100 * (row["high"] - row["accuracy"])) for row in rows]
        heights = [at + 0.2 * (place - 1) for at in range(len(entries))]
        style = {"color": COLOURS[name], "fmt": MARKS[name], "markersize": 5, "capsize": 2, "linewidth": 1.2}
        axes.errorbar(means, heights, xerr=[below, above], label=title, **style)
    known = [(float(at), 100 * entry["people"]["accuracy"]) for at, entry in enumerate(entries) if entry["people"]]
    if known:
        for at, value in known:
            axes.vlines(value, at - 0.3, at + 0.3, color="#d55e00", linewidth=2)
        axes.plot(
            [], [], color="#d55e00", marker="|", markersize=10, markeredgewidth=2, linestyle="none", label="people"
        )
    axes.axvline(50, color="#000000", linewidth=0.8, linestyle=":")
    axes.text(50, -0.62, "chance", ha="center", va="bottom", fontsize=7)
    axes.set_yticks(range(len(entries)), [_title(entry["scenario"]) for entry in entries])
    axes.set_ylim(len(entries) - 0.4, -0.65)
    low = min(40.0, *(100 * row["low"] - 3 for row in body["rows"]))
    axes.set_xlim(max(0.0, low), 101)
    axes.set_xlabel("right answers, % (95 % interval)")
