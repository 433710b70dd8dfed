"""From nothing to a checkpoint in one command: the stages of a recipe, each a training run of its own in one folder.

A recipe is a training configuration with a table `[recipe]`: hours, and stages in order. The folder gets a copy of it
(`recipe.toml`), `recipe.json` with what is done, a run folder for each stage, and `checkpoint`, packed, with its card.
Whatever ends it, `--resume` goes on with the stage that was running from its last saved state.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vdt_mlx.errors import VDTError
from vdt_mlx.files import atomic_path, user_path
from vdt_mlx.from_values import from_dict
from vdt_mlx.reading import read_json
from vdt_mlx.training import loop
from vdt_mlx.training import state as saving
from vdt_mlx.training.config import CONFIGS, load_config, read_toml
from vdt_mlx.training.optimizer import scalar

RECIPES = CONFIGS / "recipes"
COPY = "recipe.toml"
STATUS = saving.RECIPE
KINDS = ("autoencoder", "vdt")


@dataclass(frozen=True)
class Stage:
    """One training run of a recipe."""

    name: str
    """Of its folder."""
    train: str
    """`autoencoder` or `vdt`."""
    until: float = 1.0
    """Share of the recipe's hours after which it ends, unless it has taken its steps before."""
    autoencoder: str | None = None
    """`vdt`: the stage whose autoencoder it uses, where it starts from nothing."""
    init: str | None = None
    """The stage from whose checkpoint it starts."""
    length: float | None = None
    """Its steps, as a multiple of those that the stage `init` took."""
    settings: tuple[str, ...] = ()
    """Changes to the configuration, `section.key=value`."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple(self.settings))
        if self.train not in KINDS:
            raise VDTError(f"The stage {self.name!r} of a recipe trains {' or '.join(KINDS)}, not {self.train!r}.")
        if self.length is not None and (self.init is None or self.length <= 0):
            raise VDTError(f"The stage {self.name!r}: length is a multiple above 0 of the steps of the stage init.")
        if not self.name or Path(self.name).name != self.name or self.name in (loop.CHECKPOINT, COPY, STATUS, "cache"):
            raise VDTError(f"A stage of a recipe is named as a folder, and not {self.name!r}.")


@dataclass(frozen=True)
class Recipe:
    """The stages, in order, and the hours of training that they share."""

    hours: float
    stages: tuple[Stage, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for stage in self.stages:
            for other in (stage.init, stage.autoencoder):
                if other is not None and other not in seen:
                    raise VDTError(f"The stage {stage.name!r} of a recipe starts from {other!r}, not before it.")
            if stage.name in seen:
                raise VDTError(f"A recipe has two stages {stage.name!r}.")
            seen.add(stage.name)
        if not self.stages or self.stages[-1].train != "vdt":
            raise VDTError("The last stage of a recipe trains a vdt, which is what is packed.")


def recipe_names() -> list[str]:
    """The shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def load_recipe(path: str | Path) -> Recipe:
    """The table `[recipe]` of a TOML file. Raises VDTError where there is none or it does not fit."""
    table = read_toml(Path(path)).get("recipe")
    if not isinstance(table, dict) or not isinstance(table.get("stages"), list):
        raise VDTError(f"{path} is no recipe: it has no table [recipe] with stages.")
    stages = tuple(
        from_dict(Stage, stage, f"{path}, stage {number} of the recipe")
        for number, stage in enumerate(table["stages"], 1)
    )
    return from_dict(Recipe, {**table, "stages": stages}, f"{path}, section 'recipe'")


