"""Clips drawn by hand, with signed distances: the tracker's tests do not lean on the simulator's renderer."""

from dataclasses import dataclass

import numpy as np
import pytest

RED, YELLOW, BLUE = (220, 50, 47), (250, 200, 40), (60, 110, 200)


@dataclass
class Disc:
    colour: tuple[int, int, int]
    radius: float
    path: np.ndarray  # (T, 2) pixels
    opacity: float = 1.0


def draw(discs: list[Disc], time: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) uint8 of discs over a layered background, and labels (T, H, W), -1 where none."""
    fine = 6
    y, x = (np.mgrid[: size * fine, : size * fine] + 0.5) / fine
    background = np.where((y > 0.8 * size)[..., None], (120, 110, 100), (225, 230, 235)).astype(float)
    frames, labels = [], []
    for t in range(time):
        image, label = background.copy(), np.full(y.shape, -1)
        for n, disc in enumerate(discs):
            if np.isfinite(disc.path[t]).all():
                inside = np.hypot(x - disc.path[t, 0], y - disc.path[t, 1]) < disc.radius
                image[inside] += disc.opacity * (np.array(disc.colour) - image[inside])
                label[inside] = n
        frames.append(image.reshape(size, fine, size, fine, 3).mean((1, 3)).round().astype(np.uint8))
        labels.append(label[fine // 2 :: fine, fine // 2 :: fine])
    return np.stack(frames), np.stack(labels)


def line(start: tuple[float, float], velocity: tuple[float, float], time: int = 16) -> np.ndarray:
    return np.array(start, float) + np.arange(time)[:, None] * np.array(velocity)


@pytest.fixture
def discs():
    return Disc


@pytest.fixture
def drawing():
    return draw


@pytest.fixture
def straight():
    return line


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """A folder with a tiny random network for 64-pixel clips of 16 frames that knows nothing."""
    from vdt_mlx.device import blas

    blas.load()
    from tests.tiny_models import save_tiny

    told = {"splits": ["train"], "seed": 0}
    return save_tiny(tmp_path_factory.mktemp("checkpoint") / "tiny", autoencoder={"scaling_factor": 1.0}, training=told)


@pytest.fixture
def context_of():
    """`context_of(sources)` -> what a section may know of a small examination by these."""
    from evals.predictors.registry import Memories
    from evals.scoring.cases import choose_groups
    from evals.section import Context
    from physics_sim.worlds import WORLD_VERSION

    def make(sources=(), clips: int = 4, names=("collide", "uniform")) -> Context:
        groups = tuple(choose_groups(names))
        return Context(tuple(sources), Memories(2), groups, clips, 8, 1, 0, 0, 64, WORLD_VERSION, 16)

    return make
