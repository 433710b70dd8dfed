"""Names: of the splits, and of the scenarios and laws there are. Cheap to import: a scenario is only loaded to be made.

A scenario or law is one file of `physics_sim/scenarios/` with a line `make = Scenario(...)` or `make = Law(...)`;
`PLACE = 3` says where it stands in lists. Others come from outside, by `register`, or from an installed package's entry
point in the group `physics_sim.scenarios`.
"""

import re
from functools import lru_cache
from pathlib import Path

LAW_SPLITS = ("train", "val", "test", "ood_size", "ood_speed", "ood_both", "interpolate")
SCENARIO_SPLITS = ("train", "val", "test", "ood_size", "ood_speed", "ood_gravity", "combinations")
SPLITS = ("train", "val", "test", "ood_size", "ood_speed", "ood_gravity", "ood_both", "interpolate", "combinations")

_MADE = re.compile(r"^make = (Scenario|Law)\(", re.MULTILINE)
_PLACE = re.compile(r"^PLACE = (\d+)", re.MULTILINE)

added: dict[str, bool] = {}
"""Names that were registered (`physics_sim.scenarios.register`), and whether each is a law."""


@lru_cache(maxsize=1)
def own() -> dict[str, bool]:
    """The names in this package, in the order of lists, and whether each is a law."""
    found = []
    for path in (Path(__file__).parent / "scenarios").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if made := _MADE.search(text):
            place = _PLACE.search(text)
            found.append((int(place[1]) if place else 1000, path.stem, made[1] == "Law"))
    return {name: law for _, name, law in sorted(found)}


def scenarios() -> tuple[str, ...]:
    """Situations with the question, in the order of lists."""
    return tuple(name for name, law in {**own(), **added}.items() if not law)


def laws() -> tuple[str, ...]:
    """Laws of motion, without the question."""
    return tuple(name for name, law in {**own(), **added}.items() if law)


def everything() -> tuple[str, ...]:
    """Scenarios, then laws."""
    return (*scenarios(), *laws())


def is_law(name: str) -> bool:
    """Whether it is the name of a law; False also for names that are not in the lists."""
    return name in laws()
