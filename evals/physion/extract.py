"""Features of clips as Physion's protocols have them: given frames, and then generated or observed ones.

Of a clip with T frames and g given ones:

    given       what the network makes of the g given frames, all others hidden (pure noise at the noisiest timestep)
    generated   and of the T - g frames that the model generated after them, at the timestep that was asked for
    observed    and instead of the T - g frames that truly follow

so that the three share their first part, and nothing of the future is in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PROTOCOLS = {"given": "given", "generated": "given + generated", "observed": "given + observed"}
"""`input`, `simulated` and `observed` in physopt."""


@dataclass(frozen=True)
class Wanted:
    """What is extracted."""

    part: str
    block: str | None
    timestep: float | None
    frames: int
    """T, of a clip."""
    given: int


def protocols(
    pipeline: Any, clips: NDArray[np.uint8], wanted: Wanted, sampling: Any, seed: int, seeds: Sequence[int]
) -> dict[str, NDArray[np.float32]]:
    """(B, frames * D) features of clips (B, T, H, W, 3) by protocol.

    Args:
        pipeline: a `vdt_mlx.pipeline.Pipeline`.
        sampling: how the future is generated, a resolved `vdt_mlx.diffusion.sampling.Sampling`.
        seed: of the features' noise.
        seeds: of the noise that each clip's future is generated from.
    """
    made = generate(pipeline, clips, wanted.given, sampling, seeds)
    first = _given(pipeline, clips, wanted, seed)
    parts = {
        "given": (first,),
        "generated": (first, _later(pipeline, made, wanted, seed)),
        "observed": (first, _later(pipeline, clips, wanted, seed)),
    }
    return {name: np.concatenate(found, axis=1).reshape(len(clips), -1) for name, found in parts.items()}


def generate(
    pipeline: Any, clips: NDArray[np.uint8], given: int, sampling: Any, seeds: Sequence[int]
) -> NDArray[np.uint8]:
    """The clips with all frames after the given ones generated, window after window where there are more than fit."""
    from vdt_mlx.device.cpu_streams import lanes
    from vdt_mlx.rollout import roll_out

    with lanes():
        if clips.shape[1] == pipeline.frames:
            mask = pipeline.task_mask("predict", given)
            return pipeline.fill(clips, mask, sampling, seeds=list(seeds))
        return roll_out(pipeline, clips[:, :given], clips.shape[1], sampling, seeds=list(seeds))


def _given(pipeline: Any, clips: NDArray[np.uint8], wanted: Wanted, seed: int) -> NDArray[np.float32]:
    """(B, g, D) of the given frames alone."""
    from vdt_mlx.features import AUTOENCODER, Asked, compute

    if wanted.part == AUTOENCODER:
        shown = clips[:, : wanted.given]
        asked = Asked(wanted.part, wanted.block)
    else:
        shown = clips[:, : pipeline.frames]
        asked = Asked(wanted.part, wanted.block, given=wanted.given, blind=True, seed=seed)
    return compute(pipeline, shown, asked.resolved(pipeline, shown.shape[1]))[:, : wanted.given]


def _later(pipeline: Any, clips: NDArray[np.uint8], wanted: Wanted, seed: int) -> NDArray[np.float32]:
    """(B, T - g, D) of the frames after the given ones, in windows of the network's length."""
    from vdt_mlx.features import AUTOENCODER, Asked, compute
    from vdt_mlx.rollout import windows

    if wanted.part == AUTOENCODER:
        later = clips[:, wanted.given :]
        return compute(pipeline, later, Asked(wanted.part, wanted.block).resolved(pipeline, later.shape[1]))
    found = []
    for start, new, end in windows(wanted.frames, wanted.given, pipeline.frames, wanted.given):
        asked = Asked(wanted.part, wanted.block, wanted.timestep, given=new - start, seed=seed)
        values = compute(pipeline, clips[:, start:end], asked.resolved(pipeline, end - start))
        found.append(values[:, new - start :])
    return np.concatenate(found, axis=1)
