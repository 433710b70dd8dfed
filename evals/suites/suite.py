"""What a suite of test clips is to the examiner, and the simulator's own."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from evals.scoring.cases import Case, Group, case_id, choose_groups, make_case
from evals.scoring.score import Metric
from physics_sim.worlds import WORLD_VERSION, World, find_profile
from vdt_mlx.errors import VDTError


class Suite(Protocol):
    """Groups of clips that can be made one at a time, always the same."""

    groups: list[Group]
    frames: int
    """Of every clip."""
    size: int
    """Side of every clip, pixels."""
    bad: list[tuple[str, str]]
    """Clips that cannot be used, and why."""

    metrics: dict[str, Metric]
    """What it measures beside the metrics that every suite has."""
    facts: dict[str, Any]
    """What a file of clips says of how it was simulated; empty for all others."""

    def count(self, group: Group, wanted: int) -> int:
        """How many clips of a group are taken where `wanted` are asked for."""

    def id(self, group: Group, index: int) -> str:
        """What a clip is called."""

    def case(self, group: Group, index: int, given: int) -> Case:
        """A clip with its truth."""

    def content(self) -> str | None:
        """A digest of the files that it is made of; None where there are none."""

    def told(self) -> dict[str, Any]:
        """Its own part of results.json, by key; empty where it has none."""


class SimulatedSuite:
    """Clips of the simulator."""

    def __init__(
        self,
        scenarios: tuple[str, ...] = ("all",),
        *,
        seed: int = 0,
        size: int = 64,
        world: World = WORLD_VERSION,
        frames: int | None = None,
    ) -> None:
        self.groups = choose_groups(scenarios, world)
        self.frames = frames if frames is not None else find_profile(world).frames
        self.seed, self.size, self.world, self._asked = seed, size, world, frames
        self.bad: list[tuple[str, str]] = []
        self.metrics: dict[str, Metric] = {}
        self.facts: dict[str, Any] = {}

    def count(self, group: Group, wanted: int) -> int:
        return wanted

    def id(self, group: Group, index: int) -> str:
        return case_id(group, index, self.world)

    def case(self, group: Group, index: int, given: int) -> Case:
        return make_case(group, index, given, self.seed, self.size, self.world, self._asked)

    def content(self) -> None:
        return None

    def told(self) -> dict[str, Any]:
        return {}


def chosen(wanted: Iterable[str], there: Sequence[str], what: str, path: Path) -> list[str]:
    """The wanted ones of the names that are there, in their order; "all" is all. Raises VDTError for another one."""
    wanted = list(wanted)
    for name in wanted:
        if name not in (*there, "all"):
            raise VDTError(f"Unknown {what} {name!r} of {path}: there are {', '.join(there)}, and all.")
    return [name for name in there if "all" in wanted or name in wanted]
