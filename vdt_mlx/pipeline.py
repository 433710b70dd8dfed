"""The Python way in: a checkpoint by its name, clips from files, tasks by their names, results that save themselves.

from vdt_mlx import Pipeline

pipe = Pipeline.from_pretrained("physics")
clip = pipe.predict("my.mp4", given=8)
clip.save("future.gif")
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vdt_mlx.device.cpu_streams import lanes
from vdt_mlx.diffusion.masks import sample_mask
from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.engine import Engine, OnStep
from vdt_mlx.errors import VDTError
from vdt_mlx.features import Asked, Features, compute, settings_of
from vdt_mlx.generated import Generated, clip_of, given_first, repeated
from vdt_mlx.media.mask_file import read_mask
from vdt_mlx.media.video import read_needed
from vdt_mlx.pair_score import Marked
from vdt_mlx.rollout import roll_out, windows

MASK_SEED = 7919
"""Mixed with a sample's seed for the masks that are drawn, so that they are not the noise's random numbers."""

Video = str | Path | Sequence[np.ndarray] | np.ndarray
"""A GIF, a video, a folder of images or an npz; or frames (T, H, W, 3) uint8."""
P = TypeVar("P", bound="Pipeline")


class Pipeline(Engine):
    """A network and its autoencoder, asked for clips.

    Every task takes `samples` (how many, with seeds that count upwards from `seed`), `diverse` (see `complete`),
    `on_step` (called with a `samplers.Step` after each step) and the fields of `Sampling` by name (`steps=4`,
    `sampler="heun"`, ...).
    """

    @classmethod
    def from_pretrained(
        cls: type[P],
        model: str | Path = "physics",
        dtype: str = "fp32",
        autoencoder: str | None = None,
        revision: str | None = None,
    ) -> P:
        """A registered name (`vdt-mlx models` lists them), a checkpoint folder, or a hub repository.

        Args:
            revision: pins a commit, tag or branch of a hub repository.
            dtype, autoencoder: as for `load`, which takes a folder only.

        Raises:
            VDTError: there is no such checkpoint, it cannot be had, or as `load` does.
        """
        from weights.registry import resolve

        return cls.load(resolve(model, revision), dtype, autoencoder)

    # Tasks -----------------------------------------------------------------------------------------------------------

    def predict(
        self,
        video: Video,
        given: int | None = None,
        *,
        frames: int | None = None,
        start: int = 0,
        stride: int = 1,
        fit: str = "crop",
        **options: Any,
    ) -> Generated:
        """What follows the first frames of a clip.

        Args:
            video: only its first `given` frames are needed; what follows them is compared with what is predicted.
            given: how many frames are given, 1 to T - 1; half of the network's T by default.
            frames: of the result, to go on for longer than T, window after window.
            start, stride: the first frame taken of a file, and how many to go forward for the next.
            fit: how frames of another shape are fitted, one of `media.video.FITS`.

        Raises:
            VDTError: a file that cannot be read or is too short, numbers that do not fit, an unknown option.
        """
        return self._task("predict", video, given, start, stride, fit, frames=frames, **options)

    def backward(
        self,
        video: Video,
        given: int | None = None,
        *,
        start: int = 0,
        stride: int = 1,
        fit: str = "crop",
        **options: Any,
    ) -> Generated:
        """What came before the last frames of a clip; see `predict`."""
        return self._task("backward", video, given, start, stride, fit, **options)

    def interpolate(
        self,
        video: Video,
        given: int | None = None,
        *,
        start: int = 0,
        stride: int = 1,
        fit: str = "crop",
        **options: Any,
    ) -> Generated:
        """What lies between evenly spaced frames of a clip, every fourth by default; see `predict`."""
        return self._task("interpolate", video, given, start, stride, fit, **options)

    def inpaint(
        self,
        video: Video,
        mask: str | Path | np.ndarray,
        *,
        start: int = 0,
        stride: int = 1,
        fit: str = "crop",
        **options: Any,
    ) -> Generated:
        """What is hidden behind a mask: a PNG or .npy, or an array (T, h, w) on latent cells, 1 = generate.

        See `media.mask_file.read_mask` for the forms of a file, and `predict` for the rest.
        """
        if isinstance(mask, str | Path):
            mask = read_mask(Path(mask), self.cells, self.size)
        if mask.shape[-2:] != self.cells[1:] or mask.ndim not in (2, 3):
            raise VDTError(f"A mask is (T, h, w) on latent cells, {self.cells} here, not {mask.shape}.")
        cells = np.broadcast_to(mask, self.cells).astype(np.float32)
        clip, known = self.read(video, cells, start=start, stride=stride, fit=fit)
        return self.complete(clip, cells, known=known, **options)

    def generate(self, samples: int = 1, **options: Any) -> Generated:
        """Clips from nothing."""
        mask = self.task_mask("unconditional")
        clip, known = np.zeros((self.frames, *self.size, 3), np.uint8), np.zeros(self.frames, bool)
        return self.complete(clip, mask, known=known, samples=samples, task="unconditional", **options)

    def _task(
        self,
        task: str,
        video: Video,
        given: int | None,
        start: int,
        stride: int,
        fit: str,
        seed: int = 0,
        **options: Any,
    ) -> Generated:
        mask = self.task_mask(task, given, seed)
        clip, known = self.read(video, mask, start=start, stride=stride, fit=fit, frames=options.get("frames"))
        return self.complete(clip, mask, known=known, seed=seed, task=task, **options)

    def features(
        self,
        video: Video,
        block: str | None = None,
        timestep: float | None = None,
        given: int | None = None,
        *,
        part: str = "network",
        blind: bool = False,
        pool: str = "frame",
        seed: int = 0,
        start: int = 0,
        stride: int = 1,
        fit: str = "crop",
    ) -> Features:
        """What a layer of the network, or of the autoencoder, makes of a clip; nothing is generated.

        Args:
            video: a clip as for `predict`, of as many frames as the network takes, or an array (B, T, H, W, 3) of
                several of any length. With `blind` a file needs its given frames only.
            block, timestep, given, part, blind, pool, seed: see `features.Asked`; `features.blocks(pipe)` lists blocks.
            start, stride, fit: as for `predict`.

        Raises:
            VDTError: a file that cannot be read or is too short, numbers that do not fit, an unknown block.
        """
        asked = Asked(part, block, timestep, given, blind, pool, seed)
        if isinstance(video, np.ndarray) and video.ndim == 5:
            clips = np.stack([clip_of(clip, self.size, fit) for clip in video])
            asked = asked.resolved(self, clips.shape[1])
        elif isinstance(video, str | Path):
            asked = asked.resolved(self, self.frames)
            needed = range(asked.given if blind and asked.given is not None else self.frames)
            options: dict[str, Any] = {"start": start, "stride": stride, "how": fit}
            clips = read_needed(video, self.frames, self.size, needed, **options)[0][None]
        else:
            clips = clip_of(video, self.size, fit)[None]
            asked = asked.resolved(self, clips.shape[1])
        return Features(compute(self, clips, asked), settings_of(asked))

    # What the tasks are made of --------------------------------------------------------------------------------------

    def task_mask(self, task: str, given: int | None = None, seed: int = 0) -> np.ndarray:
        """The mask (T, h, w) of a task; `seed` decides those that are drawn. Raises VDTError as `sample_mask` does."""
        rng = np.random.default_rng([MASK_SEED, seed])
        return sample_mask(task, *self.cells, self.config.vdt.patch_size, rng, given)

    def read(
        self,
        video: Video,
        mask: np.ndarray,
        *,
        start: int = 0,
        stride: int = 1,
        fit: str = "crop",
        frames: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """A clip (T, H, W, 3) uint8 of this network's size and which of its frames are known (T,); others are black.

        Needed are only the frames that `mask` (T, h, w) gives in whole or in part; `frames` may ask for more than T.
        """
        count = frames or self.frames
        needed = np.flatnonzero(mask.reshape(len(mask), -1).min(axis=1) == 0)
        if isinstance(video, str | Path):
            return read_needed(video, count, self.size, needed.tolist(), start=start, stride=stride, how=fit)
        if (start, stride) != (0, 1):
            raise VDTError("start and stride choose frames of a file; cut an array yourself.")
        clip = clip_of(video, self.size, fit)[:count]
        known = np.arange(count) < len(clip)
        if not known[needed].all():
            if len(clip) != len(needed):
                raise VDTError(f"{needed[-1] + 1} frames are needed, or just the {len(needed)} given; not {len(clip)}.")
            known = np.isin(np.arange(count), needed)
        whole = np.zeros((count, *self.size, 3), np.uint8)
        whole[known] = clip
        return whole, known

    def complete(
        self,
        clip: np.ndarray,
        mask: np.ndarray,
        *,
        known: np.ndarray | None = None,
        samples: int = 1,
        seed: int = 0,
        frames: int | None = None,
        simulated: bool = False,
        objects: Marked | None = None,
        task: str | None = None,
        diverse: bool | None = None,
        on_step: OnStep | None = None,
        **options: Any,
    ) -> Generated:
        """Generates the masked cells of a clip.

        Args:
            clip: (T, H, W, 3) uint8.
            mask: (T, h, w) on latent cells, 1 = generate.
            known: (T,) which frames of `clip` are true; all by default. It is a truth to compare with only if all are.
            frames: more than T: the clip goes on for so long, window after window.
            simulated: whether it is of the simulator's world, so that objects can be found by their colours.
            objects: of another world, what can be found by its colours (`marked.seen`, `marked.named`).
            task: what the mask is, one of TASKS; with `predict`, repeating the last given frame is compared with.
            diverse: whether samples should differ as the possible clips do, rather than each be the best guess; several
                samples should, unless this says otherwise. Counts where the checkpoint has a sampler for each.

        Raises:
            VDTError: sizes that do not fit, an unknown option, or as `fill` does.
        """
        if samples < 1:
            raise VDTError(f"At least 1 sample is made, not {samples}.")
        sampling = self.resolve(Sampling().changed(**options), task, samples > 1 if diverse is None else diverse)
        shown = mask
        with self._lanes():
            if frames is None:
                made = self.fill(
                    repeated(clip, samples), repeated(mask, samples), sampling, seeds=seed, on_step=on_step
                )
            else:
                given = given_first(mask)
                start = repeated(clip[:given], samples)
                made = roll_out(self, start, frames, sampling, seeds=seed, on_step=on_step)
                shown = np.ones((frames, *mask.shape[1:]), np.float32)
                shown[:given] = mask[:given]
        return Generated(
            made,
            shown,
            sampling,
            truth=clip if known is None or known.all() else None,
            simulated=simulated,
            objects=objects,
            predicted=task == "predict",
            rolled=frames is not None,
        )

    def steps(self, mask: np.ndarray, sampling: Sampling, frames: int | None = None) -> int:
        """How many steps `complete` makes in all, over passes and windows; `sampling` is resolved."""
        assert sampling.steps is not None
        each = self.network_calls(mask[None], sampling) // sampling.calls * sampling.steps
        return each if frames is None else each * len(self._spans(mask, frames))

    def _spans(self, mask: np.ndarray, frames: int) -> list[tuple[int, int, int]]:
        given = given_first(mask)
        return windows(max(frames, self.frames), given, self.frames, given)

    def _lanes(self) -> AbstractContextManager[Any]:
        """All cores, as far as the device has use for them."""
        return lanes()
