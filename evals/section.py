"""A part of an examination beside the rows, and how a folder of `evals/` takes part with one.

A folder takes part by having a module `section.py` with an object `SECTION`, an instance of a subclass of `Section`:
`python -m evals.physics` finds it by itself, runs its jobs (resumable, spread over processes), stores what it gathers
in results.json under its name, and shows its verdict, tables and figures on the terminal and on the page. Such a folder
imports what it likes of `scoring`, `tracking`, `predictors` and `report`, and never `evals.physics`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evals.predictors.checkpoint import Checkpoint
from evals.predictors.frames import FrameSource
from evals.predictors.registry import Memories
from evals.report.table import Grid
from evals.scoring.cases import Group
from physics_sim.worlds import World

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Context:
    """What a section may know of the examination that it is a part of."""

    sources: tuple[FrameSource, ...]
    """Every predictor of frames, upper bounds too. `source.complete(cases)` gives its clips."""
    memories: Memories
    """The first training clips of each scenario, for the baselines of `predictors.registry`."""
    groups: tuple[Group, ...]
    clips: int
    """Clips a scenario: the extent that was asked for (8 is the quick one, 100 the full one)."""
    given: int
    """Context frames that the examination is headlined with."""
    samples: int
    seed: int
    """Of the samples' noise."""
    suite_seed: int
    """Of the simulated clips; 0 is the official suite."""
    size: int
    """Side of the clips, pixels."""
    world: World
    """Version of the simulated world."""
    frames: int
    """Of every clip."""

    @property
    def models(self) -> list[FrameSource]:
        return [source for source in self.sources if source.kind == "model"]

    @property
    def checkpoints(self) -> list[Checkpoint]:
        """Models whose network can be asked for more than frames."""
        return [source for source in self.sources if isinstance(source, Checkpoint)]


class Section(ABC):
    """One part. Results are plain JSON values; whatever is random follows from the context's seeds."""

    name: str
    """Its key in results.json; also what `--sections` calls it."""
    title: str
    """Its heading."""
    order: int = 50
    """Sections are run and shown in this order."""

    @abstractmethod
    def jobs(self, context: Context) -> Sequence[str]:
        """Names of its jobs, fit for file names; none where it does not apply (no model, not the simulator's clips)."""

    @abstractmethod
    def examine(self, job: str, context: Context, tell: Tell) -> dict[str, Any]:
        """What one job gives: seconds to a minute of work, kept in a file, so that a run can go on from there."""

    @abstractmethod
    def gather(self, parts: dict[str, dict[str, Any]], context: Context) -> dict[str, Any]:
        """Its section of results.json from what its jobs gave, with a `version` of its own."""

    def verdict(self, found: dict[str, Any], body: dict[str, Any]) -> list[dict[str, str]]:
        """[{text, state}], state good, bad or plain: a sentence or two for the verdict."""
        return []

    def grids(self, found: dict[str, Any], body: dict[str, Any]) -> list[Grid]:
        """Tables, for the terminal and the page."""
        return []

    def figures(self, found: dict[str, Any], body: dict[str, Any]) -> list[Any]:
        """Figures for the page: `markupsafe.Markup` of `<figure>` elements (`report.figures` has what draws them)."""
        return []
