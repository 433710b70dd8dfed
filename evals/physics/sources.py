"""From settings to the predictors of frames that are examined."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evals.physics.settings import Settings
from evals.phyworld.suite import PhyWorldSuite
from evals.predictors.checkpoint import Checkpoint, overlap, training_of
from evals.predictors.folder import Folder
from evals.predictors.frames import FrameSource
from evals.predictors.python_code import Code
from evals.predictors.registry import ROWS, Reconstruction, Truthful
from evals.scoring.cases import Group
from evals.suites.folder import FolderSuite
from evals.suites.scenes import SceneSuite, holds_scenes
from evals.suites.suite import SimulatedSuite, Suite
from vdt_mlx.errors import VDTError
from vdt_mlx.marked import parse_colours


def suite_of(settings: Settings) -> Suite:
    """The test clips that settings ask for. Raises VDTError for numbers of context frames that do not fit them."""
    s = settings
    if s.data is not None:
        suite: Suite = PhyWorldSuite(Path(s.data), s.scenarios, clips=s.clips, size=s.size, frames=s.frames)
    elif s.suite is not None:
        suite = _own_suite(s, Path(s.suite))
    else:
        suite = SimulatedSuite(s.scenarios, seed=s.suite_seed, size=s.size, world=s.world, frames=s.frames)
    for given in s.given:
        if not 1 <= given < suite.frames:
            raise VDTError(f"`given` {given} does not fit clips of {suite.frames} frames: 1 to {suite.frames - 1}.")
    return suite


def _own_suite(s: Settings, path: Path) -> Suite:
    """Scenes that were drawn, or labelled clips."""
    if holds_scenes(path):
        if s.colours is not None:
            raise VDTError("Scenes say what colours their objects have; `colours` would do nothing.")
        return SceneSuite(path, s.scenarios, size=s.size, frames=s.frames, given=max(s.given))
    colours = parse_colours(s.colours) if s.colours is not None else None
    return FolderSuite(path, s.scenarios, frames=s.frames, given=max(s.given), colours=colours)


def build(settings: Settings, suite: Suite) -> list[FrameSource]:
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
        if checkpoint.size != suite.size:
            more = " (--size)" if s.suite is None or s.data is not None else ""
            raise VDTError(f"{checkpoint.name} draws {checkpoint.size} pixels a side; the suite is {suite.size}{more}.")
        longer = s.data is not None and suite.frames > checkpoint.pipeline.frames  # then it goes on, window by window
        if checkpoint.pipeline.frames != suite.frames and not longer:
            raise VDTError(
                f"{checkpoint.name} draws clips of {checkpoint.pipeline.frames} frames; those of the suite have "
                f"{suite.frames} (`frames`)."
            )
        if longer:
            checkpoint.will_roll_out(max(s.given))
    sources: list[FrameSource] = [*checkpoints, Truthful()]
    if checkpoints:
        sources.append(Reconstruction(checkpoints[0]))
    sources += [Folder(Path(folder)) for folder in s.predictions]
    sources += [Code.named(where) for where in s.code]
    return sources


def refuse_trained(settings: Settings, groups: Sequence[Group], file: dict[str, Any]) -> None:
    """Raises VDTError if a checkpoint says that it was trained on what is tested.

    `file`: the suite's `facts`.
    """
    splits = {split for group in groups for split in group.splits(settings.world)}
    seed = settings.suite_seed
    if file:
        splits, seed = {str(file.get("split"))}, file.get("seed", 0)
    for model in settings.models:
        training = training_of(model)
        data = ((training or {}).get("config") or {}).get("data") or {}
        if file and "phyworld" not in (data.get("source"), data.get("world")):
            continue  # splits of other worlds have the same names and other clips
        fault = overlap(training, splits, seed)
        if fault:
            raise VDTError(f"The checkpoint {model} {fault}; scores would mean nothing. `allow_trained` goes on.")


def refuse_equal_names(sources: Sequence[FrameSource]) -> None:
    """Raises VDTError if two predictors have one name."""
    names = [source.name for source in sources]
    names += [row.name for row in ROWS.values() if row.frames is None]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise VDTError(f"Two predictors are called {twice!r}; give them different folder names.")
