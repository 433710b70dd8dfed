"""The weights that a run begins with: a checkpoint's, made to fit other latents, another prediction, more blocks."""

from collections.abc import Callable
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import mlx.core as mx
import numpy as np

from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, load_vdt
from vdt_mlx.config import DiffusionConfig, VDTConfig, read_config
from vdt_mlx.diffusion.schedule import Schedule
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.network.vdt import VDT
from vdt_mlx.training.warm_start.more_blocks import deepen
from vdt_mlx.training.warm_start.other_latents import same_latents, translate, translated_config
from vdt_mlx.training.warm_start.other_prediction import Draws, repredict

FITTED_CLIPS = 256
"""Clips on which linear maps are fitted: between two autoencoders' latents, from features to another prediction."""


def initial_weights(
    init: str | Path,
    wanted: VDTConfig,
    diffusion: DiffusionConfig,
    coder: Autoencoder,
    clips: Callable[[int], np.ndarray],
    draws: Draws,
) -> dict[str, mx.array]:
    """The weights in the checkpoint folder `init`, made to fit `coder`'s latents, the prediction and the depth.

    Args:
        clips: so many clips (N, T, H, W, 3) uint8 of those that the run will train on; asked for only if needed.
        draws: see `other_prediction.repredict`.

    Raises:
        VDTError: another network than the one that is wanted (names what differs), or one that cannot be made to fit.
    """
    network, held = load_vdt(init), read_config(init)
    found, weights = network.config, flat_parameters(network)
    own = load_autoencoder(init) if held.autoencoder is not None else coder
    some = cache(lambda: clips(FITTED_CLIPS))
    if not same_latents(own, coder):
        found, weights = translated_config(found, coder), translate(network, own, coder, some())
    differing = [
        f"{item.name}: {getattr(found, item.name)!r} -> {getattr(wanted, item.name)!r}"
        for item in fields(wanted)
        if item.name != "depth" and getattr(found, item.name) != getattr(wanted, item.name)
    ]
    if differing:
        raise VDTError(f"The network in {init} is not the one of this configuration: {'; '.join(differing)}.")
    if held.diffusion.prediction != diffusion.prediction:
        network = VDT(found)
        network.load_weights(list(weights.items()))
        latents = np.array(coder.encode_clip(some()))
        weights = repredict(network, Schedule(diffusion), latents, draws)
    return deepen(weights, found, replace(found, depth=wanted.depth))
