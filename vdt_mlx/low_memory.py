"""Fitting into little memory: an autoencoder that is let go, and what sampling will take."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from vdt_mlx.checkpoint import flat_parameters, load_autoencoder, load_vdt
from vdt_mlx.config import CheckpointConfig, read_config
from vdt_mlx.device.memory import machine_bytes
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.network.vdt import VDT
from vdt_mlx.pipeline import Pipeline

CACHE_LIMIT = 64 << 20
"""Bytes of freed arrays that MLX keeps for reuse with `--low-memory`."""
SLACK = 256 << 20
"""Bytes besides the weights from which on MLX finishes operations before it begins others, with `--low-memory`."""


class LowMemoryPipeline(Pipeline):
    """A pipeline that holds the autoencoder only while it works, one frame at a time.

    MLX reads a weight when it is first used, so a freshly opened autoencoder occupies nothing: it is opened again after
    every use. Frames are the same as the ordinary pipeline's.
    """

    together = 1

    def __init__(self, config: CheckpointConfig, vdt: VDT, autoencoder: Autoencoder, folder: str | Path):
        super().__init__(config, vdt, autoencoder)
        self._folder = folder
        self._kind = autoencoder.config.kind
        mx.set_cache_limit(CACHE_LIMIT)
        # Left alone, MLX takes memory for several convolutions ahead of the one that it computes.
        weights = sum(value.nbytes for part in (vdt, autoencoder) for value in flat_parameters(part).values())
        mx.set_memory_limit(weights + SLACK)

    @classmethod
    def load(cls, folder: str | Path, dtype: str = "fp32", autoencoder: str | None = None) -> "LowMemoryPipeline":
        """Loads a checkpoint folder as `Pipeline.load` does."""
        return cls(read_config(folder), load_vdt(folder, dtype), load_autoencoder(folder, autoencoder), folder)

    def _lanes(self) -> AbstractContextManager[Any]:
        return nullcontext()  # each lane unpacks or widens a layer's weights for itself

    def _piece(self, height: int, width: int) -> int:
        return 1

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


def needed_bytes(vdt: VDT, batch: int, frames: int, latent_size: tuple[int, int]) -> int:
    """About what sampling `batch` clips takes: the weights, and what one block of the network holds at a time."""
    config = vdt.config
    tokens = (latent_size[0] // config.patch_size) * (latent_size[1] // config.patch_size)
    width, hidden = config.hidden_size, int(config.hidden_size * config.mlp_ratio)
    attended = tokens * frames if config.attention == "joint" else max(tokens, frames)
    scores = config.num_heads * attended
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
