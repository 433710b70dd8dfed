"""A clip of PhyWorld's as a test clip: its states as a clip of the simulator, its frames as they are in the file.

Everything is told in places of the picture (units of which it is 10 wide), where the tracker, the baselines and the
simulator live; PhyWorld's metric is told in metres, by the file's `Ruler`. In files of PhyWorld's the two differ by
255/256, in those of `physics_sim` they are the same.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evals.scoring.cases import Case
from evals.scoring.phyworld import SIDE, Ruler, metrics_of, score_frames, score_states
from evals.scoring.score import Prediction
from physics_sim.clip import Clip
from physics_sim.phyworld import COLOURS, PhyWorldClip
from physics_sim.scenarios.laws import DENSITY
from physics_sim.scene import Scene, agent, patient
from physics_sim.shapes import Circle
from physics_sim.units import FRAME_TIME
from physics_sim.world import simulate

WHITE = (255, 255, 255)
EDGES = Ruler(None)
STILL = 0.05
"""m/s^2: less than this is no gravity."""


def law_of(clip: PhyWorldClip) -> str:
    """Which law a clip is of, from its states."""
    if clip.position.shape[1] == 2:
        return "collision"
    return "parabola" if _gravity(clip.position) > STILL else "uniform"


def _gravity(position: NDArray[np.float64]) -> float:
    """m/s^2, of a single ball's positions (T, 1, 2)."""
    if position.shape[1] == 2 or len(position) < 3:
        return 0.0
    return max(0.0, -float(np.median(np.diff(position[:, 0, 1], n=2))) / FRAME_TIME**2)


def as_clip(source: PhyWorldClip, law: str, ruler: Ruler, size: int) -> Clip:
    """A clip of the simulator with the stored states, in places of the picture; its contacts are the simulator's."""
    position = ruler.place(source.position)
    scale = 1.0 if ruler.steps is None else ruler.steps / (ruler.steps + 1)
    velocity = np.gradient(position, FRAME_TIME, axis=0)
    bodies = []
    for n, radius in enumerate(source.radii):
        make, role = ((agent, "agent"), (patient, "patient"))[n]
        start = (float(position[0, n, 0]), float(position[0, n, 1]))
        body = make(Circle(radius * scale), start, elasticity=1.0, friction=0.0, density=float(DENSITY))
        at = (position[1, n] - position[0, n]) / FRAME_TIME
        bodies.append(replace(body.moving((float(at[0]), float(at[1]))), colour=_colour(source, role)))
    scene = Scene(tuple(bodies), gravity=_gravity(position), background=WHITE)
    trajectory = replace(simulate(scene, frames=len(position)), position=position, velocity=velocity)
    return Clip(scene, trajectory, law, "train", 0, 0, size, world="phyworld")


def _colour(source: PhyWorldClip, role: str) -> tuple[int, int, int]:
    if len(source.init) == 3 and source.init[2] == 1:
        return COLOURS["patient"]
    return COLOURS[role]


@dataclass(frozen=True)
class PhyWorldCase(Case):
    """A clip of a file, scored by PhyWorld's metric beside all others."""

    film: NDArray[np.uint8] = None  # type: ignore[assignment]
    """(T, S, S, 3)."""
    metres: NDArray[np.float64] = None  # type: ignore[assignment]
    """(T, N, 2): the stored states."""
    init: tuple[float, ...] = ()
    ruler: Ruler = EDGES

    @property
    def frames(self) -> NDArray[np.uint8]:
        return self.film

    @property
    def states(self) -> NDArray[np.float64]:
        return self.metres.ravel()

    @property
    def own_metrics(self) -> tuple[str, ...]:
        return tuple(metrics_of(self.clip.scenario))

    def own_scores(self, prediction: Prediction) -> dict[str, float]:
        law = self.clip.scenario
        if prediction.tracks is not None and prediction.frames is not None:
            return score_frames(law, self.init, self.metres, prediction.frames, self.ruler)
        order = [self.roles[role] for role in ("agent", "patient") if role in self.roles]
        at = prediction.position[:, order] / self.film.shape[2] * SIDE
        at[..., 1] = SIDE - at[..., 1]
        return score_states(law, self.init, self.metres, self.ruler.metres(at))
