"""A network that learned one prediction, made to begin with another: its last layer is fitted anew, the rest kept.

A flow network has to hand through the noise of its input, which costs it width and leaves errors that depend on the
noise; one that predicts the sample does not (Li & He 2025, arXiv 2511.13720). What both know of motion is the same.
"""

from collections.abc import Callable
from typing import Protocol

import mlx.core as mx
import numpy as np

from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import LAST
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.errors import VDTError
from vdt_mlx.network.vdt import VDT, patchify

BATCH = 16


class Drawn(Protocol):
    """Masks (B, T, h, w), timesteps (B,) and noise (B, T, h, w, C) of a batch, as `training.draw.Draw` has them."""

    @property
    def mask(self) -> np.ndarray: ...
    @property
    def t(self) -> np.ndarray: ...
    @property
    def noise(self) -> np.ndarray: ...


Draws = Callable[[int, int], Drawn]
"""(clips in the batch, a number that decides everything) -> what is drawn for it."""


def repredict(network: VDT, schedule: Schedule, latents: np.ndarray, draws: Draws) -> dict[str, mx.array]:
    """The weights of a network that predicts what `schedule` asks for, as well as a linear layer can on its features.

    Args:
        network: trained for another prediction on the same path.
        schedule: with the prediction that is wanted.
        latents: (N, T, H, W, C) clips; some hundred are plenty.
        draws: masks, timesteps and noise for the fit, which weighs errors as the loss does.

    Raises:
        VDTError: a network that learned its variance, whose output is more than the prediction.
    """
    size = network.config
    if size.learn_sigma:
        raise VDTError("A network with a learned variance cannot go over to another prediction.")
    square = np.zeros((size.hidden_size + 1,) * 2)
    mixed = np.zeros((size.hidden_size + 1, size.patch_size**2 * size.in_channels))
    for start in range(0, len(latents), BATCH):
        x0 = mx.array(latents[start : start + BATCH]).astype(mx.float32)
        drawn = draws(len(x0), start)
        mask, noise = mx.array(drawn.mask)[..., None], mx.array(drawn.noise)
        x = x0 * (1 - mask) + schedule.add_noise(x0, noise, drawn.t) * mask
        features = np.array(network.features(x, mx.array(drawn.t.astype(np.float32))), np.float64)
        target = np.array(patchify(schedule.target(x0, noise, drawn.t), size.patch_size), np.float64)
        weight = schedule.loss_weight(drawn.t).reshape(-1, 1, 1, 1)
        generated = np.array(patchify(mx.array(drawn.mask)[..., None], size.patch_size)).mean(axis=-1, keepdims=True)
        weight = (weight * generated.reshape(*features.shape[:-1], 1)).reshape(-1, 1)
        ones = np.ones((*features.shape[:-1], 1))
        rows = np.concatenate([features, ones], axis=-1).reshape(len(weight), -1)
        square += rows.T @ (weight * rows)
        mixed += rows.T @ (weight * target.reshape(len(weight), -1))
    ridge = 1e-6 * np.trace(square) / len(square) * np.eye(len(square))
    fitted = np.linalg.solve(square + ridge, mixed).astype(np.float32)
    weights = flat_parameters(network)
    return {**weights, f"{LAST}.weight": mx.array(fitted[:-1].T), f"{LAST}.bias": mx.array(fitted[-1])}
