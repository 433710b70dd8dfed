"""`vdt-mlx selftest --train 2m`: how fast this machine trains, and what the shipped checkpoint would take on it."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from vdt_mlx.errors import VDTError
from vdt_mlx.reading import parse_json

WARM_UP = 3
"""Steps that are not counted: kernels are compiled in them."""
PREFILL = 64
SECONDS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):
    """`90s`, `2m` or `1.5h`, in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", str(value).strip().lower())
        if found is None or not 0 < float(found[1]) * SECONDS[found[2]] <= 24 * 3600:
            self.fail(f"{value!r} is no time such as 90s, 2m or 1h (of at most a day)", param, ctx)
        return float(found[1]) * SECONDS[found[2]]


def in_a_process(seconds: float, device: str | None = None) -> dict[str, Any]:
    """`trial` in a process of its own: its memory is counted alone, and what kills it is reported."""
    environment = {**os.environ, **({"VDT_DEVICE": device} if device else {})}
    command = [sys.executable, "-m", "vdt_mlx.commands.selftest_train", str(seconds)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        return dict(parse_json(done.stdout.splitlines()[-1]))
    except (IndexError, TypeError, ValueError, VDTError):
        ended = f"signal {-done.returncode}" if done.returncode < 0 else f"status {done.returncode}"
        return {"failed": f"the process that trained ended with {ended}"}


def trial(seconds: float) -> dict[str, Any]:
    """Trains the shipped checkpoint's configuration for so long, with its autoencoder, and throws the run away.

    Returns `clips_per_second` once it is under way, `hours_to_shipped` (all the runs behind the shipped checkpoint),
    `peak_memory_gib`, `first_loss` and `last_loss`; or `failed`, what ended it.
    """
    from vdt_mlx.config import read_config
    from vdt_mlx.device.memory import peak_bytes
    from vdt_mlx.training.start import train_vdt
    from vdt_mlx.training.state import read_log, read_run
    from weights.registry import resolve

    shipped = resolve("physics")
    changes = ("loop.save_minutes=100000", "loop.preview_minutes=0", f"data.prefill={PREFILL}")
    with tempfile.TemporaryDirectory(prefix="vdt-selftest-") as folder:
        out = Path(folder) / "run"
        try:
            train_vdt("physics", out, changes, autoencoder=shipped, hours=seconds / 3600)
        except (VDTError, RuntimeError) as error:  # MLX reports what a GPU does not survive as a RuntimeError
            return {"failed": " ".join(str(error).split()) or type(error).__name__}
        steps = [entry for entry in read_log(out) if "loss" in entry]
        batch = read_run(out)["config"]["loop"]["batch"]
    return {
        **rate(steps, batch, clips_behind(read_config(shipped).training or {})),
        "peak_memory_gib": round(peak_bytes() / 2**30, 2),
    }


def rate(steps: list[dict[str, Any]], batch: int, clips: int) -> dict[str, Any]:
    """What a log's steps say of a machine's speed, and of the hours that so many clips take."""
    counted = steps[WARM_UP:]
    if not counted:
        return {"failed": f"only {len(steps)} steps were trained, of which {WARM_UP} warm up: give it more time"}
    per_second = batch * len(counted) / max(sum(step["seconds"] for step in counted), 1e-9)
    return {
        "steps": len(steps),
        "batch": batch,
        "clips_per_second": round(per_second, 2),
        "hours_to_shipped": round(clips / per_second / 3600, 2),
        "first_loss": steps[0]["loss"],
        "last_loss": steps[-1]["loss"],
    }


def clips_behind(training: dict[str, Any]) -> int:
    """How many clips (one as often as it was drawn) a checkpoint was trained on, in all the runs behind it."""
    own = {"steps": training.get("steps", 0), "batch": training.get("config", {}).get("loop", {}).get("batch", 0)}
    return sum(int(run["steps"]) * int(run["batch"] or 0) for run in [*training.get("earlier", []), own])


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Train for so many seconds and print one JSON object.")
    parser.add_argument("seconds", type=float, help="how long to train, after the kernels were compiled")
    chosen = parser.parse_args()
    from vdt_mlx.device import blas

    blas.evaluate_widely()  # as `vdt-mlx train` does
    print(json.dumps(trial(chosen.seconds)))
