"""PhyWorld's HDF5 files: damaged anywhere, cut, with other shapes, and with broken MP4 streams."""

import random
import tempfile
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np

from physics_sim import phyworld
from tests.fuzz.mutations import damaged

TITLE = "PhyWorld's HDF5 files"
SHARE = 0.1
ALLOWED = frozenset({"subprocess.Popen", "os.posix_spawn", "os.fork"})


def case(rng: random.Random, folder: Path):
    path = folder / "a.hdf5"
    path.write_bytes(good())
    if rng.random() < 0.5:
        path.write_bytes(damaged(rng, path.read_bytes()))
    else:
        with h5py.File(path, "r+") as file:
            _change(rng, file)
    return lambda: read(path)


def _change(rng: random.Random, file: h5py.File) -> None:
    group = rng.choice(phyworld.GROUPS)
    if group == "video_streams" and rng.random() < 0.7:
        video = file[group]["00000"]
        video[0] = np.frombuffer(damaged(rng, video[0].tobytes()), np.uint8)
        return
    del file[group]["00000"]
    shape = tuple(rng.choice((0, 1, 2, 3, 32)) for _ in range(rng.randrange(4)))
    values = np.full(shape, rng.choice((0.0, np.nan, 1e308, -1.0)))
    file[group][rng.choice(("00000", "x", "00001"))] = values.astype(rng.choice(("f8", "i4", "f4", "S3")))


def read(path: Path) -> list[tuple[int, ...]]:
    with phyworld.File(path) as file:
        return [clip.frames.shape for clip in file.clips()]


def check(result) -> str | None:
    return None if set(result) <= {(32, 16, 16, 3)} else f"frames of {result}"


@lru_cache
def good() -> bytes:
    with tempfile.TemporaryDirectory() as name:
        return phyworld.write(name, phyworld.FileSpec("uniform", "train", 2, size=16)).read_bytes()
