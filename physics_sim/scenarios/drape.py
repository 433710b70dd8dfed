"""Drape: the agent is a cloth, a chain of short links, that falls over the patient, over something else, or beside.

Seen at first: the cloth and where it hangs in the air, the things below. Not seen: its velocity, materials.
"""

import math
from dataclasses import replace

from physics_sim import shapes
from physics_sim.draw import Draw
from physics_sim.scenarios import Scenario
from physics_sim.scenarios.common import SIZE, ground, materials, mirrored, stand
from physics_sim.scene import AGENT_COLOUR, Body, Joint, Part, Scene, patient, thing
from physics_sim.units import WORLD
from physics_sim.worlds import Range

LINKS = (6, 7, 8)
LENGTH = Range(0.46, 0.54, below=(0.34, 0.41), above=(0.59, 0.66))
"""Of a link, from joint to joint."""
THICK = 0.24
SPEED = Range(0.4, 2.4, above=(2.7, 3.6))
"""Downwards."""
ACROSS = (-2.6, 2.6)


def layout(draw: Draw) -> Scene:
    floor = draw.uniform(0.8, 1.3)
    colour = draw.static_colour()
    _, target = draw.kinds(agents=("capsule",))
    goal = shapes.of_kind(target, draw.size(SIZE))
    count, length = draw.choice(LINKS), draw.size(LENGTH)
    goal_x = draw.uniform(1.8, 8.2)
    span = count * length
    left = min(
        max(goal_x - span / 2 + (1 if goal_x < 5 else -1) * draw.uniform(0.6, 1.05) * (span / 2 + 1.0), 0.6), 9.4 - span
    )
    y = floor + 2 * goal.reach + draw.uniform(1.7, 3.1) * draw.stretch
    tilt = draw.uniform(-0.3, 0.3)
    link = shapes.Capsule((-length / 2, 0.0), (length / 2, 0.0), THICK)
    # A gentle zigzag about the tilt, so that the cloth folds from the start.
    angles = [tilt + 0.12 * (-1) ** n for n in range(count)]
    joints, parts, at = [], [], (left, y - math.sin(tilt) * span / 2)
    for number, angle in enumerate(angles):
        along = length * math.cos(angle), length * math.sin(angle)
        parts.append(Part((link,), (at[0] + along[0] / 2, at[1] + along[1] / 2), angle))
        if number:
            joints.append(Joint(("agent", number), ("agent", number - 1), at))
        at = at[0] + along[0], at[1] + along[1]
    cloth = Body("agent", "agent", tuple(parts), AGENT_COLOUR)
    things = [ground(floor, colour), patient(goal, (goal_x, stand(goal, floor))), cloth]
    other = shapes.of_kind(draw.choice(("ball", "box", "hexagon")), draw.uniform(0.55, 0.9))
    other_x = goal_x + draw.sign() * (goal.reach + other.reach + draw.uniform(0.3, 1.5))
    if draw.chance(0.6) and other.reach < other_x < 10 - other.reach:
        things.append(thing("other", other, (other_x, stand(other, floor)), draw.colour()))
    scene = Scene(tuple(things), tuple(joints), background=draw.background())
    return mirrored(scene) if draw.chance(0.5) else scene


def launch(scene: Scene, draw: Draw) -> Scene:
    scene = materials(scene, draw)
    parts = scene["agent"].parts
    middle = sum(part.position[0] for part in parts) / len(parts)
    towards = 1.0 if scene["patient"].parts[0].position[0] > middle else -1.0
    ends = sorted((parts[0].position[0] * towards, parts[-1].position[0] * towards))
    sides = sorted((0.0, WORLD * towards))
    # Slow enough to stay in sight, wherever it goes.
    away, ahead = ends[0] - sides[0], sides[1] - ends[1]
    across = draw.aim(max(ACROSS[0], -away / draw.seconds - 0.2), min(ACROSS[1], ahead / draw.seconds + 0.4))
    cloth = scene["agent"].moving((towards * across, -draw.speed(SPEED)))
    return scene.swap(replace(cloth, elasticity=0.1, density=0.6))


PLACE = 8
make = Scenario(layout, launch, aimed=True)
