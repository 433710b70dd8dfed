"""One run: a training with `vdt-mlx train vdt` that resumes, then its scores, in a folder of its own."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals.ablations.plan import Plan, Run, settings
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.reading import json_lines, read_json

SCORE = "score.json"
IDENTITY = "identity.json"
METRICS = ("ade", "velocity", "contact", "ssim", "presence")
BATCH = 8


def is_done(plan: Plan, run: Run, out: Path) -> bool:
    """Whether the run's scores are there. Raises VDTError if the folder holds a run with other settings."""
    check_identity(plan, run, out)
    return (folder_of(run, out) / SCORE).is_file()


def folder_of(run: Run, out: Path) -> Path:
    return out / "runs" / run.name


def check_identity(plan: Plan, run: Run, out: Path) -> None:
    mark = folder_of(run, out) / IDENTITY
    if not mark.is_file():
        return
    try:
        held = read_json(mark)["identity"]
    except (VDTError, KeyError, TypeError):
        raise VDTError(f"{mark} is damaged: delete the folder {mark.parent} to train this arm again.") from None
    if held != plan.identity(run):
        raise VDTError(
            f"{mark.parent} was trained or scored with other settings than this table of runs has: choose another "
            "`out`, or delete that folder."
        )


def train(plan: Plan, run: Run, out: Path) -> None:
    """Trains into `out`/runs/NAME/run, from where it stopped if it was begun. Raises VDTError if training fails."""
    folder = folder_of(run, out)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / IDENTITY).is_file():
        with atomic_path(folder / IDENTITY) as partial:
            partial.write_text(json.dumps({"identity": plan.identity(run), "changes": dict(run.changes)}) + "\n")
    config = folder / "config.json"
    from weights.registry import resolve

    command = [sys.executable, "-m", "vdt_mlx", "train", "vdt", "--out", str(folder / "run")]
    if (folder / "run" / "run.json").is_file():
        command += ["--resume"]
    else:
        body = _with_changes(plan.train.config, run)
        body["data"]["cache"] = str(out.resolve() / "latents")  # arms of one seed see the same clips, encoded once
        with atomic_path(config.with_suffix(".toml")) as partial:
            partial.write_text(_toml(body), encoding="utf-8")
        command += ["--config", str(config.with_suffix(".toml")), "--autoencoder", str(resolve(plan.train.autoencoder))]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL)
    if ended.returncode == 130:
        raise KeyboardInterrupt
    if ended.returncode:
        raise VDTError(f"Training of {run.name} ended with status {ended.returncode}; its own message is above.")


def _with_changes(config: dict[str, Any], run: Run) -> dict[str, Any]:
    from vdt_mlx.training.config import config_from_dict

    return config_from_dict(json.loads(json.dumps(config)), run.name, settings(run)).to_dict()


def _toml(body: dict[str, Any], prefix: str = "") -> str:
    """Plain values and tables as TOML; a key without a value is left out, which reads back as its default."""
    plain = {key: value for key, value in body.items() if not isinstance(value, dict) and value is not None}
    lines = [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in body.items():
        if isinstance(value, dict):
            name = f"{prefix}{json.dumps(key)}"
            lines += ["", f"[{name}]", _toml(value, f"{name}.")]
    return "\n".join(lines) + "\n"


def score(plan: Plan, run: Run, out: Path) -> None:
    """Scores a trained run on the world's clips, writes score.json."""
    from evals.predictors.checkpoint import Checkpoint
    from evals.scoring.cases import choose_groups, make_case
    from vdt_mlx.network import flops

    folder = folder_of(run, out)
    source = Checkpoint(str(folder / "run" / "checkpoint"), seed=run.seed, name=run.name)
    world = plan.world
    values: dict[str, dict[str, dict[str, list[float | None]]]] = {}
    for given in dict.fromkeys((world.given, *world.sweep)):
        whole = given == world.given
        groups = choose_groups((*world.inside, *world.outside) if whole else world.inside)
        values[str(given)] = {
            group.name: _score_cases(
                source,
                [
                    make_case(group, index, given, world.seed, source.size)
                    for index in range(world.clips if whole else world.sweep_clips)
                ],
            )
            for group in groups
        }
    config = source.pipeline.config.vdt
    body = {
        "arm": run.arm,
        "seed": run.seed,
        "values": values,
        "parameters": flops.parameters(config),
        "gflops": flops.flops(config) / 1e9,
        "curve": _curve(folder / "run" / "log.jsonl"),
    }
    with atomic_path(folder / SCORE) as partial:
        partial.write_text(json.dumps(body) + "\n", encoding="utf-8")


def _score_cases(source: Any, cases: Sequence[Any]) -> dict[str, list[float | None]]:
    from evals.predictors.frames import Bad

    rows: dict[str, list[float | None]] = {name: [] for name in METRICS}
    for start in range(0, len(cases), BATCH):
        batch = cases[start : start + BATCH]
        for case, frames in zip(batch, source.complete(batch)[0], strict=True):
            if isinstance(frames, Bad):
                raise VDTError(f"{source.name} on {case.id}: {frames.reason}.")
            for name, value in measured(case, frames).items():
                rows[name].append(value)
    return rows


def measured(case: Any, frames: np.ndarray) -> dict[str, float | None]:
    """The METRICS of a clip (T, H, W, 3) that stands for the case's; None where one does not apply."""
    from evals.scoring.cases import as_prediction
    from evals.scoring.score import score as score_clip

    found, _ = score_clip(case.truth, as_prediction(case, frames))
    return {name: float(found[name]) if np.isfinite(found[name]) else None for name in METRICS}


def _curve(log: Path) -> list[dict[str, float]]:
    """The way of a run, from its log: training loss (mean of 25 steps) and error of previews, by step and seconds."""
    points: list[dict[str, float]] = []
    losses: list[float] = []
    seconds = 0.0
    for entry in json_lines(log, "log"):
        if "preview" in entry:
            error = entry["preview"].get("pair_error", entry["preview"].get("ade"))
            points.append({"step": entry["step"], "seconds": round(seconds, 2), "error": error})
        elif "loss" in entry:
            losses.append(entry["loss"])
            seconds += entry["seconds"]
            if len(losses) == 25:
                points.append({"step": entry["step"], "seconds": round(seconds, 2), "loss": float(np.mean(losses))})
                losses = []
    return points
