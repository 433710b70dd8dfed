"""The paper's unified mask modelling (section 3.4): every task is a mask over the clip, 1 = generate, 0 = given.

Masks are numpy arrays (frames, height, width) of float32 on latent cells. Unlike the official release's, they work for
any number of frames and of given frames, always leave something to generate, and spatial masks follow the patches.
"""

from dataclasses import dataclass

import numpy as np

from vdt_mlx.config import GIVEN_TASKS, TASKS
from vdt_mlx.errors import VDTError

MASK_PROBABILITY = 0.8
"""With which `arbitrary` masks each frame when no number of given frames is asked for (official value)."""


@dataclass(frozen=True)
class BlockMask:
    """BEiT's blockwise masking (arXiv 2106.08254, algorithm 1), in patches."""

    ratio: float = 0.5
    min_patches: int = 4
    min_aspect: float = 0.3


def sample_mask(
    task: str,
    frames: int,
    height: int,
    width: int,
    patch: int,
    rng: np.random.Generator,
    given: int | None = None,
) -> np.ndarray:
    """Draws the mask of one clip.

    Args:
        task: one of TASKS.
        frames, height, width: the clip's, in latent cells; height and width divide by `patch`.
        given: number of given frames, 1 to frames - 1, for the tasks in GIVEN_TASKS; by default half of the frames
            (`predict`, `backward`), every fourth (`interpolate`), each with probability 0.2 (`arbitrary`).

    Returns:
        (frames, height, width) float32, 1 = generate. At least one frame is generated in part.

    Raises:
        VDTError: an unknown task, a `given` out of range or for a task that has none, sizes that do not divide.
    """
    check_request(task, frames, given)
    if height % patch or width % patch or min(height, width) < 1:
        raise VDTError(f"A latent of {height} x {width} does not divide into patches of {patch}.")
    mask = np.ones((frames, height, width), np.float32)
    if task == "spatial":
        return spatial_mask(frames, height, width, patch, rng)
    mask[_given_frames(task, frames, rng, given)] = 0
    return mask


def check_request(task: str, frames: int, given: int | None) -> None:
    """Raises VDTError unless the task exists and `given` suits it."""
    if task not in TASKS:
        raise VDTError(f"Unknown task {task!r}: use one of {', '.join(TASKS)}.")
    if given is None:
        return
    if task not in GIVEN_TASKS:
        raise VDTError(f"The task {task} has no number of given frames to choose ({', '.join(GIVEN_TASKS)} have).")
    if not 1 <= given <= frames - 1:
        raise VDTError(f"{given} given frames do not fit a clip of {frames}: give 1 to {frames - 1}.")


def _given_frames(task: str, frames: int, rng: np.random.Generator, given: int | None) -> np.ndarray:
    if frames == 1 and task != "unconditional":
        raise VDTError("A clip of one frame can only be generated unconditionally.")
    half = max(1, frames // 2)
    if task == "predict":
        return np.arange(given or half)
    if task == "backward":
        return np.arange(frames - (given or half), frames)
    if task == "interpolate":
        count = given or max(1, frames // 4)
        return np.arange(count) * frames // count
    if task == "single-frame":
        return rng.integers(frames, size=1)
    if task == "arbitrary":
        if given:
            return np.sort(rng.choice(frames, size=given, replace=False))
        kept = rng.random(frames) >= MASK_PROBABILITY
        if kept.all():
            kept[rng.integers(frames)] = False
        return np.flatnonzero(kept)
    return np.arange(0)


def spatial_mask(
    frames: int, height: int, width: int, patch: int, rng: np.random.Generator, block: BlockMask | None = None
) -> np.ndarray:
    """The same block mask of about half the patches on a run of frames that covers the middle; other frames are given.

    The run starts in the first third and ends in the last, as in the official release (whose run is empty when it
    would end with the clip: a slip that is not repeated here).
    """
    block = block or BlockMask()
    rows, columns = height // patch, width // patch
    start = int(rng.integers(0, max(1, frames // 3)))
    stop = frames - int(rng.integers(0, max(1, frames // 3)))
    cells = block_mask(rows, columns, rng, block).repeat(patch, axis=0).repeat(patch, axis=1)
    mask = np.zeros((frames, height, width), np.float32)
    mask[start:stop] = cells
    return mask


def block_mask(rows: int, columns: int, rng: np.random.Generator, block: BlockMask) -> np.ndarray:
    """(rows, columns) of 0 and 1: rectangles of random aspect are masked until `ratio` of the patches is, exactly."""
    target = max(1, round(block.ratio * rows * columns))
    mask = np.zeros((rows, columns), bool)
    span = np.log([block.min_aspect, 1 / block.min_aspect])
    while (left := target - int(mask.sum())) > 0:
        area = rng.uniform(min(block.min_patches, left), left) if left > 1 else 1.0
        aspect = np.exp(rng.uniform(*span))
        high = int(np.clip(round(np.sqrt(area * aspect)), 1, rows))
        wide = int(np.clip(round(np.sqrt(area / aspect)), 1, columns))
        top, edge = int(rng.integers(rows - high + 1)), int(rng.integers(columns - wide + 1))
        fresh = np.zeros_like(mask)
        fresh[top : top + high, edge : edge + wide] = True
        fresh &= ~mask
        places = np.flatnonzero(fresh)  # row by row: what is over the target is cut from the rectangle's bottom
        mask.flat[places[:left]] = True
    return mask.astype(np.float32)


def passes(mask: np.ndarray, chunk: int | None) -> list[np.ndarray]:
    """The masks of the passes that predict `chunk` frames at a time, in the order of time.

    Every pass generates all frames that are not settled yet, and the first `chunk` of them are given to the next one,
    as a controller with a receding horizon does. A clip of another batch row may have fewer frames to predict and is
    then given whole. Masks (B, T, h, w) that are no predictions (whole frames after at least one given one), and a
    `chunk` of None, make one pass.
    """
    whole = mask.min(axis=(2, 3)) > 0  # (B, T)
    given = whole.argmax(axis=1)
    frames = mask.shape[1]
    future = np.arange(frames) >= given[:, None]
    if chunk is None or not given.all() or (whole != future).any() or (mask.max(axis=(2, 3)) > 0)[~future].any():
        return [mask]
    count = -(-(frames - given.min()) // chunk)
    return [mask * (np.arange(frames) >= given[:, None] + number * chunk)[:, :, None, None] for number in range(count)]


def align_mask(mask: np.ndarray, patch: int) -> np.ndarray:
    """Grows a (..., H, W) mask so that a patch with any cell to generate is generated whole."""
    *lead, height, width = mask.shape
    blocks = mask.reshape(*lead, height // patch, patch, width // patch, patch)
    whole = blocks.max(axis=(-3, -1), keepdims=True)
    return np.broadcast_to(whole, blocks.shape).reshape(mask.shape).astype(np.float32)
