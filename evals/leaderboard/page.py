"""The page of all submissions, Markdown, from their results files alone."""

from collections.abc import Sequence
from statistics import mean
from textwrap import wrap
from typing import Any

from evals.leaderboard.rules import CARD, FIELDS, Rules
from evals.leaderboard.submission import Submission
from evals.report.table import KNOWN, Table, number

COLUMNS = (
    ("in_distribution", "ade"),
    ("scenarios", "ade"),
    ("laws", "velocity"),
    ("laws_out", "velocity"),
    ("in_distribution", "contact"),
    ("in_distribution", "presence_both"),
)
"""(union, metric), the first of which decides the order."""
HEADS = {
    "in_distribution": "",
    "scenarios": ", scenarios",
    "laws": ", laws",
    "laws_out": ", laws out of distribution",
}
MARK = "<!-- written by `python -m evals.leaderboard build`; do not edit -->"
BESIDE = ("copy_last", "constant_velocity", "nearest", "simulator")
"""Baselines and upper bounds that stand below."""


def render(submissions: Sequence[Submission], rules: Rules, fingerprint: str) -> str:
    """docs/leaderboard.md."""
    about = (
        f"Models on the frozen suite: {rules.clips} clips of every scenario and law, {rules.given} context frames, "
        f"world version {rules.world}, fingerprint `{fingerprint}`. No judge is itself a model, and no best seed is "
        f"chosen: each number is the mean over at least {rules.seeds} seeds, with the lowest and highest in brackets."
    )
    lines = [MARK, "# Leaderboard", "", _wrapped(about), ""]
    lines += _table(submissions, rules) if submissions else ["**No submission has been made yet.**", ""]
    return "\n".join([*lines, *_how(rules)]) + "\n"


def _table(submissions: Sequence[Submission], rules: Rules) -> list[str]:
    heads = ["model", "parameters", *(_head(*column) for column in COLUMNS), "seeds"]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    order = sorted(submissions, key=lambda s: _means(s, *COLUMNS[0], rules)[0])
    for one in order:
        cells = [_cell(_means(one, *column, rules), column[1]) for column in COLUMNS]
        title = f"[{_plain(one.name)}]({_link(one.card['link'])})" if _link(one.card["link"]) else _plain(one.name)
        lines.append("| " + " | ".join([title, f"{one.card['parameters']:,}", *cells, str(len(one.seeds))]) + " |")
    body = next(iter(order[0].bodies.values()))
    table, titles = Table(body, rules.given), {p["name"]: p["title"] for p in body["predictors"]}
    for name in BESIDE:
        if name in titles:
            cells = [number(table.mean(name, *column), column[1]) for column in COLUMNS]
            lines.append("| " + " | ".join([f"*{titles[name]}*", "", *cells, ""]) + " |")
    lines.append("")
    for one in order:
        card = one.card
        lines.append(f"- **{_plain(one.name)}** ({_plain(card['authors'])}): {_plain(card['about'])}")
        lines.append(f"  Trained on: {_plain(card['trained_on'])}")
    return [*lines, ""]


def _head(scenario: str, metric: str) -> str:
    known = KNOWN[metric]
    arrow = {"lower": "↓", "higher": "↑"}[known.better]
    return f"{known.label}{HEADS[scenario]} {arrow}" + (f" {known.unit}" if known.unit else "")


def _means(one: Submission, scenario: str, metric: str, rules: Rules) -> tuple[float, float, float]:
    """Mean, lowest and highest over the seeds; infinite where there is none."""
    found = [Table(body, rules.given).mean(body["model"], scenario, metric) for body in one.bodies.values()]
    values = [value for value in found if value is not None]
    if not values:
        return (float("inf"),) * 3
    return mean(values), min(values), max(values)


def _cell(values: tuple[float, float, float], metric: str) -> str:
    middle, low, high = (number(value, metric) for value in values)
    return middle if middle == number(None) else f"{middle} [{low.removesuffix(' %')}, {high.removesuffix(' %')}]"


def _plain(text: Any) -> str:
    """Text of a card as plain text of a page: one line, and nothing in it is markup."""
    line = " ".join(str(text).split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in line)


def _link(text: Any) -> str:
    """A link of a card, if it is one that a page may have."""
    fine = str(text).startswith(("https://", "http://")) and not set(str(text)) & set(" ()<>|\"'`\\\n")
    return str(text) if fine else ""


def _how(rules: Rules) -> list[str]:
    intro = (
        f"Run the full examination with {rules.seeds} seeds, write a card, check it, and open a pull request with the "
        "card and a link to the results files (they are too large for the repository):"
    )
    rest = (
        "and, where clips were made elsewhere (`--predictions`, `--code`), `seeds`: which results file has which seed. "
        "The check simulates the suite's clips again and compares their fingerprint, the settings, the seeds and the "
        "weights of all results files; it looks whether the rows follow from the values clip by clip, and whether the "
        "model was trained on what is tested. Steps and sampler are yours; they are the same for all seeds."
    )
    return [
        "## How to submit",
        "",
        _wrapped(intro),
        "",
        "```sh",
        *(
            f"python -m evals.physics --full --model MODEL --seed {seed} --out submission/seed-{seed}"
            for seed in range(rules.seeds)
        ),
        "python -m evals.leaderboard card submission",
        "python -m evals.leaderboard check submission",
        "python -m evals.leaderboard build submission --out docs/leaderboard.md",
        "```",
        "",
        f"`{CARD}` has",
        "",
        *[f"- `{key}`: {what}" for key, what in FIELDS.items()],
        "",
        _wrapped(rest),
    ]


def _wrapped(text: str) -> str:
    return "\n".join(wrap(text, 120, break_long_words=False, break_on_hyphens=False))
