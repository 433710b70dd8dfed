"""What can be put on the table: our checkpoints, folders of clips made elsewhere, and any Python function.

A predictor of frames turns the given frames into the clip: `predict(given_frames) -> frames`.
"""

import json
import zlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evals.scoring.cases import Case
from vdt_mlx.errors import VDTError
from vdt_mlx.files import sha256

Frames = NDArray[np.uint8]


class Predictor(Protocol):
    """Your own code: given frames (G, H, W, 3) uint8 in, the clip (T, H, W, 3) or its rest (T - G, H, W, 3) out."""

    def __call__(self, given_frames: Frames, /) -> Frames: ...


@dataclass(frozen=True)
class Bad:
    """A clip that could not be had, and why."""

    reason: str


@dataclass
class FrameSource:
    """A predictor of frames as the examiner runs it."""

    name: str
    title: str
    kind: str
    about: str
    details: dict[str, Any] = field(default_factory=dict)
    samples: int = 1

    @abstractmethod
    def predict(self, cases: Sequence[Case]) -> list[list[Frames | Bad]]:
        """For each sample and each case the clip (T, H, W, 3) with the true given frames, or why there is none."""


def whole_clip(case: Case, frames: Any) -> Frames | Bad:
    """A predictor's output as a clip with the true given frames in front; accepts T or T - G frames."""
    frames = np.asarray(frames)
    want = case.frames.shape
    future = want[0] - case.given
    if frames.dtype != np.uint8:
        return Bad(f"has {frames.dtype} values; frames are uint8")
    if frames.ndim != 4 or frames.shape[1:] != want[1:]:
        return Bad(f"has shape {frames.shape}; clips here are ({want[0]}, {want[1]}, {want[2]}, 3)")
    if len(frames) not in (want[0], future):
        return Bad(f"has {len(frames)} frames; {want[0]} (with the given ones) or {future} (without) are needed")
    return np.concatenate([case.given_frames, frames[-future:]])


