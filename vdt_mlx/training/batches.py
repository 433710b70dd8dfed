"""The latents that each step of a VDT's training works on."""

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np

from vdt_mlx.device.cpu_streams import lanes
from vdt_mlx.errors import VDTError
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.training.config import TrainConfig
from vdt_mlx.training.data import Source, build_source
from vdt_mlx.training.draw import step_rng
from vdt_mlx.training.latents import LatentStore, check_room

PIECE = 16
"""Clips made ready between two signs of life."""

_EPOCH_STREAM, _CHOICE_STREAM, _LABEL_STREAM = 2, 1, 3


class LatentBatches:
    """Which clips a step sees, by its number alone: new ones and old ones of the simulator, or passes over a folder."""

    def __init__(
        self,
        config: TrainConfig,
        autoencoder: Autoencoder,
        cache: Path,
        world: mx.distributed.Group | None = None,
    ):
        """`cache`: the folder of latents, unless `data.cache` names another."""
        self.data, self.loop = config.data, config.loop
        shape = (config.vdt.num_frames, *config.vdt.latent_size, config.vdt.in_channels)
        folder = Path(config.data.cache) if config.data.cache else cache
        source = build_source(config.data)
        if source.count is None:
            check_room(min(config.data.pool, config.data.prefill + config.loop.steps * config.data.fresh), shape)
        self.store = LatentStore(folder, source, autoencoder, shape, config.data.pool, world)
        self.endless = source.count is None
        self._dropped, self._classes = config.objective.label_dropout, _numbered(config, source)

    def fill(self, step: int, progress: Callable[[int], None]) -> None:
        """Makes the clips ready that the step needs: all of a folder's, so many of the simulator's."""
        first = self.data.prefill + (step + 1) * self.data.fresh if self.endless else self.store.capacity
        while self.store.filled < min(first, self.store.capacity):
            with lanes(self.loop.lanes or None):
                self.store.fill(min(self.store.filled + PIECE, first))
            progress(self.store.filled)

    def batch(self, step: int) -> np.ndarray:
        """The step's latents (B, T, h, w, C) fp16: the same whatever was trained before, and on every rank."""
        return self.store.array[self._indices(step)]

    def classes(self, step: int) -> np.ndarray | None:
        """The classes (B,) int32 of the step's clips, some dropped ("no class"); None for a network without labels."""
        if self._classes is None:
            return None
        numbers, free = self._classes
        kept = step_rng(self.loop.seed, step, _LABEL_STREAM).random(self.loop.batch) >= self._dropped
        return np.where(kept, numbers[self._indices(step)], free)

    def _indices(self, step: int) -> np.ndarray:
        """The numbers (B,) of the step's clips, which are made ready."""
        size = self.loop.batch
        if not self.endless:
            self.store.fill(self.store.capacity)
            return epoch_indices(self.loop.seed, self.store.capacity, step * size, size)
        before = min(self.data.prefill + step * self.data.fresh, self.store.capacity)
        after = min(before + self.data.fresh, self.store.capacity)
        with lanes(self.loop.lanes or None):
            self.store.fill(after)
        rng = step_rng(self.loop.seed, step, _CHOICE_STREAM)
        new = np.arange(before, after)[:size]
        return np.concatenate([new, rng.integers(0, after, size - len(new))])

    def close(self) -> None:
        self.store.close()


def _numbered(config: TrainConfig, source: Source) -> tuple[np.ndarray, np.int32] | None:
    """The classes of all clips that may come, (N,) int32, and the one for "no class"; None without labels.

    Raises VDTError for a clip of a scenario that `vdt.labels` does not name.
    """
    places = {name: place for place, name in enumerate(config.vdt.labels)}
    if not places:
        return None
    found = source.labels(config.data.pool)
    for name in dict.fromkeys(found):
        if name not in places:
            known = ", ".join(places)
            raise VDTError(f"The data has clips of {name!r}, which vdt.labels does not name (it names {known}).")
    return np.array([places[name] for name in found], np.int32), np.int32(len(places))


def epoch_indices(seed: int, count: int, start: int, size: int) -> np.ndarray:
    """Positions start to start + size of an endless sequence of shuffled passes over `count` clips."""
    positions = np.arange(start, start + size)
    indices = np.empty(size, np.int64)
    for epoch in np.unique(positions // count):
        order = step_rng(seed, int(epoch), _EPOCH_STREAM).permutation(count)
        here = positions // count == epoch
        indices[here] = order[positions[here] % count]
    return indices
