"""What every predictor of frames is to the examiner: it gets the start of clips, and says how they go on."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evals.scoring.cases import Case

Frames = NDArray[np.uint8]


class Predictor(Protocol):
    """Your own code: given frames (G, H, W, 3) uint8 in, the clip (T, H, W, 3) or its rest (T - G, H, W, 3) out."""

    def __call__(self, given_frames: Frames, /) -> Frames: ...


@dataclass(frozen=True)
class Bad:
    """A clip that could not be had, and why."""

    reason: str


@dataclass(frozen=True)
class Start:
    """The start of a clip: all that a predictor gets."""

    id: str
    frames: Frames
    """(G, H, W, 3): a copy of its own, so that nothing leads from it to the rest of the clip."""
    total: int
    """Frames of the whole clip."""

    @classmethod
    def of(cls, case: Case) -> "Start":
        return cls(case.id, np.array(case.given_frames), len(case.frames))


@dataclass
class FrameSource(ABC):
    """A predictor of frames as the examiner runs it. `kind` is one of `registry.KINDS`."""

    name: str
    title: str
    kind: str
    about: str
    details: dict[str, Any] = field(default_factory=dict)
    samples: int = 1

    @abstractmethod
    def complete(self, cases: Sequence[Case]) -> list[list[Frames | Bad]]:
        """For each sample and each case the clip (T, H, W, 3) with the true given frames, or why there is none."""

    def content(self) -> str | None:
        """A digest of what decides its output, beyond its options; None where nothing on disk does."""
        return None


class Continuation(FrameSource):
    """A source that gets the given frames of a clip and nothing else of it."""

    @abstractmethod
    def predict(self, starts: Sequence[Start]) -> list[list[Any]]:
        """For each sample and each start frames, (T, H, W, 3) or (T - G, H, W, 3) uint8, or `Bad`."""

    def complete(self, cases: Sequence[Case]) -> list[list[Frames | Bad]]:
        drawn = self.predict([Start.of(case) for case in cases])
        return [
            [
                made if isinstance(made, Bad) else whole_clip(case, made)
                for case, made in zip(cases, sample, strict=True)
            ]
            for sample in drawn
        ]


def whole_clip(case: Case, frames: Any) -> Frames | Bad:
    """A predictor's output as a clip with the true given frames in front; accepts T or T - G frames."""
    try:
        frames = np.asarray(frames)
    except ValueError as error:
        return Bad(f"is no array of frames ({error})")
    want = case.frames.shape
    future = want[0] - case.given
    if frames.dtype != np.uint8:
        return Bad(f"has {frames.dtype} values; frames are uint8")
    fault = wrong_shape(frames.shape, want, case.given)
    return Bad(fault) if fault else np.concatenate([case.given_frames, frames[-future:]])


def wrong_shape(shape: tuple[int, ...], want: tuple[int, ...], given: int) -> str | None:
    """Why frames of `shape` do not make a clip of shape `want` (T, H, W, 3), or None if they do."""
    if len(shape) != 4 or shape[1:] != want[1:]:
        return f"has shape {shape}; clips here are ({want[0]}, {want[1]}, {want[2]}, 3)"
    if shape[0] not in (want[0], want[0] - given):
        return f"has {shape[0]} frames; {want[0]} (with the given ones) or {want[0] - given} (without) are needed"
    return None


def export(cases: Sequence[Case], folder: Path) -> None:
    """Writes the given frames of every case as `<clip id>.npz` (array `frames`, (G, H, W, 3) uint8), and an index."""
    import json

    from vdt_mlx.errors import VDTError
    from vdt_mlx.files import atomic_folder

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise VDTError(f"`export` {folder} exists and is not empty.")
    index = {
        "about": "Given frames of the test clips. Predict the rest, and save each clip under the same name "
        "(.npz with an array `frames`, or .gif, .mp4), all frames or only the new ones; then "
        "python -m evals.physics --predictions FOLDER with the same options.",
        "clips": [
            {"id": case.id, "group": case.group, "given": case.given, "frames": len(case.frames)} for case in cases
        ],
    }
    with atomic_folder(folder, replace=folder.exists()) as partial:
        for case in cases:
            np.savez_compressed(partial / f"{case.id}.npz", frames=case.given_frames)
        (partial / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
