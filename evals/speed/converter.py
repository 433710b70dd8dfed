"""Measures the streaming converter: time beside plain copies of the same bytes, and peak resident memory."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vdt_mlx.config import PRESETS, VDTConfig
from vdt_mlx.errors import VDTError
from weights.formats.torch_writer import write_torch
from weights.names.vdt import vdt_shapes


@dataclass(frozen=True)
class RandomItem:
    """A tensor of random numbers that is made while it is written."""

    name: str
    shape: tuple[int, ...]
    noise: np.ndarray
    dtype: str = "fp32"

    def pieces(self) -> Iterator[np.ndarray]:
        left = int(np.prod(self.shape, dtype=np.int64))
        while left > 0:
            yield self.noise[:left]
            left -= len(self.noise)


def write_random_checkpoint(path: str | Path, config: VDTConfig, seed: int = 0) -> int:
    """Writes a `.pt` file of the official names with random fp32 weights; returns its size in bytes."""
    noise = (0.02 * np.random.default_rng(seed).standard_normal(2**21)).astype(np.float32)
    write_torch(Path(path), [RandomItem(name, shape, noise) for name, shape in vdt_shapes(config).items()])
    return Path(path).stat().st_size


def measure_convert(
    folder: str | Path | None = None, preset: str = "VDT-L/2", dtype: str = "fp16", repeats: int = 1
) -> dict[str, Any]:
    """Converts a random checkpoint of a preset in a process of its own, between two plain copies of it.

    Args:
        folder: where to put the files (twice the checkpoint and a half is needed); a temporary one by default.
        preset: a name in `vdt_mlx.config.PRESETS`.
        dtype: what to convert to.
        repeats: how often to do all that; the shortest times count, which a busy machine needs.

    Returns:
        `bytes` of the source; `seconds_copy`, the time of copying it twice; `seconds_convert`, start-up included;
        `ratio` of the two; `runs`, both times of every repetition; `peak_rss`, the largest resident size of the
        converter in bytes.

    Raises:
        VDTError: an unknown preset, too little disk, or the conversion failed.
    """
    if preset not in PRESETS:
        raise VDTError(f"Unknown preset {preset!r}: use one of {', '.join(PRESETS)}.")
    with tempfile.TemporaryDirectory(prefix="vdt-convert-", dir=folder) as name:
        work = Path(name)
        source = work / "random.pt"
        size = write_random_checkpoint(source, PRESETS[preset])
        if shutil.disk_usage(work).free < 2.5 * size:
            raise VDTError(f"{work} has too little free space to measure a conversion of {size / 2**30:.1f} GB.")
        runs, peaks = [], []
        for _ in range(repeats):
            before = _copy(source, work / "copy")
            started = time.perf_counter()
            peaks.append(
                _peak_of([sys.executable, "-m", "vdt_mlx", "convert", str(source), str(work / "out"), "--dtype", dtype])
            )
            seconds = time.perf_counter() - started
            shutil.rmtree(work / "out")
            runs.append((before + _copy(source, work / "copy"), seconds))
    copies, conversions = (min(times) for times in zip(*runs, strict=True))
    return {
        "preset": preset,
        "dtype": dtype,
        "bytes": size,
        "seconds_copy": copies,
        "seconds_convert": conversions,
        "ratio": conversions / copies,
        "runs": runs,
        "peak_rss": max(peaks),
    }


def _copy(source: Path, target: Path) -> float:
    """Seconds for a copy that has reached the disk, as what the converter writes has when it ends."""
    started = time.perf_counter()
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    target.unlink()
    return seconds


def _peak_of(command: list[str]) -> int:
    """Runs a command; returns the largest resident size that it reached, in bytes."""
    from vdt_mlx.device.memory import peak_of

    peak = peak_of(command)
    if peak is None:
        raise VDTError("The conversion that was to be measured failed (its own message is above).")
    return peak
