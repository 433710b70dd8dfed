"""What the laws share: PhyWorld's ranges, and the region left out of training."""

import numpy as np

from physics_sim.draw import Draw, Range
from physics_sim.scene import Body, Scene, agent
from physics_sim.shapes import Circle
from physics_sim.units import WORLD
from physics_sim.world import Trajectory

RADIUS = Range(0.7, 1.5, below=(0.3, 0.6), above=(1.5, 2.0))
SPEED = Range(1.0, 4.0, below=(0.0, 0.8), above=(4.5, 6.0))
HOLE = ((1.0, 1.2), (2.2, 2.8))
"""Agents of these radii at these speeds are only in the split `interpolate`."""
DENSITY = 1 / np.pi
"""kg/m^2: mass is the radius squared."""
SECONDS = 1.5
"""From the first frame to the last."""


def radius_and_speed(draw: Draw) -> tuple[float, float]:
    """The agent's, inside or outside of the hole as the split asks."""
    if draw.split == "interpolate":
        return draw.uniform(*HOLE[0]), draw.uniform(*HOLE[1])
    while True:
        radius, speed = draw.size(RADIUS), draw.speed(SPEED)
        if not (HOLE[0][0] <= radius <= HOLE[0][1] and HOLE[1][0] <= speed <= HOLE[1][1]):
            return radius, speed


def ball(radius: float, position: tuple[float, float]) -> Body:
    return agent(Circle(radius), position, elasticity=1.0, friction=0.0, density=float(DENSITY))


def in_sight(scene: Scene, trajectory: Trajectory) -> str | None:
    """A clip is no good if a ball's centre leaves the picture."""
    position = trajectory.position
    return "a ball leaves the picture" if position.min() < 0 or position.max() > WORLD else None
