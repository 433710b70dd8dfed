"""Clips encoded once: a growing file of normalised latents, so that each clip is simulated (or read) and encoded once.

The file is a plain array of fp16, clip after clip, with a `.json` beside it that says what it was made from. A clip is
always encoded alone, so its latents do not depend on how the work was cut into pieces, and a file that ends in half a
clip, as after a crash, is cut back to whole ones and goes on.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vdt_mlx.autoencoder import Autoencoder
from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.training.data import Source


def autoencoder_key(autoencoder: Autoencoder) -> str:
    """A digest of an autoencoder's weights and normalisation."""
    digest = hashlib.sha256(repr(autoencoder.config).encode())
    for name, value in sorted(flat_parameters(autoencoder).items()):
        digest.update(name.encode())
        digest.update(np.array(value).tobytes())
    return digest.hexdigest()[:16]


class LatentStore:
    """The latents of a source's first clips, as (N, T, h, w, C) fp16, in memory and in a file."""

    def __init__(
        self,
        folder: Path,
        source: Source,
        autoencoder: Autoencoder,
        shape: tuple[int, ...],
        capacity: int,
        write: bool = True,
    ):
        """`shape` is one clip's latents (T, h, w, C); `capacity` the most clips. Raises VDTError for a foreign file."""
        self.source, self.autoencoder, self.shape = source, autoencoder, shape
        self.capacity = capacity if source.count is None else min(capacity, source.count)
        self.identity = {**source.identity(), "autoencoder": autoencoder_key(autoencoder), "shape": list(shape)}
        name = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:12]
        self.path = folder / f"latents-{name}.f16"
        self.array = np.empty((self.capacity, *shape), np.float16)
        self.filled = 0
        self._clips: Iterator[np.ndarray] | None = None
        self._file: Any = None
        self._write = write
        self._open(folder)

    def _open(self, folder: Path) -> None:
        size = int(np.prod(self.shape)) * 2
        if self.path.exists():
            whole = min(self.path.stat().st_size // size, self.capacity)
            flat = np.fromfile(self.path, np.float16, count=whole * size // 2)
            self.array[:whole] = flat.reshape(whole, *self.shape)
            self.filled = whole
        if self._write:
            folder.mkdir(parents=True, exist_ok=True)
            if not self.path.exists():
                with atomic_path(self.path.with_suffix(".json")) as partial:
                    partial.write_text(json.dumps(self.identity, indent=2) + "\n", encoding="utf-8")
            self._file = self.path.open("r+b" if self.path.exists() else "w+b")
            self._file.truncate(self.filled * size)
            self._file.seek(self.filled * size)

    def fill(self, count: int, progress: Callable[[int], None] | None = None) -> None:
        """Makes sure that clips 0 to `count` - 1 are there (at most the capacity)."""
        count = min(count, self.capacity)
        while self.filled < count:
            if self._clips is None:
                self._clips = self.source.clips(self.filled)
            try:
                clip = next(self._clips)
            except StopIteration:
                raise VDTError(f"The data ended after {self.filled} clips.") from None
            latents = self.autoencoder.encode_clip(clip[None], chunk=len(clip))[0]
            self.array[self.filled] = np.array(latents).astype(np.float16)
            if self._file is not None:
                self._file.write(self.array[self.filled].tobytes())
            self.filled += 1
            if progress is not None:
                progress(self.filled)
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        if self._clips is not None and hasattr(self._clips, "close"):
            self._clips.close()
        self._clips = None
        if self._file is not None:
            self._file.close()
            self._file = None
