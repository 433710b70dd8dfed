"""What is said of the tasks: sentences for the verdict, and cells of tables."""

from typing import Any

from evals.report.table import number
from evals.tasks.extent import CONDITIONAL, FEW, LONG, LONG_FRAME, MANY, SPREAD_GIVEN, SPREAD_SAMPLES


def mean_of(tasks: dict[str, Any], task: str, key: str) -> float | None:
    """One number of a task, None where it was not measured."""
    value = tasks.get(task, {}).get(key)
    return value["mean"] if isinstance(value, dict) else value


def cell(cells: dict[str, Any], key: str) -> str:
    value = cells.get(key)
    if not isinstance(value, dict):
        return number(value)
    if value["mean"] is None:
        return "–"
    return f"{number(value['mean'])} ({number(value['low'])} to {number(value['high'])})"


def worst(tasks: dict[str, Any]) -> dict[str, str] | None:
    """The task in which the model gains least over showing the nearest given frame."""
    shares = {}
    for task in CONDITIONAL:
        ade, copy = mean_of(tasks, task, "ade"), mean_of(tasks, task, "copy")
        if ade is not None and copy:
            shares[task] = ade / copy
    if not shares:
        return None
    task = max(shares, key=lambda name: shares[name])
    text = f"Of the tasks with given frames it is worst at {task}: {mean_of(tasks, task, 'ade'):.2f} px, "
    text += f"{shares[task]:.2f} of what showing the nearest given frame costs."
    return {"text": text, "state": "bad" if shares[task] >= 1 else "plain"}


def from_nothing(tasks: dict[str, Any]) -> dict[str, str] | None:
    found = tasks.get("unconditional")
    if not found:
        return None
    agent, truth = found["agent_there"], found["agent_there_truth"]
    patient, real = found["patient_there"], found["patient_there_truth"]
    text = f"From nothing it draws an agent in {100 * agent:.0f} % of clips and a patient in {100 * patient:.0f} % "
    text += f"(the simulator: {100 * truth:.0f} % and {100 * real:.0f} %)."
    return {"text": text, "state": "good" if agent >= 0.95 * truth and patient >= 0.95 * real else "bad"}


def by_label(tasks: dict[str, Any]) -> dict[str, str] | None:
    found = tasks.get("labelled")
    if not found:
        return None
    asked, truth = found["as_asked"], found["as_asked_truth"]
    text = f"Asked for a scenario by its label it generates one that is taken for it in {100 * asked:.0f} % of clips "
    text += f"(the simulator's own: {100 * truth:.0f} %; chance: {100 * found['chance']:.0f} %)."
    return {"text": text, "state": "good" if asked >= 0.9 * truth else "bad"}


def spread(tasks: dict[str, Any]) -> dict[str, str] | None:
    spread, skill = mean_of(tasks, "spread", "spread"), mean_of(tasks, "spread", "skill")
    if spread is None or not skill:
        return None
    ratio = spread / skill
    text = f"{SPREAD_SAMPLES} futures from {SPREAD_GIVEN} frames spread {ratio:.2f} times as far as their mean is off "
    text += "(1 would be honest about what it does not know)."
    return {"text": text, "state": "good" if 0.5 <= ratio <= 1.5 else "bad"}


def few_frames(tasks: dict[str, Any]) -> dict[str, str] | None:
    few, many = (mean_of(tasks, "context", f"given_{given}") for given in (FEW, MANY))
    if few is None or not many:
        return None
    text = f"With {FEW} context frames its velocities on the laws are {few / many:.1f} times as far off as with {MANY}."
    return {"text": text, "state": "good" if few / many <= 2 else "bad"}


def long(tasks: dict[str, Any]) -> dict[str, str] | None:
    error, presence = mean_of(tasks, "rollout", "error"), mean_of(tasks, "rollout", "presence")
    if error is None or presence is None:
        return None
    text = (
        f"Rolled out to {LONG} frames it is {error:.1f} px off in frame {LONG_FRAME}, with {100 * presence:.0f} % of "
    )
    return {"text": text + "the objects there.", "state": "plain"}


def other_rows(tasks: dict[str, Any]) -> list[list[str]]:
    rows = []
    if "spatial" in tasks:
        rows.append(["PSNR in the hole, dB", cell(tasks["spatial"], "psnr"), ""])
        rows.append(["objects in the hole, px", cell(tasks["spatial"], "object_error"), ""])
    free = tasks.get("unconditional", {})
    for key, value in free.items():
        if f"{key}_truth" in free:
            rows.append(
                [f"from nothing: {key.replace('_', ' ')}", number(value), f"truth {number(free[f'{key}_truth'])}"]
            )
    if tasks.get("labelled"):
        found = tasks["labelled"]
        rows.append(["by label: as asked for", number(found["as_asked"]), f"truth {number(found['as_asked_truth'])}"])
    if "spread" in tasks:
        spread = tasks["spread"]
        rows.append(["spread of samples, px", cell(spread, "spread"), f"error of their mean {cell(spread, 'skill')}"])
        rows.append(
            ["energy score, px", cell(spread, "energy_score"), f"of their mean alone {cell(spread, 'ade_mean')}"]
        )
    if "rollout" in tasks:
        rows.append([f"roll-out, frame {LONG_FRAME}, px", cell(tasks["rollout"], "error"), ""])
        rows.append(["roll-out, objects there", cell(tasks["rollout"], "presence"), ""])
    return rows
