"""Fitting into little memory: packed weights, an autoencoder that is let go, and whether a sampling fits at all."""

from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np

from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, quantize
from vdt_mlx.config import CheckpointConfig
from vdt_mlx.device.memory import machine_bytes
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.network.vdt import VDT, quantizable
from vdt_mlx.pipeline import Pipeline

BITS = (8, 4)
GROUP_SIZES = (64, 32)
CACHE_LIMIT = 64 << 20
"""Bytes of freed arrays that MLX keeps for reuse with `--low-memory`."""
SLACK = 256 << 20
"""Bytes besides the weights from which on MLX finishes operations before it begins others, with `--low-memory`."""


class LowMemoryPipeline(Pipeline):
    """A pipeline that holds the autoencoder only while it works, one frame at a time.

    MLX reads a weight when it is first used, so a freshly opened autoencoder occupies nothing: it is opened again after
    every use. Frames are the same as the ordinary pipeline's.
    """

    def __init__(self, config: CheckpointConfig, vdt: VDT, autoencoder: Autoencoder, folder: str | Path):
        super().__init__(config, vdt, autoencoder)
        self._folder = folder
        self._kind = autoencoder.config.kind
        mx.set_cache_limit(CACHE_LIMIT)
        # Left alone, MLX takes memory for several convolutions ahead of the one that it computes.
        weights = sum(value.nbytes for part in (vdt, autoencoder) for value in flat_parameters(part).values())
        mx.set_memory_limit(weights + SLACK)

    def encode(self, frames: np.ndarray) -> mx.array:
        latents = self.autoencoder.encode_clip(frames, chunk=1)
        mx.eval(latents)
        self._let_go()
        return latents

    def decode(self, latents: mx.array) -> np.ndarray:
        batch, frames = latents.shape[:2]
        rows = [
            [super(LowMemoryPipeline, self).decode(latents[b : b + 1, t : t + 1])[0, 0] for t in range(frames)]
            for b in range(batch)
        ]
        self._let_go()
        return np.stack([np.stack(row) for row in rows])

    def _let_go(self) -> None:
        self.autoencoder = load_autoencoder(self._folder, self._kind)
        mx.clear_cache()


def pack(vdt: VDT, bits: int) -> None:
    """Quantizes a network in place, layer by layer, so that no two wide copies of it exist at a time.

    Raises VDTError: not 8 or 4 bits, already quantized, or no layer whose width divides by a group of 64 or 32.
    """
    if bits not in BITS:
        raise VDTError(f"Weights are packed into 8 or 4 bits, not {bits}.")
    if any(isinstance(module, nn.QuantizedLinear) for _, module in vdt.named_modules()):
        raise VDTError("The weights of this checkpoint are quantized already.")
    fits = [g for g in GROUP_SIZES if any(quantizable(path, module, g) for path, module in vdt.named_modules())]
    quantize(vdt, bits, fits[0] if fits else GROUP_SIZES[-1])
    for _, module in vdt.named_modules():
        if isinstance(module, nn.QuantizedLinear):
            mx.eval(module.parameters())


def needed_bytes(vdt: VDT, batch: int, frames: int, latent_size: tuple[int, int]) -> int:
    """About what sampling `batch` clips takes: the weights, and what one block of the network holds at a time."""
    config = vdt.config
    tokens = (latent_size[0] // config.patch_size) * (latent_size[1] // config.patch_size)
    width, hidden = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
    scores = config.num_heads * max(tokens, frames)
    weights = sum(value.nbytes for value in flat_parameters(vdt).values())
    widest = vdt.x_embedder.proj.weight.dtype.size
    return weights + batch * frames * tokens * widest * (4 * width + 2 * max(hidden, scores))


def check_fits(wanted: int, what: str) -> None:
    """Raises VDTError where `wanted` bytes are more than the machine has."""
    there = machine_bytes()
    if there is not None and wanted > there:
        raise VDTError(
            f"{what} takes about {wanted / 2**30:.1f} GiB and this machine has {there / 2**30:.1f}: "
            "fewer frames, fewer samples or packed weights need less."
        )
