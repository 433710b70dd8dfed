"""From settings to the predictors of frames that are examined."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.physics.settings import Settings
from evals.predictors.checkpoint import Checkpoint, overlap, training_of
from evals.predictors.folder import Folder
from evals.predictors.frames import FrameSource
from evals.predictors.python_code import Code
from evals.predictors.registry import ROWS, Reconstruction, Truthful
from evals.scoring.cases import Group
from vdt_mlx.errors import VDTError


def build(settings: Settings) -> list[FrameSource]:
    """Checkpoints first, then the upper bounds that draw frames, folders and functions."""
    s = settings
    options: dict[str, Any] = {
        "steps": s.steps,
        "sampler": s.sampler,
        "seed": s.seed,
        "samples": s.samples,
        "dtype": s.dtype,
    }
    checkpoints = [Checkpoint(model, autoencoder=s.autoencoder, **options) for model in s.models]
    for checkpoint in checkpoints:
        if checkpoint.size != s.size:
            raise VDTError(f"{checkpoint.name} draws {checkpoint.size} pixels a side; the suite is {s.size} (--size).")
    sources: list[FrameSource] = [*checkpoints, Truthful()]
    if checkpoints:
        sources.append(Reconstruction(checkpoints[0]))
    sources += [Folder(Path(folder)) for folder in s.predictions]
    sources += [Code.named(where) for where in s.code]
    return sources


def refuse_trained(settings: Settings, groups: Sequence[Group]) -> None:
    """Raises VDTError if a checkpoint says that it was trained on what is tested."""
    splits = {split for group in groups for split in group.splits(settings.world)}
    for model in settings.models:
        fault = overlap(training_of(model), splits, settings.suite_seed)
        if fault:
            raise VDTError(f"The checkpoint {model} {fault}; scores would mean nothing. --allow-trained goes on.")


def refuse_equal_names(sources: Sequence[FrameSource]) -> None:
    """Raises VDTError if two predictors have one name."""
    names = [source.name for source in sources]
    names += [row.name for row in ROWS.values() if row.frames is None]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise VDTError(f"Two predictors are called {twice!r}; give them different folder names.")
