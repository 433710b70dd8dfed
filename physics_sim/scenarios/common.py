"""What several scenarios have: a ground, walls, things that stand on it, materials."""

from dataclasses import replace

from physics_sim import shapes
from physics_sim.draw import Draw
from physics_sim.scene import Body, Colour, Scene, fixture
from physics_sim.units import WORLD
from physics_sim.worlds import Range

SIZE = Range(0.65, 1.1, below=(0.42, 0.58), above=(1.2, 1.45))
"""Radius, in metres, of a ball of the same area: 4.2 to 7 pixels at 64."""
SPEED = Range(1.0, 4.0, above=(4.4, 6.0))
"""m/s: 0.64 to 2.6 pixels a frame at 64."""
FRICTION = (0.3, 0.8)
ELASTICITY = (0.15, 0.75)
DULL = (0.0, 0.25)
"""The elasticity of what stands in rows and towers: bouncier blocks rattle before they fall."""


def ground(top: float, colour: Colour) -> Body:
    """A floor whose surface is at height `top`, wider than the picture."""
    return fixture("ground", (shapes.box(WORLD + 12, top + 2),), (WORLD / 2, (top - 2) / 2), colour)


def stand(shape: shapes.Shape, floor: float, angle: float = 0.0) -> float:
    """The height at which a shape's origin stands on `floor`."""
    return floor + shape.below(angle)


def materials(scene: Scene, draw: Draw, elasticity: tuple[float, float] = ELASTICITY) -> Scene:
    """The same scene with gravity, and elasticity, friction and density of everything that moves, drawn anew."""
    bodies = []
    for body in scene.bodies:
        if not body.fixed:
            body = replace(
                body,
                elasticity=draw.uniform(*elasticity),
                friction=draw.uniform(*FRICTION),
                density=draw.uniform(0.6, 1.8),
            )
        bodies.append(body)
    return replace(scene, bodies=tuple(bodies), gravity=draw.gravity(draw.profile.gravity))


def mirrored(scene: Scene) -> Scene:
    """The scene seen in a mirror, left and right exchanged (before anything moves)."""
    bodies = []
    for body in scene.bodies:
        parts = tuple(
            replace(
                part,
                shapes=tuple(_mirror(shape) for shape in part.shapes),
                position=(WORLD - part.position[0], part.position[1]),
                angle=-part.angle,
                velocity=(-part.velocity[0], part.velocity[1]),
                angular_velocity=-part.angular_velocity,
            )
            for part in body.parts
        )
        bodies.append(replace(body, parts=parts))
    joints = tuple(replace(joint, point=(WORLD - joint.point[0], joint.point[1])) for joint in scene.joints)
    return replace(scene, bodies=tuple(bodies), joints=joints)


def _mirror(shape: shapes.Shape) -> shapes.Shape:
    if isinstance(shape, shapes.Polygon):
        return replace(shape, vertices=tuple((-x, y) for x, y in reversed(shape.vertices)))
    if isinstance(shape, shapes.Capsule):
        return replace(shape, start=(-shape.start[0], shape.start[1]), end=(-shape.end[0], shape.end[1]))
    return shape
