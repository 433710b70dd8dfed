"""A short score on held-out clips: centroid errors of the predicted frames, against repeating the last given one."""

from pathlib import Path
from typing import Any

import numpy as np

from vdt_mlx.device.cpu_streams import lanes
from vdt_mlx.diffusion.masks import sample_mask
from vdt_mlx.pair_score import score_clips
from vdt_mlx.pipeline import Pipeline

PARTS = 8
"""Clips sampled at a time."""


def predict_clips(pipeline: Pipeline, clips: np.ndarray, given: int | None = None, seed: int = 0) -> np.ndarray:
    """Clips (N, T, H, W, 3) uint8 whose frames after the given ones (half by default) are the model's."""
    mask = _predict_mask(pipeline, clips, given)
    with lanes():
        parts = [
            pipeline.fill(clips[start : start + PARTS], mask, seeds=seed + start)
            for start in range(0, len(clips), PARTS)
        ]
    return np.concatenate(parts)


def _predict_mask(pipeline: Pipeline, clips: np.ndarray, given: int | None = None) -> np.ndarray:
    factor = pipeline.autoencoder.config.downsample
    _, frames, height, width, _ = clips.shape
    size = height // factor, width // factor
    return sample_mask("predict", frames, *size, pipeline.config.vdt.patch_size, np.random.default_rng(0), given)


def score_folder(
    folder: str | Path, split: str = "test", clips: int = 64, scenarios: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Scores a checkpoint folder on the first clips of a split of the simulator, scenarios in turn.

    Returns the means over all and, under `scenarios`, over the clips of each. Raises VDTError as `Pipeline.load` does.
    """
    from vdt_mlx.training.config import DataConfig
    from vdt_mlx.training.data import Simulated

    pipeline = Pipeline.load(folder)
    data = DataConfig(size=pipeline.size, frames=pipeline.frames, scenarios=scenarios)
    source = Simulated(data, split=split, workers=0)
    truth = np.stack([clip for _, clip in zip(range(clips), source.clips(0), strict=False)])
    predicted = predict_clips(pipeline, truth)
    names = [source.names[i % len(source.names)] for i in range(clips)]
    each = {}
    for name in source.names:
        chosen = [i for i, other in enumerate(names) if other == name]
        if chosen:
            each[name] = score_clips(truth[chosen], predicted[chosen])
    calls = pipeline.network_calls(_predict_mask(pipeline, truth)[None])
    return {"split": split, "calls": calls, **score_clips(truth, predicted), "scenarios": each}