def run_recipe(
    name: str | Path,
    out: str | Path,
    changes: tuple[str, ...] = (),
    *,
    resume: bool = False,
    hours: float | None = None,
    scorer: Callable[[Path], dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Trains the stages that are not done, then packs the last one's checkpoint into `out/checkpoint`.

    Args:
        name: a shipped recipe or a TOML file.
        changes: `section.key=value` for all stages; a resumed recipe has its own.
        hours: of training in all, instead of the recipe's; may be changed when it is resumed.
        scorer: what `release.pack` is given; by default a score on 64 clips of the test split.

    Returns:
        What `recipe.json` says at the end: steps and hours of each stage.

    Raises:
        VDTError: the folder is taken, or holds no recipe's work to resume; whatever a stage's training raises.
    """
    out = Path(out)
    if resume and not (out / STATUS).is_file():
        raise VDTError(f"{out} is not the folder of a recipe: it has no {STATUS}.")
    path = RECIPES / f"{name}.toml" if str(name) in recipe_names() else user_path(name)
    if not resume:
        _check_stages(path, name, changes)
    with saving.owned(out):
        if resume:
            saving.remove_leftovers(out)
        status = _resumed(name, out, changes, hours) if resume else _begun(name, path, out, changes, hours)
        _run_stages(load_recipe(out / COPY), out, status, scorer)
    return status


def _run_stages(
    recipe: Recipe, out: Path, status: dict[str, Any], scorer: Callable[[Path], dict[str, Any]] | None
) -> None:
    """All stages that are not done, then the packing; `status` and `recipe.json` follow."""
    for number, stage in enumerate(recipe.stages, 1):
        if stage.name in status["done"]:
            continue
        label = f"{stage.name} ({number} of {len(recipe.stages)})"
        _train(stage, out, status, label)
        step, seconds = progress(out / stage.name)
        status["done"][stage.name] = {"steps": step, "hours": round(seconds / 3600, 4)}
        _write(out, status)
    if loop.CHECKPOINT not in status["done"]:
        _pack(recipe, out, scorer)
        status["done"][loop.CHECKPOINT] = {}
        _write(out, status)


def progress(folder: Path) -> tuple[int, float]:
    """Step and seconds of training of the newest saved state of a run; zeros where there is none."""
    if not saving.find_states(folder):
        return 0, 0.0
    step, groups = saving.load_state(folder)
    return step, scalar(groups["clock"]["seconds"])


def _check_stages(path: Path, name: str | Path, changes: tuple[str, ...]) -> None:
    """Raises VDTError for what does not fit now, and not after hours."""
    if not path.is_file():
        raise VDTError(f"There is no recipe {str(name)!r} (shipped: {', '.join(recipe_names())}).")
    for stage in load_recipe(path).stages:
        load_config(str(path), (*changes, *stage.settings))


def _begun(name: str | Path, path: Path, out: Path, changes: tuple[str, ...], hours: float | None) -> dict[str, Any]:
    """Claims the folder and writes what the recipe is."""
    if saving.taken(out):
        hint = "--resume goes on with it" if (out / STATUS).is_file() else "choose another"
        raise VDTError(f"{out} exists and is not empty ({hint}).")
    recipe = load_recipe(path)
    with atomic_path(out / COPY) as partial:
        shutil.copyfile(path, partial)
    status = {"recipe": str(name), "set": list(changes), "hours": hours or recipe.hours, "done": {}}
    _write(out, status)
    return status


def _resumed(name: str | Path, out: Path, changes: tuple[str, ...], hours: float | None) -> dict[str, Any]:
    """What `recipe.json` says."""
    path = out / STATUS
    if not path.exists():
        raise VDTError(f"{out} is not the folder of a recipe: it has no {STATUS}.")
    try:
        status = read_json(path, "description of a recipe's work")
        fits = isinstance(status["done"], dict) and isinstance(status["set"], list) and float(status["hours"]) > 0
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise VDTError(f"{path} does not describe a recipe's work.")
    if status.get("recipe") != str(name):
        raise VDTError(f"{out} holds the recipe {status.get('recipe')!r}, not {str(name)!r}.")
    if changes and list(changes) != status["set"]:
        raise VDTError(f"{out} was begun with `changes` {status['set']}: a resumed recipe keeps its settings.")
    if hours is not None:
        status["hours"] = hours
        _write(out, status)
    return status


def _write(out: Path, status: dict[str, Any]) -> None:
    with atomic_path(out / STATUS) as partial:
        partial.write_text(json.dumps(status, indent=2) + "\n", encoding="utf-8")


def _train(stage: Stage, out: Path, status: dict[str, Any], label: str) -> None:
    """Begins a stage's run or goes on with it, until its steps or its share of the hours."""
    from vdt_mlx.training.start import train_autoencoder, train_vdt

    folder = out / stage.name
    before = sum(done.get("hours", 0) for done in status["done"].values())
    step, seconds = progress(folder)
    left = stage.until * status["hours"] - before - seconds / 3600
    if step and left <= 0:
        return  # its time had passed when it was saved
    resume = (folder / saving.RUN).is_file()
    arguments: dict[str, Any] = {"resume": resume, "hours": max(left, 0.0), "label": label}
    if not resume:
        changes = (*status["set"], *stage.settings, *_derived(stage, out, status))
        if stage.init is not None:
            arguments["init"] = out / stage.init / loop.CHECKPOINT
        if stage.autoencoder is not None:
            arguments["autoencoder"] = out / stage.autoencoder / loop.CHECKPOINT
        arguments["changes"] = changes
    train = train_autoencoder if stage.train == "autoencoder" else train_vdt
    train(None if resume else str(out / COPY), folder, **arguments)


def _derived(stage: Stage, out: Path, status: dict[str, Any]) -> list[str]:
    """The settings of a stage that follow from the stages before it."""
    changes = [f"data.cache={json.dumps(str(out / 'cache'))}"] if stage.train == "vdt" else []
    if stage.length is not None:
        steps = status["done"][stage.init]["steps"]
        changes.append(f"loop.steps={max(1, round(stage.length * steps))}")
        data = saving.read_run(out / str(stage.init))["config"]["data"]  # the clips that there are, and new ones
        changes.append(f"data.prefill={min(data['pool'], data['prefill'] + steps * data['fresh'])}")
    return changes


def _pack(recipe: Recipe, out: Path, scorer: Callable[[Path], dict[str, Any]] | None) -> None:
    from vdt_mlx.training.release import pack
    from vdt_mlx.training.validate import score_folder

    coders = [stage.name for stage in recipe.stages if stage.train == "autoencoder"]
    pack(
        out / recipe.stages[-1].name / loop.CHECKPOINT,
        out / loop.CHECKPOINT,
        scorer or score_folder,
        out / coders[-1] / loop.CHECKPOINT if coders else None,
    )
