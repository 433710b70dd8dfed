"""What the page begins with: scenes of the simulator's scenarios and laws, and an empty room."""

from functools import cache
from typing import Any

import physics_sim
from physics_sim.scenarios.common import ground
from physics_sim.scene import Scene
from physics_sim.units import STATIC_COLOURS
from vdt_mlx.play.scene import write_scene

FIRST = "collide"
"""What a visitor sees first; its clip is one in which agent and patient do touch."""


def names() -> list[dict[str, str]]:
    """[{name, title}] in the order of the page."""
    laws = [name for name in physics_sim.LAWS if name not in physics_sim.SCENARIOS]
    entries = [{"name": name, "title": name} for name in physics_sim.SCENARIOS]
    return [
        *entries,
        *({"name": name, "title": f"{name} (law)"} for name in laws),
        {"name": "room", "title": "empty room"},
    ]


@cache
def preset(name: str, number: int = 0) -> dict[str, Any]:
    """A scene by name; `number` chooses among the validation clips, of which those with a contact come first."""
    if name == "room":
        return write_scene(Scene((ground(1.2, STATIC_COLOURS[0]),)))
    clip = physics_sim.make_clip(name, "val", _with_contact(name, number))
    return write_scene(clip.scene)


def _with_contact(name: str, number: int) -> int:
    if name in physics_sim.LAWS:
        return number
    # Clips come in pairs that share their first frame, and one of a pair has a contact.
    first = 2 * number
    return first if physics_sim.make_clip(name, "val", first).contact else first + 1
