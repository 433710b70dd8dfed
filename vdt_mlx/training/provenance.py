"""What a checkpoint says of its training: data, splits, machine, and the runs that it went on from."""

from typing import Any

from vdt_mlx.device.about import describe, machine_line
from vdt_mlx.training.config import TrainConfig


def facts(config: TrainConfig, told: dict[str, Any], earlier: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """What a checkpoint says of its training besides steps and hours.

    Args:
        told: the split and the seed that the data itself says it is of (`data.Source.told`).
        earlier: the runs that it went on from.
    """
    splits: set[str] = {told["split"]}
    for run in earlier or []:
        before = run.get("split") or []
        splits |= {before} if isinstance(before, str) else set(before)
    known = {"train": min(splits) if len(splits) == 1 else sorted(splits), "preview": "val"}
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
            "split": training.get("splits", {}).get("train") or settings.get("data", {}).get("split"),
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
