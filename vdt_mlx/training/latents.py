"""Clips encoded once: a growing file of normalised latents, so that each clip is simulated (or read) and encoded once.

The file is a plain array of fp16, clip after clip, with a `.json` beside it that says what it was made from. A clip is
always encoded alone (on a GPU: in a batch of fixed size), so its latents do not depend on how the work was cut into
pieces, and a file that ends in half a clip, as after a crash, is cut back to whole ones and goes on. A `.crc` beside it
has a checksum of each clip, which are read: from the first that is damaged on, clips are made again.
"""

import hashlib
import itertools
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from vdt_mlx.checkpoint import flat_parameters
from vdt_mlx.device.kernels import on_cpu
from vdt_mlx.device.memory import gpu_bytes, machine_bytes
from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path
from vdt_mlx.network.autoencoder import Autoencoder
from vdt_mlx.training.data import Source, close_clips


def autoencoder_key(autoencoder: Autoencoder) -> str:
    """A digest of an autoencoder's weights and normalisation."""
    digest = hashlib.sha256(repr(autoencoder.config).encode())
    for name, value in sorted(flat_parameters(autoencoder).items()):
        digest.update(name.encode())
        digest.update(np.array(value).tobytes())
    return digest.hexdigest()[:16]


BLOCK = 64
"""Clips read before they are encoded and written."""

_MEMORY = 8 << 30
"""Bytes that clips which a GPU encodes together may take, by `AutoencoderConfig.frame_activations`, a high guess; never
more than half of what the GPU may use."""
HELD = 0.75
"""The part of the machine's memory that latents may take."""


def check_room(clips: int, shape: tuple[int, ...], there: int | None = None) -> None:
    """Raises VDTError where so many clips of latents (T, h, w, C) are more than this machine can hold.

    `there`: its bytes, where they are known otherwise.
    """
    there, size = there or machine_bytes(), 2 * int(np.prod(shape))
    if there and clips * size > HELD * there:
        raise VDTError(
            f"The latents of {clips} clips take {clips * size / 2**30:.1f} GB in memory, and this machine has "
            f"{there / 2**30:.1f} GB: data.pool={int(HELD * there) // size} fits."
        )


