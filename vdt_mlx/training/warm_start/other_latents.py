"""A network that was trained on one autoencoder's latents, made to begin on another's.

What a VDT knows of motion sits in its blocks; only its first and its last layer know what a latent cell means. These
two are composed with the linear maps, fitted by least squares, between the patches that the two autoencoders make of
the same frames. The rest is kept, and training takes it from there.
"""

from dataclasses import replace

import mlx.core as mx
import numpy as np

from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.config import LAST, VDTConfig
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.network.vdt import VDT, patchify

EMBEDDER = "x_embedder.proj"


def same_latents(one: Autoencoder, other: Autoencoder) -> bool:
    """Whether two autoencoders encode alike; their decoders may differ."""
    a, b = (
        {name: value for name, value in flat_parameters(coder).items() if not name.startswith("decoder.")}
        for coder in (one, other)
    )
    return (
        one.config.kind == other.config.kind
        and a.keys() == b.keys()
        and all(a[name].shape == b[name].shape for name in a)
        and all(mx.allclose(a[name], b[name], atol=2e-3).item() for name in a)
    )


def translate(network: VDT, old: Autoencoder, new: Autoencoder, clips: np.ndarray) -> dict[str, mx.array]:
    """The weights of a network for `new`'s latents that begins as `network` does on `old`'s.

    Args:
        network: trained on `old`'s latents.
        clips: (N, T, H, W, 3) uint8 to fit the maps on; some thousand frames are plenty.

    Returns:
        Parameters by name, for `network.config` with `new`'s number of channels.

    Raises:
        VDTError: a network that learned its variance, whose output is no map of latents; other sizes of cells.
    """
    config = network.config
    if config.learn_sigma:
        raise VDTError("A network with a learned variance cannot be translated to other latents.")
    if old.config.downsample != new.config.downsample:
        raise VDTError(
            f"The latent cells of the two autoencoders have {old.config.downsample} and {new.config.downsample} "
            "pixels a side, so the network cannot be translated."
        )
    before, after = (
        np.array(patchify(coder.encode_clip(clips), config.patch_size), np.float64).reshape(
            -1, config.patch_size**2 * coder.config.latent_channels
        )
        for coder in (old, new)
    )
    to_old, to_old_shift = _affine(after, before)
    to_new, _ = _affine(before, after)
    weights = flat_parameters(network)
    embed = np.array(weights[f"{EMBEDDER}.weight"], np.float64)  # (D, p, p, C)
    size = embed.shape[0]
    flat = embed.reshape(size, -1)
    shape = (size, config.patch_size, config.patch_size, new.config.latent_channels)
    final, bias = (np.array(weights[f"{LAST}.{part}"], np.float64) for part in ("weight", "bias"))
    changed = {
        f"{EMBEDDER}.weight": (flat @ to_old.T).reshape(shape),
        f"{EMBEDDER}.bias": np.array(weights[f"{EMBEDDER}.bias"], np.float64) + flat @ to_old_shift,
        # Noise, and the difference of noise and clip, have no shift to speak of: means are normalised away.
        f"{LAST}.weight": to_new.T @ final,
        f"{LAST}.bias": bias @ to_new,
    }
    return {**weights, **{name: mx.array(value.astype(np.float32)) for name, value in changed.items()}}


def translated_config(config: VDTConfig, new: Autoencoder) -> VDTConfig:
    """The network's configuration with the number of channels of `new`'s latents."""
    return replace(config, in_channels=new.config.latent_channels)


def _affine(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares y = x A + b, with a little ridge: A (kx, ky), b (ky,)."""
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x, y = x - x_mean, y - y_mean
    square = x.T @ x / len(x)
    matrix = np.linalg.solve(square + 1e-4 * np.trace(square) / len(square) * np.eye(len(square)), x.T @ y / len(x))
    return matrix, y_mean - x_mean @ matrix
