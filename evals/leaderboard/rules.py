"""What a submission is: a card, and a results file a seed; and the settings that make results comparable."""

from dataclasses import dataclass
from typing import Any

from evals.physics.settings import FULL
from evals.physics.units import UNIT
from evals.scoring.cases import Group, choose_groups, fingerprint, joined_fingerprint, make_case
from physics_sim.worlds import WORLD_VERSION
from vdt_mlx.progress import Progress

CARD = "card.json"
FIELDS = {
    "name": "what the model is called",
    "authors": "who submits it",
    "about": "what it is, in a sentence or two",
    "parameters": "how many parameters it has, a whole number",
    "trained_on": "what it was trained on: data, how many clips, for how long",
    "link": "where it can be had or read about",
}
"""What a card has to say."""
SEEDS = "seeds"
"""A card's table of results files and their seeds, for clips that were made elsewhere."""


@dataclass(frozen=True)
class Rules:
    """Settings that every results file of a submission has to have; the rest (steps, sampler) is the submitter's."""

    world: Any = WORLD_VERSION
    suite_seed: int = 0
    size: int = 64
    frames: int | None = None
    suite: str | None = None
    scenarios: tuple[str, ...] = ("all",)
    clips: int = FULL
    given: int = 8
    seeds: int = 4

    @property
    def settings(self) -> dict[str, Any]:
        """Key -> value, as results files have them."""
        keys = ("world", "suite_seed", "size", "frames", "suite", "clips")
        return {key: getattr(self, key) for key in keys}

    def groups(self) -> list[Group]:
        return choose_groups(self.scenarios, self.world)

    def splits(self) -> set[str]:
        """The simulator's splits that its clips come from."""
        return {split for group in self.groups() for split in group.splits(self.world)}

    def fingerprint(self, progress: Progress | None = None) -> str:
        """Of the true states, from clips that are simulated here and now."""
        parts = []
        for group in self.groups():
            for start in range(0, self.clips, UNIT):
                stop = min(start + UNIT, self.clips)
                cases = [
                    make_case(group, i, self.given, self.suite_seed, self.size, self.world, self.frames)
                    for i in range(start, stop)
                ]
                parts.append(fingerprint(cases))
                if progress is not None:
                    progress.advance(stop - start)
        return joined_fingerprint(parts)


RULES = Rules()
"""The official ones: `python -m evals.physics --full`."""
