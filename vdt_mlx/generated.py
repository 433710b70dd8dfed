"""What a pipeline made: samples of a clip, what they are compared with, and the files that they go into."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vdt_mlx import pair_score
from vdt_mlx.diffusion.sampling import Sampling
from vdt_mlx.errors import VDTError
from vdt_mlx.media import pictures, video

FPS = 8
"""Of the animations: slow enough to follow."""
MOST_COLUMNS = 9
"""Of an animation: the truth and so many samples less one."""


@dataclass(frozen=True)
class Generated:
    """Samples of one clip. `frames` is the first of them; `save` writes pictures, `metrics` compares with the truth."""

    samples: np.ndarray
    """(K, T, H, W, 3) uint8; frames that were given whole are as they were."""
    mask: np.ndarray
    """(T, h, w) on latent cells, 1 = generated, 0 = given."""
    sampling: Sampling
    """How they were made, resolved."""
    truth: np.ndarray | None = None
    """(T, H, W, 3) uint8, the clip that it was made from, where all of it is known."""
    simulated: bool = False
    """Whether the truth is of the simulator's world, whose objects can be found by their colours."""
    predicted: bool = False
    """Whether this is a prediction: the given frames come before all others."""
    rolled: bool = False
    """Whether it went on window after window, so that the error of each frame is of interest."""
    objects: pair_score.Marked | None = None
    """Of a truth of another world, what can be found by its colours (`marked`)."""

    @property
    def frames(self) -> np.ndarray:
        """(T, H, W, 3) uint8, the first sample."""
        return self.samples[0]

    @property
    def compared(self) -> bool:
        """Whether the truth is something to compare with: a clip of which nothing was given is another one."""
        return self.truth is not None and bool(self.mask.min() == 0)

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Numbers over the generated frames, see `pair_score.metrics`; empty where there is nothing to compare with."""
        if self.truth is None or not self.compared:
            return {}
        return pair_score.metrics(
            self.truth,
            self.samples,
            self.mask,
            simulated=self.simulated,
            predicting=self.predicted,
            by_frame=self.rolled,
            objects=self.objects,
        )

    def columns(self) -> dict[str, np.ndarray]:
        """The clips (T, H, W, 3) by their captions, the truth first."""
        many = len(self.samples) > 1
        ours = {f"sample {i + 1}" if many else "prediction": clip for i, clip in enumerate(self.samples)}
        return {"truth": self.truth, **ours} if self.truth is not None and self.compared else ours

    def animation(self) -> np.ndarray:
        """(T, H', W', 3): truth and samples side by side, given and generated frames marked."""
        return pictures.side_by_side(dict(list(self.columns().items())[:MOST_COLUMNS]), self.mask)

    def contact_sheet(self) -> np.ndarray:
        """(H', W', 3): a row a clip, a column a frame, with the paths of what is known by its colours."""
        clips = self.columns()
        marked = self.objects or (pair_score.STANDARD if self.simulated else None)
        paths = None
        if marked is not None:
            known = marked.colours, marked.tolerance
            paths = {title: pair_score.centroids(frames, *known) for title, frames in clips.items()}
        return pictures.contact_sheet(clips, self.mask, paths=paths)

    def arrays(self) -> dict[str, np.ndarray]:
        """What an npz of it holds."""
        truth = {} if self.truth is None else {"truth": self.truth}
        return {**truth, "samples": self.samples, "mask": self.mask}

    def save(self, path: str | Path) -> Path:
        """Writes what the name asks for, whole or not at all, and returns the path.

        `.gif` and `.mp4` are animations, `.png` is the contact sheet, `.npz` holds the arrays `truth`, `samples` and
        `mask`; a name without a suffix is a folder of the animation's pictures.

        Raises VDTError for any other name.
        """
        path = Path(path).expanduser()
        suffix = path.suffix.lower()
        if suffix == ".gif":
            video.write_gif(path, self.animation(), FPS)
        elif suffix == ".mp4":
            video.write_mp4(path, self.animation(), FPS)
        elif suffix == ".png":
            video.write_png(path, self.contact_sheet())
        elif suffix == ".npz":
            video.write_npz(path, **self.arrays())
        elif not suffix:
            video.write_pngs(path, self.animation())
        else:
            raise VDTError(f"{path} is no name for a clip: end it in .gif, .mp4, .png, .npz, or in nothing.")
        return path


def repeated(frames: np.ndarray, samples: int) -> np.ndarray:
    """(T, H, W, 3) as (K, T, H, W, 3), without copying."""
    return np.broadcast_to(frames, (samples, *frames.shape))


def given_first(mask: np.ndarray) -> int:
    """How many frames of a mask (T, h, w) are given whole before the first that is not; all later ones must not be.

    Raises VDTError where the mask is no prediction.
    """
    whole = mask.reshape(len(mask), -1).max(axis=1) == 0
    count = int(whole.argmin()) if not whole.all() else len(whole)
    if whole[count:].any() or not 0 < count < len(mask):
        raise VDTError("Only a prediction, with given frames before all others, goes on for longer.")
    return count


def clip_of(frames: Sequence[np.ndarray] | np.ndarray, size: tuple[int, int], how: str = "crop") -> np.ndarray:
    """A user's array as (T, H, W, 3) uint8 of this height and width. Raises VDTError for anything else."""
    clip = np.asarray(frames)
    if clip.dtype != np.uint8 or clip.ndim != 4 or clip.shape[-1] != 3:
        raise VDTError(f"A clip is uint8 of (frames, height, width, 3), not {clip.dtype} of {clip.shape}.")
    return clip if clip.shape[1:3] == size else np.stack([video.fit(f, size, how=how) for f in clip])
