"""What the laws share: a ball, its radius and speed by split, and whether it stays in the picture."""

import numpy as np

from physics_sim.draw import Draw
from physics_sim.scene import Body, Scene, agent
from physics_sim.shapes import Circle
from physics_sim.units import FRAME_TIME, WORLD
from physics_sim.world import Trajectory
from physics_sim.worlds import Range

DENSITY = 1 / np.pi
"""kg/m^2: mass is the radius squared."""


def radius_and_speed(draw: Draw, radii: Range) -> tuple[float, float]:
    """The agent's, inside or outside of the region left out of training as the split asks."""
    hole = draw.profile.hole
    if draw.split == "interpolate" and hole:
        return draw.uniform(*hole[0]), draw.uniform(*hole[1])
    while True:
        radius, speed = draw.size(radii), draw.speed(draw.profile.speed)
        if not hole or not (hole[0][0] <= radius <= hole[0][1] and hole[1][0] <= speed <= hole[1][1]):
            return radius, speed


def ball(radius: float, position: tuple[float, float]) -> Body:
    return agent(Circle(radius), position, elasticity=1.0, friction=0.0, density=float(DENSITY))


def across(draw: Draw, radius: float, speed: float) -> float:
    """Where a ball that moves to the right begins, if it is to stay in the picture as long as the world says."""
    stays = draw.profile.stays
    last = WORLD - radius - speed * (draw.seconds if stays is None else stays * FRAME_TIME)
    if stays and last < radius:
        # Too fast for it: at the edge.
        return radius + draw.uniform(0.0, 0.5)
    return draw.uniform(radius, max(radius, last))


def mirrors(draw: Draw) -> bool:
    """Whether the scene is turned round, so that the agent moves to the left."""
    return not draw.profile.rightwards and draw.chance(0.5)


def in_sight(scene: Scene, trajectory: Trajectory, draw: Draw) -> str | None:
    """A clip is no good if a ball's centre leaves the picture.

    Where balls may leave it, they must be there whole in the given frames: what is asked about has been seen.
    """
    position = trajectory.position
    if not draw.profile.leaves:
        return "a ball leaves the picture" if position.min() < 0 or position.max() > WORLD else None
    margin = np.array([[max(shape.reach for shape in body.parts[0].shapes)] for body in scene.bodies])
    seen = position[: draw.given]
    out = (seen < margin).any() or (seen > WORLD - margin).any()
    return "a ball is not in the picture, whole, in the given frames" if out else None
