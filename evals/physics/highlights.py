"""Which clips the report shows, and their pictures from the unit files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals.physics.units import Job, load_unit
from evals.report.gallery import Picture
from evals.report.table import headline
from evals.scoring.cases import Group
from evals.suites.suite import Suite

RANKS = ("best", "median", "worst")


def pictures(suite: Suite, jobs: Sequence[Job], body: dict[str, Any], work: Path) -> dict[str, list[Picture]]:
    """Of every group the model's best, median and worst clip by ADE (fewer where there are fewer clips)."""
    model = body["model"]
    if model is None:
        return {}
    given = headline(body["settings"]["given"])
    chosen: dict[str, list[Picture]] = {}
    for group in dict.fromkeys(job.group for job in jobs):
        column = body["values"].get(model, {}).get(str(given), {}).get(group.name, {}).get("ade")
        if not column:
            continue
        order = [i for i in np.argsort([np.inf if v is None else v for v in column]) if column[i] is not None]
        if not order:
            continue
        places = dict(zip((0, len(order) // 2, len(order) - 1), RANKS, strict=True))
        chosen[group.name] = [
            _picture(suite, jobs, group, int(order[place]), rank, body, work) for place, rank in places.items()
        ]
    return chosen


def ranked(suite: Suite, jobs: Sequence[Job], body: dict[str, Any], work: Path, count: int) -> list[Picture]:
    """The model's `count` best, median and worst clips in distribution by ADE, from the unit files in `work`."""
    model, given = body["model"], headline(body["settings"]["given"])
    inside = {group.name: group for group in suite.groups if group.in_distribution}
    found = [
        (column, name, place)
        for name in inside
        for place, column in enumerate(body["values"][model][str(given)].get(name, {}).get("ade", []))
        if column is not None
    ]
    order = sorted(found)
    middle = max(0, (len(order) - count) // 2)
    places = [*range(count), *range(middle, middle + count), *range(len(order) - count, len(order))]
    ranks = [rank for rank in RANKS for _ in range(count)]
    return [
        _picture(suite, jobs, inside[order[place][1]], order[place][2], rank, body, work)
        for place, rank in zip(places, ranks, strict=True)
        if 0 <= place < len(order)
    ]


def _picture(
    suite: Suite, jobs: Sequence[Job], group: Group, index: int, rank: str, body: dict[str, Any], work: Path
) -> Picture:
    model, given = body["model"], headline(body["settings"]["given"])
    job = next(job for job in jobs if job.group == group and job.given == given and job.start <= index < job.stop)
    unit = load_unit(work / f"{job.name}.npz")
    case = job.case(suite, index - job.start)
    at = index - job.start
    values = body["values"][model][str(given)][group.name]
    made = unit.pictures[f"{model}/{at}/frames"]
    return Picture(
        clip=case.id,
        rank=rank,
        frames=case.frames,
        predicted=np.concatenate([case.given_frames, made]),
        truth=case.truth.position,
        path=unit.pictures[f"{model}/{at}/path"].astype(float),
        colours=case.colours,
        ade=values["ade"][index],
        facts=_facts(values, index, case.truth.contact),
    )


def _facts(values: dict[str, list[Any]], index: int, contact: bool | None) -> str:
    def value(name: str) -> Any:
        column = values.get(name)
        return None if column is None else column[index]

    said = []
    presence = value("presence")
    if presence is not None:
        said.append(f"{100 * presence:.0f} % present")
    if contact is not None and value("contact") is not None:
        said.append(
            ("they touch" if contact else "they do not touch")
            + (", seen so" if value("contact") >= 0.5 else ", missed")
        )
    if value("identity_kept") == 0:
        said.append("identity lost")
    return ", ".join(said)
