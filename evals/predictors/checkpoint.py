"""A checkpoint of ours as a predictor, and what it says about its training."""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evals.predictors.frames import Continuation, Start
from vdt_mlx.errors import VDTError
from vdt_mlx.files import sha256


class Checkpoint(Continuation):
    """A checkpoint of ours, sampled with the prediction mask."""

    def __init__(
        self,
        model: str,
        *,
        steps: int | None = None,
        sampler: str | None = None,
        seed: int = 0,
        samples: int = 1,
        dtype: str = "fp32",
        autoencoder: str | None = None,
        name: str | None = None,
    ) -> None:
        from vdt_mlx.config import SAMPLER_KEYS
        from vdt_mlx.device import blas

        blas.load()
        from vdt_mlx.diffusion.sampling import Sampling
        from vdt_mlx.pipeline import Pipeline
        from weights.registry import resolve

        self.folder = Path(resolve(model))
        self.pipeline = Pipeline.load(self.folder, dtype, autoencoder)
        config = self.pipeline.config
        self.sampling = self.pipeline.resolve(Sampling(sampler=sampler, steps=steps), "predict", samples > 1)
        self.seed = seed
        height, width = self.pipeline.size
        if height != width:
            raise VDTError(f"The simulator draws square clips and {model} takes {width} x {height} pixels.")
        self.size = height
        self.training = config.training
        name = name or checkpoint_name(model)
        super().__init__(
            name=name,
            title=name,
            kind="model",
            about=self.sampling.title + (f", {samples} samples" if samples > 1 else ""),
            details={
                **{key: value for key, value in asdict(self.sampling).items() if key in SAMPLER_KEYS},
                "seed": seed,
                "dtype": dtype,
                "sha256": sha256(self.folder / "vdt.safetensors"),
                "training": config.training,
            },
            samples=samples,
        )

    def predict(self, starts: Sequence[Start]) -> list[list[Any]]:
        from vdt_mlx.device.cpu_streams import lanes

        factor = self.pipeline.autoencoder.config.downsample
        total = self.pipeline.frames
        if starts[0].total < total:
            raise VDTError(f"The clips have {starts[0].total} frames and {self.name} takes {total}.")
        if starts[0].total > total:
            return self._rolled_out(starts)
        hidden = np.zeros((len(starts), total, *starts[0].frames.shape[1:]), np.uint8)
        mask = np.ones((len(starts), total, self.size // factor, self.size // factor), np.float32)
        for clip, row, start in zip(hidden, mask, starts, strict=True):
            clip[: len(start.frames)] = start.frames
            row[: len(start.frames)] = 0
        drawn: list[list[Any]] = []
        for sample in range(self.samples):
            seeds = [clip_seed(self.seed, start.id, sample) for start in starts]
            with lanes():
                made = self.pipeline.fill(hidden, mask, self.sampling, seeds=seeds)
            drawn.append(list(made))
        return drawn

    def will_roll_out(self, given: int) -> None:
        """Says that clips are longer than the network's; raises VDTError if its window has no room after `given`."""
        window = self.pipeline.frames
        if given >= window:
            raise VDTError(f"{self.name} makes {window} frames at once, so at most {window - 1} can be given.")
        self.details["roll_out"] = f"{window} frames at once, then window by window from the last frames before"
        self.about += f", rolled out in windows of {window} frames"

    def _rolled_out(self, starts: Sequence[Start]) -> list[list[Any]]:
        """Clips longer than the network's, window by window, each given as many frames as the first one."""
        from vdt_mlx.device.cpu_streams import lanes
        from vdt_mlx.rollout import roll_out

        given = np.stack([start.frames for start in starts])
        drawn: list[list[Any]] = []
        for sample in range(self.samples):
            seeds = [clip_seed(self.seed, start.id, sample) for start in starts]
            with lanes():
                made = roll_out(self.pipeline, given, starts[0].total, self.sampling, seeds=seeds)
            drawn.append(list(made))
        return drawn

    def content(self) -> str:
        """Of every file in its folder that decides what it draws: weights, autoencoders, configuration."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.iterdir()):
            if path.suffix in (".json", ".safetensors"):
                digest.update(f"{path.name} {sha256(path)}\n".encode())
        return digest.hexdigest()


def checkpoint_name(model: str) -> str:
    """What a checkpoint is called on the table: its folder, or the run that has it as `checkpoint`."""
    path = Path(model)
    if path.is_dir():
        path = path.resolve()
    return path.parent.name if path.name == "checkpoint" and path.parent.name else path.name


def clip_seed(seed: int, clip: str, sample: int) -> int:
    """The noise's seed: its own for every clip and sample, whatever else is scored."""
    return zlib.crc32(f"{seed}/{clip}/{sample}".encode())


def overlap(training: dict[str, Any] | None, splits: set[str], seed: int) -> str | None:
    """A sentence if a checkpoint's `training` section says that it saw these splits with this seed, else None."""
    if not training:
        return None
    listed = training.get("splits") or []
    if isinstance(listed, dict):  # by purpose: what previews were drawn from was not trained on
        listed = listed.get("train") or []
    trained = {listed} if isinstance(listed, str) else set(listed)
    seeds = training.get("seed", training.get("seeds"))
    seeds = seeds if isinstance(seeds, list) else [seeds]
    shared = sorted(trained & splits)
    if not shared or (seed not in seeds and None not in seeds):
        return None
    return f"was trained on the split {', '.join(shared)} with seed {seed}, which is what is tested here"


def training_of(model: str) -> dict[str, Any] | None:
    """The `training` section of a checkpoint's configuration."""
    from vdt_mlx.config import read_config
    from weights.registry import resolve

    return read_config(resolve(model)).training
