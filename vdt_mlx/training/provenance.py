"""What a checkpoint says of its training: data, splits, machine, and the runs that it went on from."""

from typing import Any

from vdt_mlx.device.about import describe, machine_line
from vdt_mlx.training.config import TrainConfig


def facts(config: TrainConfig, earlier: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """What a checkpoint says of its training besides steps and hours; `earlier`: the runs that it went on from."""
    splits = sorted({config.data.split, *(run["split"] for run in earlier or [] if run.get("split"))})
    known = {"train": splits[0] if len(splits) == 1 else splits, "preview": "val"}
    return {
        "config": config.to_dict(),
        "splits": known,
        "machine": machine_line(),
        "device": describe(),
        **({"earlier": earlier} if earlier else {}),
    }


def lineage(training: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The runs behind a checkpoint, oldest first, from its `training` section; none that is not one of ours."""
    if not training or "steps" not in training:
        return []
    try:
        settings = training.get("config", {})
        run = {
            "steps": training["steps"],
            "hours": training.get("hours"),
            "batch": settings.get("loop", {}).get("batch"),
            "split": settings.get("data", {}).get("split"),
            "clips": different_clips(training),
        }
        return [*training.get("earlier", []), run]
    except (AttributeError, KeyError, TypeError, ValueError):
        return []  # somebody else's section under our name


def different_clips(training: dict[str, Any]) -> int | None:
    """How many clips a run on simulated ones has seen; None for other runs."""
    data = training.get("config", {}).get("data", {})
    if data.get("source") != "simulate" or "steps" not in training:
        return None
    return min(int(data["pool"]), int(data["prefill"]) + int(training["steps"]) * int(data["fresh"]))
