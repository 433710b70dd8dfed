"""The scenarios and laws, one file each: what is drawn, from which ranges, who is agent and patient. Loaded by name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from physics_sim import names
from physics_sim.draw import Draw
from physics_sim.errors import SimulationError
from physics_sim.names import LAW_SPLITS, SCENARIO_SPLITS
from physics_sim.scene import Scene
from physics_sim.world import Trajectory

GROUP = "physics_sim.scenarios"
"""The entry points by which installed packages offer scenarios."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")

_registered: dict[str, Any] = {}


@dataclass(frozen=True)
class Scenario:
    """A situation with the question.

    layout: everything that the first frame shows, everything at rest.
    launch: the same scene with what the first frame does not show (velocities, materials, gravity).
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


def always_good(scene: Scene, trajectory: Trajectory, draw: Draw) -> str | None:
    """The `fault` of a law whose every clip is good."""
    return None


def register(name: str, make: Any = None) -> Any:
    """Adds a scenario under a name, for `make_clip`, `stream` and the command lines.

    make: a `Scenario`, a `Law`, or a function from a `Draw` to a `Scene`, which becomes a law all of whose clips are
    good. Without it, a decorator of such a function. Returns what it was given.
    Raises SimulationError for a name that is taken or cannot be one.
    """
    if make is None:
        return lambda function: register(name, function)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise SimulationError(f"A scenario's name has small letters, digits, - and _, not {name!r}.")
    if isinstance(make, Scenario | Law):
        made: Any = make
    elif isinstance(make, Callable):  # type: ignore[arg-type]
        made = Law(make, always_good)
    else:
        raise SimulationError(f"A scenario is a Scenario, a Law or a function of a draw, not {type(make).__name__}.")
    if name in names.own() or _registered.get(name, made) != made:
        raise SimulationError(f"There is a scenario {name!r} already: choose another name.")
    _registered[name] = made
    names.added[name] = isinstance(made, Law)
    return make


def registered() -> dict[str, Any]:
    """What was registered from outside: worker processes are told."""
    return dict(_registered)


def find(name: str) -> Any:
    """The Scenario or Law of that name; raises SimulationError with the nearest name if there is none."""
    if name in _registered:
        return _registered[name]
    if name in names.own():
        return import_module(f"physics_sim.scenarios.{name}").make
    _installed()
    if name in _registered:
        return _registered[name]
    from difflib import get_close_matches

    close = get_close_matches(str(name), names.everything(), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names.everything())}."
    raise SimulationError(f"There is no scenario {name!r}; {hint}")


def run_file(path: str | Path) -> None:
    """Runs a Python file that registers scenarios. Raises SimulationError if it cannot be run."""
    import sys

    path = Path(path).expanduser().resolve()
    if path.suffix != ".py" or not path.is_file() or not path.stem.isidentifier():
        raise SimulationError(f"{path} is not a Python file whose name can be imported.")
    # By its name, so that worker processes, which get this search path too, find the same functions.
    sys.path.insert(0, str(path.parent))
    known = sys.modules.get(path.stem)
    if known is not None and getattr(known, "__file__", None) != str(path):
        raise SimulationError(f"{path.name} has the name of a module that is in use: rename it.")
    try:
        import_module(path.stem)
    except SimulationError:
        raise
    except (Exception, SystemExit) as error:
        raise SimulationError(f"{path.name} does not run: {type(error).__name__}: {error}") from None


@lru_cache(maxsize=1)
def _installed() -> None:
    """Registers what installed packages offer."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        try:
            register(entry.name, entry.load())
        except Exception as error:
            raise SimulationError(f"The scenario {entry.name} of an installed package does not load: {error}") from None
