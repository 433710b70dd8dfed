"""A clip: a scene, its trajectory, and what is read off them (frames, masks, labels, metadata)."""

import math
from functools import cached_property
from typing import Any

import numpy as np

from physics_sim import names, rendering
from physics_sim.errors import SimulationError
from physics_sim.scene import Body, Scene
from physics_sim.units import FRAME_TIME, GIVEN, SUBSTEPS, WORLD
from physics_sim.world import Contact, Trajectory, simulate
from physics_sim.worlds import WORLD_VERSION, World

CHAOS_FACTOR = 10
CHAOS_FRAMES = 0.1


class Clip:
    """Frames of a scene, 16 by default, with exact states. Arrays are (T frames, N bodies, ...); see `physics_sim`."""

    def __init__(
        self,
        scene: Scene,
        trajectory: Trajectory,
        scenario: str,
        split: str,
        index: int,
        seed: int,
        size: int = 64,
        *,
        given: int = GIVEN,
        world: World = WORLD_VERSION,
    ) -> None:
        self.scene, self.trajectory = scene, trajectory
        self.scenario, self.split, self.index, self.seed = scenario, split, index, seed
        self.size = rendering.check_size(size)
        self.given, self.world = given, world

    @property
    def bodies(self) -> tuple[Body, ...]:
        return self.scene.bodies

    @property
    def contacts(self) -> list[Contact]:
        return self.trajectory.contacts

    @property
    def contact_time(self) -> float:
        """When the agent first touches the patient, in frames since the first, or nan.

        In a scenario it comes after the given frames (so 7 < time <= 15), in a law it may come at any time.
        """
        return self.trajectory.touch

    @property
    def contact(self) -> bool:
        """Whether the agent touches the patient: in a scenario after the given frames, in a law at any time."""
        return not math.isnan(self.trajectory.touch)

    @cached_property
    def chaotic(self) -> bool:
        """Whether a run with ten times the substeps answers otherwise, or touches more than 0.1 frame apart.

        Computed when it is asked for: it costs ten times the clip.
        """
        fine = simulate(self.scene, frames=len(self.trajectory.position), substeps=CHAOS_FACTOR * SUBSTEPS).touch
        if math.isnan(fine) or math.isnan(self.contact_time):
            return math.isnan(fine) != math.isnan(self.contact_time)
        return abs(fine - self.contact_time) > CHAOS_FRAMES

    @cached_property
    def frames(self) -> np.ndarray:
        """(T, size, size, 3) uint8 RGB."""
        return self.render(self.size)

    def render(self, size: int) -> np.ndarray:
        """(T, size, size, 3) uint8 RGB at another resolution."""
        return rendering.draw(self.scene, self.trajectory.position, self.trajectory.angle, size)

    def masks(self, size: int | None = None) -> np.ndarray:
        """Instance maps (T, size, size) uint8: 1 + a body's place in `bodies` where it is in front, else 0."""
        return rendering.label(
            self.scene, self.trajectory.position, self.trajectory.angle, self.size if size is None else size
        )

    @cached_property
    def _weights(self) -> np.ndarray:
        """(N, P): the share of each part in its body, by area."""
        weights = np.zeros((len(self.bodies), sum(len(body.parts) for body in self.bodies)))
        first = 0
        for row, body in zip(weights, self.bodies, strict=True):
            areas = [part.area for part in body.parts]
            row[first : first + len(areas)] = np.divide(areas, sum(areas))
            first += len(areas)
        return weights

    def _of_bodies(self, values: np.ndarray) -> np.ndarray:
        return values if values.shape[1] == len(self.bodies) else np.einsum("np,tp...->tn...", self._weights, values)

    @cached_property
    def position(self) -> np.ndarray:
        """(T, N, 2) centres of mass in metres, y up."""
        return self._of_bodies(self.trajectory.position)

    @cached_property
    def angle(self) -> np.ndarray:
        """(T, N) radians, counter-clockwise, not wrapped; of a chain the mean of its links."""
        return self._of_bodies(self.trajectory.angle)

    @cached_property
    def velocity(self) -> np.ndarray:
        """(T, N, 2) m/s."""
        return self._of_bodies(self.trajectory.velocity)

    @cached_property
    def angular_velocity(self) -> np.ndarray:
        """(T, N) rad/s; of a chain the mean of its links."""
        return self._of_bodies(self.trajectory.angular_velocity)

    def pixels(self, size: int | None = None) -> np.ndarray:
        """(T, N, 2) centres in pixel coordinates: x right, y down, pixel centres at halves."""
        return rendering.to_pixels(self.position, self.size if size is None else rendering.check_size(size))

    def metadata(self, *, chaos: bool = False) -> dict[str, Any]:
        """Everything but the pixels, JSON-able, floats rounded to 1e-6; `chaotic` only if asked for (it is slow)."""
        bodies = [
            {
                "name": body.name,
                "role": body.role,
                "shape": _rounded(body.shape),
                "colour": list(body.colour),
                "mass": None if body.fixed else round(body.mass, 6),
                "elasticity": round(body.elasticity, 6),
                "friction": round(body.friction, 6),
                "moves": not body.fixed,
            }
            for body in self.bodies
        ]
        return {
            "scenario": self.scenario,
            "split": self.split,
            "seed": self.seed,
            "index": self.index,
            "size": self.size,
            "world": self.world,
            "frames": len(self.trajectory.position),
            "given": self.given,
            "frame_time": FRAME_TIME,
            "side": WORLD,
            "gravity": self.scene.gravity,
            "law": names.is_law(self.scenario),
            "contact": self.contact,
            "contact_time": round(self.contact_time, 6) if self.contact else None,
            "chaotic": self.chaotic if chaos else None,
            "bodies": bodies,
            "states": {
                name: (np.round(getattr(self, name), 6) + 0.0).tolist()
                for name in ("position", "angle", "velocity", "angular_velocity")
            },
            "contacts": [
                {"time": round(c.time, 6), "bodies": list(c.bodies), "impulse": round(c.impulse, 6)}
                for c in self.contacts
            ],
        }

    def __repr__(self) -> str:
        return f"Clip({self.scenario!r}, {self.split!r}, {self.index}, seed={self.seed}, contact={self.contact})"


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def render_scene(clip_or_scene: Clip | Scene, size: int = 64) -> np.ndarray:
    """Frames (T, size, size, 3) uint8 of a clip, or the one frame (T = 1) in which a scene begins."""
    if isinstance(clip_or_scene, Clip):
        return clip_or_scene.render(size)
    if not isinstance(clip_or_scene, Scene):
        raise SimulationError(f"Only a clip or a scene can be rendered, not {type(clip_or_scene).__name__}.")
    parts = [part for body in clip_or_scene.bodies for part in body.parts]
    position = np.array([[part.position for part in parts]], dtype=float).reshape(1, -1, 2)
    angle = np.array([[part.angle for part in parts]], dtype=float).reshape(1, -1)
    return rendering.draw(clip_or_scene, position, angle, size)
