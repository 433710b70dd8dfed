"""Counterfactual families: clips in which one cause is turned through its range and everything else stays the same.

    from physics_sim import families
    clip = families.make_probe("gravity", 4.5, seed=7)      # a pure function of its arguments
    families.effect("gravity", clip.position[:, families.agent_of(clip)], clip.given)

All clips of a family with one seed have the same sizes, places, colours, materials and velocities in their first frame,
but for the cause. The effect is how far the agent gets, along the axis in which the cause works, on the mean over the
predicted frames, counted from where it is in the last given frame (metres): zero for a copy of that frame, and the same
formula for true states and for tracked ones. True effects come from the simulator's exact states. Compare effects
within a seed: between seeds other things differ too. All causes lie within the training ranges of the world's
version 2, and the agent is in sight, whole, in every frame of every value.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from physics_sim import shapes
from physics_sim.clip import Clip
from physics_sim.draw import Draw
from physics_sim.errors import SimulationError
from physics_sim.rendering import check_size
from physics_sim.sampling import generator
from physics_sim.scenarios.common import ground, mirrored
from physics_sim.scenarios.laws import DENSITY, ball
from physics_sim.scene import Body, Scene, agent, fixture, patient
from physics_sim.units import FRAME_TIME, FRAMES, GIVEN, WORLD
from physics_sim.world import simulate

Value = float | None


@dataclass(frozen=True)
class Family:
    """One cause. `scene(value, draw, given)` draws everything else in an order that the value cannot change."""

    name: str
    title: str
    unit: str
    values: tuple[Value, ...]
    """From one end of the cause's range to the other; None: the event does not take place."""
    axis: int
    """Along which the effect is measured: 0 is x, 1 is y (up)."""
    needs: int
    """Given frames from which the cause can be read at all (a bounce must have been seen, and so on)."""
    scene: Callable[[Value, Draw, int], Scene]


def _number(value: Value) -> float:
    assert value is not None
    return value


