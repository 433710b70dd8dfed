"""The scenarios, one file each: what is drawn, from which ranges, who is agent and patient. Loaded by name."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module

from physics_sim.draw import Draw
from physics_sim.errors import SimulationError
from physics_sim.scene import Scene
from physics_sim.units import LAW_SPLITS, LAWS, SCENARIO_SPLITS, SCENARIOS
from physics_sim.world import Trajectory


@dataclass(frozen=True)
class Scenario:
    """A situation with the question.

    layout: everything that the first frame shows, everything at rest.
    launch: the same scene with what the first frame does not show (velocities, materials).
    aimed: whether `launch` draws by `Draw.aim` what brings the contact (sooner), which shortens the search for both
    answers.
    """

    layout: Callable[[Draw], Scene]
    launch: Callable[[Scene, Draw], Scene]
    aimed: bool = False
    splits: tuple[str, ...] = SCENARIO_SPLITS


@dataclass(frozen=True)
class Law:
    """A law of motion after PhyWorld; `fault` says why a drawn clip is no good, or None."""

    scene: Callable[[Draw], Scene]
    fault: Callable[[Scene, Trajectory, Draw], str | None]
    splits: tuple[str, ...] = LAW_SPLITS


@lru_cache
def find(name: str) -> Scenario | Law:
    """The scenario or law of that name; raises SimulationError with the nearest name if there is none."""
    if name not in (*SCENARIOS, *LAWS):
        from difflib import get_close_matches

        close = get_close_matches(str(name), (*SCENARIOS, *LAWS), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join((*SCENARIOS, *LAWS))}."
        raise SimulationError(f"There is no scenario {name!r}; {hint}")
    made: Scenario | Law = import_module(f"physics_sim.scenarios.{name}").make
    return made