def clips_at_once(autoencoder: Autoencoder, shape: tuple[int, ...]) -> int:
    """How many clips of latents (T, h, w, C) are encoded by one call: one on a CPU, up to 16 on a GPU.

    The number is part of a run, not of its pieces: a call is always filled up to it, so that a clip's latents are the
    same whichever clips it shares the call with.
    """
    if on_cpu():
        return 1
    frames, height, width, _ = shape
    pixels = height * width * autoencoder.config.downsample**2
    room = min(_MEMORY, (gpu_bytes() or 2 * _MEMORY) // 2)
    return max(1, min(16, room // (4 * autoencoder.config.frame_activations * pixels * frames)))


SUM_BYTES = 4


def _sum(latents: np.ndarray) -> int:
    """The CRC-32 of a clip's latents."""
    return zlib.crc32(np.ascontiguousarray(latents).tobytes())


class LatentStore:
    """The latents of a source's first clips, as (N, T, h, w, C) fp16, in memory and in a file."""

    def __init__(
        self,
        folder: Path,
        source: Source,
        autoencoder: Autoencoder,
        shape: tuple[int, ...],
        capacity: int,
        world: mx.distributed.Group | None = None,
    ):
        """`shape`: a clip's latents (T, h, w, C); `capacity`: the most clips; one of several ranks keeps the file."""
        self.source, self.autoencoder, self.shape, self.capacity = source, autoencoder, shape, capacity
        self.identity = {**source.identity(), "autoencoder": autoencoder_key(autoencoder), "shape": list(shape)}
        name = hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()[:12]
        self.path = folder / f"latents-{name}.f16"
        self.array = np.empty((capacity, *shape), np.float16)  # reserved: pages are taken as clips arrive
        self.filled = 0
        self._clips: Iterator[np.ndarray] | None = None
        self._file: Any = None
        self.at_once = clips_at_once(autoencoder, shape)
        size = int(np.prod(shape)) * 2
        self._world = world
        self._sums: Any = None
        if world is None or world.rank() == 0:
            folder.mkdir(parents=True, exist_ok=True)
            self._open()
        if self.path.exists():
            self._read(size)
        if self._file is not None:
            with atomic_path(self.path.with_suffix(".json")) as partial:
                partial.write_text(json.dumps(self.identity, indent=2) + "\n", encoding="utf-8")
            for file, each in ((self._file, size), (self._sums, SUM_BYTES)):
                file.seek(self.filled * each)
                if self.filled < capacity:  # else there may be more, for a run that takes more
                    file.truncate()

    def _open(self) -> None:
        """Opens the file and its checksums for this process alone; raises VDTError if another writes them."""
        self._file, self._sums = (
            path.open("r+b" if path.exists() else "w+b") for path in (self.path, self.path.with_suffix(".crc"))
        )
        try:
            import fcntl
        except ImportError:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.close()
            raise VDTError(f"Another process writes to {self.path}: give this run a data.cache of its own.") from None

    def _read(self, size: int) -> None:
        """Takes the clips that the file holds, up to the first that is not what was written: the rest is made again."""
        count = min(self.path.stat().st_size // size, self.capacity)
        flat = np.fromfile(self.path, np.float16, count=count * size // 2)
        self.array[:count] = flat.reshape(count, *self.shape)
        sums = self.path.with_suffix(".crc")
        known = np.fromfile(sums, "<u4") if sums.exists() else np.empty(0, "<u4")
        if not len(known) and count and self._sums is not None:  # of an earlier version, which kept no sums
            self._sums.write(np.array([_sum(clip) for clip in self.array[:count]], "<u4").tobytes())
            known = np.array([_sum(clip) for clip in self.array[:count]], "<u4")
        count = min(count, len(known))
        damaged = (number for number in range(count) if _sum(self.array[number]) != known[number])
        self.filled = next(damaged, count)
        if self.filled < count:
            print(f"Clip {self.filled} of {self.path} is damaged: made again from there on.", file=sys.stderr)

    def fill(self, count: int) -> None:
        """Makes sure that clips 0 to `count` - 1 are there, or as many as there are; `capacity` tells afterwards."""
        count = min(count, self.capacity)
        if self.filled >= count:
            return
        if self._clips is None:
            self._clips = self.source.clips(self.filled)
        while self.filled < count:
            wanted = min(BLOCK, count - self.filled)
            clips = list(itertools.islice(self._clips, wanted))
            for latents in self._encoded(clips):
                self.array[self.filled] = latents
                if not np.isfinite(latents).all():
                    raise VDTError(
                        f"The latents of clip {self.filled} are not finite numbers in fp16: "
                        "the autoencoder's weights or its normalisation are damaged."
                    )
                if self._file is not None:
                    self._file.write(latents.tobytes())
                    self._sums.write(np.array(_sum(latents), "<u4").tobytes())
                self.filled += 1
            if len(clips) < wanted:
                if not self.filled:
                    raise VDTError("The data source gave no clip at all.")
                self.capacity = self.filled
                break
        if self._file is not None:
            self._file.flush()
            self._sums.flush()

    def _encoded(self, clips: list[np.ndarray]) -> np.ndarray:
        """The latents of clips, fp16; ranks share out the work and give each other the results."""
        rank, ranks = (self._world.rank(), self._world.size()) if self._world is not None else (0, 1)
        block = np.zeros((len(clips), *self.shape), np.float16)
        own = range(rank, len(clips), ranks)
        for start in range(0, len(own), self.at_once):
            part = own[start : start + self.at_once]
            frames = np.stack([clips[index] for index in (*part, *[part[-1]] * (self.at_once - len(part)))])
            chunk = self.at_once * self.shape[0]
            with np.errstate(over="ignore"):  # `fill` refuses what is too large
                block[list(part)] = np.array(self.autoencoder.encode_clip(frames, chunk=chunk))[: len(part)]
        if ranks > 1 and len(clips):
            block = np.array(mx.distributed.all_sum(mx.array(block.astype(np.float32)), group=self._world))
        return block.astype(np.float16)

    def close(self) -> None:
        close_clips(self._clips)
        self._clips = None
        if self._file is not None:
            self._file.close()
            self._sums.close()
            self._file = None