def _flight(draw: Draw, velocity: tuple[float, float], gravity: float, low: float, high: float) -> Scene:
    """A ball that is thrown to the right, or in a mirror; `low` and `high` are what it needs below and above."""
    radius = draw.uniform(0.7, 0.8)
    x = draw.uniform(radius, max(radius, WORLD - radius - abs(velocity[0]) * FRAME_TIME * (FRAMES - 1)))
    y = draw.uniform(radius + low, WORLD - radius - high)
    scene = Scene((ball(radius, (x, y)).moving(velocity),), gravity=gravity, background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def gravity(value: Value, draw: Draw, given: int) -> Scene:
    """A ball thrown obliquely upwards at 2 m/s; the cause is gravity (m/s^2), the effect its height."""
    return _flight(draw, (draw.uniform(1.0, 2.5), 2.0), _number(value), 3.8, 3.1)


def horizontal_speed(value: Value, draw: Draw, given: int) -> Scene:
    """A ball thrown under gravity 1.5; the cause is the horizontal speed (m/s), the effect its way to the side."""
    lift = draw.uniform(0.5, 1.5)
    radius = draw.uniform(0.7, 0.8)
    x = draw.uniform(radius, WORLD - radius - 4.0 * FRAME_TIME * (FRAMES - 1))
    y = draw.uniform(radius + 1.2, WORLD - radius - 1.2)
    body = ball(radius, (x, y)).moving((_number(value), lift))
    scene = Scene((body,), gravity=1.5, background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def vertical_speed(value: Value, draw: Draw, given: int) -> Scene:
    """A ball thrown under gravity 1.5; the cause is its upward velocity (m/s), the effect its height."""
    return _flight(draw, (draw.uniform(1.0, 2.5), _number(value)), 1.5, 5.6, 2.2)


def _balls(draw: Draw, radii: tuple[float, float], velocities: tuple[float, float], gap: float, lift: float) -> Scene:
    """The agent on the left, the patient on the right and higher by `lift`, both moving along the horizontal."""
    start = radii[0] + draw.uniform(1.5, 1.7)
    y = draw.uniform(max(2.0, radii[0], radii[1]), 4.5)
    second = start + radii[0] + gap + radii[1], y + lift
    target = patient(shapes.Circle(radii[1]), second, elasticity=1.0, friction=0.0, density=float(DENSITY))
    bodies = target.moving((velocities[1], 0.0)), ball(radii[0], (start, y)).moving((velocities[0], 0.0))
    scene = Scene(bodies, gravity=0.0, background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def meeting(value: Value, draw: Draw, given: int) -> Scene:
    """Two balls of one size head on; the cause is when they meet (frames after the first; None: they pass each other,
    the patient being higher), by the distance between them. The effect is the agent's way along the horizontal.
    """
    radius = draw.uniform(0.7, 0.8)
    speeds = draw.uniform(1.0, 1.1), -draw.uniform(1.0, 1.1)
    gap = (speeds[0] - speeds[1]) * FRAME_TIME * (10.0 if value is None else value)
    return _balls(draw, (radius, radius), speeds, gap, 2.3 if value is None else 0.0)


def mass_ratio(value: Value, draw: Draw, given: int) -> Scene:
    """Two balls head on that meet half a frame after the last given one; the cause is the patient's mass over the
    agent's, which is seen: masses are as the squares of the radii. The effect is the agent's way along the horizontal.
    """
    radius = draw.uniform(0.95, 1.0)
    speeds = draw.uniform(1.3, 1.6), -draw.uniform(1.0, 1.2)
    gap = (speeds[0] - speeds[1]) * FRAME_TIME * (given - 0.5)
    return _balls(draw, (radius, radius * math.sqrt(_number(value))), speeds, gap, 0.0)


def _on_the_ground(draw: Draw, body: Body, floor: float, more: tuple[Body, ...] = ()) -> Scene:
    """With a patient that rests far away, at the right."""
    goal = shapes.box(1.2, 1.2)
    target = patient(goal, (9.2, floor + goal.below()), elasticity=0.3, friction=0.6)
    bodies = ground(floor, draw.static_colour()), *more, target, body
    scene = Scene(bodies, background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def restitution(value: Value, draw: Draw, given: int) -> Scene:
    """A ball falls on the ground at 4.2 m/s, 1.5 frames before the last given one; the cause is the elasticity of the
    impact, seen in how it rises. The effect is its height.
    """
    floor, radius = draw.uniform(0.9, 1.2), draw.uniform(0.65, 0.8)
    time = (given - 1 - 1.5) * FRAME_TIME
    down = 4.2 - 3.0 * time
    height = down * time + 1.5 * time**2
    at = draw.uniform(2.5, 4.0), floor + radius + height
    body = agent(shapes.Circle(radius), at, elasticity=_number(value), friction=0.0)
    return _on_the_ground(draw, body.moving((draw.uniform(0.5, 1.0), -down)), floor)


def friction(value: Value, draw: Draw, given: int) -> Scene:
    """A box slides along the ground at first 3 m/s; the cause is the coefficient of friction. The effect is its way."""
    floor = draw.uniform(0.9, 1.2)
    shape = shapes.box(draw.uniform(1.5, 1.7), draw.uniform(0.9, 1.1))
    at = draw.uniform(1.2, 1.6), floor + shape.below()
    body = agent(shape, at, elasticity=0.0, friction=_number(value))
    return _on_the_ground(draw, body.moving((draw.uniform(2.9, 3.1), 0.0)), floor)


def slope(value: Value, draw: Draw, given: int) -> Scene:
    """A ball rolls from rest down a ramp without slipping; the cause is the ramp's angle (radians), which is seen. The
    effect is its height.
    """
    angle = _number(value)
    floor, radius = draw.uniform(0.9, 1.2), draw.uniform(0.65, 0.75)
    edge, length = draw.uniform(1.6, 1.9), 3.2
    height, foot = length * math.sin(angle), edge + length * math.cos(angle)
    ramp = shapes.Polygon(((-2.0, -0.5), (foot, -0.5), (foot, 0.0), (edge, height), (-2.0, height)), "ramp")
    along = 0.35
    x = edge + along * math.cos(angle) + radius * math.sin(angle)
    y = floor + height - along * math.sin(angle) + radius * math.cos(angle)
    body = agent(shapes.Circle(radius), (x, y), elasticity=0.2, friction=0.8)
    return _on_the_ground(draw, body, floor, (fixture("ramp", (ramp,), (0.0, floor), draw.static_colour()),))


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("gravity", "gravity", "m/s^2", (0.5, 1.5, 2.5, 3.5, 4.5, 5.5), 1, 3, gravity),
        Family("horizontal-speed", "horizontal speed", "m/s", (1.0, 1.6, 2.2, 2.8, 3.4, 4.0), 0, 2, horizontal_speed),
        Family("vertical-speed", "vertical speed", "m/s", (-2.5, -1.5, -0.5, 0.5, 1.5, 2.5), 1, 3, vertical_speed),
        Family("meeting", "time of the collision", "frames", (8.0, 9.5, 11.0, 12.5, 14.0, 18.0, None), 0, 2, meeting),
        Family("mass-ratio", "mass ratio", "", (0.5, 0.75, 1.0, 1.3, 1.6, 1.9), 0, 2, mass_ratio),
        Family("restitution", "restitution", "", (0.25, 0.35, 0.45, 0.55, 0.65, 0.75), 1, 4, restitution),
        Family("friction", "friction", "", (0.2, 0.3, 0.4, 0.5, 0.6, 0.75), 0, 3, friction),
        Family("slope", "slope", "rad", (0.36, 0.42, 0.48, 0.54, 0.6, 0.65), 1, 1, slope),
    )
}


def make_probe(name: str, value: Value, seed: int = 0, *, size: int = 64, given: int = GIVEN) -> Clip:
    """The clip of a family for one value of its cause: 16 frames. The same arguments give the same bytes.

    Its `.scenario` is `probe-NAME`; `.given` is what events are placed by. Raises SimulationError for an unknown
    family, a value beyond the family's range, or fewer given frames than the cause can be read from.
    """
    if name not in FAMILIES:
        raise SimulationError(f"There is no family {name!r}; there are {', '.join(FAMILIES)}.")
    family = FAMILIES[name]
    numbers = [known for known in family.values if known is not None]
    if value is None:
        fits = None in family.values
    else:
        fits = isinstance(value, int | float) and min(numbers) <= value <= max(numbers)
    if not fits:
        raise SimulationError(f"{family.title} goes from {min(numbers)} to {max(numbers)}, so it cannot be {value!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise SimulationError(f"A seed must be a whole number from 0, not {seed!r}.")
    if isinstance(given, bool) or not isinstance(given, int | np.integer) or not family.needs <= given <= 12:
        raise SimulationError(f"The family {name} needs {family.needs} to 12 given frames, not {given!r}.")
    check_size(size)
    draw = Draw(generator("family", name, int(seed)), "test")
    scene = family.scene(value, draw, int(given))
    return Clip(scene, simulate(scene), f"probe-{name}", "test", int(seed), int(seed), size, given=int(given))


def agent_of(clip: Clip) -> int:
    """The agent's place among a clip's bodies."""
    place = clip.scene.index("agent")
    assert place is not None
    return place


def effect(name: str, position: np.ndarray, given: int) -> float:
    """How far the agent gets: metres along the family's axis, on the mean over the frames from `given` on.

    position: (T, 2) metres, y up, true or tracked; the last given frame is `position[given - 1]`. nan where it is.
    """
    path = np.asarray(position, dtype=float)[:, FAMILIES[name].axis]
    return float((path[given:] - path[given - 1]).mean())


def true_effect(clip: Clip) -> float:
    """The effect in a clip that `make_probe` made, by its exact states."""
    return effect(clip.scenario.removeprefix("probe-"), clip.position[:, agent_of(clip)], clip.given)