class Checkpoint(FrameSource):
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
        from vdt_mlx.device import blas

        blas.load()
        from vdt_mlx.diffusion import samplers
        from vdt_mlx.pipeline import Pipeline
        from weights.registry import resolve

        folder = resolve(model)
        self.pipeline = Pipeline.load(folder, dtype, autoencoder)
        config = self.pipeline.config
        self.choice = self.pipeline.choose_sampler(sampler, steps)
        samplers.check(**asdict(self.choice), schedule=self.pipeline.schedule)
        self.chunk = config.diffusion.chunk
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
            about=f"{self.choice.sampler}, {self.choice.steps} steps"
            + (f", eta {self.choice.eta:g}" if self.choice.eta else "")
            + (", antithetic pairs" if self.choice.antithetic else "")
            + (", and in a mirror" if self.choice.mirror else "")
            + (f", {self.chunk} frames at a time" if self.chunk else "")
            + (f", {samples} samples" if samples > 1 else ""),
            details={
                **asdict(self.choice),
                "chunk": self.chunk,
                "seed": seed,
                "dtype": dtype,
                "sha256": sha256(folder / "vdt.safetensors"),
                "training": config.training,
            },
            samples=samples,
        )

    def predict(self, cases: Sequence[Case]) -> list[list[Frames | Bad]]:
        from vdt_mlx.device.cpu_streams import lanes

        factor = self.pipeline.autoencoder.config.downsample
        frames = np.stack([case.frames for case in cases])
        total = self.pipeline.frames
        if frames.shape[1] != total:
            raise VDTError(f"The clips have {frames.shape[1]} frames and {self.name} takes {total}.")
        mask = np.zeros((len(cases), total, self.size // factor, self.size // factor), np.float32)
        for row, case in zip(mask, cases, strict=True):
            row[case.given :] = 1
        drawn: list[list[Frames | Bad]] = []
        for sample in range(self.samples):
            seeds = [clip_seed(self.seed, case.id, sample) for case in cases]
            hidden = frames * (mask.max((2, 3)) == 0)[..., None, None, None].astype(np.uint8)
            with lanes():
                made = self.pipeline.generate(hidden, mask, seeds=seeds, **asdict(self.choice))
            drawn.append(list(made))
        return drawn


class Reconstruction(FrameSource):
    """A floor: the true clip through a checkpoint's autoencoder, which no prediction in its latents can beat."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__("autoencoder", "true frames, autoencoded", "floor", "tracker after the model's autoencoder")
        self.pipeline = checkpoint.pipeline

    def predict(self, cases: Sequence[Case]) -> list[list[Frames | Bad]]:
        made = self.pipeline.decode(self.pipeline.encode(np.stack([case.frames for case in cases])))
        return [[whole_clip(case, frames) for case, frames in zip(cases, made, strict=True)]]


class Truthful(FrameSource):
    """A floor: the true frames, tracked."""

    def __init__(self) -> None:
        super().__init__("tracker", "true frames", "floor", "the tracker's own error")

    def predict(self, cases: Sequence[Case]) -> list[list[Frames | Bad]]:
        return [[case.frames for case in cases]]


class Folder(FrameSource):
    """Clips made elsewhere: files named by clip id (.gif, .mp4, .npz ...). A missing one is counted and named."""

    SUFFIXES = (".npz", ".gif", ".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise VDTError(f"There is no folder of predictions at {folder}.")
        self.folder = folder
        self.files = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() in self.SUFFIXES}
        if not self.files:
            raise VDTError(
                f"{folder} holds no predictions ({', '.join(self.SUFFIXES)}, named by clip id; --export DIR writes "
                "the given frames under those names)."
            )
        super().__init__(folder.name, folder.name, "model", f"{len(self.files)} files from a folder")

    def check(self, cases: Sequence[Case]) -> None:
        """Raises VDTError if not one of the cases has a usable prediction."""
        found = [case for case in cases if case.id in self.files]
        if not found:
            raise VDTError(
                f"{self.folder} has no prediction for any of these clips (it has {next(iter(self.files))}, ...; the "
                f"first clip is {cases[0].id})."
            )
        faults = [(case, self._read(case)) for case in found[:8]]
        if all(isinstance(clip, Bad) for _, clip in faults):
            case, first = faults[0]
            assert isinstance(first, Bad)
            raise VDTError(f"No prediction in {self.folder} fits: {self.files[case.id].name} {first.reason}.")

    def _read(self, case: Case) -> Frames | Bad:
        path = self.files.get(case.id)
        if path is None:
            return Bad("is missing from the folder")
        from vdt_mlx.media import video

        try:
            return whole_clip(case, np.stack(list(video.iterate_frames(path))))
        except (VDTError, ValueError) as error:
            return Bad(f"cannot be used ({str(error).rstrip('.')})")

    def predict(self, cases: Sequence[Case]) -> list[list[Frames | Bad]]:
        return [[self._read(case) for case in cases]]


class Code(FrameSource):
    """A Python callable, `module:function` on the command line."""

    def __init__(self, function: Predictor | Callable[[Frames], Frames], name: str) -> None:
        self.function = function
        super().__init__(name, name, "model", "Python code")

    @classmethod
    def named(cls, where: str) -> "Code":
        module, _, attribute = where.partition(":")
        try:
            function = getattr(import_module(module), attribute)
        except (ImportError, AttributeError, ValueError) as error:
            raise VDTError(f"--code {where} cannot be imported ({error}); give module:function.") from None
        if not callable(function):
            raise VDTError(f"--code {where} is not a function.")
        return cls(function, attribute)

    def predict(self, cases: Sequence[Case]) -> list[list[Frames | Bad]]:
        clips: list[Frames | Bad] = []
        for case in cases:
            try:
                clips.append(whole_clip(case, self.function(case.given_frames)))
            except VDTError:
                raise
            except Exception as error:
                clips.append(Bad(f"raised {type(error).__name__} ({error})"))
        return [clips]


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
    from vdt_mlx.config import read_config
    from weights.registry import resolve

    return read_config(resolve(model)).training


def export(cases: Sequence[Case], folder: Path) -> None:
    """Writes the given frames of every case as `<clip id>.npz` (array `frames`, (G, H, W, 3) uint8), and an index."""
    from vdt_mlx.files import atomic_folder

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise VDTError(f"--export {folder} exists and is not empty.")
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
