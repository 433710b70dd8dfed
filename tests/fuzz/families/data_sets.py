"""Data sets of simulated clips: shards and indexes damaged, cut, packed anew, with names and numbers that cannot be."""

import json
import random
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import physics_sim
from physics_sim import dataset
from tests.fuzz.mutations import damaged

TITLE = "data sets of simulated clips"
ABSURD: tuple[Any, ...] = (None, -1, 0, 10**30, 1e308, "x" * 300, [], {}, "../../x", "/etc/passwd", True, float("nan"))


def case(rng: random.Random, folder: Path):
    shutil.copytree(good(), folder, dirs_exist_ok=True)
    path = rng.choice(sorted(path for path in folder.iterdir()))
    if path.suffix == ".json" and rng.random() < 0.5:
        body = json.loads(path.read_text())
        _replace_one(rng, body)
        path.write_text(json.dumps(body))
    else:
        path.write_bytes(damaged(rng, path.read_bytes()))
    return lambda: read(folder)


def _replace_one(rng: random.Random, body: Any) -> None:
    """Puts something absurd somewhere into JSON."""
    place = body
    while True:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = rng.choice(list(keys))
        deeper = place[key]
        if isinstance(deeper, dict | list) and deeper and rng.random() < 0.7:
            place = deeper
            continue
        place[key] = rng.choice(ABSURD)
        return


def read(folder: Path) -> tuple[dict[str, Any], list[tuple[bytes, dict[str, Any]]]]:
    facts = physics_sim.describe_dataset(folder)
    return facts, [(frames.tobytes(), metadata) for frames, metadata in physics_sim.open_dataset(folder)]


def check(result) -> str | None:
    """What is read is what was written, whatever was damaged: facts of the index alone have no checksum."""
    return None if result[1] == read(good())[1] else "other clips"


@lru_cache
def good() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vdt-good-"))
    dataset.write(folder / "set", dataset.DataSetSpec(("uniform", "collide"), "train", 4, shard=2, size=16))
    return folder / "set"
