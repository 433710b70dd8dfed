"""The table of runs: one TOML file read into comparisons and arms, and the runs that they need."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vdt_mlx.errors import VDTError
from vdt_mlx.from_values import from_dict
from vdt_mlx.reading import read_toml

SHIPPED = Path(__file__).with_name("arms.toml")


@dataclass(frozen=True)
class World:
    """What every arm is scored on: groups of the examiner inside and outside of the training distribution."""

    inside: tuple[str, ...]
    outside: tuple[str, ...]
    clips: int = 24
    """A group."""
    seed: int = 1
    """Of the simulator; the frozen suite has 0."""
    given: int = 8
    sweep: tuple[int, ...] = ()
    """Numbers of context frames that every arm is also asked with, on the clips inside."""
    sweep_clips: int = 8
    """A group."""

    def __post_init__(self) -> None:
        for name in ("inside", "outside", "sweep"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.inside:
            raise VDTError("world.inside names no group to score: give one scenario or more.")
        for name in ("clips", "sweep_clips", "given"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise VDTError(f"world.{name} is a whole number of at least 1, not {value!r}.")


@dataclass(frozen=True)
class Train:
    """How every arm is trained: a whole training configuration (`vdt-mlx train`), and how many seeds."""

    config: dict[str, Any]
    autoencoder: str = "physics"
    """Name or folder of the checkpoint whose autoencoder all arms share."""
    seeds: int = 2

    def __post_init__(self) -> None:
        if not isinstance(self.config, dict):
            raise VDTError("train.config is a table of training settings.")
        if not isinstance(self.seeds, int) or not 1 <= self.seeds <= 64:
            raise VDTError(f"train.seeds is a whole number from 1 to 64, not {self.seeds!r}.")


@dataclass(frozen=True)
class Comparison:
    """Arms that differ in one thing."""

    name: str
    title: str
    arms: dict[str, dict[str, Any]]
    """name: the changed keys; an arm that occurs in several comparisons is trained once."""
    paper: str = ""
    """What the paper reports."""
    source: str = ""
    order: tuple[str, ...] = ()
    """The paper's order, best first; empty where it has none."""
    seeds: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "order", tuple(self.order))
        if len(self.arms) < 2:
            raise VDTError(f"The comparison {self.name!r} needs two arms or more.")
        unknown = [name for name in self.order if name not in self.arms]
        if unknown:
            raise VDTError(f"The comparison {self.name!r} orders {unknown[0]!r}, which is none of its arms.")


@dataclass(frozen=True)
class Run:
    """One arm with one seed."""

    arm: str
    seed: int
    changes: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        return f"{self.arm}-s{self.seed}"


@dataclass(frozen=True)
class Plan:
    """A whole table of runs."""

    world: World
    train: Train
    comparisons: tuple[Comparison, ...]

    @property
    def arms(self) -> dict[str, dict[str, Any]]:
        """Every arm once: name -> changed keys."""
        return {name: changes for comparison in self.comparisons for name, changes in comparison.arms.items()}

    def seeds(self, arm: str) -> int:
        """How many seeds an arm is trained with: the most that a comparison asks for."""
        asked = [c.seeds or self.train.seeds for c in self.comparisons if arm in c.arms]
        return max(asked)

    def runs(self) -> list[Run]:
        """All runs, the first seed of every arm before the second of any, so that a short evening has a whole table."""
        most = max(self.seeds(arm) for arm in self.arms)
        return [
            Run(arm, seed, tuple(sorted(changes.items())))
            for seed in range(most)
            for arm, changes in self.arms.items()
            if seed < self.seeds(arm)
        ]

    def identity(self, run: Run) -> str:
        """A digest of all that decides a run's numbers: its training configuration and what it is scored on."""
        body: dict[str, Any] = {
            "world": asdict(self.world),
            "train": asdict(self.train),
            "changes": run.changes,
            "seed": run.seed,
        }
        body["train"].pop("seeds")  # more seeds are more runs, not other ones
        return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def read_plan(path: Path) -> Plan:
    """Reads a table of runs. Raises VDTError: no such file, not TOML, an unknown key, an arm that means two things."""
    body = read_toml(path, "table of runs")
    unknown = sorted(set(body) - {"world", "train", "comparison"})
    if unknown:
        raise VDTError(f"{path} has an unknown section {unknown[0]!r}: there are world, train and comparison.")
    missing = [name for name in ("world", "train", "comparison") if name not in body]
    if missing:
        raise VDTError(f"{path} has no section {missing[0]!r}.")
    if not isinstance(body["comparison"], list):
        raise VDTError(f"{path}: comparison is a list of tables, [[comparison]].")
    world = from_dict(World, body["world"], f"{path}, section 'world'")
    train = from_dict(Train, body["train"], f"{path}, section 'train'")
    comparisons = tuple(
        from_dict(Comparison, entry, f"{path}, comparison {index + 1}")
        for index, entry in enumerate(body["comparison"])
    )
    _check_names(comparisons)
    plan = Plan(world, train, comparisons)
    _check_settings(plan, path)
    return plan


def _check_names(comparisons: tuple[Comparison, ...]) -> None:
    names = [comparison.name for comparison in comparisons]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise VDTError(f"Two comparisons are called {twice!r}.")
    known: dict[str, dict[str, Any]] = {}
    for comparison in comparisons:
        for name, changes in comparison.arms.items():
            if not isinstance(changes, dict):
                raise VDTError(f"The arm {name!r} of {comparison.name!r} is a table of changed keys.")
            if not name.replace("-", "").replace("_", "").isalnum():
                raise VDTError(f"The arm {name!r} cannot name a folder: letters, digits, - and _.")
            if known.setdefault(name, changes) != changes:
                raise VDTError(f"The arm {name!r} changes different keys in two comparisons.")


def _check_settings(plan: Plan, path: Path) -> None:
    """Every arm's configuration is built once, so that an impossible one is refused before hours are spent."""
    from evals.scoring.cases import choose_groups
    from vdt_mlx.training.config import config_from_dict

    groups = choose_groups((*plan.world.inside, *plan.world.outside))
    if len({group.name for group in groups}) < len((*plan.world.inside, *plan.world.outside)):
        raise VDTError(f"{path}: a group of world is named twice.")
    for run in plan.runs():
        values = json.loads(json.dumps(plan.train.config))
        config = config_from_dict(values, f"{path}, arm {run.arm!r}", settings(run))
        for given in (plan.world.given, *plan.world.sweep):
            if not 1 <= given < config.vdt.num_frames:
                raise VDTError(f"{path}: {given} context frames do not fit clips of {config.vdt.num_frames} frames.")


def settings(run: Run) -> tuple[str, ...]:
    """A run's changes as `vdt-mlx train --set` takes them."""
    values = [f"{key}={json.dumps(value)}" for key, value in run.changes]
    return (*values, f"loop.seed={run.seed}", f"data.first={100_000 * run.seed}")
