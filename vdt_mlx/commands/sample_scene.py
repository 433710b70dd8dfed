"""`vdt-mlx sample --scene`: a scene that was drawn on the page of `vdt-mlx play`, as the clip to sample from."""

from pathlib import Path

import numpy as np


def scene_clip(path: str, frames: int, size: int) -> np.ndarray:
    """The simulator's frames (T, size, size, 3) uint8 of a saved scene. Raises VDTError if it cannot be simulated."""
    from physics_sim.clip import Clip
    from physics_sim.world import simulate
    from vdt_mlx.play.scene import open_scene

    scene = open_scene(Path(path))
    return Clip(scene, simulate(scene, frames=frames), "drawn", "drawn", 0, 0, size).frames
