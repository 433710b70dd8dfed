"""Unit files: what a few clips gave, on disk, so that a run that was interrupted can go on."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.physics.results import Group
from evals.scoring.cases import Case
from vdt_mlx.files import atomic_path


@dataclass
class Unit:
    """What one unit file holds. `values`: predictor -> metric -> a value a clip; `curves`: predictor -> (clips, F)."""

    clips: list[str]
    fingerprint: str
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
    bad: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, NDArray] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    group: Group
    start: int
    stop: int
    given: int

    @property
    def name(self) -> str:
        return f"{self.group.name.replace(':', '+')}-g{self.given}-{self.start:05d}-{self.stop:05d}"


def save_unit(unit: Unit, path: Path) -> None:
    body = asdict(unit)
    pictures = body.pop("pictures")
    text = np.frombuffer(json.dumps(body).encode(), np.uint8)
    with atomic_path(path) as partial:
        np.savez_compressed(partial, record=text, **pictures)


def load_unit(path: Path) -> Unit:
    with np.load(path, allow_pickle=False) as file:
        body = json.loads(file["record"].tobytes().decode())
        return Unit(**body, pictures={name: file[name] for name in file.files if name != "record"})


def tidy(work: Path) -> None:
    """After a run that did not even finish one unit, leaves nothing behind; else units are kept for --resume."""
    if any(work.glob("*.npz")):
        return
    (work / "settings.json").unlink(missing_ok=True)
    for folder in (work, work.parent, work.parent.parent):
        if folder.is_dir() and not any(folder.iterdir()) and folder != Path.cwd():
            folder.rmdir()


def differing(theirs: str, mine: str) -> str:
    try:
        first, second = json.loads(theirs), json.loads(mine)
        keys = [k for k in second["settings"] if first["settings"].get(k) != second["settings"][k]]
        keys += [k for k in ("predictors", "code") if first.get(k) != second[k]]
        return ", ".join(keys)
    except (ValueError, KeyError, AttributeError, TypeError):
        return "its settings file is damaged"


def fingerprint(batch: list[Case]) -> str:
    """Of the true states, rounded to 1e-6."""
    digest = hashlib.sha256()
    for case in batch:
        states = np.concatenate([case.clip.position.ravel(), case.clip.angle.ravel()])
        digest.update(case.id.encode())
        digest.update((np.round(states, 6) + 0.0).tobytes())
    return digest.hexdigest()
