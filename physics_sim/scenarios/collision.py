"""Collision: two balls on one line, elastic, no gravity, mass r^2. After PhyWorld; ranges in `worlds`.

In version 2 of the world they may meet at any time: before the first frame (they fly apart), in the given frames,
later, after the clip, or never (they fly apart, or pass at different heights); and one may catch up with the other.
"""

import math

from physics_sim.draw import Draw
from physics_sim.scenarios import Law
from physics_sim.scenarios.laws import DENSITY, ball, in_sight, mirrors, radius_and_speed
from physics_sim.scene import Scene, patient
from physics_sim.shapes import Circle
from physics_sim.units import FRAME_TIME, WORLD
from physics_sim.world import Trajectory
from physics_sim.worlds import Moment

CHASES = 0.25
"""The share of clips in which both balls move in one direction, where collisions may come at any time."""
SLOWEST = 0.5
"""m/s: at least so fast the distance between them shrinks or grows."""
PASSES = 0.5
"""Of the clips without collision, the share in which the balls pass at different heights."""


def scene(draw: Draw) -> Scene:
    radii = draw.profile.colliding
    moment = _moment(draw)
    passes = math.isnan(moment.low) and draw.chance(PASSES)
    room = -1.0
    while room < 0:
        radius, speed = radius_and_speed(draw, radii)
        other, towards = draw.size(radii), draw.speed(draw.profile.speed)
        velocities = _velocities(draw, moment, passes, speed, towards)
        closing = velocities[0] - velocities[1]
        if math.isnan(moment.low):
            gap = draw.uniform(0.1, 4.0)
        else:
            gap = closing * FRAME_TIME * draw.uniform(moment.low, moment.high)
        room = WORLD - 2 * radius - 2 * other - gap
        if len(draw.meetings) > 1 and abs(closing) < SLOWEST:
            room = -1.0
        if passes and 2 * (radius + other) + 0.2 > WORLD:
            room = -1.0
    start = radius + draw.uniform(0.0, room)
    rim = max(radius, other) + draw.profile.rim
    y = draw.uniform(rim, WORLD - rim)
    left, right = (start, y), (start + radius + gap + other, y)
    if passes:
        left, right = _apart(draw, left, right, radius, other)
    if mirrors(draw):
        left, right = (WORLD - left[0], left[1]), (WORLD - right[0], right[1])
        velocities = -velocities[0], -velocities[1]
    target = patient(Circle(other), right, elasticity=1.0, friction=0.0, density=float(DENSITY))
    return Scene(
        (target.moving((velocities[1], 0.0)), ball(radius, left).moving((velocities[0], 0.0))),
        gravity=0.0,
        background=draw.background(),
    )


def _moment(draw: Draw) -> Moment:
    """When they are to meet; drawn only where there is a choice."""
    if len(draw.meetings) == 1:
        return draw.meetings[0]
    left = draw.uniform(0.0, sum(moment.share for moment in draw.meetings))
    for moment in draw.meetings:
        left -= moment.share
        if left < 0:
            return moment
    return draw.meetings[-1]


def _velocities(draw: Draw, moment: Moment, passes: bool, speed: float, towards: float) -> tuple[float, float]:
    """Of the ball on the left and of the one on the right: they approach, or part if they met before or never."""
    chase = len(draw.meetings) > 1 and draw.chance(CHASES)
    parts = not passes and not moment.low >= 0
    if not chase:
        return (-speed, towards) if parts else (speed, -towards)
    return (speed, towards) if (speed > towards) != parts else (-speed, -towards)


def _apart(
    draw: Draw, left: tuple[float, float], right: tuple[float, float], radius: float, other: float
) -> tuple[tuple[float, float], tuple[float, float]]:
    """The same places, at heights at which the balls miss each other."""
    spare = WORLD - 2 * (radius + other) - 0.2
    low = draw.uniform(0.0, spare)
    between = draw.uniform(0.2, 0.2 + spare - low)
    first, second = (radius, other) if draw.chance(0.5) else (other, radius)
    lower, upper = low + first, low + 2 * first + between + second
    heights = (lower, upper) if first == radius else (upper, lower)
    return (left[0], heights[0]), (right[0], heights[1])


def fault(scene: Scene, trajectory: Trajectory, draw: Draw) -> str | None:
    if len(draw.meetings) == 1 and not trajectory.touch > draw.given - 1:
        return "the balls do not meet after the given frames"
    return in_sight(scene, trajectory, draw)


PLACE = 3
make = Law(scene, fault)
